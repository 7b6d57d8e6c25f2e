"""Transactions as of themselves: for fraud, every transaction is described by what was known just before it.

Spark evaluates each measure once, as for the panel. The transactions, whole, are then shuffled once for each key they
are looked at by (customer, merchant, device, ...), packed, beside the narrow rows of the sources; they never become
Spark rows in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial, reduce
from math import isinf

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.aggregate import DAY, MERGEABLE
from churn.features.declare import Days, Derived, Feature, Windowed, named
from churn.features.measure import Measured, ask, bucket_of, finished, micros, windowed_inputs
from churn.features.moments import MOMENT, Stage, describe_each
from churn.features.pack import PACKED, pack_whole
from churn.features.plan import SPARK, SPINE
from churn.features.visible import seen_from, seen_until


def rows(
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
    chosen = named(features)
    wanted = {name: (feature, days) for feature in chosen for name, days in feature.columns(windows).items()}
    asked = windowed_inputs(wanted.values())
    for feature, _ in asked.values():
        _check(feature, sources)
    keys = list(dict.fromkeys(feature.by for feature, _ in asked.values()))
    own = {name for feature in chosen if isinstance(feature, Derived) for name in feature.own - {"as_of"}}
    if missing := sorted(
        {"customer_id", "event_time", *own, *(name for by in keys for name in by)} - set(transactions.columns)
    ):
        raise BadInputError(f"the transactions have no {', '.join(missing)}, which features look at; see the contract")
    described = _looked_up(transactions, sources, keys, asked, delay, between, buckets) if keys else transactions
    described = described.withColumn("as_of", F.col("event_time")) if "as_of" not in described.columns else described
    return described.select(*transactions.columns, *(finished(name, *of) for name, of in wanted.items()))


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
    keys: Sequence[tuple[str, ...]],
    asked: Mapping[str, tuple[Windowed, Days]],
    delay: float,
    between: tuple[datetime, datetime] | None,
    buckets: int | None,
) -> DataFrame:
    """The transactions with the asked columns, added key by key."""
    count = buckets or int(str(transactions.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    wide = _wide(transactions, keys, count)
    packed = wide.withColumnRenamed(_bucket(0), "bucket").mapInArrow(
        partial(pack_whole, source=SPINE, buckets=count), PACKED
    )
    fields = [field for field in wide.schema if field.name not in map(_bucket, range(len(keys)))]
    for number, by in enumerate(keys):
        last = number == len(keys) - 1
        stage, narrow = _stage(number, by, sources, asked, delay, between, count, last=last)
        fields += [T.StructField(one.column, SPARK[stage.result(one)]) for one in stage.asks]
        packed = (
            reduce(DataFrame.union, narrow, packed)
            .repartitionById(count, F.col("bucket"))
            .mapInArrow(partial(describe_each, stage=stage), T.StructType(fields) if last else PACKED)
        )
    return packed


def _wide(transactions: DataFrame, keys: Sequence[tuple[str, ...]], buckets: int) -> DataFrame:
    """The transactions with their moment, and each key with its bucket; those without a key are spread."""
    return transactions.select(
        "*",
        F.unix_micros("event_time").alias(MOMENT),
        *(_key(by).alias(_key_name(number)) for number, by in enumerate(keys)),
        *(
            bucket_of(F.coalesce(_key(by), F.col("customer_id").cast("string")), buckets).alias(_bucket(number))
            for number, by in enumerate(keys)
        ),
    )


def _stage(
    number: int,
    by: tuple[str, ...],
    sources: Mapping[str, DataFrame],
    asked: Mapping[str, tuple[Windowed, Days]],
    delay: float,
    between: tuple[datetime, datetime] | None,
    buckets: int,
    *,
    last: bool,
) -> tuple[Stage, list[DataFrame]]:
    """What is asked of one key, and the packed rows of the sources that answer it."""
    own = {name: of for name, of in asked.items() if of[0].by == by}
    measured = {name: Measured(name, sources) for name in sorted({feature.source.name for feature, _ in own.values()})}
    asks = tuple(ask(name, *of, measured, delay=delay) for name, of in own.items())
    stage = Stage(
        key=_key_name(number),
        asks=asks,
        measures={name: source.measures for name, source in measured.items()},
        buckets=buckets,
        following=None if last else _bucket(number + 1),
        between=(micros(between[0]), micros(between[1])) if between else None,
        seen=(seen_from, seen_until),
    )
    for one in asks:
        if not one.merges(stage.kind(one)):
            raise BadInputError(
                f"{one.column}: {one.agg} of a {stage.kind(one)} does not add up from row to row; use one of "
                f"{', '.join(sorted(MERGEABLE))}, of whole numbers or decimals"
            )
    narrow = []
    for name, source in measured.items():
        where = _within_reach(max(one.reach() for one in asks if one.source == name), between)
        rows = source.narrow(source.measures, _key(by), buckets, where)
        narrow.append(rows.mapInArrow(partial(pack_whole, source=name, buckets=buckets), PACKED))
    return stage, narrow


def _key(by: tuple[str, ...]) -> Column:
    """A key as one text; of several columns, the length of each but the last before it, so that no two run together."""
    *firsts, last = (F.col(name).cast("string") for name in by)
    return F.concat(*(part for first in firsts for part in (F.length(first), F.lit(":"), first)), last)


def _key_name(number: int) -> str:
    return f"_key{number}"


def _bucket(number: int) -> str:
    return f"_bucket{number}"


def _within_reach(reach: float, between: tuple[datetime, datetime] | None) -> Column:
    """Rows outside are seen by no transaction; a filter that the scan can use."""
    if between is None:
        return F.lit(True)
    _, last = (F.timestamp_micros(F.lit(micros(moment))) for moment in between)
    seen = (F.col("event_time") < last) & (F.col("known_time") < last)
    if isinf(reach):
        return seen
    return seen & (F.col("event_time") >= F.timestamp_micros(F.lit(micros(between[0]) - round(reach * DAY))))
