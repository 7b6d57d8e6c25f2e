"""Sales: which offers a customer has seen and refused, and how long the present plan has lasted."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.declarations import derived, windowed
from churn.sources.catalog.contacts import CONTACTS
from churn.sources.catalog.customers import CUSTOMERS
from churn.sources.contacts import is_treated

WINDOWS = (90, 365)


def _is_offer() -> Column:
    return is_treated() & F.col("offer").isNotNull()


@windowed(CONTACTS, agg="count", days=WINDOWS, unit="offers", fill=0)
def offers() -> Column:
    """Offers that the customer was contacted with."""
    return F.when(_is_offer(), F.lit(1))


@windowed(CONTACTS, agg="count", days=WINDOWS, unit="offers", fill=0)
def offers_accepted() -> Column:
    """Offers that the customer accepted."""
    return F.when(_is_offer() & F.col("accepted"), F.lit(1))


@windowed(CONTACTS, agg="count", days=WINDOWS, unit="offers", fill=0)
def offers_refused() -> Column:
    """Offers that the customer refused; one without an answer is none."""
    return F.when(_is_offer() & ~F.col("accepted"), F.lit(1))


@derived(days=WINDOWS, unit="share", fill=None)
def offers_accepted_share(offers_accepted: Column, offers: Column) -> Column:
    """The share of offers that the customer accepted; null = none was made."""
    return F.try_divide(offers_accepted, offers)


@windowed(CONTACTS, agg="days_since_last", unit="days", fill=None)
def days_since_offer() -> Column:
    """Days since the last offer; null = none was made."""
    return F.when(_is_offer(), F.lit(1))


@windowed(CUSTOMERS, agg="days_since_change", unit="days", fill=None)
def days_since_plan_change() -> Column:
    """Days since the plan last changed; null = it never did."""
    return F.col("plan")
