"""How well predicted effects rank the rows of a randomised campaign: uplift at k, and the Qini curve.

A row is a customer of one of two arms with an outcome of 0 or 1. Nobody has both outcomes of one customer, so every
figure compares the arms among rows that are ranked alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

CONFIDENCE: Final = 0.95
CURVE: Final = tuple(number / 20 for number in range(21))
"""The shares of rows at which a Qini curve is given."""


@dataclass(frozen=True)
class Ranking:
    """Counts of the rows with the highest predicted effects, from none to all; rows that tie are taken together.

    Between two entries counts rise in a straight line, their expectation over every order of the rows that tie.
    """

    rows: Floats
    treated: Floats
    treated_outcomes: Floats
    held_out_outcomes: Floats

    @classmethod
    def of(cls, effect: Floats, treated: Flags, outcome: Floats) -> Ranking:
        order = np.argsort(-effect, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(effect[order])), len(effect) - 1)

        def counted(values: npt.NDArray[Any]) -> Floats:
            return np.concatenate([[0.0], np.cumsum(values[order], dtype=np.float64)[ends]])

        ones = np.ones(len(effect))
        return cls(counted(ones), counted(treated), counted(outcome * treated), counted(outcome * ~treated))

    def at(self, share: float) -> tuple[float, float, float, float]:
        """Of the share of rows with the highest effects: treated rows, those held out, and the outcomes of each."""
        rows = share * self.rows[-1]
        treated, of_treated, of_held_out = (
            float(np.interp(rows, self.rows, counts))
            for counts in (self.treated, self.treated_outcomes, self.held_out_outcomes)
        )
        return treated, rows - treated, of_treated, of_held_out

    def uplift(self, share: float) -> float | None:
        """The outcome's rate among the treated minus that among those held out, in the share of rows with the highest
        predicted effects; null = one of the arms has no row there."""
        treated, held_out, of_treated, of_held_out = self.at(share)
        return of_treated / treated - of_held_out / held_out if treated > 0 and held_out > 0 else None

    def gain(self, share: float) -> float:
        """Outcomes that treating the share of rows with the highest effects adds, per treated row of all.

        The height of the Qini curve: treated outcomes minus those of the held-out rows, scaled to as many rows
        (Radcliffe 2007, Using control groups to target on predicted lift). Where no row is held out yet, nothing is
        subtracted.
        """
        treated, held_out, of_treated, of_held_out = (np.array([count]) for count in self.at(share))
        return float(_gain(treated, held_out, of_treated, of_held_out, float(self.treated[-1]))[0])

    def qini(self) -> float:
        """The area between the Qini curve and the straight line to its end, per treated row; 0 = a random order."""
        gains = _gain(
            self.treated, self.rows - self.treated, self.treated_outcomes, self.held_out_outcomes, self.treated[-1]
        )
        return float(np.trapezoid(gains, self.rows / self.rows[-1]) - gains[-1] / 2)


def _gain(treated: Floats, held_out: Floats, of_treated: Floats, of_held_out: Floats, all_treated: float) -> Floats:
    scale = np.divide(treated, held_out, out=np.zeros_like(treated), where=held_out > 0)
    gains: Floats = (of_treated - of_held_out * scale) / all_treated
    return gains


def over_halves(values: Sequence[float | None], *, test_rows: float, train_rows: float) -> dict[str, Any]:
    """The `mean` of a figure over random halves of the same rows, its 95 % `interval`, and its `deviation`.

    Halves overlap, so that the deviation of the mean is more than that of independent ones; corrected as in Nadeau &
    Bengio 2003 (Inference for the Generalization Error, section 3): variance * (1 / halves + test rows / train rows).
    Null where a half has no figure; there is no interval of a single half.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "interval": None, "deviation": None}
    mean = float(np.mean(known))
    if len(known) == 1:
        return {"mean": mean, "interval": None, "deviation": None}
    deviation = float(np.std(known, ddof=1))
    around = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(known) - 1)) * deviation
    around *= sqrt(1 / len(known) + test_rows / train_rows)
    return {"mean": mean, "interval": [mean - around, mean + around], "deviation": deviation}


def difference(treated: tuple[int, int], held_out: tuple[int, int]) -> dict[str, Any]:
    """The effect of a campaign: the difference of two rates, each (rows, outcomes), with its 95 % `interval`.

    The interval is that of Newcombe 1998 (Interval estimation for the difference between independent proportions,
    method 10), which holds for rare outcomes too. Null where an arm has no row.
    """
    if not treated[0] or not held_out[0]:
        return {"mean": None, "interval": None}
    (rate_1, low_1, high_1), (rate_0, low_0, high_0) = _wilson(*treated), _wilson(*held_out)
    mean = rate_1 - rate_0
    low = mean - sqrt((rate_1 - low_1) ** 2 + (high_0 - rate_0) ** 2)
    high = mean + sqrt((high_1 - rate_1) ** 2 + (rate_0 - low_0) ** 2)
    return {"mean": mean, "interval": [low, high]}


def _wilson(rows: int, ones: int) -> tuple[float, float, float]:
    """A rate, and its Wilson score interval."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    rate = ones / rows
    centre = (rate + z * z / (2 * rows)) / (1 + z * z / rows)
    around = z / (1 + z * z / rows) * sqrt(rate * (1 - rate) / rows + z * z / (4 * rows * rows))
    return rate, centre - around, centre + around
