"""Between micro-batches: the rows that features of later transactions read, stored in a stream's state.

A stateful processor for each bucket of keys. It stores rows in a map state by shard, which is a few keys together, so
that a micro-batch reads and writes the shards of its own keys and no more. Rows older than every window are merged into
one row a key if a feature has no window, and evicted otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from churn.features.engine.aggregations import DAY, PARTS, Array, run_starts
from churn.features.engine.packing import decode_dictionaries, serialize, to_numpy
from churn.features.engine.plan import Measure, Request
from churn.features.engine.transaction_kernel import KeyedRows, Stage, part_column, stage_columns
from churn.sources.versions import NEVER, supersede

LEDGER: Final = "ledger"
"""The `source` under which rows of the ledger travel: no feature reads them, and they leave as they arrive."""
EVENTS: Final = "events"
"""The `source` under which all other rows travel."""

_TYPES: Final[Mapping[str, pa.DataType]] = {
    "presence": pa.bool_(),
    "double": pa.float64(),
    "text": pa.string(),
    "timestamp": pa.int64(),
    "date": pa.int32(),
}


@dataclass(frozen=True)
class Route:
    """The keys that begin with the same column, with a stage for each: rows travel once a route.

    `own` are the columns of the transaction that leave with its features.
    """

    stages: tuple[Stage, ...]
    own: tuple[str, ...]

    @property
    def first_column(self) -> str:
        """The column that all its keys begin with."""
        return self.stages[0].by[0]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns of the keys, in the order of the stages."""
        return tuple(stage.key for stage in self.stages)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The sources that its stages request."""
        return tuple(sorted({one.source for stage in self.stages for one in stage.requests}))

    def _requests(self, source: str) -> list[Request]:
        return [one for stage in self.stages for one in stage.requests if one.source == source]

    def lookback_days(self, source: str) -> float:
        """How many days the longest window of a source looks back; 0 where there are only features without a window."""
        return max((one.lookback_days() for one in self._requests(source) if one.lookback_days() < inf), default=0.0)

    def unbounded_parts(self, source: str) -> dict[int, tuple[str, ...]]:
        """The parts of each measure of a source that features without a window request."""
        parts: dict[int, set[str]] = {}
        for request in self._requests(source):
            if request.lookback_days() == inf:
                parts.setdefault(request.measure, set()).update(request.aggregation.parts)
        return {measure: tuple(sorted(of)) for measure, of in sorted(parts.items())}

    def measures(self, source: str) -> tuple[Measure, ...]:
        return self.stages[0].measures[source]

    def requested_measures(self, source: str) -> list[int]:
        """The measures of a source that travel: those that are requested and do not count in every row."""
        requested = {one.measure for one in self._requests(source)}
        return [number for number in sorted(requested) if not self.measures(source)[number].always]

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of a stored row; needed with every shard that is read."""
        columns: dict[str, pa.DataType] = {"source": pa.string(), "id": pa.string()}
        columns |= dict.fromkeys(self.keys, pa.string())
        columns |= dict.fromkeys(("event", "known", "superseded"), pa.int64())
        for source in self.sources:
            for number in self.requested_measures(source):
                columns[measure_column(source, number)] = encoded_type(self.measures(source)[number])
        columns["merged"] = pa.bool_()
        for source in self.sources:
            for number, parts in self.unbounded_parts(source).items():
                columns |= {f"{source}_{part_column(number, part)}": pa.int64() for part in parts}
        return pa.schema(columns)


def measure_column(source: str, number: int) -> str:
    """The column of a source's measure among the columns of all sources."""
    return f"{source}_m{number}"


def encoded_type(measure: Measure) -> pa.DataType:
    """The type in which a measure travels."""
    return _TYPES.get(measure.kind, pa.float64() if measure.scale else pa.int64())


class FeatureProcessor(StatefulProcessor):
    """Computes the features of a bucket's transactions as of their event times, from rows of this micro-batch and of
    earlier ones.

    Buckets are numbered route by route, `buckets` of each. Input and output are PACKED rows (bucket, source, batch).
    `lateness` is in microseconds.
    """

    def __init__(self, routes: tuple[Route, ...], buckets: int, lateness: int) -> None:
        self._routes, self._buckets, self._lateness = routes, buckets, lateness

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = handle.getMapState("shards", "shard int", "rows binary")

    def handleInitialState(self, key: Any, initialState: Any, timerValues: Any) -> None:  # noqa: ARG002, N802, N803
        route = self._routes[key[0] // self._buckets]
        for rows in pa.ipc.open_stream(initialState.batch):
            shards = to_numpy(rows["shard"])
            added = _as_stored(rows, route)
            newest = int(to_numpy(added["event"]).max())
            all_rows, shards = self._with_stored(route, added, shards, rows["shard"])
            self._store(route, all_rows, shards, newest)

    def handleInputRows(self, key: Any, rows: Any, timerValues: Any) -> Iterator[Row]:  # noqa: ARG002, N802, N803
        number = key[0]
        if number >= self._buckets * len(self._routes):
            yield from rows
            return
        route = self._routes[number // self._buckets]
        batches = [decode_dictionaries(batch) for row in rows for batch in pa.ipc.open_stream(row.batch)]
        arrived = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        is_stored = to_numpy(pc.is_valid(arrived[route.keys[0]])) & np.isin(arrived["source"], route.sources)
        added = _as_stored(arrived.filter(pa.array(is_stored)), route)
        # A transaction reads its key's past, even where no feature reads transactions.
        all_rows, shards = self._with_stored(route, added, to_numpy(arrived["shard"])[is_stored], arrived["shard"])
        requested = arrived.filter(arrived["requested"])
        if len(requested):
            event_time = to_numpy(requested["event"])
            columns = {name: requested[name] for name in route.own}
            for stage, by in zip(route.stages, route.keys, strict=True):
                names = sorted({one.source for one in stage.requests})
                sources = {source: _of_source(all_rows, route, source, by) for source in names}
                columns |= stage_columns(stage, requested[by], event_time, sources)
            yield Row(bucket=number, source=EVENTS, batch=serialize(pa.RecordBatch.from_pydict(columns)))
        if len(all_rows):
            self._store(route, all_rows, shards, int(to_numpy(arrived["event"]).max()))

    def close(self) -> None:
        pass

    def _with_stored(
        self, route: Route, rows: pa.RecordBatch, shards: Array, read: pa.Array
    ) -> tuple[pa.RecordBatch, Array]:
        """The rows and those stored in the shards to `read`, each superseded from when its next version was known."""
        batches, shards_of = [rows], [shards]
        for shard in np.unique(to_numpy(read)):
            if (stored := self._state.getValue((int(shard),))) is not None:
                batch = pa.ipc.read_record_batch(pa.py_buffer(stored[0]), route.schema)
                batches.append(batch)
                shards_of.append(np.full(len(batch), shard))
        combined = pa.Table.from_batches(batches).combine_chunks().to_batches()
        return (_with_superseded(combined[0]) if combined else rows), np.concatenate(shards_of)

    def _store(self, route: Route, rows: pa.RecordBatch, shards: Array, newest: int) -> None:
        """Rewrite the shards: rows that the `newest` transaction, or one that arrives late, may still see."""
        read = np.unique(shards)
        rows, shards = _compacted(route, rows, shards, newest - self._lateness)
        for emptied in np.setdiff1d(read, shards):
            self._state.removeKey((int(emptied),))
        order = np.argsort(shards, kind="stable")
        rows, shards = rows.take(pa.array(order)), shards[order]
        starts = run_starts(shards) if len(shards) else np.zeros(0, np.int64)
        for start, end in zip(starts, [*starts[1:], len(shards)], strict=True):
            message = rows.slice(start, end - start).serialize().to_pybytes()
            self._state.updateValue((int(shards[start]),), (message,))


def _as_stored(rows: pa.RecordBatch, route: Route) -> pa.RecordBatch:
    """Rows as they are stored. A retraction is a version without content, known when the row is retracted."""
    event = rows["event"]
    columns = {field.name: _column(rows, field, len(event)) for field in route.schema}
    columns["merged"] = pa.array(np.zeros(len(event), dtype=bool))
    # A retracted version is marked by ending when it begins.
    columns["superseded"] = pc.if_else(rows["retracted"], rows["known"], rows["superseded"])
    return pa.RecordBatch.from_pydict(columns, schema=route.schema)


def _column(rows: pa.RecordBatch, field: pa.Field, size: int) -> pa.Array:
    return rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(size, field.type)


def _with_superseded(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Of rows of one source and id, each is superseded when the next one becomes known."""
    known, ends = to_numpy(rows["known"]), to_numpy(rows["superseded"].fill_null(NEVER)).copy()
    single = ~to_numpy(rows["merged"])
    row_id = to_numpy(pc.binary_join_element_wise(rows["source"], rows["id"], ":").dictionary_encode().indices)
    ends[single] = supersede(row_id[single], known[single], ends[single])
    at = rows.schema.get_field_index("superseded")
    return rows.set_column(at, "superseded", pa.array(ends, mask=ends == NEVER))


def _of_source(rows: pa.RecordBatch, route: Route, source: str, by: str) -> pa.RecordBatch:
    """A source's rows, with the column names that a stage uses."""
    own = rows.filter(pc.equal(rows["source"], source))
    columns = {"key": own[by], **{name: own[name] for name in ("event", "known", "superseded")}}
    columns |= {f"m{number}": own[measure_column(source, number)] for number in route.requested_measures(source)}
    parts = [part_column(number, part) for number, of in route.unbounded_parts(source).items() for part in of]
    if parts:
        columns["merged"] = own["merged"]
        columns |= {name: own[f"{source}_{name}"] for name in parts}
    return pa.RecordBatch.from_pydict(columns)


def _compacted(route: Route, rows: pa.RecordBatch, shards: Array, until: int) -> tuple[pa.RecordBatch, Array]:
    """The rows that some time from `until` on sees; those that only features without a window see, merged by key."""
    event, superseded = to_numpy(rows["event"]), to_numpy(rows["superseded"].fill_null(NEVER))
    evicted = (superseded <= until) | (superseded <= to_numpy(rows["known"]))
    source = np.asarray(rows["source"])
    merged = to_numpy(rows["merged"])
    merged_rows, merged_shards = [], []
    for name in route.sources:
        old = (source == name) & (event < until - round(route.lookback_days(name) * DAY)) & (superseded == NEVER)
        old &= ~evicted
        parts = route.unbounded_parts(name)
        if parts and (old & ~merged).any():
            at = np.flatnonzero(old)
            by_key, shards_of = _merged_by_key(route, rows.take(pa.array(at)), name, shards[at])
            merged_rows.append(by_key)
            merged_shards.append(shards_of)
            evicted |= old
        elif not parts:
            evicted |= old
    if evicted.any():
        rows, shards = rows.filter(pa.array(~evicted)), shards[~evicted]
    if merged_rows:
        rows = pa.Table.from_batches([rows, *merged_rows]).combine_chunks().to_batches()[0]
        shards = np.concatenate([shards, *merged_shards])
    return rows, shards


def _merged_by_key(route: Route, rows: pa.RecordBatch, source: str, shards: Array) -> tuple[pa.RecordBatch, Array]:
    """One row a key of rows of one source: the parts of all of them, as if they had happened when the last one did."""
    keys = rows[route.keys[0]].unique()
    keyed = KeyedRows.of(_of_source(rows, route, source, route.keys[0]), route.measures(source), keys)
    codes = [to_numpy(rows[by].dictionary_encode("encode").indices) for by in route.keys]
    order = np.lexsort(codes)
    starts = run_starts(*(code[order] for code in codes))
    first = order[starts]
    columns = {name: rows[name].take(pa.array(first)) for name in ("source", "id", *route.keys)}
    for name in ("event", "known"):
        columns[name] = pa.array(np.maximum.reduceat(to_numpy(rows[name])[order], starts))
    columns["merged"] = pa.array(np.ones(len(starts), dtype=bool))
    for number, parts in route.unbounded_parts(source).items():
        for part in parts:
            contributions = keyed.contributions(part, number)
            column = f"{source}_{part_column(number, part)}"
            columns[column] = pa.array(PARTS[part].merge.reduceat(contributions[order], starts))
    complete = {field.name: columns.get(field.name, pa.nulls(len(starts), field.type)) for field in route.schema}
    return pa.RecordBatch.from_pydict(complete, schema=route.schema), shards[first]
