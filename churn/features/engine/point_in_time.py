"""Which rows are visible as of a time: the one rule of time, for Spark's scans and for numpy.

A row is visible at A if it happened before A, was known at A, and its next version was not. The as-ofs of an ordered
list that see a row are neighbours, so a row's visibility is a first and a last position in the list.
"""

from __future__ import annotations

from math import isinf

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.engine.aggregations import DAY
from churn.sources.versions import known_positions

Ints = npt.NDArray[np.int64]


def maybe_visible(first: int, last: int, *, lookback_days: float) -> Column:
    """Whether some as-of from `first` to `last`, in microseconds, may see a row of the `lookback_days` before it; a
    filter that can be pushed down to the scan."""
    before_last = (F.col("event_time") < _timestamp(last)) & (F.col("known_time") <= _timestamp(last))
    if isinf(lookback_days):
        return before_last
    return before_last & (F.col("event_time") >= _timestamp(first - round(lookback_days * DAY)))


def _timestamp(micros: int) -> Column:
    return F.timestamp_micros(F.lit(micros))


def visible(event: Ints, known: Ints, superseded: Ints, as_ofs: Ints) -> tuple[Ints, Ints]:
    """The positions [first, last) of the as-ofs at which each row is visible; first >= last where there is none.

    >>> visible(np.array([5]), np.array([20]), np.array([99]), as_ofs=np.array([5, 6, 20, 30, 99]))
    (array([2]), array([4]))
    """
    known_first, last = known_positions(known, superseded, as_ofs)
    return np.maximum(np.searchsorted(as_ofs, event, side="right"), known_first), last


def visible_from(event: Ints, known: Ints, *, delay: int) -> Ints:
    """The first as-of at which each row is visible, in microseconds: after its event and a delay, once it is known."""
    return np.maximum(event + delay + 1, known)


def visible_until(event: Ints, superseded: Ints, *, window: int | None, delay: int) -> Ints:
    """The first as-of at which each row is visible no longer: it has left `[as_of - delay - window, as_of - delay)`,
    or its next version is known. Where that is not after `visible_from`, no as-of sees it."""
    return superseded if window is None else np.minimum(event + delay + window + 1, superseded)
