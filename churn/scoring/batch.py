"""Score a cohort: who is likeliest, in order. Grain: one row per customer and as-of."""

from __future__ import annotations

from pyspark.ml import Transformer
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.training.fit import probability
from churn.training.spec import ModelSpec


def score_table(spec: ModelSpec) -> str:
    return f"scores_{spec.name}"


def scored(model: Transformer, rows: DataFrame, *, version: str) -> DataFrame:
    """(customer_id, as_of, score, rank, decile, model_version) of every feature row.

    `score` is a probability; rank 1 and decile 1 are the likeliest of an as-of, ties in the order of customer_id.
    """
    likeliest_first = Window.partitionBy("as_of").orderBy(F.desc("score"), "customer_id")
    rank = F.row_number().over(likeliest_first)
    cohort = F.count("*").over(Window.partitionBy("as_of"))
    return (
        model.transform(rows)
        .select("customer_id", "as_of", probability().alias("score"))
        .select(
            "*",
            rank.alias("rank"),
            F.ceil(10 * rank / cohort).cast("int").alias("decile"),
            F.lit(version).alias("model_version"),
        )
    )
