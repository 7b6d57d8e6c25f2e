"""How far a distribution has drifted: the population stability index, and how much of it chance alone would make.

Sources: Siddiqi 2006, Credit Risk Scorecards, ch. 9, for the index and its customary limits of 0.1 (check) and 0.25
(drifted); Yurdakul 2018, Statistical Properties of Population Stability Index, for its distribution under no change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

LEAST_SHARE = 1e-4


def psi(reference: ArrayLike, now: ArrayLike) -> float | None:
    """The population stability index of two counts per bin: the sum over shares of (now - then) ln(now / then).

    An empty bin counts as half a row, and no share as less than LEAST_SHARE, or the logarithm would be infinite. None
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
    """The 99.9 % quantile of the index of two samples of one distribution; 0 where there is one bin, or no row.

    The index is distributed as (1/n + 1/m) times chi squared, whose degrees of freedom are one less than bins (Yurdakul
    2018).

    >>> round(noise(10, 1000, 1000), 4)
    0.0558
    """
    if bins < 2 or not n_reference or not n:
        return 0.0
    # scipy.stats.chi2.ppf(0.999, bins - 1) by the function it calls: scipy.stats takes a second or more to import.
    return float(chdtri(bins - 1, 0.001) * (1 / n_reference + 1 / n))
