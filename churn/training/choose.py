"""Choose between candidates on later as-ofs, and learn how far their log-odds may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

Floats = npt.NDArray[np.float64]

ENOUGH = 100
"""Rows of each class below which a slope is noise, and the log-odds are taken as they are."""


@dataclass(frozen=True)
class Trial:
    """How a candidate did on the calibrate slice, after its own Platt scaling. `slope` multiplies its margin."""

    log_loss: float
    auc: float
    average_precision: float
    slope: float
    losses: Floats

    @property
    def summary(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("log_loss", "auc", "average_precision", "slope")}


def trial(label: Floats, margin: Floats) -> Trial:
    """Platt scaling of one margin (Platt 1999, Advances in Large Margin Classifiers, ch. 5) and what it leaves."""
    scaler = LogisticRegression(C=np.inf).fit(margin[:, None], label)
    said = np.clip(scaler.predict_proba(margin[:, None])[:, 1], 1e-12, 1 - 1e-12)
    losses = -np.where(label == 1, np.log(said), np.log1p(-said))
    reliable = min(label.sum(), (1 - label).sum()) >= ENOUGH
    return Trial(
        log_loss=float(losses.mean()),
        auc=float(roc_auc_score(label, margin)),
        average_precision=float(average_precision_score(label, margin)),
        slope=max(0.0, float(scaler.coef_[0, 0])) if reliable else 1.0,
        losses=losses,
    )


def simplest_of_the_best(trials: Mapping[str, Trial]) -> str:
    """The first candidate, in the order they are declared, that is within one standard error of the best.

    The rule of one standard error: Breiman, Friedman, Olshen & Stone 1984, Classification and Regression Trees, 3.4.3;
    the error here is that of the paired difference in log loss.
    """
    best = min(trials.values(), key=lambda tried: tried.log_loss)
    for name, tried in trials.items():
        difference = tried.losses - best.losses
        if difference.mean() <= difference.std() / np.sqrt(len(difference)):
            return name
    raise AssertionError("the best is within any error of itself")
