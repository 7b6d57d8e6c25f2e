"""MLlib's own models of what was fitted in one task, equal to it in all but the last bits of a sum.

A logistic regression is made by its constructor. Trees are written in the format in which MLlib saves its ensembles
(`DecisionTreeModelReadWrite` and `EnsembleModelReadWrite` of Spark) and loaded, so a model has its importances too.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.ml.classification import (
    GBTClassificationModel,
    LogisticRegressionModel,
    RandomForestClassificationModel,
)
from pyspark.ml.common import _py2java
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import GBTRegressionModel, LinearRegressionModel
from pyspark.sql import DataFrame, SparkSession

from churn.errors import BadInputError
from churn.training.algorithms import NODE, Linear, Nodes, Trees

_PACKAGE: Final = "org.apache.spark.ml"
_SPLIT: Final = pa.struct(
    [
        ("featureIndex", pa.int32()),
        ("leftCategoriesOrThreshold", pa.list_(pa.float64())),
        ("numCategories", pa.int32()),
    ]
)
_NODE: Final = pa.struct(
    [
        ("id", pa.int32()),
        ("prediction", pa.float64()),
        ("impurity", pa.float64()),
        ("impurityStats", pa.list_(pa.float64())),
        ("rawCount", pa.int64()),
        ("gain", pa.float64()),
        ("leftChild", pa.int32()),
        ("rightChild", pa.int32()),
        ("split", _SPLIT),
    ]
)
_KINDS: Final[dict[str, tuple[Any, str, dict[str, Any], dict[str, Any], float]]] = {
    "forest": (
        RandomForestClassificationModel,
        "classification.DecisionTreeClassificationModel",
        {"impurity": "gini"},
        {"numClasses": 2},
        1.0,
    ),
    # Half of each tree, for MLlib takes the margin twice to make a probability of it.
    "boosting": (
        GBTClassificationModel,
        "regression.DecisionTreeRegressionModel",
        {"impurity": "variance"},
        {},
        0.5,
    ),
    "regression": (
        GBTRegressionModel,
        "regression.DecisionTreeRegressionModel",
        {"impurity": "variance"},
        {},
        1.0,
    ),
}


def logistic(spark: SparkSession, linear: Linear) -> LogisticRegressionModel:
    """The model; the coefficients are those of the vector as it is, not standardised."""
    jvm: Any = spark._jvm
    uid = f"LogisticRegression_{uuid.uuid4().hex[:12]}"
    coefficients = _py2java(spark.sparkContext, Vectors.dense(linear.coefficients.tolist()))
    made = jvm.org.apache.spark.ml.classification.LogisticRegressionModel(uid, coefficients, linear.intercept)
    return LogisticRegressionModel(made)


def weighted_sum(spark: SparkSession, linear: Linear, vector: str, into: str) -> LinearRegressionModel:
    """The model that writes the weighted sum of a vector's elements into a column of doubles."""
    jvm: Any = spark._jvm
    coefficients = _py2java(spark.sparkContext, Vectors.dense(linear.coefficients.tolist()))
    uid = f"LinearRegression_{uuid.uuid4().hex[:12]}"
    made = jvm.org.apache.spark.ml.regression.LinearRegressionModel(uid, coefficients, linear.intercept)
    return LinearRegressionModel(made).setFeaturesCol(vector).setPredictionCol(into)


def ensemble(spark: SparkSession, trees: Trees, scratch: str) -> Any:
    """The trees as RandomForestClassificationModel, GBTClassificationModel or GBTRegressionModel.

    `scratch` is a folder that the driver and all executors can read; what is written there is removed again.
    """
    cls, of_tree, params, more, weight = _KINDS[trees.kind]
    name = f"{cls.__module__}.{cls.__name__}".replace("pyspark.ml", _PACKAGE)
    uid = f"{cls.__name__.removesuffix('Model')}_{uuid.uuid4().hex[:12]}"
    params = {**params, **({"numTrees": len(trees.trees)} if trees.kind == "forest" else {})}
    tree_params = {name: value for name, value in params.items() if name != "numTrees"}
    rows = [
        {"treeID": number, "nodeData": node}
        for number, nodes in enumerate(trees.trees)
        for node in _nodes(nodes, trees.kind)
    ]
    metadata = _metadata(spark, name, uid, params, numFeatures=trees.slots, numTrees=len(trees.trees), **more)
    of_trees = [
        _metadata(spark, f"{_PACKAGE}.{of_tree}", f"{uid}_{number}", tree_params) for number in range(len(trees.trees))
    ]
    files = {
        "metadata/part-00000": f"{metadata}\n".encode(),
        "data/part-00000.parquet": _parquet(
            pa.Table.from_pylist(rows, schema=pa.schema([("treeID", pa.int32()), ("nodeData", _NODE)]))
        ),
        "treesMetadata/part-00000.parquet": _parquet(
            pa.table(
                {
                    "_1": pa.array(range(len(of_trees)), pa.int32()),
                    "_2": of_trees,
                    "_3": pa.array([weight] * len(of_trees), pa.float64()),
                }
            )
        ),
    }
    jvm: Any = spark._jvm
    place = jvm.org.apache.hadoop.fs.Path(f"{scratch.rstrip('/')}/{uid}")
    system = place.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    try:
        for file, content in files.items():
            stream = system.create(jvm.org.apache.hadoop.fs.Path(place, file))
            stream.write(content)
            stream.close()
        return cls.load(place.toString())
    finally:
        system.delete(place, True)


def trees_of(model: Any, scratch: str) -> Trees:
    """The inverse of `ensemble`: the trees of a forest or of boosted trees, however they were fitted.

    The margin (a forest's probability, half of the log-odds of boosted trees) is the sum of the values of the leaves.
    `scratch` is as there. Raises BadInputError where a split is by categories, which no model here has.
    """
    spark = SparkSession.active()
    place = f"{scratch.rstrip('/')}/{model.uid}_{uuid.uuid4().hex[:12]}"
    path = cast("Any", spark._jvm).org.apache.hadoop.fs.Path(place)
    system = path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    try:
        model.write().save(place)
        rows = spark.read.parquet(f"{place}/data").select("treeID", "nodeData.*", "nodeData.split.*").toArrow()
    finally:
        system.delete(path, True)
    is_forest = isinstance(model, RandomForestClassificationModel)
    weights = [1 / model.getNumTrees] * model.getNumTrees if is_forest else list(model.treeWeights)
    nodes, numbers = _read_nodes(rows.sort_by([("treeID", "ascending"), ("id", "ascending")]), is_forest)
    starts = np.searchsorted(numbers, np.arange(1, len(weights)))
    trees = np.split(nodes, starts)
    for tree, weight in zip(trees, weights, strict=True):
        tree["value"] *= weight
    return Trees("forest" if is_forest else "boosting", tuple(trees), model.numFeatures)


def _read_nodes(rows: pa.Table, is_forest: bool) -> tuple[Nodes, npt.NDArray[np.int64]]:
    """The nodes of all trees, one tree after the other, and the number of each node's tree."""
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    if pc.max(columns["numCategories"]).as_py() >= 0:
        raise BadInputError("a tree of the model splits by categories, and only numbers are known here")
    nodes = np.zeros(len(rows), NODE)
    thresholds = columns["leftCategoriesOrThreshold"]
    is_inner = thresholds.value_lengths().to_numpy() > 0
    nodes["threshold"][is_inner] = thresholds.flatten().to_numpy()
    if is_forest:
        stats = columns["impurityStats"].flatten().to_numpy().reshape(len(rows), -1)
        nodes["value"] = stats[:, 1] / stats.sum(axis=1)
    else:
        nodes["value"] = columns["prediction"].to_numpy()
    same = {"feature": "featureIndex", "left": "leftChild", "right": "rightChild", "rows": "rawCount"}
    for field, name in same.items():
        nodes[field] = columns[name].to_numpy()
    return nodes, columns["treeID"].to_numpy().astype(np.int64)


def first_trees(model: GBTClassificationModel, later: DataFrame) -> tuple[GBTClassificationModel, int]:
    """As many of the boosted trees as have the least loss on later rows (vector, label), and how many these are."""
    losses = model.evaluateEachIteration(later)
    best = int(np.argmin(losses)) + 1
    gateway: Any = later.sparkSession.sparkContext._gateway
    spark_ml, of = gateway.jvm.org.apache.spark.ml, cast("Any", model._java_obj)
    trees = gateway.new_array(spark_ml.regression.DecisionTreeRegressionModel, best)
    weights = gateway.new_array(gateway.jvm.double, best)
    for array, each in ((trees, of.trees()), (weights, of.treeWeights())):
        for number in range(best):
            array[number] = each[number]
    cut = spark_ml.classification.GBTClassificationModel(of.uid(), trees, weights, of.numFeatures(), 2)
    return model._copyValues(GBTClassificationModel(cut)), best


def _metadata(spark: SparkSession, cls: str, uid: str, params: dict[str, Any], **more: Any) -> str:
    """As `DefaultParamsWriter` writes it."""
    written = {"class": cls, "timestamp": 0, "sparkVersion": spark.version, "uid": uid}
    return json.dumps({**written, "paramMap": params, "defaultParamMap": {}, **more})


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _nodes(nodes: Nodes, kind: str) -> Iterator[dict[str, Any]]:
    """The nodes as MLlib's `NodeData`, numbered as it numbers them: a node, its left branch, its right branch."""
    number = np.zeros(len(nodes), np.int64)
    order: list[int] = []
    waiting = [0]
    while waiting:
        place = waiting.pop()
        number[place] = len(order)
        order.append(place)
        if nodes["left"][place] >= 0:
            waiting += [int(nodes["right"][place]), int(nodes["left"][place])]
    for place in order:
        node = nodes[place]
        is_leaf = node["left"] < 0
        rows, value = float(node["rows"]), float(node["value"])
        # Counts of both classes; of a regression the count, and sums that nothing reads.
        stats = [rows * (1 - value), rows * value] if kind == "forest" else [rows, 0.0, 0.0]
        yield {
            "id": int(number[place]),
            "prediction": float(value > 0.5) if kind == "forest" else value,
            "impurity": float(node["impurity"]),
            "impurityStats": stats,
            "rawCount": round(rows),
            "gain": -1.0 if is_leaf else float(node["gain"]),
            "leftChild": -1 if is_leaf else int(number[node["left"]]),
            "rightChild": -1 if is_leaf else int(number[node["right"]]),
            "split": {
                "featureIndex": -1 if is_leaf else int(node["feature"]),
                "leftCategoriesOrThreshold": [] if is_leaf else [float(node["threshold"])],
                "numCategories": -1,
            },
        }
