"""How good a score is, with intervals that say how sure that is.

There is one implementation for the figure and for its bootstrap, from running sums over rows sorted once:
scikit-learn's functions sort again for every resample, which takes minutes for a million rows. The tests hold it to
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from churn.errors import BadInputError
from churn.evaluation.calibration import BINS, LEAST_PROBABILITY, calibration_error
from churn.evaluation.ranking import Floats, Ints, Ranked
from churn.model_spec import Campaign
from churn.training.profit import row_profits
from churn.vocabulary import CHURN, Vocabulary

SHARES = {"0.01": 0.01, "0.05": 0.05, "0.1": 0.1}
"""The shares of customers that lift and precision are given for, by the name they have in metrics."""

LOWER_IS_BETTER = frozenset({"brier", "log_loss", "calibration_error"})

Metrics = dict[str, Any]


def metrics(
    label: ArrayLike,
    score: ArrayLike,
    *,
    probability: bool = True,
    as_of: date | None = None,
    vocabulary: Vocabulary = CHURN,
    campaign: Campaign | None = None,
) -> Metrics:
    """The figures of one score on one date; with a `campaign` also its expected maximum profit, `empc`.

    brier, log_loss and calibration_error are None unless the score is a probability. Lift and precision are those
    of the top 1, 5 and 10 % (the nearest whole number of rows, at least one); rows of equal score count by their
    expected value over every order. Raises BadInputError where only one class is there, or a score is missing.
    """
    prepared = _Score.of(label, score, probability=probability, as_of=as_of, vocabulary=vocabulary, campaign=campaign)
    return {
        "n": len(prepared.ranked.label),
        "positives": int(prepared.ranked.label.sum()),
        **_nested(prepared.figures()),
    }


def evaluate(
    label: ArrayLike,
    score: ArrayLike,
    *,
    seed: int,
    resamples: int = 200,
    key: ArrayLike | None = None,
    probability: bool = True,
    as_of: date | None = None,
    vocabulary: Vocabulary = CHURN,
    campaign: Campaign | None = None,
) -> Metrics:
    """`metrics`, and under `intervals` the 95 % bootstrap interval [low, high] of each.

    Customers are drawn with replacement (percentile bootstrap, Efron 1979). With `key`, all rows of a customer are
    drawn together, and the same customers in any order give the same intervals. The calibration error's interval is
    centred on the figure: a resample has noise of its own, which only ever adds to an absolute error. That of `empc` is
    at the thresholds of all rows, which to first order are those of a resample: at the best threshold profit is flat.
    """
    labels, scores, units = _by_customer(key, label, score)
    prepared = _Score.of(labels, scores, probability=probability, as_of=as_of, vocabulary=vocabulary, campaign=campaign)
    figures = prepared.figures()
    # Without a key a row is known by its score and label alone, so it is drawn by its place in the ranking.
    draws = _draws(units if key is None else units[prepared.ranked.order], seed=seed, resamples=resamples)
    drawn = [prepared.figures(draw) for draw in draws]
    intervals = {
        name: _interval([d[name] for d in drawn], centre=figure if name == "calibration_error" else None)
        for name, figure in figures.items()
    }
    return {
        "n": len(prepared.ranked.label),
        "positives": int(prepared.ranked.label.sum()),
        **_nested(figures),
        "intervals": _nested(intervals),
    }


def compare(
    label: ArrayLike,
    score: ArrayLike,
    other: ArrayLike,
    *,
    seed: int,
    resamples: int = 200,
    key: ArrayLike | None = None,
    date: ArrayLike | None = None,
    probability: bool = False,
    campaign: Campaign | None = None,
) -> dict[str, Any]:
    """By how much a score is better than another on the same rows: per metric `difference` and its 95 % `interval`.

    Paired: each resample draws the same customers for both, so that what makes a date hard for both cancels out.
    With `date`, metrics are taken per date and averaged, as a lead reads them. Above 0 is better, for errors too.
    `probability` says that both scores are probabilities, and adds their errors; a `campaign` adds `empc`.
    """
    labels, firsts, seconds, dates, units = _by_customer(
        key, label, score, other, np.zeros(np.size(label)) if date is None else date
    )
    slices = [np.flatnonzero(dates == d) for d in np.unique(dates)]
    pairs = [
        tuple(
            _Score.of(labels[rows], each[rows], probability=probability, campaign=campaign)
            for each in (firsts, seconds)
        )
        for rows in slices
    ]

    def difference(draw: Ints | None) -> dict[str, float]:
        per_date = []
        for rows, (first, second) in zip(slices, pairs, strict=True):
            weights = (
                (None, None) if draw is None else (draw[rows][first.ranked.order], draw[rows][second.ranked.order])
            )
            a, b = first.figures(weights[0]), second.figures(weights[1])
            per_date.append(
                {
                    name: b[name] - a[name] if name in LOWER_IS_BETTER else a[name] - b[name]
                    for name in a
                    if a[name] is not None
                }
            )
        return {name: float(np.mean([d[name] for d in per_date])) for name in per_date[0]}

    differences = difference(None)
    drawn = [difference(draw) for draw in _draws(units, seed=seed, resamples=resamples)]
    intervals = {name: _interval([d[name] for d in drawn]) for name in differences}
    return _nested({name: {"difference": differences[name], "interval": intervals[name]} for name in differences})


@dataclass(frozen=True)
class _Score:
    """A score from which metrics are computed any number of times: sorted, binned, its losses taken."""

    ranked: Ranked
    starts: Ints
    losses: Mapping[str, Floats]
    profits: Floats | None
    """What each row adds to the expected maximum profit."""

    @classmethod
    def of(
        cls,
        label: ArrayLike,
        score: ArrayLike,
        *,
        probability: bool,
        as_of: date | None = None,
        vocabulary: Vocabulary = CHURN,
        campaign: Campaign | None = None,
    ) -> _Score:
        labels, scores = np.asarray(label), np.asarray(score, dtype=np.float64)
        _check(labels, scores, probability=probability, as_of=as_of, vocabulary=vocabulary)
        ranked = Ranked.of(labels, scores)
        losses: dict[str, Floats] = {}
        if probability:
            of_label = np.where(ranked.label == 1, ranked.score, 1 - ranked.score)
            losses = {"brier": (1 - of_label) ** 2, "log_loss": -np.log(np.maximum(of_label, LEAST_PROBABILITY))}
        profits = row_profits(ranked.label, ranked.score, campaign).expected if campaign else None
        return cls(ranked, ranked.bins(BINS), losses, profits)

    def figures(self, weight: Ints | None = None) -> dict[str, Any]:
        """Every metric by its flat name; NaN where a resample drew one class only."""
        steps = self.ranked.steps(weight)
        rows = float(steps.rows[-1])
        errors: dict[str, float | None] = {"brier": None, "log_loss": None, "calibration_error": None}
        if self.losses:
            errors = {
                name: float(loss.sum() if weight is None else (weight * loss).sum()) / rows
                for name, loss in self.losses.items()
            }
            errors["calibration_error"] = calibration_error(self.ranked, self.starts, weight)
        both = steps.both_classes
        return {
            "auc": steps.auc() if both else np.nan,
            "average_precision": steps.average_precision() if both else np.nan,
            **errors,
            **{f"lift/{name}": steps.lift(share) if both else np.nan for name, share in SHARES.items()},
            **{f"precision/{name}": steps.precision(share) for name, share in SHARES.items()},
            **self._profit(weight),
        }

    def _profit(self, weight: Ints | None) -> dict[str, float]:
        if self.profits is None:
            return {}
        weights = np.ones(len(self.profits)) if weight is None else weight
        return {"empc": float((weights * self.profits).sum()) / float(weights.sum())}


def _check(
    label: NDArray[np.generic], score: Floats, *, probability: bool, as_of: date | None, vocabulary: Vocabulary
) -> None:
    when = f" of {as_of:%Y-%m-%d}" if as_of else ""
    if not len(label):
        raise BadInputError(
            f"no {vocabulary.entities}{when} to evaluate a score on; choose another as-of or a wider cohort"
        )
    if invalid := int(np.count_nonzero((label != 0) & (label != 1))):
        raise BadInputError(
            f"{invalid} of {len(label)} {vocabulary.entities}{when} have a label that is neither 0 nor 1"
        )
    if missing := int(np.isnan(score).sum()):
        raise BadInputError(
            f"{missing} of {len(score)} {vocabulary.entities}{when} have no score (NaN); fill the model's inputs"
        )
    if probability and not (score.min() >= 0 and score.max() <= 1):
        raise BadInputError(
            f"scores{when} run from {score.min():g} to {score.max():g}, and a probability lies within 0 and 1; "
            "calibrate the model, or evaluate its ranking alone (probability=False)"
        )
    positives = int(np.count_nonzero(label))
    if positives in (0, len(label)):
        same, wanted = (
            (vocabulary.absent, vocabulary.happened) if positives == 0 else (vocabulary.happened, vocabulary.absent)
        )
        raise BadInputError(
            f"all {len(label)} {vocabulary.entities}{when} {same}: no score can be evaluated without some that "
            f"{wanted}; choose another as-of, or a longer horizon or wider cohort in [model.<name>]"
        )


def _by_customer(key: ArrayLike | None, *columns: ArrayLike) -> list[NDArray[Any]]:
    """The columns in the order of the key, and behind them the number of each row's customer (its own without a key).

    A sum of floats depends on its order in its last bits, so the order in which rows arrived must not be left in it.
    """
    arrays = [np.asarray(column) for column in columns]
    if key is None:
        return [*arrays, np.arange(len(arrays[0]))]
    units = np.unique(np.asarray(key), return_inverse=True)[1]
    order = np.argsort(units, kind="stable")
    return [*(array[order] for array in arrays), units[order]]


def _draws(units: Ints, *, seed: int, resamples: int) -> Iterator[Ints]:
    """How often each row is drawn, per resample; rows of one unit alike."""
    rng = np.random.default_rng(seed)
    count = int(units.max()) + 1
    in_order = count == len(units) and bool((np.diff(units) == 1).all())
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(count, size=count, dtype=np.int32), minlength=count).astype(
            np.int64, copy=False
        )
        yield drawn if in_order else drawn[units]


def _interval(drawn: list[float | None], *, centre: float | None = None) -> list[float] | None:
    values = np.array([np.nan if value is None else value for value in drawn], dtype=np.float64)
    if np.isnan(values).all():
        return None
    if centre is not None:
        values = np.maximum(values + centre - np.nanmean(values), 0)
    return [float(bound) for bound in np.nanpercentile(values, (2.5, 97.5))]


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`lift/0.1` as an entry of `lift`."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        first, _, rest = name.partition("/")
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            nested[name] = value
    return nested
