"""The aggregations of a customer's rows. numpy alone, so that every engine can use them.

There are two kinds. A *mergeable* one is made of parts (a count, a total, a minimum) that add up over any split of the
rows; it adds whole numbers only, so the order of rows cannot change its bits. An *ordered* one reads a window's rows
sorted by customer, event time and value, and adds fractions in that order only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from math import inf, isinf
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

DAY: Final = 86_400_000_000
"""Microseconds in a day of UTC; all times here are whole microseconds."""

Array = npt.NDArray[Any]
Grouped = tuple[Array, Array]
"""Customers, each once, and the result of each; customers without a result are left out."""


@dataclass(frozen=True)
class Rows:
    """The rows of one measure that are visible at `as_of` and not null, sorted by customer, event time and value.

    The window begins at `since`; earlier rows are there for the aggregations that look back beyond it.
    """

    customer: Array
    event: Array
    value: Array
    as_of: int
    since: int

    def where(self, mask: Array) -> Rows:
        return replace(self, customer=self.customer[mask], event=self.event[mask], value=self.value[mask])

    @cached_property
    def in_window(self) -> Rows:
        """The rows of the window alone."""
        return self.where(self.event >= self.since)

    def after(self, causes: Rows, within_days: float) -> Rows:
        """The rows that have a cause of the same customer in the `within_days` before them, strictly earlier."""
        customer = np.concatenate((self.customer, causes.customer))
        event = np.concatenate((self.event, causes.event))
        is_cause = np.arange(len(customer)) >= len(self.customer)
        order = np.lexsort((is_cause, event, customer))
        customer, event, is_cause = customer[order], event[order], is_cause[order]
        cause = np.maximum.accumulate(np.where(is_cause, np.arange(len(order)), -1))
        caused = (cause >= 0) & (customer[cause] == customer) & (event - event[cause] <= within_days * DAY)
        mask = np.zeros(len(order), dtype=bool)
        mask[order] = caused & ~is_cause
        return self.where(mask[: len(self.customer)])


def run_starts(*keys: Array) -> Array:
    """Where each run of equal keys begins."""
    starts = np.ones(len(keys[0]), dtype=bool)
    starts[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(starts)


def _run_lengths(starts: Array, rows: int) -> Array:
    return np.diff(starts, append=rows)


def _count_by(customer: Array) -> Grouped:
    starts = run_starts(customer)
    return customer[starts], _run_lengths(starts, len(customer))


def _run_sums(values: Array, starts: Array) -> Array:
    """Totals of runs, added in the order of the rows."""
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)


# ---------------------------------------------------------------- ordered


def _sum(rows: Rows) -> Grouped:
    starts = run_starts(rows.in_window.customer)
    return rows.in_window.customer[starts], _run_sums(rows.in_window.value.astype(float), starts)


def _mean(rows: Rows) -> Grouped:
    customer, total = _sum(rows)
    return customer, total / _count_by(rows.in_window.customer)[1]


def _std(rows: Rows) -> Grouped:
    customer, mean = _mean(rows)
    starts = run_starts(rows.in_window.customer)
    lengths = _run_lengths(starts, len(rows.in_window.customer))
    squares = _run_sums((rows.in_window.value - np.repeat(mean, lengths)) ** 2, starts)
    several = lengths > 1
    return customer[several], np.sqrt(squares[several] / (lengths[several] - 1))


def _first(rows: Rows) -> Grouped:
    starts = run_starts(rows.in_window.customer)
    return rows.in_window.customer[starts], rows.in_window.value[starts]


def _last(rows: Rows) -> Grouped:
    return _nth_last(rows, rows.in_window.value, 1)


def _age_of_last(rows: Rows, k: float) -> Grouped:
    days = _days(rows)
    customer, event = _nth_last(days, days.event, int(k))
    return customer, (rows.as_of - event) / DAY


def _nth_last(rows: Rows, values: Array, n: int) -> Grouped:
    starts = run_starts(rows.in_window.customer)
    lengths = _run_lengths(starts, len(values))
    enough = lengths >= n
    at = (starts + lengths - n)[enough]
    return rows.in_window.customer[at], values[at]


def _distinct(rows: Rows) -> Grouped:
    return _count_by(_values(rows)[0])


def _entropy(rows: Rows) -> Grouped:
    customer, count = _values(rows)
    starts = run_starts(customer)
    share = count / np.repeat(_run_sums(count, starts), _run_lengths(starts, len(customer)))
    return customer[starts], np.abs(_run_sums(-share * np.log2(share), starts))


def _values(rows: Rows) -> Grouped:
    """Each customer's distinct values in the window: the customer, and how often the value occurs."""
    order = np.lexsort((rows.in_window.value, rows.in_window.customer))
    customer, value = rows.in_window.customer[order], rows.in_window.value[order]
    starts = run_starts(customer, value)
    return customer[starts], _run_lengths(starts, len(customer))


def _active_days(rows: Rows) -> Grouped:
    return _count_by(_days(rows).customer)


def _days(rows: Rows) -> Rows:
    """One row for each customer and active day of the window; its value is the day's number."""
    day = rows.in_window.event // DAY
    return replace(rows.in_window, value=day).where(run_starts(rows.in_window.customer, day))


def _gaps(rows: Rows) -> Rows:
    """One row for each two neighbouring active days of the window; its value is the days between them."""
    days = _days(rows)
    gap = np.diff(days.value, prepend=0)
    follows = np.ones(len(gap), dtype=bool)
    follows[run_starts(days.customer)] = False
    return replace(days, value=gap).where(follows)


def _gap_mean(rows: Rows) -> Grouped:
    return _mean(_gaps(rows))


def _gap_std(rows: Rows) -> Grouped:
    return _std(_gaps(rows))


def _gap_last(rows: Rows) -> Grouped:
    return _last(_gaps(rows))


def _gap_max(rows: Rows) -> Grouped:
    gaps = _gaps(rows)
    starts = run_starts(gaps.customer)
    longest = np.maximum.reduceat(gaps.value, starts) if len(starts) else gaps.value
    return gaps.customer[starts], longest


def _occupied(rows: Rows, period_days: float) -> Grouped:
    """How many periods of so many days, counted back from as-of, have a row."""
    number = (rows.as_of - 1 - rows.in_window.event) // int(period_days * DAY)
    return _count_by(rows.in_window.customer[run_starts(rows.in_window.customer, number)])


def _repeat(rows: Rows, within_days: float) -> Grouped:
    return _count_by(rows.after(rows, within_days).in_window.customer)


def _changed(rows: Rows) -> Rows:
    """The rows whose value differs from the one before."""
    changed = np.zeros(len(rows.value), dtype=bool)
    changed[1:] = (rows.value[1:] != rows.value[:-1]) & (rows.customer[1:] == rows.customer[:-1])
    return rows.where(changed)


def _changes(rows: Rows) -> Grouped:
    return _count_by(_changed(rows).in_window.customer)


def _days_since_change(rows: Rows) -> Grouped:
    changed = _changed(rows)
    customer, event = _nth_last(changed, changed.in_window.event, 1)
    return customer, (rows.as_of - event) / DAY


def _slope(rows: Rows) -> Grouped:
    days = replace(rows.in_window, value=(rows.in_window.event - rows.as_of) / DAY, since=rows.since)
    customer, mean_day = _mean(days)
    _, mean_value = _mean(rows)
    starts = run_starts(days.customer)
    lengths = _run_lengths(starts, len(days.customer))
    day = days.value - np.repeat(mean_day, lengths)
    value = rows.in_window.value - np.repeat(mean_value, lengths)
    covariance, variance = _run_sums(day * value, starts), _run_sums(day * day, starts)
    several = days.event[starts] < days.event[starts + lengths - 1]
    return customer[several], covariance[several] / variance[several]


def _decayed(rows: Rows, half_life_days: float) -> Grouped:
    """The sum of values, each weighted by 2**(-age / half-life)."""
    weight = np.exp2((rows.in_window.event - rows.as_of) / (half_life_days * DAY))
    return _sum(replace(rows.in_window, value=rows.in_window.value * weight))


# ---------------------------------------------------------------- mergeable


@dataclass(frozen=True)
class Part:
    """A number that adds up: how two of them merge, its value without rows, and what one row contributes."""

    merge: np.ufunc
    empty: float
    of_row: Callable[[Any, Any], Any]

    def empties(self, size: int, contributions: Array | int) -> Array:
        """So many empty ones, of the type of the rows' contributions."""
        dtype = np.asarray(contributions).dtype
        if isinf(self.empty) and dtype.kind == "i":
            return np.full(size, np.iinfo(dtype).max if self.empty > 0 else np.iinfo(dtype).min)
        return np.full(size, self.empty, dtype)


_LIMB: Final = 26
_LOW: Final = (1 << _LIMB) - 1

PARTS: Final[Mapping[str, Part]] = {
    "count": Part(np.add, 0, lambda value, event: 1),
    "total": Part(np.add, 0, lambda value, event: value),
    # A square is held in three limbs, so that adding up squares of values below 2**52 stays exact.
    "high": Part(np.add, 0, lambda value, event: (value >> _LIMB) ** 2),
    "middle": Part(np.add, 0, lambda value, event: (value >> _LIMB) * (value & _LOW)),
    "low": Part(np.add, 0, lambda value, event: (value & _LOW) ** 2),
    "least": Part(np.minimum, inf, lambda value, event: value),
    "greatest": Part(np.maximum, -inf, lambda value, event: value),
    "earliest": Part(np.minimum, inf, lambda value, event: event),
    "latest": Part(np.maximum, -inf, lambda value, event: event),
}

Parts = Mapping[str, Array]


def _exact_std(parts: Parts, _as_of: Any) -> Array:
    """The deviation from exact sums: n * sum of squares - square of the sum, over n * (n - 1).

    That difference is a small one of large numbers. It is exact in 64 bits, where overflow wraps around, as soon as
    the fractions show that it is small enough to fit.
    """
    count, total = parts["count"], parts["total"]
    high, middle, low = parts["high"], parts["middle"], parts["low"]
    wrapped = count * ((high << 2 * _LIMB) + (middle << _LIMB + 1) + low) - total * total
    squares = np.ldexp(high.astype(float), 2 * _LIMB) + np.ldexp(middle.astype(float), _LIMB + 1) + low
    rough = count * squares - total.astype(float) ** 2
    difference = np.where(count * squares < 2.0**90, np.where(rough < 2.0**60, wrapped, rough), rough)
    deviation: Array = np.sqrt(difference / np.where(count > 1, count * (count - 1.0), np.nan))
    return deviation


# ---------------------------------------------------------------- the list


@dataclass(frozen=True)
class Aggregation:
    """How a window's rows become one value.

    `result`: "count" is a whole number, "number" is a fraction without the measure's unit, "measure" is a fraction in
    the measure's unit, "same" is one of the measure's values. `accepts`: what the measure must be, where "row" only
    needs to know whether the row counts, and "order" is a number or a time. `lookback_days`: how many days before the
    window it reads. With both `parts` and `ordered`, `parts` serve whole numbers and `ordered` fractions.
    """

    result: Literal["count", "number", "measure", "same"]
    accepts: Literal["row", "value", "order", "number"] = "row"
    parts: tuple[str, ...] = ()
    finish: Callable[[Parts, Any], Array] | None = None
    ordered: Callable[..., Grouped] | None = None
    lookback_days: Callable[[Mapping[str, float]], float] = lambda parameters: 0.0

    @property
    def parameters(self) -> frozenset[str]:
        return frozenset(signature(self.ordered).parameters) - {"rows"} if self.ordered else frozenset()


AGGREGATIONS: Final[Mapping[str, Aggregation]] = {
    "count": Aggregation("count", parts=("count",), finish=lambda parts, as_of: parts["count"]),
    "sum": Aggregation(
        "measure", "number", ("count", "total"), lambda parts, as_of: parts["total"].astype(float), _sum
    ),
    "mean": Aggregation(
        "measure", "number", ("count", "total"), lambda parts, as_of: parts["total"] / parts["count"], _mean
    ),
    "std": Aggregation("measure", "number", ("count", "total", "high", "middle", "low"), _exact_std, _std),
    "min": Aggregation("same", "order", ("count", "least"), lambda parts, as_of: parts["least"]),
    "max": Aggregation("same", "order", ("count", "greatest"), lambda parts, as_of: parts["greatest"]),
    "days_since_first": Aggregation(
        "number", parts=("count", "earliest"), finish=lambda parts, as_of: (as_of - parts["earliest"]) / DAY
    ),
    "days_since_last": Aggregation(
        "number", parts=("count", "latest"), finish=lambda parts, as_of: (as_of - parts["latest"]) / DAY
    ),
    "first": Aggregation("same", "value", ordered=_first),
    "last": Aggregation("same", "value", ordered=_last),
    "distinct": Aggregation("count", "value", ordered=_distinct),
    "entropy": Aggregation("number", "value", ordered=_entropy),
    "active_days": Aggregation("count", ordered=_active_days),
    "gap_mean": Aggregation("number", ordered=_gap_mean),
    "gap_std": Aggregation("number", ordered=_gap_std),
    "gap_max": Aggregation("number", ordered=_gap_max),
    "gap_last": Aggregation("number", ordered=_gap_last),
    "age_of_last": Aggregation("number", ordered=_age_of_last),
    "occupied": Aggregation("count", ordered=_occupied),
    "repeat": Aggregation("count", ordered=_repeat, lookback_days=lambda parameters: parameters["within_days"]),
    "changes": Aggregation("count", "value", ordered=_changes, lookback_days=lambda parameters: inf),
    "days_since_change": Aggregation(
        "number", "value", ordered=_days_since_change, lookback_days=lambda parameters: inf
    ),
    "slope": Aggregation("measure", "number", ordered=_slope),
    "decayed": Aggregation("measure", "number", ordered=_decayed),
}
"""What `agg` may be. Null rows count nowhere; a customer without rows in the window gets the feature's fill."""

MERGEABLE: Final = frozenset(name for name, aggregation in AGGREGATIONS.items() if aggregation.parts)
"""The aggregations that transaction features may use."""
