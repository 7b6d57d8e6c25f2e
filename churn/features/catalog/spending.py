"""Spending: how lately, how often and how much a customer buys, and what else their money does."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.declarations import derived, windowed
from churn.sources.catalog.transactions import TRANSACTIONS

WINDOWS = (7, 30, 60, 90, 180, 365)

NEVER = 730
"""Days that stand for a pause that has not ended: longer than any that is seen, and the same for every customer."""


def _approved(kind: str) -> Column:
    """The amount of approved transactions of a kind, else null."""
    went_through = F.col("status").isNull() | (F.col("status") == "approved")
    return F.when((F.col("kind") == kind) & went_through, F.col("amount"))


def _purchase() -> Column:
    return _approved("purchase")


# ---------------------------------------------------------------- how often and how much


@windowed(TRANSACTIONS, agg="count", days=WINDOWS, unit="transactions", fill=0)
def purchases() -> Column:
    """Purchases that went through."""
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
def purchase_deviation() -> Column:
    """The standard deviation of purchases; 0 with fewer than two."""
    return _purchase()


@windowed(TRANSACTIONS, agg="max", days=WINDOWS, unit="money", fill=0)
def purchase_largest() -> Column:
    """The largest purchase; 0 without any."""
    return _purchase()


# ---------------------------------------------------------------- how lately


@windowed(TRANSACTIONS, agg="days_since_last", unit="days", fill=NEVER)
def days_since_purchase() -> Column:
    """Days since the last purchase; 730 = never bought."""
    return _purchase()


@windowed(TRANSACTIONS, agg="days_since_first", unit="days", fill=NEVER)
def days_since_first_purchase() -> Column:
    """Days since the first purchase; 730 = never bought."""
    return _purchase()


@windowed(TRANSACTIONS, agg="age_of_last", unit="days", fill=NEVER, k=2)
def days_since_2nd_last_purchase() -> Column:
    """Days since the last purchase day but one; 730 = fewer than two."""
    return _purchase()


@windowed(TRANSACTIONS, agg="age_of_last", unit="days", fill=NEVER, k=3)
def days_since_3rd_last_purchase() -> Column:
    """Days since the third last purchase day; 730 = fewer than three."""
    return _purchase()


@windowed(TRANSACTIONS, agg="age_of_last", unit="days", fill=NEVER, k=4)
def days_since_4th_last_purchase() -> Column:
    """Days since the fourth last purchase day; 730 = fewer than four."""
    return _purchase()


@windowed(TRANSACTIONS, agg="age_of_last", unit="days", fill=NEVER, k=5)
def days_since_5th_last_purchase() -> Column:
    """Days since the fifth last purchase day; 730 = fewer than five."""
    return _purchase()


# ---------------------------------------------------------------- fading memory: each purchase counts exp(-age / tau)


@windowed(TRANSACTIONS, agg="discounted", unit="transactions", fill=0, tau_days=14)
def purchases_fading_2_weeks() -> Column:
    """Purchases, each fading with its age by a time constant of 14 days."""
    return F.when(_purchase().isNotNull(), F.lit(1))


@windowed(TRANSACTIONS, agg="discounted", unit="transactions", fill=0, tau_days=45)
def purchases_fading_6_weeks() -> Column:
    """Purchases, each fading with its age by a time constant of 45 days."""
    return F.when(_purchase().isNotNull(), F.lit(1))


@windowed(TRANSACTIONS, agg="discounted", unit="transactions", fill=0, tau_days=120)
def purchases_fading_4_months() -> Column:
    """Purchases, each fading with its age by a time constant of 120 days."""
    return F.when(_purchase().isNotNull(), F.lit(1))


@windowed(TRANSACTIONS, agg="discounted", unit="transactions", fill=0, tau_days=365)
def purchases_fading_1_year() -> Column:
    """Purchases, each fading with its age by a time constant of 365 days."""
    return F.when(_purchase().isNotNull(), F.lit(1))


@windowed(TRANSACTIONS, agg="discounted", unit="money", fill=0, tau_days=14)
def spend_fading_2_weeks() -> Column:
    """Spend, fading with its age by a time constant of 14 days."""
    return _purchase()


@windowed(TRANSACTIONS, agg="discounted", unit="money", fill=0, tau_days=45)
def spend_fading_6_weeks() -> Column:
    """Spend, fading with its age by a time constant of 45 days."""
    return _purchase()


@windowed(TRANSACTIONS, agg="discounted", unit="money", fill=0, tau_days=120)
def spend_fading_4_months() -> Column:
    """Spend, fading with its age by a time constant of 120 days."""
    return _purchase()


@windowed(TRANSACTIONS, agg="discounted", unit="money", fill=0, tau_days=365)
def spend_fading_1_year() -> Column:
    """Spend, fading with its age by a time constant of 365 days."""
    return _purchase()


# ---------------------------------------------------------------- rhythm


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
    """Money spent on a day with a purchase; 0 = never bought."""
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
def purchase_gap_deviation() -> Column:
    """The standard deviation of the days between purchase days; 730 = fewer than three."""
    return _purchase()


@windowed(TRANSACTIONS, agg="gap_max", unit="days", fill=NEVER)
def purchase_gap_longest() -> Column:
    """The longest pause between purchase days; 730 = fewer than two."""
    return _purchase()


@windowed(TRANSACTIONS, agg="gap_last", unit="days", fill=NEVER)
def purchase_gap_last() -> Column:
    """The pause before the last purchase day; 730 = fewer than two."""
    return _purchase()


@derived(unit="ratio", fill=NEVER)
def overdue_by_mean_gap(days_since_purchase: Column, purchase_gap_mean: Column) -> Column:
    """Days since the last purchase over the usual pause; above 1 = overdue, 730 = fewer than two purchase days."""
    return F.try_divide(days_since_purchase, purchase_gap_mean)


@derived(unit="ratio", fill=NEVER)
def overdue_by_longest_gap(days_since_purchase: Column, purchase_gap_longest: Column) -> Column:
    """Days since the last purchase over the longest pause so far; 730 = fewer than two purchase days."""
    return F.try_divide(days_since_purchase, purchase_gap_longest)


@derived(unit="ratio", fill=NEVER)
def overdue_by_last_gap(days_since_purchase: Column, purchase_gap_last: Column) -> Column:
    """Days since the last purchase over the pause before it; 730 = fewer than two purchase days."""
    return F.try_divide(days_since_purchase, purchase_gap_last)


@derived(unit="ratio", fill=NEVER)
def overdue_by_expected_gap(
    days_since_purchase: Column, days_since_first_purchase: Column, purchase_days_ever: Column
) -> Column:
    """Days since the last purchase over the pause to expect, one imagined pause of 90 days being added to the
    customer's own so that a single purchase has a value too; 730 = never bought."""
    own_pauses = days_since_first_purchase - days_since_purchase
    return F.try_divide(days_since_purchase * purchase_days_ever, own_pauses + F.lit(90.0))


@derived(unit="days per day", fill=0)
def purchase_rate(purchase_days_ever: Column, days_since_first_purchase: Column) -> Column:
    """Purchase days a day since the first one; 0 = never bought."""
    return F.try_divide(purchase_days_ever, F.greatest(days_since_first_purchase, F.lit(1.0)))


@derived(unit="share", fill=0)
def active_share_of_life(days_since_purchase: Column, days_since_first_purchase: Column) -> Column:
    """How far into the time since the first purchase the last one came: 0 = only once, near 1 = just now.

    Recency over age, as in Fader, Hardie & Lee 2005, Marketing Science 24:275.
    """
    return F.try_divide(days_since_first_purchase - days_since_purchase, days_since_first_purchase)


@windowed(TRANSACTIONS, agg="occupied", unit="stretches", fill=0, stretch_days=30)
def _months_with_purchase() -> Column:
    """Stretches of 30 days, back from as-of, with a purchase."""
    return _purchase()


@windowed(TRANSACTIONS, agg="occupied", unit="stretches", fill=0, stretch_days=60)
def _two_months_with_purchase() -> Column:
    """Stretches of 60 days, back from as-of, with a purchase."""
    return _purchase()


@windowed(TRANSACTIONS, agg="occupied", unit="stretches", fill=0, stretch_days=90)
def _quarters_with_purchase() -> Column:
    """Stretches of 90 days, back from as-of, with a purchase."""
    return _purchase()


@derived(unit="share", fill=0)
def share_of_months_with_purchase(_months_with_purchase: Column, days_since_first_purchase: Column) -> Column:
    """The share of a customer's 30-day stretches, back from as-of to the first purchase, that have a purchase."""
    return F.try_divide(_months_with_purchase, F.ceil(days_since_first_purchase / 30))


@derived(unit="share", fill=0)
def share_of_two_months_with_purchase(_two_months_with_purchase: Column, days_since_first_purchase: Column) -> Column:
    """The share of a customer's 60-day stretches, back from as-of to the first purchase, that have a purchase."""
    return F.try_divide(_two_months_with_purchase, F.ceil(days_since_first_purchase / 60))


@derived(unit="share", fill=0)
def share_of_quarters_with_purchase(_quarters_with_purchase: Column, days_since_first_purchase: Column) -> Column:
    """The share of a customer's 90-day stretches, back from as-of to the first purchase, that have a purchase."""
    return F.try_divide(_quarters_with_purchase, F.ceil(days_since_first_purchase / 90))


# ---------------------------------------------------------------- what else money says


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
    """Payments that went through."""
    return _approved("payment")


@windowed(TRANSACTIONS, agg="days_since_last", unit="days", fill=NEVER)
def days_since_payment() -> Column:
    """Days since the last payment; 730 = never paid."""
    return _approved("payment")


@windowed(TRANSACTIONS, agg="distinct", days=(90, 365), unit="merchants", fill=0)
def merchants() -> Column:
    """Different merchants bought from."""
    return F.when(_purchase().isNotNull(), F.col("merchant_id"))


@windowed(TRANSACTIONS, agg="entropy", days=(90, 365), unit="bits", fill=0)
def channel_mix() -> Column:
    """Entropy of the channels bought through; 0 = always the same one."""
    return F.when(_purchase().isNotNull(), F.col("channel"))
