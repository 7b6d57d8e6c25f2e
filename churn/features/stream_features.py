"""Transactions as of themselves, as they arrive: the answers of `churn.rows`, from a stream's state.

The same declarations, measured by the same Columns and answered by the same kernel. Rows are sent to the bucket of each
key they are looked at by; a pair of keys is kept with its first one. What buckets answer is put together again when the
micro-batch is whole.
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
from churn.features.engine.packing import PACKED, in_chunks, in_pieces, to_numpy
from churn.features.engine.plan import SPARK
from churn.features.engine.point_in_time import seen_from, seen_until
from churn.features.engine.stream_state import ASIDE, EVENTS, Described, Route, measure_column, wire
from churn.features.engine.transaction_kernel import Stage
from churn.features.transaction_features import Wanted, check_adds_up, key_of, looked_for
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.stream_ledger import LEDGER_COLUMNS, LEDGER_ROW

SLOTS: Final = 1 << 16
"""Stretches into which the keys of a column are hashed; keys of one stretch are kept together."""

_OWN: Final = TRANSACTIONS.schema


@dataclass(frozen=True)
class StreamEngine:
    """Features of transactions in a stream: what is wanted, and by which routes rows travel to their keys."""

    wanted: Wanted
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
        """Of these features of transactions; `past` has the sources' columns, whether or not it has rows.

        A transaction may come `lateness` after a later one and still see all that it would have seen. `buckets` of keys
        a route are described side by side. Raises what `churn.rows` does.
        """
        wanted = looked_for(_OWN.names, past, features, delay=delay, windows=windows)
        keys = wanted.keys or (CUSTOMER,)
        stages = [_stage(wanted, by, f"key{number}", buckets) for number, by in enumerate(keys)]
        routes = tuple(
            Route(
                stages=tuple(stage for stage in stages if stage.by[0] == first),
                own=tuple(_OWN.names) if number == 0 else tuple(TRANSACTIONS.key),
            )
            for number, first in enumerate(dict.fromkeys(by[0] for by in keys))
        )
        for route in routes:
            for stage in route.stages:
                check_adds_up(stage)
        return cls(wanted, routes, buckets, lateness)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose rows the features look at."""
        return tuple(self.wanted.measured)

    def horizon(self, source: str) -> float:
        """How many days back from a transaction its features see rows of a source; infinite = all of them."""
        if any(route.for_ever(source) for route in self.routes if source in route.sources):
            return inf
        return max((route.reach(source) for route in self.routes if source in route.sources), default=0.0)

    # ---------------------------------------------------------------- the way in

    def packed(self, rows: DataFrame, sources: Sequence[str], *, at_rest: bool = False) -> DataFrame:
        """Rows as they travel to their buckets: (bucket, source, piece); those `at_rest` are gathered into few pieces.

        `rows` have the contract's columns of these `sources` and `superseded_at`, `row_of` (a source, or LEDGER_ROW),
        `requested` (a transaction to be told of), `retracted` (a version that is not so any more), and LEDGER_COLUMNS.
        """
        narrow = self._narrow(rows, sources)
        gathered = narrow.repartition("bucket") if at_rest else narrow
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
            F.explode(self._ways(rows, sources, is_ledger)).alias("way"),
            *(column.alias(name) for name, column in measured.items()),
            *(column.alias(name) for name, column in own.items()),
            *LEDGER_COLUMNS.names,
        )
        spread = F.coalesce(*(F.col(f"way.{name}") for name in self._first_keys), F.col("id"))
        slot = F.pmod(F.xxhash64(spread), F.lit(SLOTS)).cast("int")
        is_event = F.col("way.route") < len(self.routes)
        bucket = F.when(is_event, F.col("way.route") * self.buckets + slot % self.buckets).otherwise(total)
        leaves = (F.col("way.route") == 0) & F.col("requested")
        return narrow.select(
            bucket.cast("int").alias("bucket"),
            slot.alias("slot"),
            "source",
            "id",
            "requested",
            "retracted",
            *(F.col(f"way.{name}").alias(name) for name in self._keys),
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

    def _ways(self, rows: DataFrame, sources: Sequence[str], is_ledger: Column) -> Column:
        """Where a row goes: along each route that asks for its source, if it has the key; if described, along all."""
        ways = [F.when(is_ledger, self._way(len(self.routes), {}))]
        for number, route in enumerate(self.routes):
            keys = {stage.key: key_of(stage.by) for stage in route.stages if set(stage.by) <= set(rows.columns)}
            if route.keys[0] not in keys:
                continue
            asked = F.col("row_of").isin(*(set(sources) & set(route.sources)))
            goes = ~is_ledger & (F.col("requested") | (asked & keys[route.keys[0]].isNotNull()))
            ways.append(F.when(goes, self._way(number, keys)))
        return F.array_compact(F.array(*ways))

    def _way(self, route: int, keys: Mapping[str, Column]) -> Column:
        nothing = F.lit(None).cast("string")
        return F.struct(F.lit(route).alias("route"), *(keys.get(name, nothing).alias(name) for name in self._keys))

    @staticmethod
    def _id(rows: DataFrame, sources: Sequence[str]) -> Column:
        """What names a row among those of its source."""
        ids = [name for name in ("transaction_id", "call_id") if name in rows.columns]
        return F.coalesce(*(F.col(name) for name in ids)) if ids and sources else F.lit(None).cast("string")

    def _measured(self, sources: Sequence[str]) -> dict[str, Column]:
        """Times and the measures of all sources, null where a row is of another."""
        columns: dict[str, Column] = {}
        for name, measured in self.wanted.measured.items():
            measures = measured.measures
            values = measured.values(measures)
            for number, measure in enumerate(measures):
                if measure.always:
                    continue
                column = measure_column(name, number)
                if name in sources:
                    columns[column] = F.when(F.col("row_of") == name, values[f"m{number}"])
                else:
                    columns[column] = F.lit(None).cast(from_arrow_type(wire(measure)))
        times = {"event": "event_time", "known": "known_time", "superseded": "superseded_at"}
        return {name: F.unix_micros(of) for name, of in times.items()} | columns

    # ---------------------------------------------------------------- through the state

    def described(self, packed: DataFrame, past: DataFrame | None) -> DataFrame:
        """Packed rows through the state: (bucket, source, piece). `past` are packed rows of before the first
        micro-batch; they are looked at, and not described."""
        lateness = self.lateness // timedelta(microseconds=1)
        return packed.groupBy("bucket").transformWithState(
            Described(self.routes, self.buckets, lateness),
            outputStructType=PACKED,
            outputMode="append",
            timeMode="None",
            initialState=None if past is None else past.groupBy("bucket"),
        )

    # ---------------------------------------------------------------- the way out

    def features(self, described: DataFrame) -> DataFrame:
        """A micro-batch's transactions, each with its own columns and its features, from what the state answered."""
        asks = [(one, stage) for route in self.routes for stage in route.stages for one in stage.asks]
        made = [T.StructField(one.column, SPARK[stage.result(one)]) for one, stage in asks]
        wide = T.StructType([*_OWN, *made])
        answers = described.where(F.col("source") == EVENTS).mapInArrow(
            partial(_answers, schema=to_arrow_schema(wide, timezone="UTC")), wide
        )
        values = (F.max(name).alias(name) for name in wide.names if name not in TRANSACTIONS.key)
        return self.wanted.finished(answers.groupBy(*TRANSACTIONS.key).agg(*values), _OWN.names)

    @staticmethod
    def ledger(described: DataFrame) -> DataFrame:
        """What became of the micro-batch's rows: LEDGER_COLUMNS."""
        aside = described.where(F.col("source") == ASIDE)
        return aside.mapInArrow(
            partial(_answers, schema=to_arrow_schema(LEDGER_COLUMNS, timezone="UTC")), LEDGER_COLUMNS
        )


def together(frames: Sequence[DataFrame]) -> DataFrame:
    """Frames of the same columns, in the same order, as one."""
    return reduce(DataFrame.union, frames)


def _stage(wanted: Wanted, by: tuple[str, ...], name: str, buckets: int) -> Stage:
    return Stage(
        by=by,
        key=name,
        asks=wanted.asks.get(by, ()),
        measures=wanted.measures,
        buckets=buckets,
        following=None,
        between=None,
        itself=None,
        columns={},
        seen=(seen_from, seen_until),
    )


def _null(of: T.StructField) -> Column:
    return F.lit(None).cast(of.dataType)


def _pack(batches: Iterable[pa.RecordBatch], buckets: int) -> Iterator[pa.RecordBatch]:
    """Rows in pieces by bucket: events, and in the bucket behind the last one what is set aside."""
    for chunk in in_chunks(batches):
        aside = to_numpy(pc.equal(chunk["bucket"], buckets))
        if aside.any():
            told = chunk.filter(pa.array(aside)).select(["bucket", *LEDGER_COLUMNS.names])
            yield in_pieces(told, np.arange(len(told)), ASIDE, buckets + 1)
        if not aside.all():
            events = chunk.filter(pa.array(~aside)).drop_columns(LEDGER_COLUMNS.names)
            yield in_pieces(events, np.arange(len(events)), EVENTS, buckets)


def _answers(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of pieces, with null in the columns that a piece does not have."""
    for pieces in unpack(batches).values():
        for piece in pieces:
            there = piece.schema.names
            columns = [
                piece[of.name].cast(of.type) if of.name in there else pa.nulls(len(piece), of.type) for of in schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
