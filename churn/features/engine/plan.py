"""What the panel asks of its workers: plain data that travels to them."""

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

Kind = Literal["mark", "whole", "fraction", "text", "moment", "day"]
Result = Literal["count", "double", "text", "moment", "day"]
SPARK: Final[Mapping[Result, T.DataType]] = {
    "count": T.LongType(),
    "double": T.DoubleType(),
    "text": T.StringType(),
    "moment": T.TimestampType(),
    "day": T.DateType(),
}
ARROW: Final[Mapping[Result, pa.DataType]] = {
    "count": pa.int64(),
    "double": pa.float64(),
    "text": pa.string(),
    "moment": pa.timestamp("us", tz="UTC"),
    "day": pa.date32(),
}

Visible = Callable[[Array, Array, Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Measure:
    """One evaluated Column of a source. A "mark" only says if the row counts; a whole number has `scale` decimals."""

    kind: Kind
    scale: int = 0
    always: bool = False

    @property
    def unit(self) -> float:
        return 10.0**self.scale


@dataclass(frozen=True)
class Ask:
    """One column of the panel."""

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

    def merges(self, kind: Kind) -> bool:
        """Whether it is made of parts that add up exactly; fractions do not, and an effect depends on its cause."""
        return bool(self.aggregation.parts) and not self.cause and not (self.aggregation.ordered and kind == "fraction")

    def reach(self) -> float:
        """How many days before as-of its rows begin."""
        return inf if self.days is None else self.delay + self.days + self.aggregation.reach(self.parameters)

    def result(self, kind: Kind) -> Result:
        """The type of its column, when it is asked of a measure of this kind."""
        result = self.aggregation.result
        if result == "same" and kind in ("text", "moment", "day"):
            return kind
        return "count" if result == "count" else "double"


@dataclass(frozen=True)
class Asked:
    """Columns to compute, and the measures they are computed from: `measures` has an entry for each source."""

    asks: tuple[Ask, ...]
    measures: Mapping[str, tuple[Measure, ...]]

    def kind(self, ask: Ask) -> Kind:
        return self.measures[ask.source][ask.measure].kind

    def result(self, ask: Ask) -> Result:
        """The type of a column."""
        return ask.result(self.kind(ask))


@dataclass(frozen=True)
class Plan(Asked):
    """All that a worker has to know to make a panel; `as_ofs` are in order."""

    as_ofs: tuple[int, ...]
    buckets: int
    visible: Visible = field(repr=False)

    def merged(self, source: str) -> list[Ask]:
        return [ask for ask in self.asks if ask.source == source and ask.merges(self.kind(ask))]

    def ordered(self, source: str) -> Mapping[int, float]:
        """The measures of a source whose rows are needed in order, and how many days before as-of."""
        reach: dict[int, float] = {}
        for ask in self.asks:
            if not ask.merges(self.kind(ask)):
                used = {(ask.source, ask.measure): ask.reach()}
                if ask.cause:
                    used[ask.cause] = max(used.get(ask.cause, 0), ask.reach() + ask.within_days)
                for (name, measure), days in used.items():
                    if name == source:
                        reach[measure] = max(reach.get(measure, 0), days)
        return reach

    def needs_event(self, source: str) -> bool:
        return bool(self.ordered(source)) or any(
            {"earliest", "latest"} & set(ask.aggregation.parts) for ask in self.merged(source)
        )

    def reach(self, source: str) -> float:
        merged = [ask.reach() for ask in self.merged(source)]
        return max([*merged, *self.ordered(source).values()])

    def edges(self, source: str) -> Array:
        """The edges of all windows: they cut event time into segments, and each window is a run of those."""
        starts = {as_of - round(ask.days * DAY) for ask in self.merged(source) if ask.days for as_of in self.as_ofs}
        return np.array(sorted(starts | set(self.as_ofs)))
