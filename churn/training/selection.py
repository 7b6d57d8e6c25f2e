"""Choose between candidates by their margins on later as-ofs, and fit the slopes that calibrate those margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from churn.model_spec import Campaign
from churn.training.profit import row_profits

Floats = npt.NDArray[np.float64]

LEAST_ROWS = 100
"""Rows of each class below which a slope is noise, and margins are taken as they are."""
CROSS_FOLDS = 5
"""Folds of the only slice; the rows of each are tried with slopes from the rest."""


@dataclass(frozen=True)
class Trial:
    """How a candidate did on the calibrate slice. `slopes` multiply its margins, of which a blend has several."""

    log_loss: float
    auc: float
    average_precision: float
    slopes: tuple[float, ...]
    losses: Floats
    """Of each row; the candidate with the least mean is the best."""
    empc: float | None = None
    """The expected maximum profit per customer, where candidates are selected by it."""

    @property
    def figures(self) -> dict[str, float]:
        found = {name: getattr(self, name) for name in ("log_loss", "auc", "average_precision", "empc")}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def summary(self) -> dict[str, Any]:
        return self.figures | {"slopes": list(self.slopes)}


def trial(parts: Sequence[tuple[Floats, Floats]], unit_slopes: Floats, campaign: Campaign | None = None) -> Trial:
    """The losses of logistic regressions on the margins, slopes not below 0 (Platt 1999, Advances in Large Margin
    Classifiers, ch. 5; with several margins it is stacking: Breiman 1996, Machine Learning 24:49-64).

    `parts` are the later slices in their order in time, (label, margins) each, with a column of margins for each part
    of the candidate. Losses are those of the second slice on, with slopes fitted on the slices before it and an
    intercept of its own, as rates change with the season; of the only slice, with slopes fitted on the other folds.
    Where a class has fewer than LEAST_ROWS rows in all, `slopes` are `unit_slopes`, which turn margins into log-odds,
    divided by their number. With a `campaign`, a row's loss is what it takes from the expected maximum profit.
    """
    label, margins = _together(parts)
    if len(parts) > 1:
        pairs = [(_together(parts[:number]), parts[number]) for number in range(1, len(parts))]
    else:
        fold = np.arange(len(label)) % CROSS_FOLDS  # rows are in the order of a hash
        pairs = [
            ((label[fold != n], margins[fold != n]), (label[fold == n], margins[fold == n])) for n in range(CROSS_FOLDS)
        ]
    log_odds = np.concatenate([_log_odds(before, after, unit_slopes) for before, after in pairs])
    labels = np.concatenate([of_after for _, (of_after, _) in pairs])
    log_losses = np.logaddexp(0, log_odds) - labels * log_odds
    profits = row_profits(labels, log_odds, campaign).expected if campaign else None
    slopes, _ = _non_negative(label, margins, unit_slopes)
    reliable = min(label.sum(), (1 - label).sum()) >= LEAST_ROWS
    return Trial(
        log_loss=float(log_losses.mean()),
        auc=float(roc_auc_score(labels, log_odds)),
        average_precision=float(average_precision_score(labels, log_odds)),
        slopes=tuple((slopes if reliable else unit_slopes / len(unit_slopes)).tolist()),
        losses=log_losses if profits is None else -profits,
        empc=None if profits is None else float(profits.mean()),
    )


def _together(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    label, margins = (np.concatenate(each) for each in zip(*parts, strict=True))
    return label, margins


def _log_odds(before: tuple[Floats, Floats], after: tuple[Floats, Floats], unit_slopes: Floats) -> Floats:
    """Those of later rows, with slopes fitted on earlier ones."""
    slopes, _ = _non_negative(*before, unit_slopes)
    label, margins = after
    log_odds = margins @ slopes
    return log_odds + intercept(label, np.ones(len(label)), log_odds)


def _non_negative(label: Floats, margins: Floats, unit_slopes: Floats) -> tuple[Floats, float]:
    """The slopes and the intercept of least log loss, slopes not below 0."""
    scale = np.maximum(margins.std(axis=0), 1e-12)
    shifted = (margins - margins.mean(axis=0)) / scale
    rate = np.clip(label.mean(), 1e-6, 1 - 1e-6)

    def loss(at: Floats) -> tuple[float, Floats]:
        log_odds = shifted @ at[:-1] + at[-1]
        wrong = 1 / (1 + np.exp(-log_odds)) - label
        value = float(np.mean(np.logaddexp(0, log_odds) - label * log_odds))
        return value, np.append(shifted.T @ wrong, wrong.sum()) / len(label)

    start = np.append(unit_slopes * scale / len(unit_slopes), np.log(rate / (1 - rate)))
    bounds = [(0, None)] * margins.shape[1] + [(None, None)]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-9}).x
    slopes = found[:-1] / scale
    return slopes, float(found[-1] - slopes @ margins.mean(axis=0))


def intercept(label: Floats, weight: Floats, log_odds: Floats) -> float:
    """What to add to log-odds so that their mean probability is the weighted share of 1 (between 1 and 999,999 in a
    million)."""
    share = float(np.clip(np.average(label, weights=weight), 1e-6, 1 - 1e-6))

    def excess(shift: float) -> float:
        return float(np.average(expit(log_odds + shift), weights=weight)) - share

    return float(brentq(excess, -60.0 - log_odds.max(), 60.0 - log_odds.min(), xtol=1e-13))


def simplest_of_the_best(trials: Mapping[str, Trial]) -> str:
    """The first candidate, in the order they are declared, that is within one standard error of the best.

    The rule of one standard error: Breiman, Friedman, Olshen & Stone 1984, Classification and Regression Trees, 3.4.3;
    the error here is that of the paired difference in loss.
    """
    best = min(trials.values(), key=lambda tried: float(tried.losses.mean()))
    for name, tried in trials.items():
        difference = tried.losses - best.losses
        if difference.mean() <= difference.std() / np.sqrt(len(difference)):
            return name
    raise AssertionError("the best is within any error of itself")
