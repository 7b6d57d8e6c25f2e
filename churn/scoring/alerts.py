"""Which scored rows become alerts, a day at a time. Grain: one row an alert."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.model_spec import Alerts, ModelSpec


def alert_table(spec: ModelSpec) -> str:
    """The name of a model's table of alerts."""
    return f"alerts_{spec.name}"


def alerts(spec: ModelSpec, settings: Alerts, scores: DataFrame) -> DataFrame:
    """(the spec's key, score, rank, model_version, scored_as, chosen_by) of the alerts of each as-of, and `reasons` where
    the scores have them.

    Chosen by `score`: the `alert_budget` of the day with the highest. Chosen by `audit`: `random_audit` of the rest,
    drawn by the spec's seed, each as likely as any other, so that the model does not learn from its own alerts alone.
    """
    draw = F.xxhash64(*spec.key, F.lit(f"audit {spec.training.seed}"))
    audit_rank = F.row_number().over(Window.partitionBy("as_of").orderBy(draw, *spec.key))
    by_score = scores.where(F.col("rank") <= settings.alert_budget).withColumn("chosen_by", F.lit("score"))
    rest = scores.where(F.col("rank") > settings.alert_budget).withColumn("audit_rank", audit_rank)
    audited = rest.where(F.col("audit_rank") <= settings.random_audit)
    by_audit = audited.drop("audit_rank").withColumn("chosen_by", F.lit("audit"))
    beside = [name for name in ("reasons",) if name in scores.columns]
    columns = (*spec.key, "score", "rank", "model_version", "scored_as", "chosen_by", *beside)
    return by_score.unionByName(by_audit).select(*columns)
