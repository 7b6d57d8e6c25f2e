"""What fraud means: a transaction reported as one. Grain of the label: one transaction.

A report comes days or weeks later, so a transaction without one is legitimate only when its maturity has passed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def reported(transactions: DataFrame, reports: DataFrame) -> DataFrame:
    """The transactions that reports speak of: a transaction's columns, and `is_fraud`.

    Happened when the transaction did, known when both it and the report were, superseded when either was. One row per
    pair of versions that stood at the same time.
    """
    said = reports.select(
        "transaction_id",
        "is_fraud",
        F.col("known_time").alias("_known"),
        F.col("superseded_at").alias("_superseded"),
    )
    return (
        transactions.join(said, on="transaction_id", how="inner")
        .withColumn("known_time", F.greatest("known_time", "_known"))
        .withColumn("superseded_at", F.least("superseded_at", "_superseded"))
        .where(F.col("superseded_at").isNull() | (F.col("known_time") < F.col("superseded_at")))
        .drop("_known", "_superseded")
    )


def looked_at(sources: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Sources as features of transactions look at them: fraud reports as the transactions that they speak of."""
    if "fraud_reports" not in sources:
        return dict(sources)
    return {**sources, "fraud_reports": reported(sources["transactions"], sources["fraud_reports"])}


def first_versions(transactions: DataFrame) -> DataFrame:
    """Each transaction as it first became known, which is all that could be judged by then."""
    later = transactions.where(F.col("superseded_at").isNotNull()).select(
        "transaction_id", F.col("superseded_at").alias("known_time")
    )
    return transactions.join(later, on=["transaction_id", "known_time"], how="left_anti")


def fraud(transactions: DataFrame, reports: DataFrame) -> DataFrame:
    """The transactions with `label`: 1 where one of `reports` says fraud, else 0.

    Give the reports that stand at one moment, a version each. Whether a 0 may be believed is for the label window to
    say: it is a fact once maturity has passed.
    """
    frauds = reports.where("is_fraud").select("transaction_id", F.lit(1).alias("_fraud"))
    labelled = transactions.join(frauds, on="transaction_id", how="left")
    return labelled.withColumn("label", F.coalesce("_fraud", F.lit(0))).drop("_fraud")
