"""The MLlib pipeline: stages that prepare the columns, a model, a calibrator that gives a probability.

Every stage is fitted on training rows alone, its columns pinned by name. Models read the same vector: signed logarithms
of the features, imputed by the median, indicators of null, and one-hot categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pyspark.ml.feature import SQLTransformer, VectorAssembler, VectorSlicer
from pyspark.sql import SparkSession

from churn.storage import quoted
from churn.training.algorithms import Linear
from churn.training.mllib_models import logistic, weighted_sum
from churn.training.preparation import Preparation, Slot

Stages = list[Any]
"""Estimators and transformers in order; PySpark names no type that both share."""

VECTOR: Final = "vector"
MARGINS: Final = "margins"
_NO_SYNTAX: Final = str.maketrans(".`", "__")


def preparation(prepared: Preparation) -> Stages:
    """The stages that turn feature columns into the vector of `Rows.matrix`, to the bit."""
    names = [_name(number, slot) for number, slot in enumerate(prepared.slots)]
    columns = [f"{_value(slot)} AS `{name}`" for slot, name in zip(prepared.slots, names, strict=True)]
    return [
        SQLTransformer(statement=f"SELECT *, {', '.join(columns)} FROM __THIS__"),  # noqa: S608
        VectorAssembler(inputCols=names, outputCol=VECTOR),
        # Dropped here, or each stage that follows would plan them again.
        SQLTransformer(statement=f"SELECT * EXCEPT (`{'`, `'.join(names)}`) FROM __THIS__"),  # noqa: S608
    ]


def _value(slot: Slot) -> str:
    column = quoted(slot.feature)
    if slot.level is not None:
        level = slot.level.replace("\\", "\\\\").replace("'", "\\'")
        return f"double(coalesce({column} = '{level}', false))"
    if slot.is_missing:
        return f"double({column} IS NULL)"
    # To float and back: the model was fitted on float32 numbers.
    return f"double(coalesce(float(signum({column}) * ln(1 + abs({column}))), float('{slot.fill!r}')))"


def _name(number: int, slot: Slot) -> str:
    """A name of the slot's column. MLlib resolves a dot or a backtick in it as SQL does, and letters in either case as
    the same, so that texts such as `admin.` and `Admin` need a number."""
    name = (
        f"{slot.feature} is {slot.level}"
        if slot.level is not None
        else f"{slot.feature} {'missing' if slot.is_missing else 'log'}"
    )
    return f"{number} {name}".translate(_NO_SYNTAX)


def model_stages(name: str, model: Any) -> Stages:
    """A classifier of MLlib, fitted or to be fitted, and its margin: a vector of one number."""
    raw, share = f"{name} raw", f"{name} probability"
    ready = model.copy().setFeaturesCol(VECTOR).setPredictionCol(f"{name} prediction")
    ready = ready.setRawPredictionCol(raw).setProbabilityCol(share)
    # A forest's raw output counts votes; its share of votes is closer to the scale of other models' log-odds.
    source = share if type(model).__name__.startswith("RandomForest") else raw
    return [ready, VectorSlicer(inputCol=source, outputCol=margin(name), indices=[1])]


def margin(name: str) -> str:
    """The column of a candidate's margin."""
    return f"{name} margin"


def calibration(spark: SparkSession, slopes: Mapping[str, float], intercept: float) -> Stages:
    """A probability from the margins of one candidate, or of several that are blended.

    `probability` is MLlib's vector of both classes. `prediction`, the column that MLflow's `pyfunc` and `spark_udf`
    return, is the number in it: the probability of a 1.
    """
    linear = Linear(np.array(list(slopes.values())), intercept)
    model = logistic(spark, linear).setFeaturesCol(MARGINS).setPredictionCol("")
    assembler = VectorAssembler(inputCols=[margin(name) for name in slopes], outputCol=MARGINS)
    return [assembler, model, weighted_sum(spark, Linear(np.array([0.0, 1.0]), 0.0), "probability", "prediction")]
