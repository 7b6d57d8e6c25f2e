"""Fit a model: candidates on the train slice, tried on a later one, then the chosen one on all that is ripe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, cast

import numpy as np
from pyspark import inheritable_thread_target
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.dataset.split import Split
from churn.errors import BadInputError
from churn.training.choose import Trial, simplest_of_the_best, trial
from churn.training.pipeline import (
    VECTOR,
    WEIGHT,
    Columns,
    calibration,
    candidate_stages,
    fitted,
    informative,
    margin,
    preparation,
)
from churn.training.spec import ModelSpec
from churn.training.words import words_of

ROWS_PER_PARTITION = 50_000
_DRAWS = 1 << 20
AT_ONCE = 3
"""Candidates fitted at the same time; they share one table in memory."""


@dataclass(frozen=True)
class Fitted:
    """A model and how it came about: the trial of every candidate, which was chosen, what it goes by."""

    model: PipelineModel
    columns: Columns
    chosen: str
    trials: Mapping[str, Trial]
    importance: Mapping[str, float]
    split: Split

    @property
    def summary(self) -> dict[str, Any]:
        """What the model is and how it came about, as JSON has it."""
        dates = {name: [f"{d:%Y-%m-%d}" for d in getattr(self.split, name)] for name in ("train", "calibrate", "ripe")}
        return {
            "chosen": self.chosen,
            "trials": {name: tried.summary for name, tried in self.trials.items()},
            "columns": {name: list(getattr(self.columns, name)) for name in ("numeric", "text", "patchy")},
            "importance": dict(self.importance),
            "split": dates,
        }


def fit(spec: ModelSpec, labelled: DataFrame, split: Split, features: Sequence[str]) -> Fitted:
    """The model of `spec` on the labelled rows (the spec's key, label, features) of the split's as-ofs.

    Candidates are fitted on the train slice and tried on the calibrate slice; the chosen one is fitted again on all
    that is ripe. The same rows give the same model, however they are partitioned.
    """
    rows = steady(labelled, spec.key)
    train = rows.where(F.col("as_of").isin(*split.train))
    later = rows.where(F.col("as_of").isin(*split.calibrate))
    for name, part in (("train", train), ("calibrate", later)):
        _check_classes(spec, name, part)
    prepared = _prepared(spec, train, features)
    candidates = _candidates(spec, prepared)
    trials = _trials(candidates, prepared.model.transform(later))
    chosen = simplest_of_the_best(trials)
    stages = candidates[chosen]
    if spec.refit:
        prepared.rows.unpersist()
        prepared = _prepared(spec, rows.where(F.col("as_of").isin(*split.ripe)), features)
        stages = _candidate(spec, chosen, prepared=prepared)
    newest = PipelineModel(stages=stages).transform(prepared.rows)
    calibrator = calibration(chosen, trials[chosen].slope).fit(newest)
    importance = _importance(stages[0], prepared.rows)
    prepared.rows.unpersist()
    rows.unpersist()
    return Fitted(
        model=PipelineModel(stages=[*prepared.model.stages, *stages, calibrator]),
        columns=prepared.columns,
        chosen=chosen,
        trials=trials,
        importance=importance,
        split=split,
    )


def steady(labelled: DataFrame, key: Sequence[str]) -> DataFrame:
    """The rows in an order and partitioning of their own, kept in memory: seeded sampling sees them alike."""
    count = labelled.count()
    return labelled.repartition(max(1, ceil(count / ROWS_PER_PARTITION)), key[0]).sortWithinPartitions(*key).persist()


@dataclass(frozen=True)
class _Prepared:
    """Columns made into one vector: the fitted stages, and the rows they were fitted on as candidates see them."""

    columns: Columns
    model: PipelineModel
    rows: DataFrame
    count: int


def _prepared(spec: ModelSpec, rows: DataFrame, features: Sequence[str]) -> _Prepared:
    rows = _sampled(spec, rows)
    columns = informative(rows, features)
    model = fitted(preparation(columns), rows)
    ready = model.transform(rows).select(*spec.key, "label", WEIGHT, VECTOR).persist()
    return _Prepared(columns, model, ready, ready.count())


def _sampled(spec: ModelSpec, rows: DataFrame) -> DataFrame:
    """All rows of 1 and, with a `majority`, a sample of those of 0: the same ids whatever the order.

    `weight` is how many rows each stands for. Candidates see the sample as it is; what they say is set right by the
    calibrator, which goes by the weights (King & Zeng 2001, Logistic Regression in Rare Events Data, 4.1).
    """
    share = 1.0
    if spec.majority:
        n, ones = _classes(rows)
        share = min(1.0, spec.majority * ones / max(1, n - ones))
    is_one = F.col("label") == 1
    kept = rows if share == 1 else rows.where(is_one | (drawn(spec.key, spec.seed) < share))
    return kept.withColumn(WEIGHT, F.when(is_one, F.lit(1.0)).otherwise(F.lit(1 / share)))


def drawn(key: Sequence[str], seed: int | str) -> Column:
    """A number from 0 to below 1 for each row, by its key and a seed: the same whatever the order."""
    return F.pmod(F.xxhash64(*key, F.lit(seed)), F.lit(_DRAWS)) / _DRAWS


def _candidate(spec: ModelSpec, name: str, *, prepared: _Prepared) -> list[Transformer]:
    stages = candidate_stages(name, spec.candidates[name], rows=prepared.count, seed=spec.seed)
    return list(fitted(stages, prepared.rows).stages)


def _candidates(spec: ModelSpec, prepared: _Prepared) -> dict[str, list[Transformer]]:
    """Every candidate, some at the same time, as MLlib's own CrossValidator does it: the jobs of each are small."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        one = inheritable_thread_target(prepared.rows.sparkSession)(partial(_candidate, spec, prepared=prepared))
        return dict(zip(spec.candidates, pool.map(one, spec.candidates), strict=True))


def _trials(candidates: Mapping[str, list[Transformer]], later: DataFrame) -> dict[str, Trial]:
    """Every candidate on the calibrate slice, in one pass."""
    tried = PipelineModel(stages=[stage for stages in candidates.values() for stage in stages]).transform(later)
    margins = (vector_to_array(F.col(margin(name)))[0].alias(name) for name in candidates)
    seen = tried.select(F.col("label").cast("double").alias("label"), *margins).toPandas()
    return {name: trial(seen["label"].to_numpy(), seen[name].to_numpy()) for name in candidates}


def _classes(rows: DataFrame) -> tuple[int, int]:
    """How many rows there are, and how many of them are 1."""
    seen = rows.agg(F.count("label").alias("n"), F.sum("label").alias("ones")).collect()[0]
    return int(seen["n"]), int(seen["ones"] or 0)


def _check_classes(spec: ModelSpec, name: str, rows: DataFrame) -> None:
    n, ones = _classes(rows)
    if ones in (0, n):
        words = words_of(spec)
        only = f"only {words.entities} that {words.happened if ones else words.absent}"
        seen = only if n else f"no {words.entity}"
        raise BadInputError(
            f"model {spec.name}: the {name} slice has {seen} ({ones} of {n} rows are 1), nothing to "
            f"learn from; check label = {spec.label!r}, lead, horizon and cohort in [model.{spec.name}], or bring "
            "more history"
        )


def _importance(model: Transformer, ready: DataFrame) -> dict[str, float]:
    """Each feature's share in what the model goes by, greatest first: the importances of a tree model, and of a linear
    one |coefficient| times the input's deviation."""
    if isinstance(model, LogisticRegressionModel):
        spread = ready.select(Summarizer.std(F.col(VECTOR)).alias("spread")).collect()[0]["spread"]
        own = np.abs(model.coefficients.toArray() * spread.toArray())
    else:
        own = cast("Any", model).featureImportances.toArray()
    slots = _slots(ready)
    shares: dict[str, float] = dict.fromkeys(slots, 0.0)
    for slot, value in zip(slots, own / (own.sum() or 1.0), strict=True):
        shares[slot] += float(value)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _slots(ready: DataFrame) -> list[str]:
    """The feature behind each slot of the vector; a feature has several if it may be null or is text."""
    groups = ready.schema[VECTOR].metadata["ml_attr"]["attrs"].values()
    names = {attribute["idx"]: attribute["name"] for group in groups for attribute in group}
    return [names[slot].split(" ")[0] for slot in sorted(names)]


def probability() -> Column:
    """The model's probability of a 1, from its output column."""
    return vector_to_array(F.col("probability"))[1]
