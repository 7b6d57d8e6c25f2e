"""Features of transactions as they arrive: the values of `churn.transaction_features`, from a stream's state.

The same declarations, measured by the same Columns and computed by the same kernel. Rows are sent to the bucket of each
key that features group by; keys that begin with the same column share a route. What the buckets of a transaction's keys
compute is joined at the end of the micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, reduce
from math import inf
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema

from churn.features.declarations import CUSTOMER, Feature
from churn.features.engine.customer_kernel import unpack
from churn.features.engine.packing import PACKED, in_chunks, serialize_by_bucket, to_numpy
from churn.features.engine.plan import SPARK
from churn.features.engine.point_in_time import visible_from, visible_until
from churn.features.engine.stream_state import EVENTS, LEDGER, FeatureProcessor, Route, encoded_type, measure_column
from churn.features.engine.transaction_kernel import Stage
from churn.features.transaction_features import TransactionPlan, check_mergeable, key_of, plan_transaction_features
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.stream_ledger import LEDGER_COLUMNS, LEDGER_ROW

SHARDS: Final = 1 << 16
"""Shards into which the keys of a route are hashed; the rows of one shard are stored together."""

_OWN: Final = TRANSACTIONS.schema


@dataclass(frozen=True)
class StreamEngine:
    """Features of transactions in a stream: what is computed, and the routes by which rows travel to their keys."""

    plan: TransactionPlan
    routes: tuple[Route, ...]
    buckets: int
    lateness: timedelta

    @classmethod
    def of(
        cls,
        past: Mapping[str, DataFrame],
        features: Sequence[Feature | str],
        *,
        delay: float,
        windows: Sequence[float] | None,
        lateness: timedelta,
        buckets: int,
    ) -> StreamEngine:
        """The engine of these features of transactions; `past` has the sources' columns, whether or not it has rows.

        A transaction may arrive `lateness` after a later one and still see all that it would have seen in time.
        `buckets` of keys a route are computed side by side. Raises as `churn.transaction_features` does.
        """
        plan = plan_transaction_features(_OWN.names, past, features, delay=delay, windows=windows)
        keys = plan.keys or (CUSTOMER,)
        stages = [_stage(plan, by, f"key{number}", buckets) for number, by in enumerate(keys)]
        routes = tuple(
            Route(
                stages=tuple(stage for stage in stages if stage.by[0] == first),
                own=tuple(_OWN.names) if number == 0 else tuple(TRANSACTIONS.key),
            )
            for number, first in enumerate(dict.fromkeys(by[0] for by in keys))
        )
        for route in routes:
            for stage in route.stages:
                check_mergeable(stage)
        return cls(plan, routes, buckets, lateness)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose rows the features read."""
        return tuple(self.plan.measured)

    def lookback_days(self, source: str) -> float:
        """How many days before a transaction its features read rows of a source; infinite = all of them."""
        if any(route.unbounded_parts(source) for route in self.routes if source in route.sources):
            return inf
        return max((route.lookback_days(source) for route in self.routes if source in route.sources), default=0.0)

    # ---------------------------------------------------------------- into the state

    def packed(self, rows: DataFrame, sources: Sequence[str], *, gather: bool = False) -> DataFrame:
        """Rows as they travel to their buckets, (bucket, source, batch); with `gather`, in few large batches.

        `rows` have the contract's columns of these `sources` and `superseded_at`, `row_of` (a source, or LEDGER_ROW),
        `requested` (a transaction whose features are computed), `retracted` (a version that is void), and
        LEDGER_COLUMNS.
        """
        narrow = self._narrow(rows, sources)
        gathered = narrow.repartition("bucket") if gather else narrow
        return gathered.mapInArrow(partial(_pack, buckets=self.buckets * len(self.routes)), PACKED)

    def _narrow(self, rows: DataFrame, sources: Sequence[str]) -> DataFrame:
        total = self.buckets * len(self.routes)
        is_ledger = F.col("row_of") == LEDGER_ROW
        measured = self._measured(sources)
        own = {field.name: F.col(field.name) if field.name in rows.columns else _null(field) for field in _OWN}
        narrow = rows.select(
            F.col("row_of").alias("source"),
            self._id(rows, sources).alias("id"),
            "requested",
            "retracted",
            F.explode(self._targets(rows, sources, is_ledger)).alias("target"),
            *(column.alias(name) for name, column in measured.items()),
            *(column.alias(name) for name, column in own.items()),
            *LEDGER_COLUMNS.names,
        )
        first_key = F.coalesce(*(F.col(f"target.{name}") for name in self._first_keys), F.col("id"))
        shard = F.pmod(F.xxhash64(first_key), F.lit(SHARDS)).cast("int")
        is_event = F.col("target.route") < len(self.routes)
        bucket = F.when(is_event, F.col("target.route") * self.buckets + shard % self.buckets).otherwise(total)
        leaves = (F.col("target.route") == 0) & F.col("requested")
        return narrow.select(
            bucket.cast("int").alias("bucket"),
            shard.alias("shard"),
            "source",
            "id",
            "requested",
            "retracted",
            *(F.col(f"target.{name}").alias(name) for name in self._keys),
            *measured,
            *(F.when(leaves | F.lit(name in TRANSACTIONS.key), F.col(name)).alias(name) for name in own),
            *LEDGER_COLUMNS.names,
        )

    @property
    def _keys(self) -> list[str]:
        return [name for route in self.routes for name in route.keys]

    @property
    def _first_keys(self) -> list[str]:
        return [route.keys[0] for route in self.routes]

    def _targets(self, rows: DataFrame, sources: Sequence[str], is_ledger: Column) -> Column:
        """The targets of a row: each route that requests its source, if it has the key; if its features are requested,
        all routes."""
        targets = [F.when(is_ledger, self._target(len(self.routes), {}))]
        for number, route in enumerate(self.routes):
            keys = {stage.key: key_of(stage.by) for stage in route.stages if set(stage.by) <= set(rows.columns)}
            if route.keys[0] not in keys:
                continue
            is_read = F.col("row_of").isin(*(set(sources) & set(route.sources)))
            is_sent = ~is_ledger & (F.col("requested") | (is_read & keys[route.keys[0]].isNotNull()))
            targets.append(F.when(is_sent, self._target(number, keys)))
        return F.array_compact(F.array(*targets))

    def _target(self, route: int, keys: Mapping[str, Column]) -> Column:
        null = F.lit(None).cast("string")
        return F.struct(F.lit(route).alias("route"), *(keys.get(name, null).alias(name) for name in self._keys))

    @staticmethod
    def _id(rows: DataFrame, sources: Sequence[str]) -> Column:
        """What identifies a row among those of its source."""
        ids = [name for name in ("transaction_id", "call_id") if name in rows.columns]
        return F.coalesce(*(F.col(name) for name in ids)) if ids and sources else F.lit(None).cast("string")

    def _measured(self, sources: Sequence[str]) -> dict[str, Column]:
        """Times and the measures of all sources, null where a row is of another."""
        columns: dict[str, Column] = {}
        for name, measured in self.plan.measured.items():
            measures = measured.measures
            values = measured.values(measures)
            for number, measure in enumerate(measures):
                if measure.always:
                    continue
                column = measure_column(name, number)
                if name in sources:
                    columns[column] = F.when(F.col("row_of") == name, values[f"m{number}"])
                else:
                    columns[column] = F.lit(None).cast(from_arrow_type(encoded_type(measure)))
        times = {"event": "event_time", "known": "known_time", "superseded": "superseded_at"}
        return {name: F.unix_micros(of) for name, of in times.items()} | columns

    # ---------------------------------------------------------------- through the state

    def through_state(self, packed: DataFrame, past: DataFrame | None) -> DataFrame:
        """Packed rows through the state: (bucket, source, batch). `past` are packed rows of before the first
        micro-batch; features read them, and none are computed for them."""
        lateness = self.lateness // timedelta(microseconds=1)
        return packed.groupBy("bucket").transformWithState(
            FeatureProcessor(self.routes, self.buckets, lateness),
            outputStructType=PACKED,
            outputMode="append",
            timeMode="None",
            initialState=None if past is None else past.groupBy("bucket"),
        )

    # ---------------------------------------------------------------- out of the state

    def features(self, output: DataFrame) -> DataFrame:
        """A micro-batch's transactions, each with its own columns and its features, from the output of the state."""
        requests = [(one, stage) for route in self.routes for stage in route.stages for one in stage.requests]
        computed = [T.StructField(one.column, SPARK[stage.result(one)]) for one, stage in requests]
        wide = T.StructType([*_OWN, *computed])
        rows = output.where(F.col("source") == EVENTS).mapInArrow(
            partial(_unpacked, schema=to_arrow_schema(wide, timezone="UTC")), wide
        )
        values = (F.max(name).alias(name) for name in wide.names if name not in TRANSACTIONS.key)
        return self.plan.finish(rows.groupBy(*TRANSACTIONS.key).agg(*values), _OWN.names)

    @staticmethod
    def ledger(output: DataFrame) -> DataFrame:
        """What became of the micro-batch's rows: LEDGER_COLUMNS."""
        return output.where(F.col("source") == LEDGER).mapInArrow(
            partial(_unpacked, schema=to_arrow_schema(LEDGER_COLUMNS, timezone="UTC")), LEDGER_COLUMNS
        )


def union_all(frames: Sequence[DataFrame]) -> DataFrame:
    """Frames of the same columns, in the same order, as one."""
    return reduce(DataFrame.union, frames)


def _stage(plan: TransactionPlan, by: tuple[str, ...], key: str, buckets: int) -> Stage:
    return Stage(
        by=by,
        key=key,
        requests=plan.requests.get(by, ()),
        measures=plan.measures,
        buckets=buckets,
        next_bucket=None,
        between=None,
        own_source=None,
        columns={},
        visibility=(visible_from, visible_until),
    )


def _null(of: T.StructField) -> Column:
    return F.lit(None).cast(of.dataType)


def _pack(batches: Iterable[pa.RecordBatch], buckets: int) -> Iterator[pa.RecordBatch]:
    """Rows as PACKED: events in their bucket, those of the ledger in the bucket behind the last one."""
    for chunk in in_chunks(batches):
        is_ledger = to_numpy(pc.equal(chunk["bucket"], buckets))
        if is_ledger.any():
            ledger = chunk.filter(pa.array(is_ledger)).select(["bucket", *LEDGER_COLUMNS.names])
            yield serialize_by_bucket(ledger, np.arange(len(ledger)), LEDGER, buckets + 1)
        if not is_ledger.all():
            events = chunk.filter(pa.array(~is_ledger)).drop_columns(LEDGER_COLUMNS.names)
            yield serialize_by_bucket(events, np.arange(len(events)), EVENTS, buckets)


def _unpacked(packed: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of PACKED ones, with null in the columns that a batch does not have."""
    for batches in unpack(packed).values():
        for batch in batches:
            columns = [
                batch[of.name].cast(of.type) if of.name in batch.schema.names else pa.nulls(len(batch), of.type)
                for of in schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
