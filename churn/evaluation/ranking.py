"""Rows in the order in which a score ranks them, equal scores as one step.

Every rank metric is read off two running sums, taken at the end of each step: how many rows were reached, and how
many of them were positive. Between the ends of a step they run in a straight line, which is the expected value over
every order of its rows; so no metric depends on the order in which rows arrive. Rows may carry whole weights, such
as the times a bootstrap drew them: one sort then serves any number of resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Running sums at the end of each step, from (0, 0) on: rows reached, and the positives among them."""

    rows: Ints
    positives: Ints

    @property
    def both_classes(self) -> bool:
        return bool(0 < self.positives[-1] < self.rows[-1])

    def auc(self) -> float:
        """The chance that a positive is ranked above a negative, a tie counting half (Mann-Whitney)."""
        negatives = self.rows - self.positives
        area = float((np.diff(negatives) * (self.positives[:-1] + self.positives[1:])).sum()) / 2
        return area / (float(self.positives[-1]) * float(negatives[-1]))

    def average_precision(self) -> float:
        """Precision at each step, weighted by the positives that it adds; no interpolation, as in scikit-learn."""
        rows, positives = self.rows[1:], self.positives[1:]
        reached = rows > 0  # a resample may leave the first steps empty
        precision = positives[reached] / rows[reached]
        # Not a dot product: BLAS would start threads for it, at a hundred times the cost on a machine busy with Spark.
        return float((np.diff(self.positives)[reached] * precision).sum()) / float(positives[-1])

    def positives_in(self, rows: int) -> float:
        """The positives expected among the first `rows`."""
        after = int(np.searchsorted(self.rows, rows))
        (x0, x1), (y0, y1) = self.rows[after - 1 : after + 1], self.positives[after - 1 : after + 1]
        return float(y0 + (rows - x0) / (x1 - x0) * (y1 - y0))

    def top(self, share: float) -> int:
        """How many rows the top `share` is: the nearest whole number, at least one."""
        return max(1, int(share * float(self.rows[-1]) + 0.5))

    def precision(self, share: float) -> float:
        """The share of positives in the top `share` of the rows."""
        rows = self.top(share)
        return self.positives_in(rows) / rows

    def lift(self, share: float) -> float:
        """How many times as many positives the top `share` holds as the same number of rows drawn by chance."""
        return self.precision(share) * float(self.rows[-1]) / float(self.positives[-1])

    def reached(self, share: float) -> float:
        """The share of all positives that is in the top `share` of the rows."""
        return self.positives_in(self.top(share)) / float(self.positives[-1])


@dataclass(frozen=True)
class Ranked:
    """Labels and scores from the highest score to the lowest; `order` leads back to the rows they came from."""

    order: Ints
    label: Ints
    score: Floats
    ends: Ints
    """The position behind the last row of each step."""

    @classmethod
    def of(cls, label: NDArray[np.generic], score: NDArray[np.generic]) -> Ranked:
        order = np.lexsort((label, -score.astype(np.float64))).astype(np.int64)
        ordered = score[order].astype(np.float64)
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered)).astype(np.int64)
        return cls(order, label[order].astype(np.int64), ordered, ends)

    def steps(self, weight: Ints | None = None) -> Steps:
        """Running sums over the rows, each counted `weight` times (in this order), once without it."""
        if weight is None:
            rows, positives = self.ends, np.cumsum(self.label)[self.ends - 1]
        else:
            rows, positives = np.cumsum(weight)[self.ends - 1], np.cumsum(weight * self.label)[self.ends - 1]
        return Steps(np.concatenate(([0], rows)), np.concatenate(([0], positives)))

    def bins(self, count: int) -> Ints:
        """Where each of `count` bins of about equal mass begins; a step lies whole in the bin of its middle row."""
        starts = np.concatenate(([0], self.ends[:-1]))
        bin_of_step = (starts + self.ends) * count // (2 * len(self.label))
        return starts[np.concatenate(([True], np.diff(bin_of_step) > 0))]
