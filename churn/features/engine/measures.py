"""The Columns that features measure on a source: each is evaluated by Spark once, and its values travel to workers."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.declarations import Derived, Feature, Variant, Windowed, column_name
from churn.features.engine.plan import Kind, Measure, Request
from churn.sources import CONTRACTS
from churn.sources.announcements import ANNOUNCED, announcements

_MOST_DECIMALS: Final = 6
"""Decimals with more become doubles: whole numbers of their last place would not fit."""


def micros(time: datetime) -> int:
    """Microseconds since 1970; a time without a zone is in UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def with_defaults(name: str, rows: DataFrame) -> DataFrame:
    """The rows of a source with the columns that its contract has a default for."""
    return CONTRACTS[name].with_defaults(rows) if name in CONTRACTS else rows


def windowed_columns(columns: Iterable[tuple[Feature, Variant]]) -> dict[str, tuple[Windowed, Variant]]:
    """The columns that workers compute for these: their own, and those that derived features read."""
    computed = {}
    for feature, variant in columns:
        inputs = feature.inputs(variant).values() if isinstance(feature, Derived) else [(feature, variant)]
        for windowed, of in inputs:
            assert isinstance(windowed, Windowed)
            computed[column_name(windowed, of)] = (windowed, of)
    return computed


def final_column(name: str, feature: Feature, variant: Variant) -> Column:
    """A feature's own column, from the computed ones."""
    if not isinstance(feature, Derived):
        return F.col(name)
    value = feature.column(variant)
    return (value if feature.fill is None else F.coalesce(value, F.lit(feature.fill))).alias(name)


class MeasuredSource:
    """A source and the distinct Columns to measure on it."""

    def __init__(self, name: str, sources: Mapping[str, DataFrame]) -> None:
        source = name.removesuffix(ANNOUNCED)
        if source not in sources:
            raise BadInputError(
                f"no source named {source!r} was given; pass it in `sources`, or leave out its features"
            )
        if missing := sorted({"customer_id", "event_time", "known_time"} - set(sources[source].columns)):
            raise BadInputError(f"{source}: {', '.join(missing)} is missing; see its contract")
        rows = with_defaults(source, sources[source])
        self._name, self._rows = name, rows if name == source else announcements(rows)
        self._columns: list[Column] = []
        self._evaluated: list[DataFrame] = []
        self._by_hash: dict[int, list[int]] = {}
        self._by_value: set[int] = set()

    def number(self, column: Column, feature: Windowed, accepts: str) -> int:
        """The number of the measure; equal Columns are measured once."""
        where = f"{feature.family}.{feature.name}, on {self._name}"
        try:
            evaluated = self._rows.select(column.alias("measure"))
        except AnalysisException as error:
            raise BadInputError(f"{where}: {error.getMessage()}") from error
        kind = _kind(evaluated.schema[0].dataType)
        if kind not in _KINDS[accepts]:
            raise BadInputError(
                f"{where}: {feature.agg} cannot take {evaluated.schema[0].dataType.simpleString()}; cast the Column"
            )
        candidates = self._by_hash.setdefault(evaluated.semanticHash(), [])
        equal = (number for number in candidates if self._evaluated[number].sameSemantics(evaluated))
        number = next(equal, len(self._evaluated))
        if number == len(self._evaluated):
            candidates.append(number)
            self._columns.append(column)
            self._evaluated.append(evaluated)
        if accepts != "row":
            self._by_value.add(number)
        return number

    @property
    def measures(self) -> tuple[Measure, ...]:
        return tuple(self._measure(number) for number in range(len(self._columns)))

    def _measure(self, number: int) -> Measure:
        (field,) = self._evaluated[number].schema
        if number not in self._by_value:
            return Measure("presence", always=not field.nullable)
        kind = _kind(field.dataType)
        assert kind
        scale = field.dataType.scale if kind == "integer" and isinstance(field.dataType, T.DecimalType) else 0
        return Measure(kind, scale)

    def values(self, measures: Sequence[Measure], only: Container[int] | None = None) -> dict[str, Column]:
        """The values of each row that workers need: event, known, superseded (in microseconds), m0, m1, ...

        `only` are the numbers of the measures to evaluate; None = all.
        """
        superseded = F.col("superseded_at") if "superseded_at" in self._rows.columns else F.lit(None).cast("timestamp")
        values = {
            "event": F.unix_micros("event_time"),
            "known": F.unix_micros("known_time"),
            "superseded": F.unix_micros(superseded),
        }
        for number, (column, measure) in enumerate(zip(self._columns, measures, strict=True)):
            if not measure.always and (only is None or number in only):
                values[f"m{number}"] = _encoded(column, measure)
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
        """The values of the rows that have a key and that satisfy `where`, behind `bucket` and `key`."""
        values = (column.alias(name) for name, column in self.values(measures, only).items())
        return bucketed(self._rows.where(where), key, buckets, *values)


def bucket_of(key: Column, buckets: int) -> Column:
    return F.pmod(F.hash(key), F.lit(buckets))


def bucketed(rows: DataFrame, key: Column, buckets: int, *columns: Column) -> DataFrame:
    """The rows that have a key, and the bucket it lies in."""
    return rows.where(key.isNotNull()).select(bucket_of(key, buckets).alias("bucket"), key.alias("key"), *columns)


_KINDS: Final[Mapping[str, frozenset[Kind | None]]] = {
    "row": frozenset({"integer", "double", "text", "timestamp", "date", None}),
    "value": frozenset({"integer", "double", "text", "timestamp", "date"}),
    "order": frozenset({"integer", "double", "timestamp", "date"}),
    "number": frozenset({"integer", "double"}),
}


def _kind(type_: T.DataType) -> Kind | None:
    if isinstance(type_, T.DecimalType):
        return "integer" if type_.scale <= _MOST_DECIMALS else "double"
    if isinstance(type_, T.IntegralType | T.BooleanType):
        return "integer"
    if isinstance(type_, T.FractionalType):
        return "double"
    if isinstance(type_, T.StringType):
        return "text"
    if isinstance(type_, T.TimestampType | T.TimestampNTZType):
        return "timestamp"
    return "date" if isinstance(type_, T.DateType) else None


def _encoded(column: Column, measure: Measure) -> Column:
    """A measure as it travels. A decimal becomes the double nearest to it, from which its whole units are recovered."""
    match measure.kind:
        case "presence":
            return column.isNotNull()
        case "integer":
            return column.cast("double" if measure.scale else "bigint")
        case "double":
            return column.cast("double")
        case "text":
            return column.cast("string")
        case "timestamp":
            return F.unix_micros(column.cast("timestamp"))
        case "date":
            return F.unix_date(column)


def build_requests(
    columns: Mapping[str, tuple[Windowed, Variant]], sources: Mapping[str, MeasuredSource], *, delay: float = 0
) -> dict[str, Request]:
    """The request for each column; `delay` is how many days before as-of a delayed window ends."""
    numbers: dict[tuple[str, str], tuple[tuple[str, int] | None, int]] = {}  # a feature is analysed once
    requests = {}
    for column, (feature, variant) in columns.items():
        declared = (feature.family, feature.name)
        if declared not in numbers:
            numbers[declared] = _measure_numbers(feature, sources)
        cause, number = numbers[declared]
        window_delay = delay if feature.delayed else 0
        requests[column] = Request(
            column,
            feature.frame,
            number,
            feature.agg,
            variant.parameters,
            variant.days,
            feature.fill,
            cause,
            feature.within_days,
            window_delay,
        )
    return requests


def _measure_numbers(feature: Windowed, sources: Mapping[str, MeasuredSource]) -> tuple[tuple[str, int] | None, int]:
    """The measure of a feature's cause, if it has one, and its own."""
    effect, cause = feature.measure(), None
    if feature.cause:
        caused_by, effect = effect
        cause = (feature.cause.name, sources[feature.cause.name].number(caused_by, feature, "row"))
    return cause, sources[feature.frame].number(effect, feature, feature.aggregation.accepts)
