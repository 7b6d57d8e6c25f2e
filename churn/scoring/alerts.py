"""Which scored rows people are to look at, a day at a time. Grain: one row an alert."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.model_spec import Alerts, ModelSpec


def alert_table(spec: ModelSpec) -> str:
    """The name of a model's table of alerts."""
    return f"alerts_{spec.name}"


def alerts(spec: ModelSpec, settings: Alerts, scores: DataFrame) -> DataFrame:
    """(the spec's key, score, rank, model_version, chosen_by) of the alerts of each as-of.

    Chosen by `score`: the `alert_budget` of the day with the highest. Chosen by `audit`: `random_audit` of the rest,
    drawn by the spec's seed, each as likely as any other, or labels would come from alerts alone and the model would
    learn from its own opinion.
    """
    draw = F.xxhash64(*spec.key, F.lit(f"audit {spec.training.seed}"))
    place = F.row_number().over(Window.partitionBy("as_of").orderBy(draw, *spec.key))
    by_score = scores.where(F.col("rank") <= settings.alert_budget).withColumn("chosen_by", F.lit("score"))
    rest = scores.where(F.col("rank") > settings.alert_budget).withColumn("place", place)
    by_audit = rest.where(F.col("place") <= settings.random_audit).drop("place").withColumn("chosen_by", F.lit("audit"))
    return by_score.unionByName(by_audit).select(*spec.key, "score", "rank", "model_version", "chosen_by")
