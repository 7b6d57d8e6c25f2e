"""Churn as inactivity, where nobody closes an account."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.model_spec import Label, LabelWindow, Names, Sources
from churn.sources.activity import is_activity
from churn.vocabulary import CHURN


class Inactivity(Label):
    """1 where the customer has no approved transaction of the kinds `activity` inside the window, else 0."""

    name = "inactivity"
    entity = "customer"
    sources = ("transactions",)
    vocabulary = CHURN
    prevented_by_contacts = True

    activity: Names = ("purchase",)

    @property
    def outcome(self) -> str:
        return f"makes no {' or '.join(self.activity)}"

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        as_ofs = rows.select("as_of").distinct()
        active = (
            sources["transactions"]
            .where(is_activity(self.activity))
            .select("customer_id", "event_time")
            .join(F.broadcast(as_ofs), on=window.contains(F.col("event_time")), how="inner")
            .groupBy("customer_id", "as_of")
            .agg(F.lit(0).alias("label"))
        )
        labelled = rows.join(active, on=["customer_id", "as_of"], how="left")
        return labelled.withColumn("label", F.coalesce("label", F.lit(1)))
