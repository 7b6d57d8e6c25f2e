"""The MLlib pipeline: columns made ready, a candidate, a calibrator that gives a probability.

Every stage is fitted on training rows alone and saved inside the model, its columns pinned by name. Candidates read the
same vector: signed logarithms of the features, imputed by the median, and one-hot categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import Imputer, OneHotEncoder, SQLTransformer, StringIndexer, VectorAssembler, VectorSlicer
from pyspark.ml.linalg import Matrices
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType, StringType

from churn.errors import BadInputError
from churn.training.spec import ALGORITHMS, Candidate

Stages = list[Any]
"""Estimators and transformers in order; PySpark names no type that both share."""

VECTOR = "vector"
WEIGHT = "weight"
"""How many rows a training row stands for."""


@dataclass(frozen=True)
class Columns:
    """The feature columns a model reads. `patchy` are the numeric ones that are null in training rows; the others have
    in `usual` what stands for a null that comes later, the mean of their signed logarithm."""

    numeric: tuple[str, ...]
    patchy: tuple[str, ...]
    text: tuple[str, ...]
    usual: Mapping[str, float]

    @property
    def all(self) -> tuple[str, ...]:
        return self.numeric + self.text


def informative(train: DataFrame, features: Sequence[str]) -> Columns:
    """The features that vary on the training rows; one that never does carries nothing and would stop an imputer.

    Raises BadInputError if none varies.
    """
    types = {field.name: field.dataType for field in train.schema if field.name in features}
    asked = [
        measure
        for name in types
        for measure in (
            F.count(name).alias(f"n {name}"),
            F.min(name).alias(f"min {name}"),
            F.max(name).alias(f"max {name}"),
            *(
                [F.avg(F.expr(_signed_log(name))).alias(f"usual {name}")]
                if isinstance(types[name], NumericType)
                else ()
            ),
        )
    ]
    seen = train.agg(F.count(F.lit(1)).alias("n"), *asked).collect()[0]
    varies = [name for name in types if seen[f"min {name}"] != seen[f"max {name}"]]
    if not varies:
        raise BadInputError(
            f"none of {len(types)} features varies on {seen['n']} training rows; is there more than one customer, and "
            "are there rows before the training as-ofs?"
        )
    numeric = tuple(name for name in varies if isinstance(types[name], NumericType))
    patchy = tuple(name for name in numeric if seen[f"n {name}"] < seen["n"])
    return Columns(
        numeric=numeric,
        patchy=patchy,
        # Rounded, for the last bits of a mean depend on the order in which partitions are added.
        usual={name: round(float(seen[f"usual {name}"]), 6) for name in numeric if name not in patchy},
        text=tuple(name for name in varies if isinstance(types[name], StringType)),
    )


def preparation(columns: Columns) -> Stages:
    """The stages that turn feature columns into one vector."""
    logs = {name: _signed_log(name) for name in columns.numeric}
    logs |= {name: f"coalesce({logs[name]}, CAST('{usual!r}' AS DOUBLE))" for name, usual in columns.usual.items()}
    ready = [f"{log} AS `{_log(name)}`" for name, log in logs.items()]
    gaps = [f"CAST(`{name}` IS NULL AS DOUBLE) AS `{_gap(name)}`" for name in columns.patchy]
    stages: Stages = [SQLTransformer(statement=f"SELECT *, {', '.join(ready + gaps)} FROM __THIS__")]  # noqa: S608
    inputs = [_log(name) for name in columns.numeric] + [_gap(name) for name in columns.patchy]
    if columns.patchy:
        gappy = [_log(name) for name in columns.patchy]
        stages.append(Imputer(strategy="median", inputCols=gappy, outputCols=[f"{name} filled" for name in gappy]))
        inputs = [f"{name} filled" if name in gappy else name for name in inputs]
    if columns.text:
        codes = [f"{name} code" for name in columns.text]
        hot = [f"{name} is" for name in columns.text]
        stages += [
            StringIndexer(
                inputCols=list(columns.text),
                outputCols=codes,
                handleInvalid="keep",
                stringOrderType="alphabetAsc",
            ),
            OneHotEncoder(inputCols=codes, outputCols=hot, dropLast=False, handleInvalid="keep"),
        ]
        inputs += hot
    return [*stages, VectorAssembler(inputCols=inputs, outputCol=VECTOR)]


def _signed_log(name: str) -> str:
    return f"signum(`{name}`) * ln(1 + abs(`{name}`))"


def _log(name: str) -> str:
    return f"{name} log"


def _gap(name: str) -> str:
    return f"{name} missing"


def candidate_stages(name: str, candidate: Candidate, *, rows: int, seed: int) -> Stages:
    """The classifier, and the slice of its output that grows with the odds of the label."""
    algorithm = ALGORITHMS[candidate.algorithm]
    params = dict(candidate.params)
    if "penalty" in params:  # MLlib's regParam is a penalty for each row
        params["regParam"] = params.pop("penalty") / rows
    raw, probability = f"{name} raw", f"{name} probability"
    estimator = algorithm(featuresCol=VECTOR, labelCol="label", **params)
    estimator.setPredictionCol(f"{name} prediction").setRawPredictionCol(raw).setProbabilityCol(probability)
    if estimator.hasParam("seed"):
        estimator.setSeed(seed)
    # A forest's raw output counts votes; its share of votes is closer to the scale of the others' log-odds.
    source = probability if candidate.algorithm == "RandomForestClassifier" else raw
    return [estimator, VectorSlicer(inputCol=source, outputCol=margin(name), indices=[1])]


def margin(name: str) -> str:
    return f"{name} margin"


def calibration(name: str, slope: float) -> LogisticRegression:
    """A probability from a candidate's margin: the slope is given, the intercept is fitted.

    How far log-odds may be believed is learnt on later as-ofs; how many leave at all drifts, so that is taken from the
    newest rows there are.
    """
    fixed = Matrices.dense(1, 1, [slope])
    return LogisticRegression(
        featuresCol=margin(name),
        labelCol="label",
        weightCol=WEIGHT,
        standardization=False,
        lowerBoundsOnCoefficients=fixed,
        upperBoundsOnCoefficients=fixed,
    )


def fitted(stages: Sequence[Any], train: DataFrame) -> PipelineModel:
    return Pipeline(stages=list(stages)).fit(train)
