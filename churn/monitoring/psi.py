"""How far a distribution has moved: the population stability index, and how much of it chance alone would make.

Sources: Siddiqi 2006, Credit Risk Scorecards, ch. 9, for the index and its usual limits of 0.1 (look) and 0.25 (moved);
Yurdakul 2018, Statistical Properties of Population Stability Index, for its distribution under no change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST_SHARE = 1e-4
_Z_999 = 3.090232306167813


def psi(reference: ArrayLike, now: ArrayLike) -> float | None:
    """The population stability index of two counts per bin: the sum over shares of (now - then) ln(now / then).

    An empty bin counts as half a row, and no share as less than LEAST_SHARE, or the logarithm would have no end. Null
    where one side has no rows.

    >>> round(psi([50, 50], [60, 40]), 4)
    0.0405
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (reference, now)]
    if any(side.sum() == 0 for side in sides):
        return None
    before, after = (np.maximum(side / side.sum(), max(LEAST_SHARE, 0.5 / side.sum())) for side in sides)
    return float(((after - before) * np.log(after / before)).sum())


def noise(bins: int, n_reference: int, n: int) -> float:
    """What the index of rows drawn from one distribution stays below in 999 of 1,000 cases; 0 where there is one bin.

    It is that of (1/n + 1/m) times chi squared, with one degree of freedom less than bins (Yurdakul 2018); the quantile
    is Wilson and Hilferty's (1931, PNAS 17:684-688).

    >>> round(noise(10, 1000, 1000), 4)
    0.0561
    """
    if bins < 2 or not n_reference or not n:
        return 0.0
    free, step = bins - 1, 2 / (9 * (bins - 1))
    return float(free * (1 - step + _Z_999 * np.sqrt(step)) ** 3 * (1 / n_reference + 1 / n))
