"""Transactions as of themselves: for fraud, every transaction is described by what was known just before it.

Spark evaluates each measure once, as for the panel. The transactions, whole, are then shuffled once for each key they
are looked at by (customer, merchant, device, ...), packed, beside the narrow rows of the sources; they never become
Spark rows in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.declarations import Days, Derived, Feature, Windowed, named
from churn.features.engine.aggregations import MERGEABLE
from churn.features.engine.measures import Measured, ask, bucket_of, finished, micros, windowed_inputs
from churn.features.engine.packing import PACKED, pack_whole
from churn.features.engine.plan import SPARK, SPINE, Ask, Measure
from churn.features.engine.point_in_time import seen_from, seen_until, within_reach
from churn.features.engine.transaction_kernel import Stage, describe_each


def transaction_features(
    transactions: DataFrame,
    sources: Mapping[str, DataFrame],
    features: Sequence[Feature | str],
    *,
    delay: float = 0,
    windows: Sequence[float] | None = None,
    between: tuple[datetime, datetime] | None = None,
    buckets: int | None = None,
) -> DataFrame:
    """The features of each transaction as of its `event_time`, behind its own columns.

    A row of a source counts if it happened strictly before the transaction and was known by then: transactions of the
    same instant do not see each other. `features` may be names, of features or of whole families. `sources` are named
    like their contracts, and have the columns that features look at transactions by; `fraud_reports` are given as
    `churn.labels.reported` has them. `delay` is how many days before the transaction the windows of `delayed` features
    end. `windows` replace those of every feature that has several. `between` says that all the transactions happened
    in [first, last), so that rows of no use to them are not read. A bucket of keys is described at a time; there are
    as many as shuffle partitions, unless `buckets` says otherwise.

    Raises BadInputError where a feature's source or a key's column is missing, its Column can't be evaluated there, or
    its aggregation is not among those that add up.
    """
    wanted = looked_for(transactions.columns, sources, features, delay=delay, windows=windows)
    described = _looked_up(transactions, sources, wanted, between, buckets) if wanted.keys else transactions
    return wanted.finished(described, transactions.columns)


@dataclass(frozen=True)
class Wanted:
    """What is to be told of each transaction: `columns` of features, made from the `asks` of each key in `keys`."""

    columns: Mapping[str, tuple[Feature, Days]]
    keys: tuple[tuple[str, ...], ...]
    asks: Mapping[tuple[str, ...], tuple[Ask, ...]]
    measured: Mapping[str, Measured]

    @property
    def measures(self) -> Mapping[str, tuple[Measure, ...]]:
        return {name: source.measures for name, source in self.measured.items()}

    def finished(self, described: DataFrame, own: Sequence[str]) -> DataFrame:
        """The transactions' `own` columns and the features, from those with what was asked of each key."""
        if "as_of" not in described.columns:
            described = described.withColumn("as_of", F.col("event_time"))
        return described.select(*own, *(finished(name, *of) for name, of in self.columns.items()))


def looked_for(
    own: Sequence[str],
    sources: Mapping[str, DataFrame],
    features: Sequence[Feature | str],
    *,
    delay: float,
    windows: Sequence[float] | None,
) -> Wanted:
    """What `rows` does for these features, of transactions with these `own` columns. Raises what it raises."""
    chosen = named(features)
    wanted = {name: (feature, days) for feature in chosen for name, days in feature.columns(windows).items()}
    asked = windowed_inputs(wanted.values())
    for feature, _ in asked.values():
        _check(feature, sources)
    keys = tuple(dict.fromkeys(feature.by for feature, _ in asked.values()))
    read = {name for feature in chosen if isinstance(feature, Derived) for name in feature.own - {"as_of"}}
    if missing := sorted({"customer_id", "event_time", *read, *(name for by in keys for name in by)} - set(own)):
        raise BadInputError(f"the transactions have no {', '.join(missing)}, which features look at; see the contract")
    measured = {
        name: Measured(name, sources) for name in sorted({feature.source.name for feature, _ in asked.values()})
    }
    asks = ask(asked, measured, delay=delay)
    return Wanted(
        columns=wanted,
        keys=keys,
        asks={by: tuple(one for name, one in asks.items() if asked[name][0].by == by) for by in keys},
        measured=measured,
    )


def _check(feature: Windowed, sources: Mapping[str, DataFrame]) -> None:
    where = f"{feature.family}.{feature.name}"
    if feature.cause:
        raise BadInputError(f"{where}: what follows a cause is not counted for each transaction; leave it out")
    name = feature.source.name
    if name in sources and (missing := sorted(set(feature.by) - set(sources[name].columns))):
        raise BadInputError(f"{where}: {name} has no {', '.join(missing)} to be looked at by")


def _looked_up(
    transactions: DataFrame,
    sources: Mapping[str, DataFrame],
    wanted: Wanted,
    between: tuple[datetime, datetime] | None,
    buckets: int | None,
) -> DataFrame:
    """The transactions with the asked columns, added key by key."""
    count = buckets or int(str(transactions.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    # A table that is described by its own rows is read once: what it is asked travels with the transactions.
    itself = next((name for name, source in sources.items() if source is transactions), None)
    keys, measured, measures = wanted.keys, wanted.measured, wanted.measures
    bounds = (micros(between[0]), micros(between[1])) if between else None
    own = _travelling(transactions, measured[itself].values(measures[itself])) if itself and itself in measured else {}
    wide = _wide(transactions, keys, own, count)
    described = wide.withColumnRenamed(_bucket(0), "bucket").mapInArrow(
        partial(pack_whole, source=SPINE, buckets=count), PACKED
    )
    fields = [field for field in wide.schema if field.name not in map(_bucket, range(len(keys)))]
    for number, by in enumerate(keys):
        last = number == len(keys) - 1
        mine = wanted.asks[by]
        stage = Stage(
            by=by,
            key=_key_column(wide, number, by),
            asks=mine,
            measures=measures,
            buckets=count,
            following=None if last else _bucket(number + 1),
            between=bounds,
            itself=itself if own and any(one.source == itself for one in mine) else None,
            columns={"key": _key_column(wide, number, by), **{name: column for name, (column, _) in own.items()}},
            seen=(seen_from, seen_until),
        )
        check_adds_up(stage)
        fields += [T.StructField(one.column, SPARK[stage.result(one)]) for one in mine]
        described = (
            reduce(DataFrame.union, _narrow(stage, by, measured), described)
            .repartitionById(count, F.col("bucket"))
            .mapInArrow(partial(describe_each, stage=stage), T.StructType(fields) if last else PACKED)
        )
    return described


def check_adds_up(stage: Stage) -> None:
    for one in stage.asks:
        if not one.merges(stage.kind(one)):
            raise BadInputError(
                f"{one.column}: {one.agg} of a {stage.kind(one)} does not add up from row to row; use one of "
                f"{', '.join(sorted(MERGEABLE))}, of whole numbers or decimals"
            )


def _wide(
    transactions: DataFrame, keys: Sequence[tuple[str, ...]], own: Mapping[str, tuple[str, Column]], buckets: int
) -> DataFrame:
    """The transactions with their moment, each key and its bucket; those without a key are spread."""
    texts = {name for name, kind in transactions.dtypes if kind == "string"}
    made = {_key_name(number): key_of(by) for number, by in enumerate(keys) if by[0] not in texts or len(by) > 1}
    made |= {
        _bucket(number): bucket_of(F.coalesce(key_of(by), F.col("customer_id").cast("string")), buckets)
        for number, by in enumerate(keys)
    }
    made |= {name: column for name, column in own.values() if name not in transactions.columns}
    return transactions.select("*", *(column.alias(name) for name, column in made.items()))


def _travelling(transactions: DataFrame, values: Mapping[str, Column]) -> dict[str, tuple[str, Column]]:
    """By the names a worker knows them by: what a source's own transactions carry, and in which column of theirs."""
    times = {"event": "event_time", "known": "known_time", "superseded": "superseded_at"}
    there = {name: times[name] for name in times if times[name] in transactions.columns}
    return {name: (there.get(name, f"_own_{name}"), value) for name, value in values.items()}


def _narrow(stage: Stage, by: tuple[str, ...], measured: Mapping[str, Measured]) -> list[DataFrame]:
    """The packed rows of the sources that answer a stage."""
    packed = []
    for name in sorted({one.source for one in stage.asks} - {stage.itself}):
        asks = [one for one in stage.asks if one.source == name]
        reach, only = max(one.reach() for one in asks), {one.measure for one in asks}
        where = within_reach(*stage.between, reach=reach) if stage.between else F.lit(True)
        rows = measured[name].narrow(stage.measures[name], key_of(by), stage.buckets, where, only=only)
        packed.append(rows.mapInArrow(partial(pack_whole, source=name, buckets=stage.buckets), PACKED))
    return packed


def key_of(by: tuple[str, ...]) -> Column:
    """A key as one text; of several columns, the length of each but the last before it, so that no two run together."""
    *firsts, last = (F.col(name).cast("string") for name in by)
    return F.concat(*(part for first in firsts for part in (F.length(first), F.lit(":"), first)), last)


def _key_column(wide: DataFrame, number: int, by: tuple[str, ...]) -> str:
    """Where a key is in the transactions: in a column of its own, unless one of theirs is the same."""
    return _key_name(number) if _key_name(number) in wide.columns else by[0]


def _key_name(number: int) -> str:
    return f"_key{number}"


def _bucket(number: int) -> str:
    return f"_bucket{number}"
