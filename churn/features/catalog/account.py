"""Account: how long a customer has been one, whether they left before, the agreement, and how it changes."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.declarations import derived, windowed
from churn.sources.announcements import is_closing
from churn.sources.catalog.closures import CLOSURES
from churn.sources.catalog.customers import CUSTOMERS


def _days_between(later: Column, earlier: Column) -> Column:
    return (F.unix_seconds(later) - F.unix_seconds(earlier)) / 86_400


@windowed(CUSTOMERS, agg="last", unit="time", fill=None)
def _opened_at() -> Column:
    """When the account was opened, by the customer's newest row; without one, that row's event time."""
    return F.coalesce(F.col("opened_at"), F.col("event_time"))


@windowed(CUSTOMERS, agg="last", unit="time", fill=None)
def _contract_ends_at() -> Column:
    """When the binding term ends, by the newest row that has it."""
    return F.col("contract_ends_on").cast("timestamp")


@derived(unit="days", fill=None)
def tenure(_opened_at: Column, as_of: Column) -> Column:
    """Days since the account was opened; null = not known."""
    return _days_between(as_of, _opened_at)


@derived(unit="days", fill=None)
def days_to_contract_end(_contract_ends_at: Column, as_of: Column) -> Column:
    """Days until the binding term ends; negative = it has ended, null = none."""
    return _days_between(_contract_ends_at, as_of)


@windowed(CUSTOMERS, agg="last", unit="name", fill="none")
def plan() -> Column:
    """The plan agreed."""
    return F.col("plan")


@windowed(CUSTOMERS, agg="last", unit="name", fill="none")
def region() -> Column:
    """Where the customer lives."""
    return F.col("region")


@windowed(CUSTOMERS, agg="last", unit="name", fill="none")
def customer_segment() -> Column:
    """The company's own grouping of the customer."""
    return F.col("segment")


@windowed(CUSTOMERS, agg="last", unit="money", fill=None)
def monthly_fee() -> Column:
    """The fee a month, as last agreed; null = not known."""
    return F.col("monthly_fee")


@windowed(CUSTOMERS, agg="changes", days=(90, 365), unit="changes", fill=0)
def plan_changes() -> Column:
    """How often the plan changed."""
    return F.col("plan")


@windowed(CUSTOMERS, agg="changes", days=(90, 365), unit="changes", fill=0)
def fee_changes() -> Column:
    """How often the monthly fee changed."""
    return F.col("monthly_fee")


@windowed(CUSTOMERS, agg="first", unit="money", fill=None)
def _first_fee() -> Column:
    """The fee first agreed."""
    return F.col("monthly_fee")


@derived(unit="ratio", fill=1)
def fee_to_first_fee(monthly_fee: Column, _first_fee: Column) -> Column:
    """The monthly fee over the one first agreed; 1 = the same."""
    return F.try_divide(monthly_fee, _first_fee)


# ---------------------------------------------------------------- announced


@windowed(CUSTOMERS, agg="min", announced=True, unit="time", fill=None)
def _announced_change_at() -> Column:
    """When the next announced state of the agreement takes effect."""
    return F.col("effective_time")


@derived(unit="days", fill=None)
def days_to_announced_change(_announced_change_at: Column, as_of: Column) -> Column:
    """Days until the next announced change of the agreement takes effect; null = none is announced."""
    return _days_between(_announced_change_at, as_of)


@windowed(CUSTOMERS, agg="last", announced=True, unit="money", fill=None)
def _announced_fee() -> Column:
    """The fee a month that was announced last."""
    return F.col("monthly_fee")


@derived(unit="ratio", fill=1)
def announced_fee_to_fee(_announced_fee: Column, monthly_fee: Column) -> Column:
    """The monthly fee announced last over the present one; 1 = none is announced."""
    return F.try_divide(_announced_fee, monthly_fee)


@windowed(CLOSURES, agg="min", announced=True, unit="time", fill=None, after_intent=True)
def _announced_closure_at() -> Column:
    """When the account will be closed, as announced."""
    return F.when(is_closing(), F.col("effective_time"))


@derived(unit="days", fill=None)
def days_to_announced_closure(_announced_closure_at: Column, as_of: Column) -> Column:
    """Days until the account will be closed, as announced: the customer has decided already; null = not announced."""
    return _days_between(_announced_closure_at, as_of)


# ---------------------------------------------------------------- who came back


@windowed(CLOSURES, agg="count", unit="closures", fill=0)
def times_closed() -> Column:
    """How often the account was closed before: a customer who came back."""
    return F.when(is_closing(), F.lit(1))


@windowed(CLOSURES, agg="days_since_last", unit="days", fill=None)
def days_since_closure() -> Column:
    """Days since the account was last closed; null = never."""
    return F.when(is_closing(), F.lit(1))
