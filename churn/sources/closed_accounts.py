"""Which accounts were closed, and not opened again. Grain: (customer_id, as_of)."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.sources.activity import is_activity
from churn.sources.announcements import is_closing


def closed_accounts(sources: Mapping[str, DataFrame], as_ofs: DataFrame) -> DataFrame:
    """Customers whose account was closed, and not opened again since, before as-of: (customer_id, as_of).

    It is opened again by a customers row with an `opened_at` after the closure, and by nothing else; without a
    customers source, by an approved purchase. Of an opening and a closure at the same instant the opening is later,
    unless it is the customer's first.
    """
    closures = sources["closures"].where(is_closing())
    closed = _by_customer(closures, F.col("event_time"), "closed")
    opened = _by_customer(_openings(sources, closures), F.col("opened_at"), "opened")
    times = closed.join(opened, on="customer_id", how="left").crossJoin(F.broadcast(as_ofs))
    at = "transform(filter({}, one -> one.since <= as_of AND coalesce(one.until > as_of, true)), one -> one.at)"
    newest = times.selectExpr(
        "customer_id",
        "as_of",
        f"array_max({at.format('closed')}) AS closed_at",
        f"array_max({at.format('opened')}) AS opened_at",
        f"array_min({at.format('opened')}) AS first_opened_at",
    )
    is_reopened = "opened_at > closed_at OR (opened_at = closed_at AND first_opened_at < closed_at)"
    return newest.where(f"closed_at IS NOT NULL AND NOT coalesce({is_reopened}, false)").select("customer_id", "as_of")


def _openings(sources: Mapping[str, DataFrame], closures: DataFrame) -> DataFrame:
    """Rows that open an account of a customer who has a closure, at `opened_at`."""
    first = closures.groupBy("customer_id").agg(F.min("event_time").alias("first_closed_at"))
    if "customers" in sources:
        opened = sources["customers"].where("opened_at IS NOT NULL")
        return opened.join(first, on="customer_id", how="left_semi")
    if "transactions" in sources:
        purchases = sources["transactions"].where(is_activity(("purchase",)))
        later = purchases.join(first, on="customer_id").where("event_time > first_closed_at")
        return later.withColumn("opened_at", F.col("event_time"))
    return closures.withColumn("opened_at", F.col("event_time")).limit(0)


def _by_customer(rows: DataFrame, at: Column, name: str) -> DataFrame:
    """Each customer's rows as an array: when it happened, and from when until when it is known to have happened."""
    since = since_known(at)
    event = F.struct(at.alias("at"), since.alias("since"), F.col("superseded_at").alias("until"))
    return rows.groupBy("customer_id").agg(F.collect_list(event).alias(name))


def since_known(at: Column) -> Column:
    """The first as-of that sees what a row says happened at a time: strictly after it, once the row is in effect and
    known."""
    return F.greatest(at + F.expr("interval 1 microsecond"), F.col("event_time"), F.col("known_time"))
