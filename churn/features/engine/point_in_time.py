"""Which rows can be seen as of a moment. The one rule of time, in the two languages the engine speaks.

A row is visible at A if it happened before A, was known at A, and its next version was not. The rows that are seen at
some as-of of an ordered list are seen at neighbouring ones, so a row's visibility is a first and a last position in it.
"""

from __future__ import annotations

from math import isinf

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.engine.aggregations import DAY

Ints = npt.NDArray[np.int64]


def known_by(as_of: Column) -> Column:
    """Whether a row is known, in this version, at `as_of`; needs the columns known_time and superseded_at."""
    replaced_later = F.col("superseded_at").isNull() | (F.col("superseded_at") > as_of)
    return (F.col("known_time") <= as_of) & replaced_later


def within_reach(first: int, last: int, *, reach: float) -> Column:
    """Whether some moment from `first` to `last`, in microseconds, may see a row `reach` days back; a filter that the
    scan can use."""
    rows = (F.col("event_time") < _moment(last)) & (F.col("known_time") <= _moment(last))
    return rows if isinf(reach) else rows & (F.col("event_time") >= _moment(first - round(reach * DAY)))


def _moment(micros: int) -> Column:
    return F.timestamp_micros(F.lit(micros))


def visible(event: Ints, known: Ints, superseded: Ints, as_ofs: Ints) -> tuple[Ints, Ints]:
    """The positions [first, last) of the as-ofs at which each row is visible; first >= last where there is none.

    >>> visible(np.array([5]), np.array([20]), np.array([99]), as_ofs=np.array([5, 6, 20, 30, 99]))
    (array([2]), array([4]))
    """
    first = np.maximum(np.searchsorted(as_ofs, event, side="right"), np.searchsorted(as_ofs, known, side="left"))
    return first, np.searchsorted(as_ofs, superseded, side="left")


def seen_from(event: Ints, known: Ints, *, delay: int) -> Ints:
    """The first moment at which each row is seen, in microseconds: after its event and a delay, once it is known."""
    return np.maximum(event + delay + 1, known)


def seen_until(event: Ints, superseded: Ints, *, window: int | None, delay: int) -> Ints:
    """The first moment at which each row is seen no longer: it has left `[moment - delay - window, moment - delay)`,
    or its next version is known. Where that is not after `seen_from`, it is seen at no moment."""
    return superseded if window is None else np.minimum(event + delay + window + 1, superseded)
