"""Whether a score of 30 % comes true 30 times in 100."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from churn.evaluation.ranking import Floats, Ints, Ranked

BINS = 10
Z_95 = 1.959963984540054
LEAST_PROBABILITY = 1e-15
_NEWTON_STEPS = 50
_CONVERGED = 1e-9


def calibration_error(ranked: Ranked, starts: Ints, weight: Ints | None = None) -> float:
    """Expected calibration error: the mean gap between mean score and share of positives over bins of equal mass.

    Source: Naeini, Cooper & Hauskrecht 2015 (AAAI); of equal mass, not width, as in Nixon et al. 2019 (CVPR workshops).
    """
    weighted = np.ones_like(ranked.label) if weight is None else weight
    gaps = np.add.reduceat(weighted * (ranked.score - ranked.label), starts)
    return float(np.abs(gaps).sum() / weighted.sum())


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability table: what was said and what came true, with a 95 % interval."""

    n: int
    score: float
    observed: float
    low: float
    high: float


def reliability(label: ArrayLike, score: ArrayLike, *, bins: int = BINS) -> tuple[Bin, ...]:
    """Mean score and share of positives in bins of equal mass, from the lowest score to the highest.

    Rows with the same score share a bin, so a score of few values makes fewer bins.
    """
    ranked = Ranked.of(np.asarray(label), np.asarray(score))
    starts = ranked.bins(bins)
    n = np.diff(np.append(starts, len(ranked.label)))
    said = np.add.reduceat(ranked.score, starts) / n
    seen = np.add.reduceat(ranked.label, starts) / n
    low, high = wilson(seen, n)
    rows = zip(n.tolist(), said.tolist(), seen.tolist(), low.tolist(), high.tolist(), strict=True)
    return tuple(Bin(*row) for row in rows)[::-1]


def wilson(share: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """The 95 % interval of a share seen in n rows (Wilson 1927), which stays within 0 and 1 in small bins too."""
    p, rows = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    centre = (p + Z_95**2 / (2 * rows)) / (1 + Z_95**2 / rows)
    half = Z_95 / (1 + Z_95**2 / rows) * np.sqrt(p * (1 - p) / rows + Z_95**2 / (4 * rows**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def slope_and_intercept(label: ArrayLike, score: ArrayLike) -> tuple[float, float]:
    """The line through log odds said and log odds seen; 1 and 0 where the score is calibrated (Cox 1958).

    A slope below 1 says that the scores are too extreme, an intercept below 0 that they are too high. NaN where the
    scores part the classes without a flaw, or say all the same: no one line fits best.
    """
    p = np.clip(np.asarray(score, dtype=np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    log_odds = np.log(p / (1 - p))
    inputs = np.stack((np.ones_like(log_odds), log_odds))
    line = np.array([0.0, 1.0])
    for _ in range(_NEWTON_STEPS if np.ptp(log_odds) else 0):
        fitted = 1 / (1 + np.exp(-(line @ inputs)))
        gradient = inputs @ (np.asarray(label) - fitted)
        step = np.linalg.lstsq((inputs * fitted * (1 - fitted)) @ inputs.T, gradient)[0]
        line += step
        if np.abs(step).max() < _CONVERGED:
            return float(line[1]), float(line[0])
    return np.nan, np.nan
