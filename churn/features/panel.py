"""The panel: many as-ofs for every customer, in one shuffle.

Spark evaluates each measure once, before the shuffle and only what is needed; `pack` turns the rows of a map task into
one binary piece a bucket of customers, `describe` turns a bucket's pieces into the features of its spine rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from math import isinf
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.aggregate import DAY
from churn.features.declare import Days, Derived, Feature, Windowed, column_name
from churn.features.kernel import describe
from churn.features.pack import PACKED, pack
from churn.features.plan import SPARK, SPINE, Ask, Kind, Measure, Plan
from churn.features.visible import visible

_MOST_DECIMALS: Final = 6
"""Decimals with more are fractions: whole numbers of their last place would not fit."""


def panel(
    spine: DataFrame,
    sources: Mapping[str, DataFrame],
    features: Sequence[Feature],
    *,
    as_ofs: Iterable[datetime],
    windows: Sequence[int] | None = None,
    buckets: int | None = None,
) -> DataFrame:
    """The features of each spine row (customer_id, as_of), behind the spine's own columns.

    `sources` are named like their contracts. `as_ofs` lists the moments on the spine, naive ones in UTC, so that
    nothing need be run to learn them. `windows` replace those of every feature that has several. A bucket of customers
    is described at a time; there are as many as shuffle partitions, unless `buckets` says otherwise.

    Raises BadInputError where a feature's source is missing or its Column can't be evaluated there, and without as-ofs.
    """
    moments = tuple(sorted({_micros(as_of) for as_of in as_ofs}))
    if not moments:
        raise BadInputError("as_ofs is empty: name at least one moment to describe")
    wanted = {name: (feature, days) for feature in features for name, days in feature.columns(windows).items()}
    asked = dict(_windowed(wanted.values()))
    count = buckets or int(str(spine.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    measured = {name: _Measured(name, sources) for feature, _ in asked.values() for name in sorted(feature.sources)}
    asks = tuple(_ask(column, feature, days, measured) for column, (feature, days) in asked.items())
    measures = {name: source.measures for name, source in measured.items()}
    plan = Plan(moments, count, measures, asks, visible)
    frames = {SPINE: _by_bucket(spine, count, *(F.col(name) for name in spine.columns if name != "customer_id"))}
    frames |= {name: source.narrow(plan) for name, source in measured.items()}
    packed = [frame.mapInArrow(partial(pack, source=name, plan=plan), PACKED) for name, frame in frames.items()]
    described = (
        reduce(DataFrame.union, packed)
        .repartitionById(count, F.col("bucket"))
        .mapInArrow(partial(describe, plan=plan), _schema(spine, plan))
    )
    return described.select(*spine.columns, *(_final(name, *of) for name, of in wanted.items()))


def _windowed(wanted: Iterable[tuple[Feature, Days]]) -> Iterable[tuple[str, tuple[Windowed, Days]]]:
    """The columns to compute, those that derived features read among them."""
    for feature, days in wanted:
        inputs = feature.inputs(days).values() if isinstance(feature, Derived) else [(feature, days)]
        for windowed, window in inputs:
            assert isinstance(windowed, Windowed)
            yield column_name(windowed, window), (windowed, window)


def _final(name: str, feature: Feature, days: Days) -> Column:
    if not isinstance(feature, Derived):
        return F.col(name)
    value = feature.column(days)
    return (value if feature.fill is None else F.coalesce(value, F.lit(feature.fill))).alias(name)


def _micros(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(micros: float) -> Column:
    return F.timestamp_micros(F.lit(int(micros)))


def _by_bucket(rows: DataFrame, buckets: int, *columns: Column) -> DataFrame:
    customer = F.col("customer_id").cast("string")
    bucket = F.pmod(F.hash(customer), F.lit(buckets))
    return rows.where(customer.isNotNull()).select(bucket.alias("bucket"), customer.alias("customer"), *columns)


def _schema(spine: DataFrame, plan: Plan) -> T.StructType:
    own = [field for field in spine.schema if field.name != "customer_id"]
    made = [T.StructField(ask.column, SPARK[plan.result(ask)]) for ask in plan.asks]
    return T.StructType([T.StructField("customer_id", T.StringType()), *own, *made])


# ---------------------------------------------------------------- the measures of a source


class _Measured:
    """A source and the distinct Columns to measure on it."""

    def __init__(self, name: str, sources: Mapping[str, DataFrame]) -> None:
        if name not in sources:
            raise BadInputError(f"no source named {name!r} was given; give it to panel(), or leave out its features")
        self._name, self._rows = name, sources[name]
        if missing := sorted({"customer_id", "event_time", "known_time"} - set(self._rows.columns)):
            raise BadInputError(f"{name}: {', '.join(missing)} is missing; see its contract")
        self._columns: list[Column] = []
        self._evaluated: list[DataFrame] = []
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
        found = (number for number, known in enumerate(self._evaluated) if known.sameSemantics(evaluated))
        number = next(found, len(self._evaluated))
        if number == len(self._evaluated):
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

    def narrow(self, plan: Plan) -> DataFrame:
        """What the workers need of the source: rows that some as-of might see, columns that some feature asks for."""
        superseded = F.col("superseded_at") if "superseded_at" in self._rows.columns else F.lit(None).cast("timestamp")
        times = (F.unix_micros("event_time"), F.unix_micros("known_time"), F.unix_micros(superseded))
        measured = [
            _wire(column, measure).alias(f"m{number}")
            for number, (column, measure) in enumerate(zip(self._columns, plan.measures[self._name], strict=True))
            if not measure.always
        ]
        named = (time.alias(name) for time, name in zip(times, ("event", "known", "superseded"), strict=True))
        return _by_bucket(self._rows.where(_within_reach(self._name, plan)), plan.buckets, *named, *measured)


def _within_reach(source: str, plan: Plan) -> Column:
    """Rows outside are seen at no as-of; a filter that the scan can use."""
    last, reach = _moment(plan.as_ofs[-1]), plan.reach(source)
    rows = (F.col("event_time") < last) & (F.col("known_time") <= last)
    return rows if isinf(reach) else rows & (F.col("event_time") >= _moment(plan.as_ofs[0] - reach * DAY))


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


def _ask(column: str, feature: Windowed, days: Days, measured: Mapping[str, _Measured]) -> Ask:
    effect, cause = feature.measure(), None
    source, wants = feature.source.name, feature.aggregation.wants
    if feature.cause:
        caused_by, effect = effect
        cause = (feature.cause.name, measured[feature.cause.name].number(caused_by, feature, "row"))
    number = measured[source].number(effect, feature, wants)
    return Ask(column, source, number, feature.agg, feature.parameters, days, feature.fill, cause, feature.within_days)
