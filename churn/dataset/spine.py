"""Which customers belong at which as-of: alive and reachable, by what was known then. Grain: (customer_id, as_of)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.features.visible import known_by


def as_of_frame(spark: SparkSession, as_ofs: Sequence[datetime]) -> DataFrame:
    """One row per as-of."""
    return spark.createDataFrame([(as_of,) for as_of in sorted(set(as_ofs))], "as_of timestamp")


def active(transactions: DataFrame, as_ofs: DataFrame, *, days: int, activity: Column) -> DataFrame:
    """Customers with an `activity` transaction in `[as_of - days, as_of)`."""
    as_of, moment = F.col("as_of"), F.col("event_time")
    in_window = (moment >= as_of - F.make_dt_interval(F.lit(days))) & (moment < as_of) & known_by(as_of)
    return (
        transactions.where(activity)
        .join(F.broadcast(as_ofs), on=in_window, how="inner")
        .select("customer_id", "as_of")
        .distinct()
    )


def open_accounts(sources: Mapping[str, DataFrame], as_ofs: DataFrame) -> DataFrame:
    """Customers whose account was opened, and not yet closed, before as-of.

    Without a customers source an account opens with the customer's first call or transaction; without closures it
    never closes, so prefer the cohort `active` there.
    """
    as_of = F.col("as_of")
    cohort = _since(sources).join(F.broadcast(as_ofs), on=F.col("since") <= as_of, how="inner")
    if "closures" in sources:
        gone = (
            sources["closures"]
            .join(F.broadcast(as_ofs), on=(F.col("event_time") < as_of) & known_by(as_of), how="inner")
            .select("customer_id", "as_of")
        )
        cohort = cohort.join(gone, on=["customer_id", "as_of"], how="left_anti")
    return cohort.select("customer_id", "as_of")


def _since(sources: Mapping[str, DataFrame]) -> DataFrame:
    """The first as-of at which each customer was a known one: (customer_id, since)."""
    if "customers" in sources:
        opened_at = F.coalesce(F.col("opened_at"), F.col("event_time"))
        moments = [(sources["customers"], opened_at)]
    else:
        moments = [(sources[name], F.col("event_time")) for name in ("transactions", "calls") if name in sources]
    if not moments:
        raise BadInputError(
            "no customers to speak of: churn.toml maps none of customers, transactions, calls; add [sources.customers]"
        )
    instant = F.expr("interval 1 microsecond")  # strictly before as-of
    rows = [
        source.select("customer_id", F.greatest(opened + instant, F.col("known_time")).alias("since"))
        for source, opened in moments
    ]
    return reduce(DataFrame.unionByName, rows).groupBy("customer_id").agg(F.min("since").alias("since"))


def coverage(sources: Mapping[str, DataFrame], *, known_until: datetime | None = None) -> datetime:
    """The moment until which the sources tell the whole story: midnight after the day of their last row.

    A label window that ends later was cut by the end of the data. `known_until` bounds which rows count.
    """
    return span(sources, known_until=known_until)[1]


def told_until(sources: Mapping[str, DataFrame]) -> datetime:
    """The moment until which fraud reports have come in: midnight after the day of the last one, or of the last row."""
    last = sources["fraud_reports"].agg(F.max("known_time").alias("moment")).collect()[0]["moment"]
    end = coverage(sources)
    return end if last is None else max(end, _midnight_after(last))


def _midnight_after(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day) + timedelta(days=1)


def span(sources: Mapping[str, DataFrame], *, known_until: datetime | None = None) -> tuple[datetime, datetime]:
    """When the first row of activity happened, and the coverage; activity is calls and transactions, or all there is.

    Raises BadInputError where no row counts.
    """
    flows = {name: rows for name, rows in sources.items() if name in ("calls", "transactions")} or sources
    counts = F.lit(True) if known_until is None else F.greatest("event_time", "known_time") < F.lit(known_until)
    ends = [
        rows.agg(F.min("event_time").alias("first"), F.max(F.when(counts, F.col("event_time"))).alias("last"))
        for rows in flows.values()
    ]
    found = reduce(DataFrame.unionByName, ends).collect()
    firsts, lasts = ([row[edge] for row in found if row[edge]] for edge in ("first", "last"))
    if not lasts:
        raise BadInputError(
            f"no call or transaction is known before {known_until:%Y-%m-%d %H:%M}; use a later as-of"
            if known_until
            else "no call or transaction was accepted; ingest the sources first, then look at the quarantine table"
        )
    end = _midnight_after(max(lasts))
    return min(firsts), end if known_until is None else min(end, known_until)
