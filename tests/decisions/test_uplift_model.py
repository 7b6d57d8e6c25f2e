"""A learnt effect as a pipeline of MLlib: the same number for every row as the learner gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Uplift
from churn.decisions.uplift import measure_uplift
from churn.decisions.uplift_learners import Contacts, Effect, Learner, ResponseLearner, TLearner, TXLearner, XLearner
from churn.decisions.uplift_model import UPLIFT, uplift_pipeline
from churn.decisions.uplift_rows import UpliftRows
from churn.training.algorithms import Boosting, Logistic
from churn.training.pipeline import VECTOR


def test_the_pipeline_gives_what_the_learner_gives(spark: SparkSession, tmp_path: Path) -> None:
    """Of all kinds of parts: classifiers and regressions, linear and of trees; with nulls and texts in the rows."""

    @dataclass(frozen=True)
    class Sum(Learner):  # here, as executors do not import this file
        of: tuple[Learner, ...]

        @property
        def settings(self) -> dict[str, Any]:
            return {}

        def fit(self, contacts: Contacts, seed: int) -> Effect:
            return Effect(tuple(part for one in self.of for part in one.fit(contacts, seed).parts))

    number = F.col("id")
    rows = spark.range(1_200, numPartitions=3).select(
        number.alias("_key"),
        F.lit(0).cast("long").alias("_customer"),
        (F.xxhash64("id", F.lit(1)) % 2 == 0).alias("_treated"),
        (F.xxhash64("id", F.lit(2)) % 3 == 0).cast("int").alias("_outcome"),
        F.lit(None).cast("string").alias("_campaign"),
        F.lit(None).cast("double").alias("_cost"),
        F.when(number % 7 != 0, number % 100).cast("double").alias("a"),
        F.when(number % 3 == 0, "x").when(number % 3 == 1, "y").alias("b"),
    )
    boosting = Boosting(max_trees=5, max_depth=2, min_rows_per_leaf=20)
    of_arms = [kind(of) for kind in (TLearner, XLearner, TXLearner) for of in (Logistic(), boosting)]
    every = Sum((*of_arms, ResponseLearner(boosting, boosting)))
    found = UpliftRows(rows, ("a",), ("b",), {"rows_in": 1_200, "used": 1_200}, "it")
    measured = measure_uplift(found, Uplift(halves=1), learners={"every": every})
    model = uplift_pipeline(spark, measured.effect, measured.preparation, str(tmp_path))
    scored = model.transform(rows.select("a", "b")).select(VECTOR, UPLIFT).collect()
    matrix = np.array([row[VECTOR].toArray() for row in scored], np.float32)
    assert [row[UPLIFT] for row in scored] == pytest.approx(measured.effect.of(matrix), abs=1e-12)
    assert len({round(row[UPLIFT], 6) for row in scored}) > 20
