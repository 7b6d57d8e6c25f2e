"""Which version of a row is valid when: later versions supersede earlier ones, and nothing counts before it is known."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def known_by(as_of: Column) -> Column:
    """Whether a row is known, in this version, at `as_of`; needs the columns known_time and superseded_at."""
    superseded_later = F.col("superseded_at").isNull() | (F.col("superseded_at") > as_of)
    return (F.col("known_time") <= as_of) & superseded_later


def first_versions(transactions: DataFrame) -> DataFrame:
    """Each transaction as it first became known, which is all that could be scored by then."""
    later = transactions.where(F.col("superseded_at").isNotNull()).select(
        "transaction_id", F.col("superseded_at").alias("known_time")
    )
    return transactions.join(later, on=["transaction_id", "known_time"], how="left_anti")


def reported_transactions(transactions: DataFrame, reports: DataFrame) -> DataFrame:
    """The transactions that reports are about: a transaction's columns, and `is_fraud`.

    Event time is the transaction's; it is known when both it and the report are, superseded when either is. One row per
    pair of versions that are valid at the same time.
    """
    columns = {"known_time": "_known", "superseded_at": "_superseded"}
    of_reports = reports.select("transaction_id", "is_fraud", *columns).withColumnsRenamed(columns)
    return (
        transactions.join(of_reports, on="transaction_id", how="inner")
        .withColumn("known_time", F.greatest("known_time", "_known"))
        .withColumn("superseded_at", F.least("superseded_at", "_superseded"))
        .where(F.col("superseded_at").isNull() | (F.col("known_time") < F.col("superseded_at")))
        .drop("_known", "_superseded")
    )


def with_reported_transactions(sources: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Sources as features of transactions read them: fraud reports as the transactions that they are about."""
    if "fraud_reports" not in sources:
        return dict(sources)
    return {**sources, "fraud_reports": reported_transactions(sources["transactions"], sources["fraud_reports"])}
