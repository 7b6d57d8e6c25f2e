"""Whether a score of 30 % comes true 30 times in 100."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from churn.evaluation.ranking import Ints, Ranked

BINS = 10
LEAST_PROBABILITY = 1e-15


def calibration_error(ranked: Ranked, starts: Ints, weight: Ints | None = None) -> float:
    """Expected calibration error: the mean gap between mean score and share of positives over bins of equal mass.

    Source: Naeini, Cooper & Hauskrecht 2015 (AAAI); of equal mass, not width, as in Nixon et al. 2019 (CVPR workshops).
    """
    weighted = np.ones_like(ranked.label) if weight is None else weight
    gaps = np.add.reduceat(weighted * (ranked.score - ranked.label), starts)
    return float(np.abs(gaps).sum() / weighted.sum())


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability table: the mean score and the share of positives, with its 95 % interval."""

    n: int
    score: float
    observed: float
    low: float
    high: float


def reliability(label: ArrayLike, score: ArrayLike, *, bins: int = BINS) -> tuple[Bin, ...]:
    """Mean score and share of positives in bins of equal mass, from the lowest score to the highest.

    Rows with the same score share a bin, so a score of few values makes fewer bins. Intervals are Wilson's (1927),
    which stay within 0 and 1 in small bins too.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import, and only reports need it

    ranked = Ranked.of(np.asarray(label), np.asarray(score))
    starts = ranked.bins(bins)
    n = np.diff(np.append(starts, len(ranked.label)))
    score_sums, positives = (np.add.reduceat(each, starts) for each in (ranked.score, ranked.label))
    found = []
    for rows, total, hits in zip(n.tolist(), score_sums.tolist(), positives.tolist(), strict=True):
        low, high = binomtest(hits, rows).proportion_ci(method="wilson")
        found.append(Bin(rows, total / rows, hits / rows, float(low), float(high)))
    return tuple(found[::-1])


def slope_and_intercept(label: ArrayLike, score: ArrayLike) -> tuple[float, float]:
    """The logistic regression of the label on the log-odds of the score; 1 and 0 where it is calibrated (Cox 1958).

    A slope below 1 means that the scores are too extreme, an intercept below 0 that they are too high. NaN where a cut
    through the scores separates the classes, or all scores are equal: no finite line fits best.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import, and only reports need it

    labels = np.asarray(label)
    p = np.clip(np.asarray(score, dtype=np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    log_odds = np.log(p / (1 - p))
    of_negatives, of_positives = log_odds[labels == 0], log_odds[labels == 1]
    if not (of_negatives.size and of_positives.size):
        return np.nan, np.nan
    if of_negatives.max() <= of_positives.min() or of_positives.max() <= of_negatives.min():
        return np.nan, np.nan
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(log_odds.reshape(-1, 1), labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
