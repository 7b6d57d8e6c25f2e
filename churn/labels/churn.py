"""What churn means: an account closed, or a customer gone quiet. Grain of every label: one spine row.

The label window of an as-of is `[as_of + lead, as_of + lead + horizon)`. A label says what happened in it, so it is
looked up among all rows known when it is read, never among those known at as-of.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.labels.window import LabelWindow


def closure(spine: DataFrame, closures: DataFrame, *, window: LabelWindow, kinds: tuple[str, ...]) -> DataFrame:
    """1 where the account was closed inside the window by one of `kinds`, else 0.

    Rows that cannot be judged are dropped, never called 0: an account closed between as-of and the window (nobody could
    have called in time), and one closed in the window for another kind, such as non-payment (what the customer would
    have done is not known).
    """
    as_of, closed_at = F.col("as_of"), F.col("closed_at")
    kind = F.coalesce(F.col("kind"), F.lit("voluntary"))
    first = closures.groupBy("customer_id").agg(
        F.min("event_time").alias("closed_at"), F.min_by(kind, F.struct("event_time", kind)).alias("closed_as")
    )
    closed_within = F.coalesce(window.holds(closed_at), F.lit(False))
    too_early = F.coalesce(closed_at < window.start(as_of), F.lit(False))
    other_kind = closed_within & ~F.col("closed_as").isin(*kinds)
    return (
        spine.join(first, on="customer_id", how="left")
        .where(~too_early & ~other_kind)
        .select("customer_id", "as_of", closed_within.cast("int").alias("label"))
    )


def inactivity(spine: DataFrame, transactions: DataFrame, *, window: LabelWindow, active: Column) -> DataFrame:
    """1 where the customer has no `active` transaction inside the window, else 0."""
    as_ofs = spine.select("as_of").distinct()
    seen = (
        transactions.where(active)
        .select("customer_id", "event_time")
        .join(F.broadcast(as_ofs), on=window.holds(F.col("event_time")), how="inner")
        .groupBy("customer_id", "as_of")
        .agg(F.lit(0).alias("label"))
    )
    return spine.join(seen, on=["customer_id", "as_of"], how="left").select(
        "customer_id", "as_of", F.coalesce("label", F.lit(1)).alias("label")
    )
