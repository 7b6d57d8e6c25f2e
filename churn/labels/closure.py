"""Churn as a closed account."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.model_spec import Label, LabelWindow, Names, Sources
from churn.vocabulary import CHURN


class Closure(Label):
    """1 where the account is closed inside the window by one of `kinds`, else 0.

    Rows without a known label are left out: an account closed between as-of and the window (nobody could have called in
    time), and one closed in the window for another kind, such as non-payment (what the customer would have done is not
    known).
    """

    name = "closure"
    entity = "customer"
    sources = ("closures",)
    vocabulary = CHURN

    kinds: Names = ("voluntary",)

    @property
    def outcome(self) -> str:
        return f"closes the account ({', '.join(self.kinds)})"

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        as_of, closed_at = F.col("as_of"), F.col("closed_at")
        kind = F.coalesce(F.col("kind"), F.lit("voluntary"))
        first = (
            sources["closures"]
            .groupBy("customer_id")
            .agg(
                F.min("event_time").alias("closed_at"), F.min_by(kind, F.struct("event_time", kind)).alias("closed_as")
            )
        )
        closed_within = F.coalesce(window.contains(closed_at), F.lit(False))
        too_early = F.coalesce(closed_at < window.start(as_of), F.lit(False))
        other_kind = closed_within & ~F.col("closed_as").isin(*self.kinds)
        return (
            rows.join(first, on="customer_id", how="left")
            .where(~too_early & ~other_kind)
            .withColumn("label", closed_within.cast("int"))
            .drop("closed_at", "closed_as")
        )
