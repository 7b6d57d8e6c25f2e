"""Fit a model: candidates on the train slice, their weights on a later one, then the candidates on all that is ripe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.dataset.split import Split
from churn.errors import BadInputError
from churn.training.pipeline import (
    VECTOR,
    Columns,
    candidate_stages,
    fitted,
    informative,
    margin,
    preparation,
    weighing,
)
from churn.training.spec import ModelSpec

ROWS_PER_PARTITION = 50_000


@dataclass(frozen=True)
class Fitted:
    """A model and how it came about: `weights` and `intercept` of the margins, `importance` of the columns."""

    model: PipelineModel
    columns: Columns
    weights: Mapping[str, float]
    intercept: float
    importance: Mapping[str, float]
    split: Split


def fit(spec: ModelSpec, labelled: DataFrame, split: Split, features: Sequence[str]) -> Fitted:
    """The model of `spec` on the labelled rows (customer_id, as_of, label, features) of the split's as-ofs.

    The same rows give the same model, however they are partitioned.
    """
    rows = steady(labelled)
    train = rows.where(F.col("as_of").isin(*split.train))
    later = rows.where(F.col("as_of").isin(*split.calibrate))
    for name, part in (("train", train), ("calibrate", later)):
        _check_classes(spec, name, part)
    stages, ready, columns = _fit_candidates(spec, train, features)
    weigher = fitted(weighing(list(spec.candidates)), PipelineModel(stages=stages).transform(later))
    if spec.refit:
        ready.unpersist()
        stages, ready, columns = _fit_candidates(spec, rows.where(F.col("as_of").isin(*split.ripe)), features)
    last = weigher.stages[-1]
    weights = dict(zip(spec.candidates, (float(weight) for weight in last.coefficients), strict=True))
    candidates = stages[-2 * len(weights) :]
    importance = _importance(candidates, weights, ready)
    ready.unpersist()
    rows.unpersist()
    return Fitted(
        model=PipelineModel(stages=[*stages, *weigher.stages]),
        columns=columns,
        weights=weights,
        intercept=float(last.intercept),
        importance=importance,
        split=split,
    )


def steady(labelled: DataFrame) -> DataFrame:
    """The rows in an order and partitioning of their own, kept in memory: seeded sampling sees them alike every time."""
    count = labelled.count()
    return (
        labelled.repartition(max(1, ceil(count / ROWS_PER_PARTITION)), "customer_id")
        .sortWithinPartitions("customer_id", "as_of")
        .persist()
    )


def _fit_candidates(
    spec: ModelSpec, rows: DataFrame, features: Sequence[str]
) -> tuple[list[Transformer], DataFrame, Columns]:
    """Fitted stages (preparation, then two for each candidate), the rows as the candidates saw them, and the columns."""
    columns = informative(rows, features)
    prepared = fitted(preparation(columns), rows)
    ready = prepared.transform(rows).select("customer_id", "as_of", "label", VECTOR).persist()
    stages = list(prepared.stages)
    for name, candidate in spec.candidates.items():
        stages += fitted(candidate_stages(name, candidate, seed=spec.seed), ready).stages
    return stages, ready, columns


def _check_classes(spec: ModelSpec, name: str, rows: DataFrame) -> None:
    seen = rows.agg(F.count("label").alias("n"), F.sum("label").alias("ones")).collect()[0]
    ones = int(seen["ones"] or 0)
    if ones in (0, seen["n"]):
        wanted = "no customer" if not seen["n"] else "only customers who left" if ones else "only customers who stayed"
        raise BadInputError(
            f"model {spec.name}: the {name} slice has {wanted} ({ones} of {seen['n']} rows are 1), nothing to learn from; "
            f"check label = {spec.label!r}, lead, horizon and cohort in [model.{spec.name}], or bring more history"
        )


def _importance(candidates: Sequence[Transformer], weights: Mapping[str, float], ready: DataFrame) -> dict[str, float]:
    """Each feature's share in the score: a candidate's own importances (of a linear one, |coefficient| times the
    input's deviation), each candidate counting by its weight times the deviation of its margin."""
    scored = PipelineModel(stages=list(candidates)).transform(ready)
    summed = scored.select(
        Summarizer.std(F.col(VECTOR)).alias(VECTOR),
        *(Summarizer.std(F.col(margin(name))).alias(name) for name in weights),
    ).collect()[0]
    slots = _slots(ready)
    shares: dict[str, float] = dict.fromkeys(slots, 0.0)
    models = [stage for stage in candidates if hasattr(stage, "getFeaturesCol")]
    for (name, weight), model in zip(weights.items(), models, strict=True):
        if isinstance(model, LogisticRegressionModel):
            own = np.abs(model.coefficients.toArray() * summed[VECTOR].toArray())
        else:
            own = model.featureImportances.toArray()
        reach = weight * float(summed[name][0])
        for slot, value in zip(slots, reach * own / (own.sum() or 1.0), strict=True):
            shares[slot] += float(value)
    total = sum(shares.values()) or 1.0
    return {name: share / total for name, share in sorted(shares.items(), key=lambda item: -item[1])}


def _slots(ready: DataFrame) -> list[str]:
    """The feature behind each slot of the vector; a feature has several if it may be null or is text."""
    groups = ready.schema[VECTOR].metadata["ml_attr"]["attrs"].values()
    names = {attribute["idx"]: attribute["name"] for group in groups for attribute in group}
    return [names[slot].split(" ")[0] for slot in sorted(names)]


def probability() -> Column:
    """The model's probability of a 1, from its output column."""
    return vector_to_array(F.col("probability"))[1]
