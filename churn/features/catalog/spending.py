"""Spending: recency, frequency and monetary value of purchases, and other transactions."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.declarations import derived, windowed
from churn.sources.activity import is_approved
from churn.sources.catalog.transactions import TRANSACTIONS

WINDOWS = (7, 30, 60, 90, 180, 365)

NEVER = 730
"""Days in place of a gap that has not ended: longer than any in the data, and the same for every customer."""


def _approved(kind: str) -> Column:
    """The amount of approved transactions of a kind, else null."""
    return F.when((F.col("kind") == kind) & is_approved(), F.col("amount"))


def _purchase() -> Column:
    return _approved("purchase")


# ---------------------------------------------------------------- frequency and monetary value


@windowed(TRANSACTIONS, agg="count", days=WINDOWS, unit="transactions", fill=0)
def purchases() -> Column:
    """Approved purchases."""
    return _purchase()


@windowed(TRANSACTIONS, agg="active_days", days=WINDOWS, unit="days", fill=0)
def purchase_days() -> Column:
    """Days with a purchase; a basket of many lines counts once."""
    return _purchase()


@windowed(TRANSACTIONS, agg="sum", days=WINDOWS, unit="money", fill=0)
def spend() -> Column:
    """Money spent on purchases; refunds are not taken off."""
    return _purchase()


@windowed(TRANSACTIONS, agg="mean", days=WINDOWS, unit="money", fill=0)
def purchase_mean() -> Column:
    """The mean purchase; 0 without any."""
    return _purchase()


@windowed(TRANSACTIONS, agg="std", days=WINDOWS, unit="money", fill=0)
def purchase_std() -> Column:
    """The standard deviation of purchases; 0 with fewer than two."""
    return _purchase()


@windowed(TRANSACTIONS, agg="max", days=WINDOWS, unit="money", fill=0)
def purchase_max() -> Column:
    """The largest purchase; 0 without any."""
    return _purchase()


# ---------------------------------------------------------------- recency


@windowed(TRANSACTIONS, agg="days_since_last", unit="days", fill=NEVER)
def days_since_purchase() -> Column:
    """Days since the last purchase; 730 = never bought."""
    return _purchase()


@windowed(TRANSACTIONS, agg="days_since_first", unit="days", fill=NEVER)
def days_since_first_purchase() -> Column:
    """Days since the first purchase; 730 = never bought."""
    return _purchase()


@windowed(TRANSACTIONS, agg="age_of_last", unit="days", fill=NEVER, k=(2, 3, 4, 5))
def days_since_purchase_day() -> Column:
    """Days since the k-th last purchase day (k2 = the last but one); 730 = fewer purchase days."""
    return _purchase()


# ---------------------------------------------------------------- decayed with age, by a half-life


@windowed(TRANSACTIONS, agg="decayed", unit="transactions", fill=0, half_life_days=(10, 30, 90, 250))
def purchases_decayed() -> Column:
    """Purchases, each weighted by 2^(-age / half-life); the column names the half-life in days."""
    return F.when(_purchase().isNotNull(), F.lit(1))


@windowed(TRANSACTIONS, agg="decayed", unit="money", fill=0, half_life_days=(10, 30, 90, 250))
def spend_decayed() -> Column:
    """Spend, each purchase weighted by 2^(-age / half-life); the column names the half-life in days."""
    return _purchase()


# ---------------------------------------------------------------- all history, gaps and overdue ratios


@windowed(TRANSACTIONS, agg="count", unit="transactions", fill=0)
def purchases_ever() -> Column:
    """Purchases, all history."""
    return _purchase()


@windowed(TRANSACTIONS, agg="sum", unit="money", fill=0)
def spend_ever() -> Column:
    """Money spent on purchases, all history."""
    return _purchase()


@derived(unit="money per day", fill=0)
def spend_per_purchase_day(spend_ever: Column, purchase_days_ever: Column) -> Column:
    """Monetary value: money spent per purchase day; 0 = never bought."""
    return F.try_divide(spend_ever, purchase_days_ever)


@windowed(TRANSACTIONS, agg="active_days", unit="days", fill=0)
def purchase_days_ever() -> Column:
    """Days with a purchase, all history."""
    return _purchase()


@windowed(TRANSACTIONS, agg="gap_mean", unit="days", fill=NEVER)
def purchase_gap_mean() -> Column:
    """The mean number of days between neighbouring purchase days; 730 = fewer than two."""
    return _purchase()


@windowed(TRANSACTIONS, agg="gap_std", unit="days", fill=NEVER)
def purchase_gap_std() -> Column:
    """The standard deviation of the days between purchase days; 730 = fewer than three."""
    return _purchase()


@windowed(TRANSACTIONS, agg="gap_max", unit="days", fill=NEVER)
def purchase_gap_max() -> Column:
    """The most days between neighbouring purchase days; 730 = fewer than two."""
    return _purchase()


@windowed(TRANSACTIONS, agg="gap_last", unit="days", fill=NEVER)
def purchase_gap_last() -> Column:
    """The days between the last two purchase days; 730 = fewer than two."""
    return _purchase()


@derived(unit="ratio", fill=NEVER)
def overdue_ratio_mean_gap(days_since_purchase: Column, purchase_gap_mean: Column) -> Column:
    """Days since the last purchase over the mean gap; above 1 = overdue, 730 = fewer than two purchase days."""
    return F.try_divide(days_since_purchase, purchase_gap_mean)


@derived(unit="ratio", fill=NEVER)
def overdue_ratio_max_gap(days_since_purchase: Column, purchase_gap_max: Column) -> Column:
    """Days since the last purchase over the longest gap so far; 730 = fewer than two purchase days."""
    return F.try_divide(days_since_purchase, purchase_gap_max)


@derived(unit="ratio", fill=NEVER)
def overdue_ratio_last_gap(days_since_purchase: Column, purchase_gap_last: Column) -> Column:
    """Days since the last purchase over the gap before it; 730 = fewer than two purchase days."""
    return F.try_divide(days_since_purchase, purchase_gap_last)


@derived(unit="ratio", fill=NEVER)
def overdue_ratio_expected_gap(
    days_since_purchase: Column, days_since_first_purchase: Column, purchase_days_ever: Column
) -> Column:
    """Days since the last purchase over the expected gap, which is the mean of the customer's gaps and of one prior gap
    of 90 days, so that a single purchase has a value too; 730 = never bought."""
    own_gaps = days_since_first_purchase - days_since_purchase
    return F.try_divide(days_since_purchase * purchase_days_ever, own_gaps + F.lit(90.0))


@derived(unit="days per day", fill=0)
def purchase_frequency(purchase_days_ever: Column, days_since_first_purchase: Column) -> Column:
    """Purchase days per day since the first one; 0 = never bought."""
    return F.try_divide(purchase_days_ever, F.greatest(days_since_first_purchase, F.lit(1.0)))


@derived(unit="share", fill=0)
def recency_to_age(days_since_purchase: Column, days_since_first_purchase: Column) -> Column:
    """The time from the first purchase to the last over the time since the first: 0 = only one, near 1 = just now.

    Recency over age, as in Fader, Hardie & Lee 2005, Marketing Science 24:275.
    """
    return F.try_divide(days_since_first_purchase - days_since_purchase, days_since_first_purchase)


@windowed(TRANSACTIONS, agg="occupied", unit="periods", fill=0, period_days=(30, 60, 90))
def _purchase_periods() -> Column:
    """Periods of so many days, counted back from as-of, with a purchase."""
    return _purchase()


@derived(unit="share", fill=0, period_days=(30, 60, 90))
def purchase_period_share(_purchase_periods: Column, days_since_first_purchase: Column, period_days: float) -> Column:
    """The share of a customer's periods, back from as-of to the first purchase, that have a purchase; the column names
    the days of a period."""
    return F.try_divide(_purchase_periods, F.ceil(days_since_first_purchase / period_days))


# ---------------------------------------------------------------- other transactions


@windowed(TRANSACTIONS, agg="count", days=(90, 365), unit="transactions", fill=0)
def refunds() -> Column:
    """Refunds received."""
    return _approved("refund")


@windowed(TRANSACTIONS, agg="sum", days=(90, 365), unit="money", fill=0)
def refunded() -> Column:
    """Money refunded."""
    return _approved("refund")


@windowed(TRANSACTIONS, agg="count", days=(30, 90), unit="transactions", fill=0)
def fees() -> Column:
    """Fees charged."""
    return _approved("fee")


@windowed(TRANSACTIONS, agg="sum", days=(30, 90), unit="money", fill=0)
def fees_paid() -> Column:
    """Money paid in fees."""
    return _approved("fee")


@windowed(TRANSACTIONS, agg="count", days=(30, 90), unit="transactions", fill=0)
def declines() -> Column:
    """Transactions that were declined."""
    return F.when(F.col("status") == "declined", F.lit(1))


@windowed(TRANSACTIONS, agg="count", days=(30, 90), unit="transactions", fill=0)
def payments() -> Column:
    """Approved payments."""
    return _approved("payment")


@windowed(TRANSACTIONS, agg="days_since_last", unit="days", fill=NEVER)
def days_since_payment() -> Column:
    """Days since the last payment; 730 = never paid."""
    return _approved("payment")


@windowed(TRANSACTIONS, agg="distinct", days=(90, 365), unit="merchants", fill=0)
def merchants() -> Column:
    """Different merchants of purchases."""
    return F.when(_purchase().isNotNull(), F.col("merchant_id"))


@windowed(TRANSACTIONS, agg="entropy", days=(90, 365), unit="bits", fill=0)
def channel_entropy() -> Column:
    """Entropy of the channels of purchases; 0 = always the same one."""
    return F.when(_purchase().isNotNull(), F.col("channel"))
