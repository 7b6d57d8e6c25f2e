"""What fraud means: a transaction reported as one. Grain of the label: one transaction.

A report comes days or weeks later, so a transaction without one is legitimate only when its maturity has passed.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.features.visible import known_by


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


def fraud(transactions: DataFrame, reports: DataFrame, *, known_until: object = None) -> DataFrame:
    """The transactions with `label`: 1 where reported as a fraud, else 0; by the reports known until a moment.

    Whether a 0 may be believed is for the label window to say: it is a fact once maturity has passed.
    """
    current = F.col("superseded_at").isNull() if known_until is None else known_by(F.lit(known_until))
    frauds = reports.where(current & F.col("is_fraud")).select("transaction_id", F.lit(1).alias("_fraud"))
    return (
        transactions.join(frauds, on="transaction_id", how="left")
        .withColumn("label", F.coalesce("_fraud", F.lit(0)))
        .drop("_fraud")
    )
