"""Score a cohort: who is likeliest, in order. Grain: one row per customer and as-of."""

from __future__ import annotations

from pyspark.ml import Transformer
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

SCORES = "scores"


def probability() -> Column:
    """The model's probability of a 1, from its output column."""
    return vector_to_array(F.col("probability"))[1]


def scored(model: Transformer, rows: DataFrame, *, version: str) -> DataFrame:
    """(customer_id, as_of, score, rank, decile, model_version) of every feature row.

    `score` is a probability; rank 1 and decile 1 are the likeliest of an as-of, ties in the order of customer_id.
    """
    likeliest_first = Window.partitionBy("as_of").orderBy(F.desc("score"), "customer_id")
    cohort = Window.partitionBy("as_of")
    rank = F.row_number().over(likeliest_first)
    return (
        model.transform(rows)
        .select("customer_id", "as_of", probability().alias("score"))
        .select("*", rank.alias("rank"), F.ceil(10 * rank / F.count("*").over(cohort)).cast("int").alias("decile"))
        .withColumn("model_version", F.lit(version))
    )
