"""Features of every transaction, by what was known just before it: for fraud.

Spark evaluates each measure once, as for customers. The transactions, with all their columns, are then shuffled once
for each key that features group by (customer, merchant, device, ...), serialized, beside the narrow rows of the
sources; they never become Spark rows in between.
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
from churn.features.declarations import Derived, Feature, Variant, Windowed, resolved
from churn.features.engine.aggregations import MERGEABLE
from churn.features.engine.measures import (
    MeasuredSource,
    bucket_of,
    build_requests,
    final_column,
    micros,
    windowed_columns,
)
from churn.features.engine.packing import PACKED, pack_all
from churn.features.engine.plan import SPARK, SPINE, Measure, Request
from churn.features.engine.point_in_time import maybe_visible, visible_from, visible_until
from churn.features.engine.transaction_kernel import Stage, compute_transaction_features
from churn.sources.catalog.transactions import TRANSACTIONS


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
    like their contracts, and have the columns that features group by; `fraud_reports` are given as
    `churn.sources.versions.reported_transactions` returns them. `delay` is how many days before the transaction the
    windows of `delayed` features end. `windows` replace those of every feature that has several. With `between`, all
    the transactions happened in [first, last), and source rows of no use to them are not read. One task computes a
    bucket of keys at a time; there are as many buckets as shuffle partitions, unless `buckets` is given.

    Raises BadInputError where a feature's source or a key's column is missing, its Column can't be evaluated there, or
    its aggregation is not among those that add up.
    """
    given = transactions.columns
    complete = TRANSACTIONS.with_defaults(transactions)
    # The same frame stays the same: a source that is the transactions themselves is read once.
    sources = {name: complete if rows is transactions else rows for name, rows in sources.items()}
    plan = plan_transaction_features(complete.columns, sources, features, delay=delay, windows=windows)
    rows = _with_requested_columns(complete, sources, plan, between, buckets) if plan.keys else complete
    return plan.finish(rows, given)


@dataclass(frozen=True)
class TransactionPlan:
    """What is computed for each transaction: the `columns` of features, from the `requests` of each key in `keys`."""

    columns: Mapping[str, tuple[Feature, Variant]]
    keys: tuple[tuple[str, ...], ...]
    requests: Mapping[tuple[str, ...], tuple[Request, ...]]
    measured: Mapping[str, MeasuredSource]

    @property
    def measures(self) -> Mapping[str, tuple[Measure, ...]]:
        return {name: source.measures for name, source in self.measured.items()}

    def finish(self, rows: DataFrame, own: Sequence[str]) -> DataFrame:
        """The transactions' `own` columns and the features, from rows with the requested columns of each key."""
        if "as_of" not in rows.columns:
            rows = rows.withColumn("as_of", F.col("event_time"))
        return rows.select(*own, *(final_column(name, *of) for name, of in self.columns.items()))


def plan_transaction_features(
    own: Sequence[str],
    sources: Mapping[str, DataFrame],
    features: Sequence[Feature | str],
    *,
    delay: float,
    windows: Sequence[float] | None,
) -> TransactionPlan:
    """The plan of these features, for transactions with these `own` columns. Raises as `transaction_features` does."""
    chosen = resolved(features)
    columns = {name: (feature, of) for feature in chosen for name, of in feature.columns(windows).items()}
    computed = windowed_columns(columns.values())
    for feature, _ in computed.values():
        _check(feature, sources)
    keys = tuple(dict.fromkeys(feature.by for feature, _ in computed.values()))
    read = {name for feature in chosen if isinstance(feature, Derived) for name in feature.own - {"as_of"}}
    if missing := sorted({"customer_id", "event_time", *read, *(name for by in keys for name in by)} - set(own)):
        raise BadInputError(f"the transactions have no {', '.join(missing)}, which features read; see the contract")
    names = sorted({feature.source.name for feature, _ in computed.values()})
    measured = {name: MeasuredSource(name, sources) for name in names}
    requests = build_requests(computed, measured, delay=delay)
    return TransactionPlan(
        columns=columns,
        keys=keys,
        requests={by: tuple(one for name, one in requests.items() if computed[name][0].by == by) for by in keys},
        measured=measured,
    )


def _check(feature: Windowed, sources: Mapping[str, DataFrame]) -> None:
    where = f"{feature.family}.{feature.name}"
    if feature.cause:
        raise BadInputError(f"{where}: what follows a cause is not counted for each transaction; leave it out")
    if feature.announced:
        raise BadInputError(f"{where}: what is announced is not counted for each transaction; leave it out")
    name = feature.source.name
    if name in sources and (missing := sorted(set(feature.by) - set(sources[name].columns))):
        raise BadInputError(f"{where}: {name} has no {', '.join(missing)} to group by")


def _with_requested_columns(
    transactions: DataFrame,
    sources: Mapping[str, DataFrame],
    plan: TransactionPlan,
    between: tuple[datetime, datetime] | None,
    buckets: int | None,
) -> DataFrame:
    """The transactions with the requested columns, added key by key."""
    count = buckets or int(str(transactions.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    # A table that is a source of its own features is read once: its measures travel with the transactions.
    own_source = next((name for name, source in sources.items() if source is transactions), None)
    keys, measured, measures = plan.keys, plan.measured, plan.measures
    bounds = (micros(between[0]), micros(between[1])) if between else None
    carried = (
        _carried_columns(transactions, measured[own_source].values(measures[own_source]))
        if own_source and own_source in measured
        else {}
    )
    keyed = _with_keys(transactions, keys, carried, count)
    rows = keyed.withColumnRenamed(_bucket(0), "bucket").mapInArrow(
        partial(pack_all, source=SPINE, buckets=count), PACKED
    )
    fields = [field for field in keyed.schema if field.name not in map(_bucket, range(len(keys)))]
    for number, by in enumerate(keys):
        is_last = number == len(keys) - 1
        requests = plan.requests[by]
        key = _key_column(keyed, number, by)
        stage = Stage(
            by=by,
            key=key,
            requests=requests,
            measures=measures,
            buckets=count,
            next_bucket=None if is_last else _bucket(number + 1),
            between=bounds,
            own_source=own_source if carried and any(one.source == own_source for one in requests) else None,
            columns={"key": key, **{name: column for name, (column, _) in carried.items()}},
            visibility=(visible_from, visible_until),
        )
        check_mergeable(stage)
        fields += [T.StructField(request.column, SPARK[stage.result(request)]) for request in requests]
        rows = (
            reduce(DataFrame.union, _packed_sources(stage, by, measured), rows)
            .repartitionById(count, F.col("bucket"))
            .mapInArrow(partial(compute_transaction_features, stage=stage), T.StructType(fields) if is_last else PACKED)
        )
    return rows


def check_mergeable(stage: Stage) -> None:
    """Raises BadInputError for an aggregation that does not add up from row to row."""
    for request in stage.requests:
        kind = stage.kind(request)
        if not request.is_mergeable(kind):
            raise BadInputError(
                f"{request.column}: {request.agg} of a {kind} does not add up from row to row; use one of "
                f"{', '.join(sorted(MERGEABLE))}, of whole numbers or decimals"
            )


def _with_keys(
    transactions: DataFrame, keys: Sequence[tuple[str, ...]], carried: Mapping[str, tuple[str, Column]], buckets: int
) -> DataFrame:
    """The transactions with each key and its bucket; those without a key are spread by customer."""
    texts = {name for name, kind in transactions.dtypes if kind == "string"}
    added = {_key_name(number): key_of(by) for number, by in enumerate(keys) if by[0] not in texts or len(by) > 1}
    added |= {
        _bucket(number): bucket_of(F.coalesce(key_of(by), F.col("customer_id").cast("string")), buckets)
        for number, by in enumerate(keys)
    }
    added |= {name: column for name, column in carried.values() if name not in transactions.columns}
    return transactions.select("*", *(column.alias(name) for name, column in added.items()))


def _carried_columns(transactions: DataFrame, values: Mapping[str, Column]) -> dict[str, tuple[str, Column]]:
    """The values of a source's rows by their names in a worker: the transactions' column that carries each, and the
    expression."""
    times = {"event": "event_time", "known": "known_time", "superseded": "superseded_at"}
    existing = {name: column for name, column in times.items() if column in transactions.columns}
    return {name: (existing.get(name, f"_own_{name}"), value) for name, value in values.items()}


def _packed_sources(stage: Stage, by: tuple[str, ...], measured: Mapping[str, MeasuredSource]) -> list[DataFrame]:
    """The rows of the sources that a stage requests, but for the transactions' own."""
    packed = []
    for name in sorted({request.source for request in stage.requests} - {stage.own_source}):
        requests = [request for request in stage.requests if request.source == name]
        lookback_days, only = max(one.lookback_days() for one in requests), {one.measure for one in requests}
        where = maybe_visible(*stage.between, lookback_days=lookback_days) if stage.between else F.lit(True)
        rows = measured[name].narrow(stage.measures[name], key_of(by), stage.buckets, where, only=only)
        packed.append(rows.mapInArrow(partial(pack_all, source=name, buckets=stage.buckets), PACKED))
    return packed


def key_of(by: tuple[str, ...]) -> Column:
    """A key as one text; of several columns, the length of each but the last before it, so that no two run together."""
    *firsts, last = (F.col(name).cast("string") for name in by)
    return F.concat(*(part for first in firsts for part in (F.length(first), F.lit(":"), first)), last)


def _key_column(keyed: DataFrame, number: int, by: tuple[str, ...]) -> str:
    """Where a key is in the transactions: in a column of its own, unless one of theirs is the same."""
    return _key_name(number) if _key_name(number) in keyed.columns else by[0]


def _key_name(number: int) -> str:
    return f"_key{number}"


def _bucket(number: int) -> str:
    return f"_bucket{number}"
