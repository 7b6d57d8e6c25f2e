"""Score feature rows, and rank them within their run. Grain: one row per row of features."""

from __future__ import annotations

from datetime import datetime

from pyspark.ml import Transformer
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.dataset.examples import examples
from churn.dataset.feature_table import StoredFeatures, empty_as_ofs, read_features, record_empty
from churn.model_output import probability
from churn.model_spec import ModelSpec
from churn.storage import Lake


def score_table(spec: ModelSpec) -> str:
    """The name of a model's table of scores."""
    return f"scores_{spec.name}"


def rows_to_score(lake: Lake, spec: ModelSpec, stored: StoredFeatures, as_of: datetime) -> DataFrame:
    """The feature rows that a run at `as_of` scores: those of as_of, and the late ones.

    A row is late that was not there yet when its as-of was scored, at most `late_days` before. What another run has
    scored it keeps. Raises BadInputError where as_of was never built.
    """
    rows, table, late = read_features(stored, [as_of]), score_table(spec), examples(spec).late_as_ofs(as_of)
    if not late or not lake.exists(table):
        return rows
    scores = lake.read(table).where(F.col("as_of").isin(as_of, *late))
    of_runs = {row["scored_on"] for row in scores.select("scored_on").distinct().collect()} | empty_as_ofs(lake, table)
    by_others = scores.where(F.col("scored_on") != F.lit(as_of)).select(*spec.key)
    wanted = [as_of, *(day for day in late if day in of_runs)]
    return stored.frame.where(F.col("as_of").isin(*wanted)).join(by_others, on=list(spec.key), how="left_anti")


def write_scores(lake: Lake, spec: ModelSpec, scores: DataFrame, as_of: datetime) -> DataFrame:
    """Replace what a run at `as_of` has scored before; its scores as they are stored."""
    table, as_ofs = score_table(spec), examples(spec).scored_as_ofs(as_of)
    of_run = {"as_of": as_ofs, "scored_on": as_of}
    lake.replace(scores, table, of_run, partition=["as_of"], widen=True)
    written = lake.read(table).where(F.col("as_of").isin(*as_ofs) & (F.col("scored_on") == F.lit(as_of)))
    record_empty(lake, spec, table, [as_of], [as_of] if written.isEmpty() else [])
    return written


def scored(
    spec: ModelSpec,
    model: Transformer,
    rows: DataFrame,
    *,
    scored_on: datetime,
    version: str,
    scored_as: str = "champion",
) -> DataFrame:
    """(the spec's key, score, rank, decile, scored_on, model_version, scored_as) of every feature row.

    `scored_on` is the as-of of the run, and `scored_as` the version's alias: a challenger has not passed its gates.
    `score` is a probability; rank 1 and decile 1 are the likeliest of the run, ties in the order of the key.
    """
    likeliest_first = Window.partitionBy("scored_on").orderBy(F.desc("score"), *spec.key)
    rank = F.row_number().over(likeliest_first)
    cohort = F.count("*").over(Window.partitionBy("scored_on"))
    return (
        model.transform(rows)
        .select(*spec.key, probability().alias("score"), F.lit(scored_on).alias("scored_on"))
        .select(
            *spec.key,
            "score",
            rank.alias("rank"),
            F.ceil(10 * rank / cohort).cast("int").alias("decile"),
            "scored_on",
            F.lit(version).alias("model_version"),
            F.lit(scored_as).alias("scored_as"),
        )
    )
