"""A learnt effect as a pipeline of MLlib, which gives any row with the feature columns its `uplift`."""

from __future__ import annotations

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from churn.decisions.uplift_learners import Effect, Part
from churn.training.algorithms import Linear, Trees
from churn.training.fit import mllib_model
from churn.training.mllib_models import ensemble, weighted_sum
from churn.training.pipeline import VECTOR, Stages, preparation
from churn.training.preparation import Preparation

UPLIFT = "uplift"
_PARTS = "uplift parts"


def uplift_pipeline(spark: SparkSession, effect: Effect, prepared: Preparation, scratch: str) -> PipelineModel:
    """The stages that prepare the columns, a model of MLlib for each part, and their weighted sum, `uplift`.

    `scratch` is a folder that the driver and all executors can read.
    """
    stages: Stages = preparation(prepared)
    columns, weights = [], list[float]()
    for number, (weight, part) in enumerate(effect.parts):
        column = f"{_PARTS} {number}"
        stages.append(_stage(spark, part, column, scratch))
        columns.append(column)
        weights += [0.0, weight] if part.of == "outcome" else [weight]  # a probability is a vector: of 0, and of 1
    total = weighted_sum(spark, Linear(np.array(weights), 0.0), _PARTS, UPLIFT)
    return PipelineModel(stages=[*stages, VectorAssembler(inputCols=columns, outputCol=_PARTS), total])


def _stage(spark: SparkSession, part: Part, column: str, scratch: str) -> object:
    if part.of == "outcome":
        model = mllib_model(spark, part.model, scratch).setFeaturesCol(VECTOR).setProbabilityCol(column)
        return model.setRawPredictionCol(f"{column} raw").setPredictionCol(f"{column} prediction")
    if isinstance(part.model, Trees):
        return ensemble(spark, part.model, scratch).setFeaturesCol(VECTOR).setPredictionCol(column)
    return weighted_sum(spark, part.model, VECTOR, column)
