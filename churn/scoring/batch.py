"""Score a cohort: who is likeliest, in order; and which transactions to look at. Grain: one row per row of features."""

from __future__ import annotations

from pyspark.ml import Transformer
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.training.pipeline import probability
from churn.training.spec import ModelSpec

ALERTS = "alerts"


def score_table(spec: ModelSpec) -> str:
    return f"scores_{spec.name}"


def scored(spec: ModelSpec, model: Transformer, rows: DataFrame, *, version: str) -> DataFrame:
    """(the spec's key, score, rank, decile, model_version) of every feature row.

    `score` is a probability; rank 1 and decile 1 are the likeliest of an as-of, ties in the order of the key.
    """
    likeliest_first = Window.partitionBy("as_of").orderBy(F.desc("score"), *spec.key)
    rank = F.row_number().over(likeliest_first)
    cohort = F.count("*").over(Window.partitionBy("as_of"))
    return (
        model.transform(rows)
        .select(*spec.key, probability().alias("score"))
        .select(
            "*",
            rank.alias("rank"),
            F.ceil(10 * rank / cohort).cast("int").alias("decile"),
            F.lit(version).alias("model_version"),
        )
    )


def alerts(spec: ModelSpec, scores: DataFrame) -> DataFrame:
    """The scored transactions to look at, (the spec's key, score, rank, model_version, chosen_by), a day at a time.

    Chosen by `score`: the `budget` of the day with the highest. Chosen by `audit`: so many of the rest drawn by the
    spec's seed, each as likely as any other, or labels would come from alerts alone and the model from its own opinion.
    """
    drawn = F.xxhash64(*spec.key, F.lit(f"audit {spec.seed}"))
    place = F.row_number().over(Window.partitionBy("as_of").orderBy(drawn, *spec.key))
    by_score = scores.where(F.col("rank") <= spec.budget).withColumn("chosen_by", F.lit("score"))
    rest = scores.where(F.col("rank") > spec.budget).withColumn("place", place)
    by_audit = rest.where(F.col("place") <= spec.audit).drop("place").withColumn("chosen_by", F.lit("audit"))
    return by_score.unionByName(by_audit).select(*spec.key, "score", "rank", "model_version", "chosen_by")
