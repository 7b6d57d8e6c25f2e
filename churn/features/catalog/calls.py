"""Calls: how often and why a customer calls, and with what result."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.declarations import derived, windowed
from churn.sources.catalog.calls import CALLS
from churn.sources.local_time import local_time

WINDOWS = (7, 30, 90, 180)


def inbound() -> Column:
    """True for a call the customer made; null direction counts as one."""
    return F.coalesce(F.col("direction"), F.lit("inbound")) == "inbound"


def in_group(group: str) -> Column:
    """True for a call whose reason or queue belongs to the group, by the company's words."""
    return F.coalesce(F.array_contains(F.split("reason_groups", " "), group), F.lit(False))


def about(group: str) -> Column:
    """True for a call the customer made whose reason or queue belongs to the group."""
    return inbound() & in_group(group)


def _count(condition: Column) -> Column:
    return F.when(condition, F.lit(1))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def calls_made() -> Column:
    """Calls the customer made."""
    return _count(inbound())


@windowed(CALLS, agg="active_days", days=WINDOWS, unit="days", fill=0)
def call_days() -> Column:
    """Days on which the customer called."""
    return _count(inbound())


@windowed(CALLS, agg="sum", days=WINDOWS, unit="s", fill=0)
def talk_time() -> Column:
    """Seconds spent talking to an agent; hold time is not counted."""
    return F.when(inbound(), F.col("talk_seconds"))


@windowed(CALLS, agg="mean", days=WINDOWS, unit="s", fill=None)
def wait_mean() -> Column:
    """The mean wait for an agent; null = no call has a wait."""
    return F.when(inbound(), F.col("wait_seconds"))


@windowed(CALLS, agg="max", days=WINDOWS, unit="s", fill=None)
def wait_max() -> Column:
    """The longest wait for an agent; null = no call has a wait."""
    return F.when(inbound(), F.col("wait_seconds"))


@windowed(CALLS, agg="sum", days=WINDOWS, unit="s", fill=0)
def hold_time() -> Column:
    """Seconds spent on hold."""
    return F.when(inbound(), F.col("hold_seconds"))


@windowed(CALLS, agg="sum", days=WINDOWS, unit="transfers", fill=0)
def call_transfers() -> Column:
    """How often the customer was passed on to another agent."""
    return F.when(inbound(), F.col("transfers"))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def calls_abandoned() -> Column:
    """Calls the customer hung up on before an agent answered."""
    return _count(inbound() & F.col("abandoned"))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def calls_unresolved() -> Column:
    """Calls that ended unresolved."""
    return _count(inbound() & ~F.col("resolved"))


@windowed(CALLS, agg="repeat", days=WINDOWS, unit="calls", fill=0, within_days=7)
def repeat_calls() -> Column:
    """Calls within 7 days after another call of the customer."""
    return _count(inbound())


@windowed(CALLS, agg="days_since_last", unit="days", fill=None)
def days_since_call() -> Column:
    """Days since the last call; null = never called."""
    return _count(inbound())


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def complaint_calls() -> Column:
    """Calls to complain."""
    return _count(about("complaint"))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def billing_calls() -> Column:
    """Calls about bills, prices and payments."""
    return _count(about("billing"))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def price_calls() -> Column:
    """Calls about what it costs: a price rise, a discount, another company's better offer."""
    return _count(about("price"))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def technical_calls() -> Column:
    """Calls about something that does not work."""
    return _count(about("technical"))


@windowed(CALLS, agg="count", days=WINDOWS, unit="calls", fill=0)
def calls_about_access() -> Column:
    """Calls about access to the account: a password, a PIN, a locked login, an address, a device."""
    return _count(about("access"))


@windowed(CALLS, agg="count", days=(30, 90), unit="calls", fill=0, after_intent=True)
def cancellation_calls() -> Column:
    """Calls about cancelling, or through the retention queue: the customer has decided already."""
    return _count(about("leaving"))


@windowed(CALLS, agg="entropy", days=(90, 180), unit="bits", fill=0)
def reason_entropy() -> Column:
    """Entropy of the reasons of calls; 0 = always the same one."""
    return F.when(inbound(), F.col("reason"))


@windowed(CALLS, agg="mean", days=(90, 180), unit="points of 5", fill=None)
def satisfaction() -> Column:
    """The mean satisfaction given after calls; null = none given."""
    return F.col("csat")


@windowed(CALLS, agg="last", unit="points of 5", fill=None)
def satisfaction_last() -> Column:
    """The last satisfaction given; null = none ever."""
    return F.col("csat")


@windowed(CALLS, agg="slope", days=(180,), unit="points of 5 per day", fill=0)
def satisfaction_slope() -> Column:
    """The trend of satisfaction, by least squares; 0 with fewer than two given."""
    return F.col("csat")


@windowed(CALLS, agg="count", days=(90,), unit="calls", fill=0)
def calls_out_of_hours() -> Column:
    """Calls made before 8 or from 20 o'clock on, local time."""
    hour = F.hour(local_time(F.col("event_time"), F.col("utc_offset")))
    return _count(inbound() & ((hour < 8) | (hour >= 20)))


@windowed(CALLS, agg="count", days=(90,), unit="calls", fill=0)
def calls_on_days_off() -> Column:
    """Calls made on a weekend or a holiday."""
    return _count(inbound() & F.col("is_day_off"))


@derived(unit="ratio", fill=0)
def call_trend(calls_made_30d: Column, calls_made_90d: Column) -> Column:
    """Calls of 30 days over a third of those of 90; 1 = unchanged, 0 = none in 30 days."""
    return F.try_divide(3 * calls_made_30d, calls_made_90d)


@derived(days=WINDOWS, unit="share", fill=0)
def unresolved_share(calls_unresolved: Column, calls_made: Column) -> Column:
    """The share of calls that ended unresolved; 0 without calls."""
    return F.try_divide(calls_unresolved, calls_made)
