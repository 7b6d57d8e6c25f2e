"""Crossover: features of calls and transactions together."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.catalog.calls import about, inbound
from churn.features.declarations import derived, followed
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.transactions import TRANSACTIONS

WINDOWS = (30, 90, 180)


@followed(TRANSACTIONS, CALLS, within_days=3, days=WINDOWS, unit="calls", fill=0)
def calls_after_charge() -> tuple[Column, Column]:
    """Calls made within 3 days after a fee or a declined transaction."""
    charged = (F.col("kind") == "fee") | (F.col("status") == "declined")
    return F.when(charged, F.lit(1)), F.when(inbound(), F.lit(1))


@followed(CALLS, TRANSACTIONS, within_days=14, agg="sum", days=(90, 180), unit="money", fill=0)
def spend_after_complaint() -> tuple[Column, Column]:
    """Money spent within 14 days after a call to complain."""
    return F.when(about("complaint"), F.lit(1)), F.when(F.col("kind") == "purchase", F.col("amount"))


@followed(CALLS, TRANSACTIONS, within_days=3, days=(30, 90), unit="transactions", fill=0)
def transfers_after_access_call() -> tuple[Column, Column]:
    """Transfers within 3 days after a call about access to the account: how an account is taken over."""
    return F.when(about("access"), F.lit(1)), F.when(F.col("kind") == "transfer", F.lit(1))


@derived(days=WINDOWS, unit="calls per purchase", fill=0)
def calls_per_purchase(calls_made: Column, purchases: Column) -> Column:
    """Calls per purchase; one purchase is added, so that customers who buy nothing have a value."""
    return calls_made / (purchases + 1)
