"""Fraud: a transaction that was reported as one."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.model_spec import Label, LabelWindow, Sources
from churn.vocabulary import Vocabulary


class Fraud(Label):
    """1 where a report says that the transaction was a fraud, else 0.

    A report comes days or weeks later, so a 0 is a fact only once maturity has passed; `LabelWindow` checks that where
    as-ofs are chosen.
    """

    name = "fraud"
    entity = "transaction"
    sources = ("fraud_reports",)
    vocabulary = Vocabulary(
        entity="transaction",
        entities="transactions",
        positive="fraud",
        positives="frauds",
        happened="were frauds",
        absent="were legitimate",
        act="review",
        acted="reviewed",
        likeliest="likeliest frauds",
    )

    @property
    def outcome(self) -> str:
        return "is a fraud"

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:  # noqa: ARG002
        frauds = sources["fraud_reports"].where("is_fraud").select("transaction_id", F.lit(1).alias("_fraud"))
        labelled = rows.join(frauds, on="transaction_id", how="left")
        return labelled.withColumn("label", F.coalesce("_fraud", F.lit(0))).drop("_fraud")
