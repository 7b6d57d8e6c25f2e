"""Between micro-batches: the rows that later transactions will look at, kept in a stream's state, and the answers.

A stateful processor a bucket of keys. It holds rows in a map state by slot, which is a few keys together, so that a
micro-batch reads and writes the slots of its own keys and no more. What lies behind every window is added up to one row
a key, if a feature looks back for ever, and forgotten if none does.
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

from churn.features.engine.aggregations import DAY, PARTS, Array, heads
from churn.features.engine.packing import as_piece, plain_rows, to_numpy
from churn.features.engine.plan import Ask, Measure
from churn.features.engine.transaction_kernel import SeenRows, Stage, answers, part_column

ASIDE: Final = "aside"
"""The name under which rows travel that no feature looks at: they are passed on as they are."""
EVENTS: Final = "events"
"""The name under which all others travel."""

_NEVER: Final = np.iinfo(np.int64).max
_WIRE: Final[Mapping[str, pa.DataType]] = {
    "mark": pa.bool_(),
    "fraction": pa.float64(),
    "text": pa.string(),
    "moment": pa.int64(),
    "day": pa.int32(),
}


@dataclass(frozen=True)
class Route:
    """The keys that begin with the same column: a stage for each.

    `own` are the columns of the transaction that leave with the answers.
    """

    stages: tuple[Stage, ...]
    own: tuple[str, ...]

    @property
    def first(self) -> str:
        """The column that all its keys begin with."""
        return self.stages[0].by[0]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns of the keys, in the order of the stages."""
        return tuple(stage.key for stage in self.stages)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Those that a stage asks something of."""
        return tuple(sorted({one.source for stage in self.stages for one in stage.asks}))

    def _asks(self, source: str) -> list[Ask]:
        return [one for stage in self.stages for one in stage.asks if one.source == source]

    def reach(self, source: str) -> float:
        """How many days back a window of a source begins; 0 where there are none but those that never begin."""
        return max((one.reach() for one in self._asks(source) if one.reach() < inf), default=0.0)

    def for_ever(self, source: str) -> dict[int, tuple[str, ...]]:
        """The parts of each measure of a source that a feature asks for of all time."""
        found: dict[int, set[str]] = {}
        for one in self._asks(source):
            if one.reach() == inf:
                found.setdefault(one.measure, set()).update(one.aggregation.parts)
        return {measure: tuple(sorted(parts)) for measure, parts in sorted(found.items())}

    def measures(self, source: str) -> tuple[Measure, ...]:
        return self.stages[0].measures[source]

    def asked(self, source: str) -> list[int]:
        """The measures of a source that travel: those that are asked for, and say more than that a row is there."""
        asked = {one.measure for one in self._asks(source)}
        return [number for number in sorted(asked) if not self.measures(source)[number].always]

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of a kept row; asked for with every slot that is read."""
        columns: dict[str, pa.DataType] = {"source": pa.string(), "id": pa.string()}
        columns |= dict.fromkeys(self.keys, pa.string())
        columns |= dict.fromkeys(("event", "known", "superseded"), pa.int64())
        for source in self.sources:
            for number in self.asked(source):
                columns[measure_column(source, number)] = wire(self.measures(source)[number])
        columns["merged"] = pa.bool_()
        for source in self.sources:
            for number, parts in self.for_ever(source).items():
                columns |= {f"{source}_{part_column(number, part)}": pa.int64() for part in parts}
        return pa.schema(columns)


def measure_column(source: str, number: int) -> str:
    """Where a measure of a source is among the columns of all sources."""
    return f"{source}_m{number}"


def wire(measure: Measure) -> pa.DataType:
    """The type in which a measure travels."""
    return _WIRE.get(measure.kind, pa.float64() if measure.scale else pa.int64())


class Described(StatefulProcessor):
    """Describes the transactions of a bucket as of their own moments, by what came with them and before.

    Buckets are numbered route by route, `buckets` of each. Takes and gives rows (bucket, source, piece). `lateness` is
    in microseconds.
    """

    def __init__(self, routes: tuple[Route, ...], buckets: int, lateness: int) -> None:
        self._routes, self._buckets, self._lateness = routes, buckets, lateness

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = handle.getMapState("slots", "slot int", "rows binary")

    def handleInitialState(self, key: Any, initialState: Any, timerValues: Any) -> None:  # noqa: ARG002, N802, N803
        route = self._routes[key[0] // self._buckets]
        for rows in pa.ipc.open_stream(initialState.piece):
            slots = to_numpy(rows["slot"])
            kept = _ready(rows, route)
            moment = int(to_numpy(kept["event"]).max())
            everything, slots = self._with_past(route, kept, slots, rows["slot"])
            self._keep(route, everything, slots, moment)

    def handleInputRows(self, key: Any, rows: Any, timerValues: Any) -> Iterator[Row]:  # noqa: ARG002, N802, N803
        number = key[0]
        if number >= self._buckets * len(self._routes):
            yield from rows
            return
        route = self._routes[number // self._buckets]
        came = pa.Table.from_batches([plain_rows(batch) for row in rows for batch in pa.ipc.open_stream(row.piece)])
        arrived = came.combine_chunks().to_batches()[0]
        is_kept = to_numpy(pc.is_valid(arrived[route.keys[0]])) & np.isin(arrived["source"], route.sources)
        kept = _ready(arrived.filter(pa.array(is_kept)), route)
        # A transaction looks at its key's past, even if it is not itself of a source that is looked at.
        everything, slots = self._with_past(route, kept, to_numpy(arrived["slot"])[is_kept], arrived["slot"])
        described = arrived.filter(arrived["requested"])
        if len(described):
            moment = to_numpy(described["event"])
            columns = {name: described[name] for name in route.own}
            for stage, by in zip(route.stages, route.keys, strict=True):
                asked = sorted({one.source for one in stage.asks})
                found = {source: _of_source(everything, route, source, by) for source in asked}
                columns |= answers(stage, described[by], moment, found)
            yield Row(bucket=number, source=EVENTS, piece=as_piece(pa.RecordBatch.from_pydict(columns)))
        if len(everything):
            self._keep(route, everything, slots, int(to_numpy(arrived["event"]).max()))

    def close(self) -> None:
        pass

    def _with_past(
        self, route: Route, rows: pa.RecordBatch, slots: Array, wanted: pa.Array
    ) -> tuple[pa.RecordBatch, Array]:
        """The rows and those kept of the wanted slots, each superseded from when its next version was known."""
        batches, of = [rows], [slots]
        for slot in np.unique(to_numpy(wanted)):
            if (kept := self._state.getValue((int(slot),))) is not None:
                batch = pa.ipc.read_record_batch(pa.py_buffer(kept[0]), route.schema)
                batches.append(batch)
                of.append(np.full(len(batch), slot))
        together = pa.Table.from_batches(batches).combine_chunks().to_batches()
        return (_versions(together[0]) if together else rows), np.concatenate(of)

    def _keep(self, route: Route, rows: pa.RecordBatch, slots: Array, moment: int) -> None:
        """Write the slots anew: rows that a transaction of `moment`, or one that comes late, may still see."""
        touched = np.unique(slots)
        rows, slots = _compacted(route, rows, slots, moment - self._lateness)
        for emptied in np.setdiff1d(touched, slots):
            self._state.removeKey((int(emptied),))
        order = np.argsort(slots, kind="stable")
        rows, slots = rows.take(pa.array(order)), slots[order]
        starts = heads(slots) if len(slots) else np.zeros(0, np.int64)
        for start, end in zip(starts, [*starts[1:], len(slots)], strict=True):
            message = rows.slice(start, end - start).serialize().to_pybytes()
            self._state.updateValue((int(slots[start]),), (message,))


def _ready(rows: pa.RecordBatch, route: Route) -> pa.RecordBatch:
    """Rows as they are kept. One that is retracted is a version that says nothing, known when it is retracted."""
    event = rows["event"]
    columns = {field.name: _column(rows, field, len(event)) for field in route.schema}
    columns["merged"] = pa.array(np.zeros(len(event), dtype=bool))
    # The mark of a retracted version is that it ends when it begins.
    columns["superseded"] = pc.if_else(rows["retracted"], rows["known"], rows["superseded"])
    return pa.RecordBatch.from_pydict(columns, schema=route.schema)


def _column(rows: pa.RecordBatch, field: pa.Field, size: int) -> pa.Array:
    return rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(size, field.type)


def _versions(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Of rows of one source and id, each is superseded when the next one becomes known; retracted ones are gone."""
    known, superseded = to_numpy(rows["known"]), to_numpy(rows["superseded"].fill_null(_NEVER))
    merged = to_numpy(rows["merged"])
    row_id = to_numpy(pc.binary_join_element_wise(rows["source"], rows["id"], ":").dictionary_encode().indices)
    order = np.lexsort((superseded, known, np.where(merged, -1, row_id)))
    follows = np.zeros(len(order), dtype=bool)
    follows[:-1] = (row_id[order][1:] == row_id[order][:-1]) & ~merged[order][1:] & ~merged[order][:-1]
    ends = superseded.copy()
    next_known = np.append(known[order][1:], _NEVER)
    ends[order] = np.where(follows, np.minimum(superseded[order], next_known), superseded[order])
    at = rows.schema.get_field_index("superseded")
    return rows.set_column(at, "superseded", pa.array(ends, mask=ends == _NEVER))


def _of_source(rows: pa.RecordBatch, route: Route, source: str, by: str) -> pa.RecordBatch:
    """A source's rows under the names that a stage knows their columns by."""
    own = rows.filter(pc.equal(rows["source"], source))
    columns = {"key": own[by], **{name: own[name] for name in ("event", "known", "superseded")}}
    columns |= {f"m{number}": own[measure_column(source, number)] for number in route.asked(source)}
    parts = [part_column(number, part) for number, of in route.for_ever(source).items() for part in of]
    if parts:
        columns["merged"] = own["merged"]
        columns |= {name: own[f"{source}_{name}"] for name in parts}
    return pa.RecordBatch.from_pydict(columns)


def _compacted(route: Route, rows: pa.RecordBatch, slots: Array, until: int) -> tuple[pa.RecordBatch, Array]:
    """Without what no moment from `until` on sees; what is seen only by features of all time is one row a key."""
    event, superseded = to_numpy(rows["event"]), to_numpy(rows["superseded"].fill_null(_NEVER))
    gone = (superseded <= until) | (superseded <= to_numpy(rows["known"]))
    source = np.asarray(rows["source"])
    merged = to_numpy(rows["merged"])
    made, places = [], []
    for name in route.sources:
        old = (source == name) & (event < until - round(route.reach(name) * DAY)) & (superseded == _NEVER) & ~gone
        parts = route.for_ever(name)
        if parts and (old & ~merged).any():
            at = np.flatnonzero(old)
            made.append(_added_up(route, rows.take(pa.array(at)), name, slots[at]))
            places.append(made[-1][1])
            gone |= old
        elif not parts:
            gone |= old
    if gone.any():
        rows, slots = rows.filter(pa.array(~gone)), slots[~gone]
    if made:
        rows = pa.Table.from_batches([rows, *(batch for batch, _ in made)]).combine_chunks().to_batches()[0]
        slots = np.concatenate([slots, *places])
    return rows, slots


def _added_up(route: Route, rows: pa.RecordBatch, source: str, slots: Array) -> tuple[pa.RecordBatch, Array]:
    """One row a key of rows of one source: the parts of all of them, as if they had happened when the last one did."""
    keys = rows[route.keys[0]].unique()
    seen = SeenRows.of(_of_source(rows, route, source, route.keys[0]), route.measures(source), keys)
    codes = [to_numpy(rows[by].dictionary_encode("encode").indices) for by in route.keys]
    order = np.lexsort(codes)
    starts = heads(*(code[order] for code in codes))
    first = order[starts]
    columns = {name: rows[name].take(pa.array(first)) for name in ("source", "id", *route.keys)}
    for name in ("event", "known"):
        columns[name] = pa.array(np.maximum.reduceat(to_numpy(rows[name])[order], starts))
    columns["merged"] = pa.array(np.ones(len(starts), dtype=bool))
    for number, parts in route.for_ever(source).items():
        for part in parts:
            brought = seen.brought(part, number)
            column = f"{source}_{part_column(number, part)}"
            columns[column] = pa.array(PARTS[part].merge.reduceat(brought[order], starts))
    ready = {field.name: columns.get(field.name, pa.nulls(len(starts), field.type)) for field in route.schema}
    return pa.RecordBatch.from_pydict(ready, schema=route.schema), slots[first]
