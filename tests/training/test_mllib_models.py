"""What is fitted in one task and what MLlib makes of it are the same model: equal to 1e-12 on every kind of row."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.dataset.column_summary import merged
from churn.training.algorithms import Boosting, FitOptions, Forest, Linear, Logistic, Trees, Validation
from churn.training.fit import importance_of_slots as importance
from churn.training.fit import mllib_model
from churn.training.pipeline import VECTOR, preparation
from churn.training.preparation import DRAW, ORDER, PACKED, Preparation, Rows, pack

ALGORITHMS = {
    "logistic": Logistic(reg_param_total=3.0),
    "unpenalised": Logistic(reg_param_total=0.0, max_iter=20),
    "forest": Forest(trees=7, max_depth=4, min_rows_per_leaf=1),
    "one tree": Forest(trees=1, max_depth=1, min_rows_per_leaf=1, rows_per_tree=1.0),
    "boosting": Boosting(max_trees=12, max_depth=3, min_rows_per_leaf=1, learning_rate=0.3),
    "stumps": Boosting(max_trees=3, max_depth=1, min_rows_per_leaf=5, bins=4, slots_per_split=1.0),
}


def drawn(seed: int, rows: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of float32 and labels of both classes that depend on it."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 5)) * [1, 1e-3, 1e4, 1, 1]
    matrix[:, 3] = 7.0  # a constant
    if kind == "ties":  # many rows on each side of, and at, a threshold
        matrix = rng.integers(0, 3, size=(rows, 5)).astype(float)
    if kind == "indicators":  # as those of nulls and categories are
        matrix[:, 1:] = rng.integers(0, 2, size=(rows, 4))
    label = (matrix[:, 0] + rng.normal(size=rows) > np.median(matrix[:, 0])).astype(float)
    label[:2] = 0, 1
    return matrix.astype(np.float32), label


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 99), rows=st.sampled_from((2, 40, 300)), kind=st.sampled_from(("plain", "ties", "indicators"))
)
def test_mllib_gives_the_margin_of_the_library(
    spark: SparkSession, tmp_path: Path, name: str, seed: int, rows: int, kind: str
) -> None:
    matrix, label = drawn(seed, rows, kind)
    fitted = ALGORITHMS[name].fit(matrix, label, FitOptions(seed))
    model = mllib_model(spark, fitted.model, str(tmp_path))
    # Rows of training, and rows at, just below and just above the thresholds of the first tree.
    tried = [*matrix[:20]]
    if isinstance(fitted.model, Trees):
        for node in fitted.model.trees[0][:4]:
            for value in (
                np.float32(node["threshold"]),
                *np.nextafter(np.float32(node["threshold"]), np.float32([-9e9, 9e9])),
            ):
                tried.append(np.where(np.arange(5) == node["feature"], value, matrix[0]).astype(np.float32))
    place = "predictProbability" if isinstance(fitted.model, Trees) and fitted.model.kind == "forest" else "predictRaw"
    given_by_mllib = [getattr(model, place)(Vectors.dense(row.astype(float)))[1] for row in tried]
    assert np.abs(np.array(given_by_mllib) - fitted.margin(np.array(tried, np.float32))).max() < 1e-12
    if isinstance(fitted.model, Trees):
        assert model.getNumTrees == len(fitted.model.trees)
        assert model.featureImportances.toArray() == pytest.approx(importance(fitted.model), abs=1e-9)
    else:
        assert isinstance(fitted.model, Linear)
        assert model.coefficients.toArray() == pytest.approx(fitted.model.coefficients, abs=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_slots_that_make_no_difference_can_be_left_out(spark: SparkSession, tmp_path: Path, name: str) -> None:
    matrix, label = drawn(7, 60, "indicators")
    fitted = ALGORITHMS[name].fit(matrix, label, FitOptions(7))
    used = fitted.model.used
    used[0] |= not used.any()
    model = mllib_model(spark, fitted.model.only(used), str(tmp_path))
    place = "predictProbability" if isinstance(model, RandomForestClassificationModel) else "predictRaw"
    found = [getattr(model, place)(Vectors.dense(row[used].astype(float)))[1] for row in matrix]
    assert np.abs(np.array(found) - fitted.margin(matrix)).max() < 1e-12
    assert model.numFeatures == used.sum()


def test_boosting_stops_where_more_trees_do_not_lower_the_loss_on_later_rows() -> None:
    matrix, label = drawn(3, 400, "plain")
    later, later_label = drawn(4, 400, "plain")
    stopped = Boosting(max_trees=200, learning_rate=0.3, min_rows_per_leaf=5, patience=10).fit(
        matrix, label, FitOptions(1, validation=Validation(later, later_label))
    )
    assert stopped.rounds is not None
    assert stopped.rounds < 100
    same = Boosting(max_trees=200, learning_rate=0.3, min_rows_per_leaf=5).fit(
        matrix, label, FitOptions(1, rounds=stopped.rounds)
    )
    assert stopped.margin(later).tolist() == same.margin(later).tolist()


ROWS = [
    # customer, label, recency, spend, plan, constant
    ("a", 0, 1.0, -2.5, "gold", 1),
    ("b", 1, None, 1e9, "basic", 1),  # a null
    ("c", 0, 3.0, 0.1, None, 1),  # a null text
    ("d", 1, 0.0, 1e-9, "o'neil\\", 1),  # a text that SQL has to quote
    ("e", 1, 7.25, None, "gold", 1),
    ("f", 0, 512.3, 17.0, "basic", 1),
]
COLUMNS = ["recency", "spend", "plan", "constant"]


def test_the_pipeline_gives_the_vector_of_the_matrix_to_the_bit(spark: SparkSession) -> None:
    schema = "customer_id string, label int, recency double, spend double, plan string, constant int"
    frame = spark.createDataFrame(ROWS, schema).repartition(2)
    ready = frame.select(
        F.lit("2026-01-01").cast("timestamp").alias("as_of"),
        "label",
        F.ascii("customer_id").cast("bigint").alias(ORDER),
        F.lit(0.0).alias(DRAW),
        *COLUMNS,
    )
    packed = ready.mapInArrow(
        lambda batches: pack(batches, ["recency", "spend", "constant"], ["plan"]), PACKED
    ).toArrow()
    (summary,) = merged([(datetime(2026, 1, 1), one.as_py()) for one in packed["summary"]]).values()
    prepared = Preparation.fit(summary, COLUMNS)
    assert (prepared.numeric, prepared.text) == (("recency", "spend"), ("plan",))
    assert prepared.nullable == ("recency", "spend", "plan")
    rows = Rows.unpacked(packed.to_batches(), lambda block: np.ones(len(block), bool))
    vectors = PipelineModel(stages=preparation(prepared)).transform(frame).orderBy("customer_id")
    found = np.array([row[0] for row in vectors.select(vector_to_array(VECTOR)).collect()])
    assert found.tolist() == rows.matrix(prepared).astype(float).tolist()
    by_slot = dict(
        zip([(slot.feature, slot.is_missing, slot.level) for slot in prepared.slots], found.T.tolist(), strict=True)
    )
    assert by_slot["recency", True, None] == [0, 1, 0, 0, 0, 0]
    assert by_slot["plan", False, "gold"] == [1, 0, 0, 0, 1, 0]
    # The median of 0, 1, 3, 7.25, 512.3 fills the null, as its logarithm.
    assert by_slot["recency", False, None][1] == pytest.approx(np.log(4), abs=1e-6)
