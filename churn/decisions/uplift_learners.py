"""Learners of the effect of a treatment on each row, by the classifiers of churn.training, in one task.

T-learner and X-learner are those of Künzel, Sekhon, Bickel & Yu 2019 (Metalearners for estimating heterogeneous
treatment effects using machine learning, PNAS 116:4156, doi:10.1073/pnas.1804597116). Executors import no more than
this and churn.training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from churn.training.algorithms import (
    Boosting,
    FitOptions,
    Linear,
    Logistic,
    Matrix,
    Nodes,
    Trees,
    boosting_nodes,
    regression_nodes,
)

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A fitted model of one arm: what it gives for a row is a probability (`outcome`) or an effect (`effect`).

    Of a classifier the model is that of churn.training.algorithms; of a regression the coefficients, or the trees whose
    sum is the effect.
    """

    of: Literal["outcome", "effect"]
    model: Linear | Trees

    def values(self, matrix: Matrix) -> Floats:
        """One number a row."""
        if isinstance(self.model, Linear):
            raw: Floats = matrix.astype(np.float64) @ self.model.coefficients + self.model.intercept
        else:
            raw = _sums(self.model, matrix)
        return _probability(raw) if self.of == "outcome" else raw


@dataclass(frozen=True)
class Effect:
    """A fitted learner: the effect on a row's outcome rate is the sum of its parts' values, each times its weight."""

    parts: tuple[tuple[float, Part], ...]

    def of(self, matrix: Matrix) -> Floats:
        """The effect of each row."""
        total: Floats = np.sum([weight * part.values(matrix) for weight, part in self.parts], axis=0)
        return total


def _probability(log_odds: Floats) -> Floats:
    values: Floats = 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))
    return values


def _sums(trees: Trees, matrix: Matrix) -> Floats:
    """The sum of the trees' values for each row."""
    total = np.zeros(len(matrix))
    for nodes in trees.trees:
        place = np.zeros(len(matrix), np.int64)
        for _ in range(_depth(nodes)):
            feature, threshold = nodes["feature"][place], nodes["threshold"][place]
            inner = nodes["left"][place] >= 0
            value = matrix[np.arange(len(matrix)), np.maximum(feature, 0)]
            following = np.where(value <= threshold, nodes["left"][place], nodes["right"][place])
            place = np.where(inner, following, place)
        total += nodes["value"][place]
    return total


def _depth(nodes: npt.NDArray[Any]) -> int:
    depth = np.zeros(len(nodes), int)
    for place in range(len(nodes)):  # a parent comes before its branches
        for branch in ("left", "right"):
            if nodes[branch][place] >= 0:
                depth[nodes[branch][place]] = depth[place] + 1
    return int(depth.max())


@dataclass(frozen=True)
class NotChosen:
    """Rows of customers who were not chosen for a campaign, with their outcomes."""

    matrix: Matrix
    outcome: Floats


@dataclass(frozen=True)
class Contacts:
    """Rows of both arms, each with both outcomes, and rows of neither arm where there are some."""

    matrix: Matrix
    treated: Flags
    outcome: Floats
    not_chosen: NotChosen | None = None


class Learner(ABC):
    """How the effect of each row is learnt."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The declaration as a reviewer reads it."""

    @abstractmethod
    def fit(self, contacts: Contacts, seed: int) -> Effect:
        """The learner fitted on contacts."""


class _OfClassifiers(Learner):
    """A learner with a classifier for each arm."""

    algorithm: Logistic | Boosting

    @property
    def settings(self) -> dict[str, Any]:
        return {"learner": type(self).__name__, **self.algorithm.settings}

    def fit(self, contacts: Contacts, seed: int) -> Effect:
        if_treated, if_held_out = (
            Part("outcome", _classifier(self.algorithm, contacts.matrix[arm], contacts.outcome[arm], seed))
            for arm in (contacts.treated, ~contacts.treated)
        )
        return self.effect(contacts, if_treated, if_held_out, seed)

    @abstractmethod
    def effect(self, contacts: Contacts, if_treated: Part, if_held_out: Part, seed: int) -> Effect:
        """The effect, by the outcome of a row if it is treated and if it is held out."""


def _classifier(algorithm: Logistic | Boosting, matrix: Matrix, outcome: Floats, seed: int) -> Linear | Trees:
    if isinstance(algorithm, Logistic):
        return algorithm.fit(matrix, outcome, FitOptions(seed)).model
    return _for_rows(algorithm, len(matrix)).fit(matrix, outcome, FitOptions(seed, rounds=algorithm.max_trees)).model


def _for_rows(algorithm: Boosting, rows: int) -> Boosting:
    """Leaves of few rows have no more than a twentieth of them, or small campaigns could not be split at all."""
    return algorithm.model_copy(update={"min_rows_per_leaf": max(1, min(algorithm.min_rows_per_leaf, rows // 20))})


@dataclass(frozen=True)
class TLearner(_OfClassifiers):
    """Two classifiers, of the treated and of those held out; the effect is the difference of their probabilities."""

    algorithm: Logistic | Boosting

    def effect(self, contacts: Contacts, if_treated: Part, if_held_out: Part, seed: int) -> Effect:  # noqa: ARG002
        return Effect(((1.0, if_treated), (-1.0, if_held_out)))


@dataclass(frozen=True)
class XLearner(_OfClassifiers):
    """Two classifiers as of a T-learner, then in each arm a regression of what the rows' outcomes differ from those
    that the other arm's classifier expects. The effect is the mean of the two regressions: the one on the rows held
    out weighs as much as the share of the treated, which the campaign drew (equation 9 of the paper, with g = e)."""

    algorithm: Logistic | Boosting
    effect_trees: int = 40
    """Of boosting: trees of each regression."""

    @property
    def settings(self) -> dict[str, Any]:
        trees = {"effect_trees": self.effect_trees} if isinstance(self.algorithm, Boosting) else {}
        return super().settings | trees

    def effect(self, contacts: Contacts, if_treated: Part, if_held_out: Part, seed: int) -> Effect:
        matrix, treated, outcome = contacts.matrix, contacts.treated, contacts.outcome
        of_treated = outcome[treated] - if_held_out.values(matrix[treated])
        of_held_out = if_treated.values(matrix[~treated]) - outcome[~treated]
        share = float(treated.mean())
        variance = max(float(outcome.mean() * (1 - outcome.mean())), 1e-6)
        parts = [
            (weight, self._regression(matrix[arm], effect, variance, seed))
            for weight, arm, effect in ((1 - share, treated, of_treated), (share, ~treated, of_held_out))
        ]
        return Effect(tuple(parts))

    def _regression(self, matrix: Matrix, effect: Floats, variance: float, seed: int) -> Part:
        if isinstance(self.algorithm, Logistic):
            # Near a rate the log-odds of a row move its probability by the rate's variance, and so does the L2 term.
            return Part("effect", ridge(matrix, effect, self.algorithm.reg_param_total / variance))
        return Part("effect", _boosted(matrix, effect, _for_rows(self.algorithm, len(matrix)), self.effect_trees, seed))


@dataclass(frozen=True)
class TXLearner(XLearner):
    """The mean of a T-learner and an X-learner that have the same two classifiers."""

    def effect(self, contacts: Contacts, if_treated: Part, if_held_out: Part, seed: int) -> Effect:
        of_both = (
            *TLearner(self.algorithm).effect(contacts, if_treated, if_held_out, seed).parts,
            *super().effect(contacts, if_treated, if_held_out, seed).parts,
        )
        return Effect(tuple((weight / 2, part) for weight, part in of_both))


@dataclass(frozen=True)
class ResponseLearner(Learner):
    """How a treatment changes the outcome that is expected without it, where most of what is known of that comes from
    rows that no campaign chose.

    The log-odds of the outcome without a treatment are those of `untreated`, boosted trees fitted on the rows held out
    and those not chosen, brought to the level of those held out by an intercept and a slope. In the treated arm they
    have another intercept and slope, and the trees of `response` are boosted on top of them: the fewer these are, the
    more alike is the response of all; its `l2`, `bins` and `patience` do not apply. The effect is the difference of the
    two probabilities.
    """

    untreated: Boosting
    response: Boosting

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "learner": type(self).__name__,
            "untreated": self.untreated.settings,
            "response": self.response.settings,
        }

    def fit(self, contacts: Contacts, seed: int) -> Effect:
        matrix, treated, outcome = contacts.matrix, contacts.treated, contacts.outcome
        held_out, outcomes = matrix[~treated], outcome[~treated]
        if contacts.not_chosen is not None:
            held_out = np.concatenate([held_out, contacts.not_chosen.matrix])
            outcomes = np.concatenate([outcomes, contacts.not_chosen.outcome])
        trees = _classifier(self.untreated, held_out, outcomes, seed)
        assert isinstance(trees, Trees)
        log_odds = _sums(trees, matrix)
        if_held_out, if_treated = (_levelled(trees, log_odds[arm], outcome[arm]) for arm in (~treated, treated))
        settings = _for_rows(self.response, int(treated.sum()))
        response = _boosted_on(Part("outcome", if_treated), matrix[treated], outcome[treated], settings, seed)
        if_treated = replace(if_treated, trees=(*if_treated.trees, *response))
        return Effect(((1.0, Part("outcome", if_treated)), (-1.0, Part("outcome", if_held_out))))


def _levelled(trees: Trees, log_odds: Floats, outcome: Floats) -> Trees:
    """The trees whose sum is `log_odds`, brought to the level of an outcome by a slope and an intercept."""
    from sklearn.linear_model import LogisticRegression as OneTask  # noqa: PLC0415 - tasks wait for what they use

    fitted = OneTask(C=np.inf).fit(log_odds[:, None], outcome)
    nodes = [of_one.copy() for of_one in trees.trees]
    for of_one in nodes:
        of_one["value"] *= fitted.coef_[0][0]
    nodes[0]["value"] += fitted.intercept_[0]
    return replace(trees, trees=tuple(nodes))


class _Start:
    """What scikit-learn's boosting begins with: the probabilities of a part."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def fit(self, *_: object) -> _Start:
        return self

    def predict_proba(self, matrix: Matrix) -> Floats:
        values = self._part.values(matrix)
        return np.column_stack([1 - values, values])


def _boosted_on(start: Part, matrix: Matrix, outcome: Floats, settings: Boosting, seed: int) -> list[Nodes]:
    """Trees on the logistic loss that are added to those of a part."""
    from sklearn.ensemble import GradientBoostingClassifier as OneTask  # noqa: PLC0415 - tasks wait for what they use

    fitted = OneTask(
        n_estimators=settings.max_trees,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth,
        min_samples_leaf=settings.min_rows_per_leaf,
        max_features=settings.slots_per_split,
        init=_Start(start),
        random_state=seed,
    ).fit(matrix, outcome)
    return [regression_nodes(one.tree_, settings.learning_rate) for one in fitted.estimators_.ravel()]


def ridge(matrix: Matrix, target: Floats, l2: float) -> Linear:
    """A least-squares regression on standardised slots; `l2` is the weight of the L2 term against the sum."""
    mean, deviation = matrix.mean(axis=0, dtype=np.float64), matrix.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)
    standardised = (matrix - mean) / scale
    gram = standardised.T @ standardised
    gram[np.diag_indices_from(gram)] += max(l2, 1e-9 * len(target))
    centre = float(target.mean())
    coefficients = np.linalg.solve(gram, standardised.T @ (target - centre)) / scale
    return Linear(coefficients, centre - float(coefficients @ mean))


def _boosted(matrix: Matrix, target: Floats, settings: Boosting, trees: int, seed: int) -> Trees:
    """Boosted trees on the squared loss."""
    from sklearn.ensemble import HistGradientBoostingRegressor as OneTask  # noqa: PLC0415 - tasks wait for what they use

    fitted = OneTask(
        max_iter=trees,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth,
        max_leaf_nodes=2**settings.max_depth,
        min_samples_leaf=settings.min_rows_per_leaf,
        l2_regularization=settings.l2,
        max_features=settings.slots_per_split,
        max_bins=settings.bins,
        early_stopping=False,
        random_state=seed,
    ).fit(matrix, target)
    nodes = [boosting_nodes(of_one[0].nodes) for of_one in fitted._predictors]
    first = nodes[0].copy()
    first["value"] += float(fitted._baseline_prediction.ravel()[0])
    return Trees("regression", (first, *nodes[1:]), matrix.shape[1])
