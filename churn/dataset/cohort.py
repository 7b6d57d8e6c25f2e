"""Which customers belong to a cohort at which as-of, by what was known then. Grain: (customer_id, as_of)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.model_spec import Cohort
from churn.sources.activity import is_activity
from churn.sources.closed_accounts import closed_accounts, since_known
from churn.sources.versions import known_by


def as_of_frame(spark: SparkSession, as_ofs: Sequence[datetime]) -> DataFrame:
    """One row per as-of."""
    return spark.createDataFrame([(as_of,) for as_of in sorted(set(as_ofs))], "as_of timestamp")


def spine(
    spark: SparkSession, cohort: Cohort, sources: Mapping[str, DataFrame], as_ofs: Sequence[datetime]
) -> DataFrame:
    """The customers of a cohort at each as-of: (customer_id, as_of)."""
    dates = as_of_frame(spark, as_ofs)
    if cohort.kind == "active":
        members = active(sources["transactions"], dates, days=cohort.active_days, activity=cohort.activity)
        return _without_closed(members, sources, dates)
    return open_accounts(sources, dates)


def active(transactions: DataFrame, as_ofs: DataFrame, *, days: int, activity: Sequence[str]) -> DataFrame:
    """Customers with a transaction of the kinds `activity` in `[as_of - days, as_of)`."""
    as_of, event = F.col("as_of"), F.col("event_time")
    in_window = (event >= as_of - F.make_dt_interval(F.lit(days))) & (event < as_of) & known_by(as_of)
    return (
        transactions.where(is_activity(activity))
        .join(F.broadcast(as_ofs), on=in_window, how="inner")
        .select("customer_id", "as_of")
        .distinct()
    )


def open_accounts(sources: Mapping[str, DataFrame], as_ofs: DataFrame) -> DataFrame:
    """Customers whose account was opened, and not closed since, before as-of.

    Without a customers source an account opens with the customer's first call or transaction; without closures it
    never closes, so prefer the cohort `active` there.
    """
    known = _since(sources).join(F.broadcast(as_ofs), on=F.col("since") <= F.col("as_of"), how="inner")
    return _without_closed(known, sources, as_ofs).select("customer_id", "as_of")


def _without_closed(members: DataFrame, sources: Mapping[str, DataFrame], as_ofs: DataFrame) -> DataFrame:
    """The members, (customer_id, as_of), whose account is not closed."""
    if "closures" not in sources:
        return members
    return members.join(closed_accounts(sources, as_ofs), on=["customer_id", "as_of"], how="left_anti")


def _since(sources: Mapping[str, DataFrame]) -> DataFrame:
    """The first as-of at which each customer was a known one: (customer_id, since)."""
    if "customers" in sources:
        opened = [(sources["customers"], F.coalesce(F.col("opened_at"), F.col("event_time")))]
    else:
        opened = [(sources[name], F.col("event_time")) for name in ("transactions", "calls") if name in sources]
    if not opened:
        raise BadInputError(
            "there are no customers: churn.toml maps none of customers, transactions, calls; add [sources.customers]"
        )
    rows = [source.select("customer_id", since_known(opened_at).alias("since")) for source, opened_at in opened]
    return reduce(DataFrame.unionByName, rows).groupBy("customer_id").agg(F.min("since").alias("since"))
