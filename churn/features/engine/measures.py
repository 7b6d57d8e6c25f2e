"""The Columns that features measure on a source, each evaluated by Spark once, and how their values travel."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.declarations import Days, Derived, Feature, Windowed, column_name
from churn.features.engine.plan import Ask, Kind, Measure

_MOST_DECIMALS: Final = 6
"""Decimals with more are fractions: whole numbers of their last place would not fit."""


def micros(moment: datetime) -> int:
    """Microseconds since 1970; a moment without a zone is in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def windowed_inputs(wanted: Iterable[tuple[Feature, Days]]) -> dict[str, tuple[Windowed, Days]]:
    """The columns to compute, those that derived features read among them."""
    found = {}
    for feature, days in wanted:
        inputs = feature.inputs(days).values() if isinstance(feature, Derived) else [(feature, days)]
        for windowed, window in inputs:
            assert isinstance(windowed, Windowed)
            found[column_name(windowed, window)] = (windowed, window)
    return found


def finished(name: str, feature: Feature, days: Days) -> Column:
    """A feature's own column, from the computed ones."""
    if not isinstance(feature, Derived):
        return F.col(name)
    value = feature.column(days)
    return (value if feature.fill is None else F.coalesce(value, F.lit(feature.fill))).alias(name)


class Measured:
    """A source and the distinct Columns to measure on it."""

    def __init__(self, name: str, sources: Mapping[str, DataFrame]) -> None:
        if name not in sources:
            raise BadInputError(f"no source named {name!r} was given; give it to panel(), or leave out its features")
        self._name, self._rows = name, sources[name]
        if missing := sorted({"customer_id", "event_time", "known_time"} - set(self._rows.columns)):
            raise BadInputError(f"{name}: {', '.join(missing)} is missing; see its contract")
        self._columns: list[Column] = []
        self._evaluated: list[DataFrame] = []
        self._alike: dict[int, list[int]] = {}
        self._by_value: set[int] = set()

    def number(self, column: Column, feature: Windowed, wants: str) -> int:
        """The number of the measure; equal Columns are measured once."""
        where = f"{feature.family}.{feature.name}, on {self._name}"
        try:
            evaluated = self._rows.select(column.alias("measure"))
        except AnalysisException as error:
            raise BadInputError(f"{where}: {error.getMessage()}") from error
        kind = _kind(evaluated.schema[0].dataType)
        if kind not in _KINDS[wants]:
            raise BadInputError(
                f"{where}: {feature.agg} cannot take {evaluated.schema[0].dataType.simpleString()}; cast the Column"
            )
        alike = self._alike.setdefault(evaluated.semanticHash(), [])
        found = (number for number in alike if self._evaluated[number].sameSemantics(evaluated))
        number = next(found, len(self._evaluated))
        if number == len(self._evaluated):
            alike.append(number)
            self._columns.append(column)
            self._evaluated.append(evaluated)
        if wants != "row":
            self._by_value.add(number)
        return number

    @property
    def measures(self) -> tuple[Measure, ...]:
        return tuple(self._measure(number) for number in range(len(self._columns)))

    def _measure(self, number: int) -> Measure:
        (seen,) = self._evaluated[number].schema
        if number not in self._by_value:
            return Measure("mark", always=not seen.nullable)
        kind = _kind(seen.dataType)
        assert kind
        return Measure(kind, seen.dataType.scale if kind == "whole" and isinstance(seen.dataType, T.DecimalType) else 0)

    def values(self, measures: Sequence[Measure], only: Container[int] | None = None) -> dict[str, Column]:
        """What the workers need of each row: event, known, superseded (in microseconds), m0, m1, ...

        `only` are the numbers of the measures that are wanted; None = all.
        """
        superseded = F.col("superseded_at") if "superseded_at" in self._rows.columns else F.lit(None).cast("timestamp")
        values = {
            "event": F.unix_micros("event_time"),
            "known": F.unix_micros("known_time"),
            "superseded": F.unix_micros(superseded),
        }
        for number, (column, measure) in enumerate(zip(self._columns, measures, strict=True)):
            if not measure.always and (only is None or number in only):
                values[f"m{number}"] = _wire(column, measure)
        return values

    def narrow(
        self,
        measures: Sequence[Measure],
        key: Column,
        buckets: int,
        where: Column,
        *,
        only: Container[int] | None = None,
    ) -> DataFrame:
        """Those of the rows that have a key and that some as-of might see, with `bucket` and `key` before them."""
        values = (column.alias(name) for name, column in self.values(measures, only).items())
        return bucketed(self._rows.where(where), key, buckets, *values)


def bucket_of(key: Column, buckets: int) -> Column:
    return F.pmod(F.hash(key), F.lit(buckets))


def bucketed(rows: DataFrame, key: Column, buckets: int, *columns: Column) -> DataFrame:
    """The rows that have a key, and the bucket it lies in."""
    return rows.where(key.isNotNull()).select(bucket_of(key, buckets).alias("bucket"), key.alias("key"), *columns)


_KINDS: Final[Mapping[str, frozenset[Kind | None]]] = {
    "row": frozenset({"whole", "fraction", "text", "moment", "day", None}),
    "value": frozenset({"whole", "fraction", "text", "moment", "day"}),
    "order": frozenset({"whole", "fraction", "moment", "day"}),
    "number": frozenset({"whole", "fraction"}),
}


def _kind(type_: T.DataType) -> Kind | None:
    if isinstance(type_, T.DecimalType):
        return "whole" if type_.scale <= _MOST_DECIMALS else "fraction"
    if isinstance(type_, T.IntegralType | T.BooleanType):
        return "whole"
    if isinstance(type_, T.FractionalType):
        return "fraction"
    if isinstance(type_, T.StringType):
        return "text"
    if isinstance(type_, T.TimestampType | T.TimestampNTZType):
        return "moment"
    return "day" if isinstance(type_, T.DateType) else None


def _wire(column: Column, measure: Measure) -> Column:
    """How a measure travels. A decimal goes as the double nearest to it, from which its whole units are had back."""
    match measure.kind:
        case "mark":
            return column.isNotNull()
        case "whole":
            return column.cast("double" if measure.scale else "bigint")
        case "fraction":
            return column.cast("double")
        case "text":
            return column.cast("string")
        case "moment":
            return F.unix_micros(column.cast("timestamp"))
        case "day":
            return F.unix_date(column)


def ask(
    asked: Mapping[str, tuple[Windowed, Days]], measured: Mapping[str, Measured], *, delay: float = 0
) -> dict[str, Ask]:
    """What the workers are to do for each column; `delay` is how many days before as-of a delayed window ends."""
    numbers: dict[tuple[str, str], tuple[tuple[str, int] | None, int]] = {}  # a feature is analysed once
    found = {}
    for column, (feature, days) in asked.items():
        known_as = (feature.family, feature.name)
        if known_as not in numbers:
            numbers[known_as] = _numbers(feature, measured)
        cause, number = numbers[known_as]
        late = delay if feature.delayed else 0
        found[column] = Ask(
            column,
            feature.source.name,
            number,
            feature.agg,
            feature.parameters,
            days,
            feature.fill,
            cause,
            feature.within_days,
            late,
        )
    return found


def _numbers(feature: Windowed, measured: Mapping[str, Measured]) -> tuple[tuple[str, int] | None, int]:
    """The measure of a feature's cause, if it has one, and its own."""
    effect, cause = feature.measure(), None
    if feature.cause:
        caused_by, effect = effect
        cause = (feature.cause.name, measured[feature.cause.name].number(caused_by, feature, "row"))
    return cause, measured[feature.source.name].number(effect, feature, feature.aggregation.wants)
