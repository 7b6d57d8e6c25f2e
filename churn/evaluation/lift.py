"""What a ranking is worth to somebody who can act on its top only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from churn.evaluation.metrics import SHARES
from churn.evaluation.ranking import Floats, Ranked

POINTS = 200
"""Points of a curve: more than a plot can show, few enough to keep it small."""


@dataclass(frozen=True)
class Top:
    """The top `share` of a ranking: how many rows, how many positives among them, and what part of all that is."""

    share: float
    rows: int
    positives: float
    precision: float
    reached: float
    lift: float


def top(label: ArrayLike, score: ArrayLike, *, shares: Sequence[float] = tuple(SHARES.values())) -> tuple[Top, ...]:
    """The lift table. Positives are expected values where equal scores are cut through, so they may be fractions."""
    steps = Ranked.of(np.asarray(label), np.asarray(score)).steps()
    return tuple(
        Top(
            share=share,
            rows=steps.top(share),
            positives=steps.positives_in(steps.top(share)),
            precision=steps.precision(share),
            reached=steps.reached(share),
            lift=steps.lift(share),
        )
        for share in shares
    )


def gains(label: ArrayLike, score: ArrayLike, *, points: int = POINTS) -> tuple[Floats, Floats]:
    """The gains curve: the top share of rows, from 0 to 1, and the share of all positives that it reaches.

    Lift is the second over the first, recall is the second, and precision is lift times the share of positives.
    """
    steps = Ranked.of(np.asarray(label), np.asarray(score)).steps()
    share = np.linspace(0, 1, points + 1)
    return share, np.interp(share, steps.rows / steps.rows[-1], steps.positives / steps.positives[-1])
