"""What a candidate may be: how it is declared, fitted by scikit-learn in one task, and fitted by MLlib on many.

A declaration means the same in both. In one task it is fitted on a matrix and gives a `Linear` or a `Trees`, which
`churn.training.mllib_models` converts to MLlib's own model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from churn.errors import ConfigError, nearest
from churn.model_spec import Candidate, Positive
from churn.validation import Frozen

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Share = Annotated[float, Field(gt=0, le=1)]

MLLIB: Final = ("LogisticRegression", "RandomForestClassifier", "GBTClassifier")


def _estimator(name: str, **params: Any) -> Any:
    from pyspark.ml import classification  # noqa: PLC0415 - executors need not wait for it

    return getattr(classification, name)(**params)


NODE: Final = np.dtype(
    [
        ("feature", np.int32),
        ("threshold", np.float64),
        ("left", np.int32),
        ("right", np.int32),
        ("value", np.float64),
        ("rows", np.float64),
        ("gain", np.float64),
        ("impurity", np.float64),
    ]
)
"""A node of a binary tree; the first is the root. `left` is where x[feature] <= threshold; a leaf has -1 for both and
for `feature`. `value` is the share of 1 (forest) or the term of the log-odds (boosting); `rows` is weighted; `gain` is
what the split lowers the impurity by, for each row."""

Nodes = npt.NDArray[Any]


@dataclass(frozen=True)
class Linear:
    """Log-odds are `coefficients` times the vector, plus `intercept`."""

    coefficients: Floats
    intercept: float

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Whether each slot makes a difference."""
        mask: npt.NDArray[np.bool_] = self.coefficients != 0
        return mask

    def only(self, slots: npt.NDArray[np.bool_]) -> Linear:
        """The same on a vector of these slots."""
        return Linear(self.coefficients[slots], self.intercept)


@dataclass(frozen=True)
class Trees:
    """A forest, whose probability is the mean of its trees' values, or boosted trees: the sum of their values is the
    log-odds, or of a regression the number itself."""

    kind: Literal["forest", "boosting", "regression"]
    trees: tuple[Nodes, ...]
    slots: int

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Whether each slot makes a difference."""
        mask = np.zeros(self.slots, bool)
        for nodes in self.trees:
            mask[nodes["feature"][nodes["left"] >= 0]] = True
        return mask

    def only(self, slots: npt.NDArray[np.bool_]) -> Trees:
        """The same on a vector of these slots, all that are used among them."""
        place = np.cumsum(slots) - 1
        trees = []
        for nodes in self.trees:
            renumbered = nodes.copy()
            renumbered["feature"] = np.where(nodes["left"] >= 0, place[nodes["feature"]], -1)
            trees.append(renumbered)
        return Trees(self.kind, tuple(trees), int(slots.sum()))


@dataclass(frozen=True)
class AlgorithmFit:
    """An algorithm fitted in one task.

    `margin` gives a number that grows with the odds, as MLlib's model has it: a forest's probability, half of the
    log-odds of boosted trees, else log-odds. `rounds` counts boosted trees.
    """

    model: Linear | Trees
    margin: Callable[[Matrix], Floats]
    rounds: int | None = None


@dataclass(frozen=True)
class Validation:
    """Rows of a later slice, on which boosting is stopped early."""

    matrix: Matrix
    label: Floats


@dataclass(frozen=True)
class FitOptions:
    """What a fit is given beside its rows: a seed, rows for early stopping, or how many trees to boost."""

    seed: int
    validation: Validation | None = None
    rounds: int | None = None


class Algorithm(Frozen, Candidate):
    """An algorithm that is fitted by scikit-learn in one task, or by MLlib on many."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"algorithm": type(self).__name__, **self.model_dump()}


class Logistic(Algorithm):
    """A logistic regression on standardised slots with an L2 penalty.

    `reg_param_total` is the weight of the penalty against the summed loss, MLlib's regParam times the number of rows,
    so that it means the same for any number of rows.
    """

    reg_param_total: Annotated[float, Field(ge=0)] = 500.0
    max_iter: Positive = 100

    def fit(self, matrix: Matrix, label: Floats, _: FitOptions) -> AlgorithmFit:
        from sklearn.linear_model import LogisticRegression as OneTask  # noqa: PLC0415 - tasks wait for what they use

        mean, deviation = matrix.mean(axis=0, dtype=np.float64), matrix.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > 0, deviation, 1.0)
        strength = 1 / self.reg_param_total if self.reg_param_total else math.inf
        standardised = matrix.astype(np.float64, order="C")
        standardised -= mean
        standardised /= scale
        fitted = OneTask(C=strength, max_iter=self.max_iter).fit(standardised, label)
        coefficients = fitted.coef_[0] / scale
        intercept = float(fitted.intercept_[0] - coefficients @ mean)
        return AlgorithmFit(Linear(coefficients, intercept), lambda rows: rows @ coefficients + intercept)

    def estimator(self, *, rows: int, rounds: int | None = None) -> Any:  # noqa: ARG002
        return _estimator("LogisticRegression", regParam=self.reg_param_total / rows, maxIter=self.max_iter)


class Forest(Algorithm):
    """A random forest: each tree is fitted on `rows_per_tree` of the rows (a share; no more than `most_rows_per_tree`),
    each split chooses among the square root of the number of slots."""

    trees: Positive = 50
    max_depth: Positive = 7
    min_rows_per_leaf: Positive = 20
    rows_per_tree: Share = 0.5
    most_rows_per_tree: Positive = 10_000

    def _share(self, rows: int) -> float:
        return min(self.rows_per_tree, self.most_rows_per_tree / max(1, rows))

    def fit(self, matrix: Matrix, label: Floats, options: FitOptions) -> AlgorithmFit:
        from sklearn.ensemble import RandomForestClassifier as OneTask  # noqa: PLC0415 - tasks wait for what they use

        fitted = OneTask(
            self.trees,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_rows_per_leaf,
            max_samples=max(1, round(self._share(len(label)) * len(label))),
            max_features="sqrt",
            random_state=options.seed,
            n_jobs=1,
        ).fit(matrix, label)
        trees = tuple(_forest_nodes(one.tree_) for one in fitted.estimators_)
        return AlgorithmFit(Trees("forest", trees, matrix.shape[1]), lambda rows: fitted.predict_proba(rows)[:, 1])

    def estimator(self, *, rows: int, rounds: int | None = None) -> Any:  # noqa: ARG002
        return _estimator(
            "RandomForestClassifier",
            numTrees=self.trees,
            maxDepth=self.max_depth,
            minInstancesPerNode=self.min_rows_per_leaf,
            subsamplingRate=self._share(rows),
        )


class Boosting(Algorithm):
    """Gradient-boosted trees on the logistic loss, up to `max_trees`: as many as have the least loss on later rows.

    `patience` is after how many trees without a lower loss there fitting stops. Each split chooses among a share
    `slots_per_split` of the slots.
    """

    max_trees: Positive = 200
    learning_rate: Share = 0.08
    max_depth: Positive = 3
    min_rows_per_leaf: Positive = 50
    l2: Annotated[float, Field(ge=0)] = 10.0
    slots_per_split: Share = 0.3
    bins: Annotated[int, Field(ge=2, le=255)] = 63
    patience: Positive = 10

    def fit(self, matrix: Matrix, label: Floats, options: FitOptions) -> AlgorithmFit:
        from sklearn.ensemble import HistGradientBoostingClassifier as OneTask  # noqa: PLC0415 - tasks wait for what they use

        stops = options.validation is not None and options.rounds is None
        fitted = OneTask(
            max_iter=options.rounds or self.max_trees,
            learning_rate=self.learning_rate,
            max_depth=self.max_depth,
            max_leaf_nodes=2**self.max_depth,
            min_samples_leaf=self.min_rows_per_leaf,
            l2_regularization=self.l2,
            max_features=self.slots_per_split,
            max_bins=self.bins,
            early_stopping=stops,
            scoring="loss",
            n_iter_no_change=self.patience,
            tol=0.0,
            random_state=options.seed,
        )
        if stops and options.validation is not None:
            fitted.fit(matrix, label, X_val=options.validation.matrix, y_val=options.validation.label)
            best = max(1, int(np.argmax(fitted.validation_score_)))
        else:
            fitted.fit(matrix, label)
            best = len(fitted._predictors)
        nodes = [boosting_nodes(of_one[0].nodes) for of_one in fitted._predictors[:best]]
        base = float(fitted._baseline_prediction.ravel()[0])
        first = nodes[0].copy()
        first["value"] += base  # MLlib's boosting has no term of its own beside the trees
        trees = Trees("boosting", (first, *nodes[1:]), matrix.shape[1])
        return AlgorithmFit(trees, lambda rows: _log_odds(fitted, rows, best) / 2, rounds=best)

    def estimator(self, *, rows: int, rounds: int | None = None) -> Any:  # noqa: ARG002
        return _estimator(
            "GBTClassifier",
            maxIter=rounds or self.max_trees,
            stepSize=self.learning_rate / 2,  # MLlib's margin is half the log-odds
            maxDepth=self.max_depth,
            minInstancesPerNode=self.min_rows_per_leaf,
            featureSubsetStrategy=str(self.slots_per_split),
            maxBins=self.bins,
        )


@dataclass(frozen=True)
class MLlib(Candidate):
    """One of MLlib's own classifiers with its own parameters: `MLlib("GBTClassifier", maxIter=60)`. Fitted by Spark on
    however many rows."""

    name: str
    params: Mapping[str, Any]

    def __init__(self, name: str, **params: Any) -> None:
        if name not in MLLIB:
            raise ConfigError(f"MLlib has no classifier {name!r} that is known here{nearest(name, MLLIB)}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "params", MappingProxyType(params))

    @property
    def settings(self) -> dict[str, Any]:
        return {"algorithm": self.name, **self.params}

    def estimator(self, *, rows: int, rounds: int | None = None) -> Any:  # noqa: ARG002
        return _estimator(self.name, **self.params)


@dataclass(frozen=True)
class Blend(Candidate):
    """The weighted sum of other candidates' margins, weights not below 0, fitted on later as-ofs."""

    of: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.of)) < 2:
            raise ConfigError(f"Blend: of is {self.of!r}, want the names of at least two other candidates")

    @property
    def settings(self) -> dict[str, Any]:
        return {"algorithm": "Blend", "of": list(self.of)}

    @property
    def blends(self) -> tuple[str, ...]:
        return self.of


Single = Logistic | Forest | Boosting | MLlib


# ---------------------------------------------------------------- scikit-learn's trees


def _forest_nodes(tree: Any) -> Nodes:
    """A tree of scikit-learn's RandomForestClassifier for the classes 0 and 1."""
    nodes = _nodes(tree)
    shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
    nodes["value"] = shares[:, 1] if shares.shape[1] == 2 else np.zeros(len(nodes))
    return nodes


def regression_nodes(tree: Any, scale: float) -> Nodes:
    """A tree of numbers, such as one of scikit-learn's GradientBoostingClassifier, its values times a scale."""
    nodes = _nodes(tree)
    nodes["value"] = tree.value[:, 0, 0] * scale
    return nodes


def _nodes(tree: Any) -> Nodes:
    """A tree of scikit-learn's without its values."""
    nodes = np.zeros(tree.node_count, NODE)
    is_leaf = tree.children_left < 0
    rows = np.asarray(tree.weighted_n_node_samples, dtype=np.float64)
    nodes["feature"] = np.where(is_leaf, -1, tree.feature)
    nodes["threshold"] = np.where(is_leaf, 0.0, tree.threshold)
    nodes["left"], nodes["right"] = (
        np.where(is_leaf, -1, tree.children_left),
        np.where(is_leaf, -1, tree.children_right),
    )
    nodes["rows"], nodes["impurity"] = rows, tree.impurity
    inner = np.flatnonzero(~is_leaf)
    left, right = tree.children_left[inner], tree.children_right[inner]
    after = (rows[left] * tree.impurity[left] + rows[right] * tree.impurity[right]) / rows[inner]
    nodes["gain"][inner] = tree.impurity[inner] - after
    return nodes


def boosting_nodes(tree: Any) -> Nodes:
    """A tree of scikit-learn's HistGradientBoostingClassifier, fitted on numbers without null."""
    nodes = np.zeros(len(tree), NODE)
    is_leaf = tree["is_leaf"].astype(bool)
    nodes["feature"] = np.where(is_leaf, -1, tree["feature_idx"])
    nodes["threshold"] = np.where(is_leaf, 0.0, tree["num_threshold"])
    nodes["left"] = np.where(is_leaf, -1, tree["left"].astype(np.int64))
    nodes["right"] = np.where(is_leaf, -1, tree["right"].astype(np.int64))
    nodes["value"], nodes["rows"] = tree["value"], tree["count"]
    nodes["gain"] = np.where(is_leaf, 0.0, np.maximum(tree["gain"], 0) / np.maximum(tree["count"], 1))
    return nodes


def _log_odds(fitted: Any, rows: Matrix, trees: int) -> Floats:
    """The log-odds by the first so many trees."""
    total = np.full(len(rows), float(fitted._baseline_prediction.ravel()[0]))
    known, n_threads = np.zeros((0, 8), dtype=np.uint32), 1
    numbers = np.ascontiguousarray(rows, dtype=np.float64)
    for (predictor,) in fitted._predictors[:trees]:
        total += predictor.predict(numbers, known, np.zeros(0, dtype=np.uint32), n_threads)
    return total
