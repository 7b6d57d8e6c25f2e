"""What workers are to compute: plain data that travels to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import types as T

from churn.features.engine.aggregations import AGGREGATIONS, DAY, Aggregation, Array

SPINE: Final = ""
"""The name under which the spine travels among the sources."""

Kind = Literal["presence", "integer", "double", "text", "timestamp", "date"]
Result = Literal["count", "double", "text", "timestamp", "date"]
SPARK: Final[Mapping[Result, T.DataType]] = {
    "count": T.LongType(),
    "double": T.DoubleType(),
    "text": T.StringType(),
    "timestamp": T.TimestampType(),
    "date": T.DateType(),
}
ARROW: Final[Mapping[Result, pa.DataType]] = {
    "count": pa.int64(),
    "double": pa.float64(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}

Visible = Callable[[Array, Array, Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Measure:
    """One evaluated Column of a source.

    A "presence" is whether the row counts, which every row does where `always`; an "integer" is exact, and may be a
    decimal with `scale` places.
    """

    kind: Kind
    scale: int = 0
    always: bool = False

    @property
    def unit(self) -> float:
        return 10.0**self.scale


@dataclass(frozen=True)
class Request:
    """One column to compute: an aggregation of a source's measure in a window of `days` (None = no beginning)."""

    column: str
    source: str
    measure: int
    agg: str
    parameters: Mapping[str, float]
    days: float | None
    fill: float | str | None
    cause: tuple[str, int] | None = None
    within_days: float = 0
    delay: float = 0

    @property
    def aggregation(self) -> Aggregation:
        return AGGREGATIONS[self.agg]

    def is_mergeable(self, kind: Kind) -> bool:
        """Whether parts that add up exactly make it; sums of doubles do not, and an effect depends on its cause."""
        return bool(self.aggregation.parts) and not self.cause and not (self.aggregation.ordered and kind == "double")

    def lookback_days(self) -> float:
        """How many days before as-of its rows begin."""
        return inf if self.days is None else self.delay + self.days + self.aggregation.lookback_days(self.parameters)

    def result(self, kind: Kind) -> Result:
        """The type of its column, for a measure of this kind."""
        result = self.aggregation.result
        if result == "same" and kind in ("text", "timestamp", "date"):
            return kind
        return "count" if result == "count" else "double"


@dataclass(frozen=True)
class Requests:
    """Columns to compute, and the measures they are computed from: `measures` has an entry for each source."""

    requests: tuple[Request, ...]
    measures: Mapping[str, tuple[Measure, ...]]

    def kind(self, request: Request) -> Kind:
        return self.measures[request.source][request.measure].kind

    def result(self, request: Request) -> Result:
        """The type of a column."""
        return request.result(self.kind(request))


@dataclass(frozen=True)
class Plan(Requests):
    """All that a worker needs to compute customer features; `as_ofs` are in order."""

    as_ofs: tuple[int, ...]
    buckets: int
    visible: Visible = field(repr=False)

    def mergeable(self, source: str) -> list[Request]:
        """The requests of a source that are made of parts."""
        return [one for one in self.requests if one.source == source and one.is_mergeable(self.kind(one))]

    def ordered(self, source: str) -> Mapping[int, float]:
        """The measures of a source whose rows are needed in order, and from how many days before as-of on."""
        days_before: dict[int, float] = {}
        for request in self.requests:
            if not request.is_mergeable(self.kind(request)):
                used = {(request.source, request.measure): request.lookback_days()}
                if request.cause:
                    used[request.cause] = max(used.get(request.cause, 0), request.lookback_days() + request.within_days)
                for (name, measure), days in used.items():
                    if name == source:
                        days_before[measure] = max(days_before.get(measure, 0), days)
        return days_before

    def needs_event(self, source: str) -> bool:
        return bool(self.ordered(source)) or any(
            {"earliest", "latest"} & set(request.aggregation.parts) for request in self.mergeable(source)
        )

    def lookback_days(self, source: str) -> float:
        """How many days before as-of the rows of a source begin."""
        return max([*(request.lookback_days() for request in self.mergeable(source)), *self.ordered(source).values()])

    def edges(self, source: str) -> Array:
        """The edges of all windows: they cut event time into segments, and each window is a run of those."""
        windows = {request.days for request in self.mergeable(source) if request.days}
        starts = {as_of - round(days * DAY) for days in windows for as_of in self.as_ofs}
        return np.array(sorted(starts | set(self.as_ofs)))
