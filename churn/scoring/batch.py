"""Score feature rows, and rank them within their as-of. Grain: one row per row of features."""

from __future__ import annotations

from pyspark.ml import Transformer
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.model_output import probability
from churn.model_spec import ModelSpec


def score_table(spec: ModelSpec) -> str:
    """The name of a model's table of scores."""
    return f"scores_{spec.name}"


def scored(
    spec: ModelSpec, model: Transformer, rows: DataFrame, *, version: str, scored_as: str = "champion"
) -> DataFrame:
    """(the spec's key, score, rank, decile, model_version, scored_as) of every feature row.

    `scored_as` is the version's alias: a challenger has not passed its gates. `score` is a probability; rank 1 and
    decile 1 are the likeliest of an as-of, ties in the order of the key.
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
            F.lit(scored_as).alias("scored_as"),
        )
    )
