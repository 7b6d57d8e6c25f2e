"""After a shuffle: the features of one bucket's transactions, each as of its own event time.

A function over Arrow batches for `mapInArrow`. A row of a source is in a window from one time to another, so the rows
that a transaction sees are those that have begun less those that have ended: two searches in running sums, over key and
time in one integer. Minima and maxima do not subtract; there each row is merged into the transactions that see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.errors import BadInputError
from churn.features.engine.aggregations import DAY, PARTS, Array, Part
from churn.features.engine.customer_kernel import concatenate, filled, numbers, unpack, valid
from churn.features.engine.memory import retain_memory
from churn.features.engine.packing import decode_dictionaries, serialize_by_bucket, to_numpy
from churn.features.engine.plan import SPINE, Measure, Request, Requests

EVENT_TIME: Final = "event_time"
LARGEST: Final = 1 << 62

VisibilityEdge = Callable[..., Array]


@dataclass(frozen=True)
class Stage(Requests):
    """The requests of one key: the columns it is made of (`by`), the one that holds it (`key`), and the bucket column
    of the next stage (None = this is the last).

    All event times lie in `between`, [first, last), if it is given. `visibility` are the two halves of the rule of
    time: the times from which and until which a row is visible. `own_source` is the source that the transactions are
    all rows of: its columns travel with them, under the names they have in `columns`.
    """

    by: tuple[str, ...]
    key: str
    buckets: int
    next_bucket: str | None
    between: tuple[int, int] | None
    own_source: str | None
    columns: Mapping[str, str]
    visibility: tuple[VisibilityEdge, VisibilityEdge] = field(repr=False)


def compute_transaction_features(batches: Iterable[pa.RecordBatch], stage: Stage) -> Iterator[pa.RecordBatch]:
    """The transactions of one bucket with the stage's columns behind their own; PACKED, if there is a next stage."""
    retain_memory()
    packed = unpack(batches)
    transactions = packed.pop(SPINE, [])
    if not transactions:
        return
    spine = _selected(
        transactions, {"key": stage.key, "event_time": EVENT_TIME, **(stage.columns if stage.own_source else {})}
    )
    event_time = _in_micros(spine["event_time"])
    _check_between(event_time, stage)
    sources = {name: concatenate([decode_dictionaries(rows) for rows in of]) for name, of in packed.items()}
    if stage.own_source:
        sources[stage.own_source] = spine
    values = stage_columns(stage, spine["key"], event_time, sources)
    at = 0
    for batch in transactions:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns |= {name: column.slice(at, len(batch)) for name, column in values.items()}
        at += len(batch)
        if stage.next_bucket is None:
            yield decode_dictionaries(pa.RecordBatch.from_pydict(columns))
        else:
            columns["bucket"] = columns.pop(stage.next_bucket)
            yield serialize_by_bucket(pa.RecordBatch.from_pydict(columns), np.arange(len(batch)), SPINE, stage.buckets)


def stage_columns(
    stage: Stage, key: pa.Array, event_time: Array, sources: Mapping[str, pa.RecordBatch]
) -> dict[str, pa.Array]:
    """The stage's columns of transactions with a `key` (null = none) and an `event_time`, from the rows of each source.

    The rows of the stage's `own_source` are these transactions, in the same order.
    """
    encoded = key.dictionary_encode()
    keys, code = encoded.dictionary, to_numpy(encoded.indices.fill_null(-1)).astype(np.int64)
    rows = {
        name: KeyedRows.of(batch, stage.measures[name], keys, code if name == stage.own_source else None)
        for name, batch in sources.items()
    }
    return _columns(stage, code, event_time, rows, len(keys))


def _selected(batches: Iterable[pa.RecordBatch], columns: Mapping[str, str]) -> pa.RecordBatch:
    """Some columns of the batches, as one batch, under other names."""
    return concatenate(
        [decode_dictionaries(batch.select(list(columns.values()))).rename_columns(list(columns)) for batch in batches]
    )


def _in_micros(times: pa.Array) -> Array:
    """Times, in microseconds already or as timestamps; null = never."""
    return to_numpy(times.cast(pa.int64()).fill_null(np.iinfo(np.int64).max))


def _check_between(event_time: Array, stage: Stage) -> None:
    if stage.between and not (stage.between[0] <= event_time.min() and event_time.max() < stage.between[1]):
        unexpected = event_time[(event_time < stage.between[0]) | (event_time >= stage.between[1])][0]
        raise BadInputError(
            f"a transaction of {np.datetime64(int(unexpected), 'us')} is not `between` the times given to "
            "transaction_features(); widen them, or filter the transactions"
        )


def part_column(measure: int, part: str) -> str:
    """The column that holds a part of a measure in a merged row."""
    return f"m{measure}.{part}"


@dataclass(frozen=True)
class KeyedRows:
    """A source's rows of the transactions' keys: key, times, and for each measure whether a row counts and its value.

    A row that is `merged` stands for several, of which it has the `parts` that were requested.
    """

    code: Array
    event: Array
    known: Array
    superseded: Array
    counted: Mapping[int, Array]
    value: Mapping[int, Array]
    merged: Array | None = None
    parts: Mapping[tuple[int, str], Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rows: pa.RecordBatch, measures: tuple[Measure, ...], keys: pa.Array, code: Array | None = None
    ) -> KeyedRows:
        """`code` is the number of each row's key among `keys`, -1 = none of them, if it is known."""
        if code is None:
            code = to_numpy(pc.index_in(rows["key"], value_set=keys).fill_null(-1)).astype(np.int64)
        if (code < 0).any():
            selected = np.flatnonzero(code >= 0)
            rows, code = rows.take(pa.array(selected)), code[selected]
        counted, value = {}, {}
        for number, measure in enumerate(measures):
            if f"m{number}" in rows.schema.names:
                column = rows[f"m{number}"]
                counts = valid(column, measure)
                if not counts.all():
                    counted[number] = counts
                if measure.kind != "presence":
                    value[number] = numbers(column, measure)
        event, known, superseded = (_in_micros(rows[name]) for name in ("event", "known", "superseded"))
        if "merged" not in rows.schema.names:
            return cls(code, event, known, superseded, counted, value)
        parts = {
            (number, part): to_numpy(rows[part_column(number, part)].fill_null(0))
            for number in range(len(measures))
            for part in PARTS
            if part_column(number, part) in rows.schema.names
        }
        return cls(code, event, known, superseded, counted, value, to_numpy(rows["merged"]), parts)

    def of_keys(self, low: int, high: int) -> KeyedRows:
        """The rows whose key has a number in [low, high)."""
        mask = (self.code >= low) & (self.code < high)
        if mask.all():
            return self
        counted, value = ({n: a[mask] for n, a in of.items()} for of in (self.counted, self.value))
        merged = None if self.merged is None else self.merged[mask]
        parts = {of: a[mask] for of, a in self.parts.items()}
        times = (self.event[mask], self.known[mask], self.superseded[mask])
        return KeyedRows(self.code[mask], *times, counted, value, merged, parts)

    def contributions(self, name: str, measure: int) -> Array:
        """What each row adds to a part; a row that does not count adds nothing."""
        part = PARTS[name]
        own = np.broadcast_to(part.of_row(self.value.get(measure), self.event), self.code.shape)
        counts = self.counted.get(measure)
        own = own if counts is None else np.where(counts, own, part.empties(1, own))
        if self.merged is None:
            return own
        return np.where(self.merged, self.parts.get((measure, name), part.empties(1, own)), own)


def _columns(
    stage: Stage, code: Array, event_time: Array, sources: Mapping[str, KeyedRows], keys: int
) -> dict[str, pa.Array]:
    """The stage's columns in the order of the transactions. Keys are taken in shards that fit one integer with time."""
    span = int(event_time.max() - event_time.min()) + 2
    shard_size = max(1, LARGEST // span)
    present = {one.column: np.zeros(len(code), dtype=bool) for one in stage.requests}
    values: dict[str, Array] = {}
    for low in range(0, keys, shard_size):
        own = np.flatnonzero((code >= low) & (code < low + shard_size))
        line = _Timeline(low, int(event_time.min()), span, code[own], event_time[own])
        for name, rows in sources.items():
            requests = sorted(
                (one for one in stage.requests if one.source == name), key=lambda one: (one.delay, one.days or 0)
            )
            shard = rows.of_keys(low, low + shard_size)
            with np.errstate(all="ignore"):
                for one, (is_present, value) in _of_source(line, shard, requests, stage.visibility):
                    present[one.column][own] = is_present
                    values.setdefault(one.column, np.zeros(len(code), value.dtype))[own] = value
    return {
        one.column: filled(
            one,
            stage.measures[one.source][one.measure],
            present[one.column],
            values.get(one.column, np.zeros(len(code))),
        )
        for one in stage.requests
    }


class _Timeline:
    """Transactions by key and event time, both in one integer, in order."""

    def __init__(self, low: int, origin: int, span: int, code: Array, event_time: Array) -> None:
        self.low, self._origin, self._span = low, origin, span
        position = self.position(code, event_time)
        self.order = np.argsort(position)
        self.positions = position[self.order]
        self.event_time = event_time[self.order]

    def position(self, code: Array, time: Array) -> Array:
        """Times before all transactions or after them are at the ends of their key."""
        position: Array = (code - self.low) * self._span + np.clip(time, self._origin, self._origin + self._span - 1)
        return position - self._origin

    def in_input_order(self, values: Array) -> Array:
        """From the timeline's order to that of the transactions."""
        reordered = np.empty_like(values)
        reordered[self.order] = values
        return reordered


def _of_source(
    line: _Timeline, rows: KeyedRows, requests: list[Request], visibility: tuple[VisibilityEdge, VisibilityEdge]
) -> Iterator[tuple[Request, tuple[Array, Array]]]:
    """The values of all requests of one source, window by window."""
    visible_from, visible_until = visibility
    for delay_days, delayed in groupby(requests, key=lambda one: one.delay):
        delay = _micros(delay_days)
        hint = line.order if len(rows.code) == len(line.order) else None
        begins = _Edges.of(line, line.position(rows.code, visible_from(rows.event, rows.known, delay=delay)), hint)
        for days, group in groupby(delayed, key=lambda one: one.days):
            window = None if days is None else _micros(days)
            until = visible_until(rows.event, rows.superseded, window=window, delay=delay)
            ends = begins.followed_by(np.maximum(line.position(rows.code, until), begins.positions))
            parts: dict[tuple[int, str], Array] = {}
            for one in group:
                for name in one.aggregation.parts:
                    if (one.measure, name) not in parts:
                        contributions = rows.contributions(name, one.measure)
                        parts[one.measure, name] = _total(PARTS[name], contributions, begins, ends)
                own = {name: parts[one.measure, name] for name in one.aggregation.parts}
                assert one.aggregation.finish
                value = one.aggregation.finish(own, line.event_time)
                yield one, (line.in_input_order(own["count"] > 0), line.in_input_order(value))


def _micros(days: float) -> int:
    return round(days * DAY)


@dataclass(frozen=True)
class _Edges:
    """Where each row begins, or ends, to be visible; `passed` is how many of them lie behind each transaction."""

    line: _Timeline
    positions: Array
    order: Array
    passed: Array

    @classmethod
    def of(cls, line: _Timeline, positions: Array, order: Array | None = None) -> _Edges:
        """`order` is one to try first: rows that begin in some order mostly end in it."""
        ordered = positions if order is None else positions[order]
        if order is None or (ordered[1:] < ordered[:-1]).any():
            # Nearly in order: a merge sort finds the runs.
            order = np.argsort(positions) if order is None else order[np.argsort(ordered, kind="stable")]
            ordered = positions[order]
        return cls(line, positions, order, np.searchsorted(ordered, line.positions, side="right"))

    def followed_by(self, positions: Array) -> _Edges:
        return _Edges.of(self.line, positions, self.order)

    def running_total(self, contributions: Array) -> Array:
        """The sum of all rows behind each transaction. Sums wrap around, and so does their difference, which fits."""
        sums = np.cumsum(contributions[self.order], dtype=np.int64)
        return np.concatenate((np.zeros(1, np.int64), sums))[self.passed]


def _total(part: Part, contributions: Array, begins: _Edges, ends: _Edges) -> Array:
    """A part of the rows that each transaction sees: of those that have begun and not ended."""
    if part.merge is np.add:
        return begins.running_total(contributions) - ends.running_total(contributions)
    transactions = begins.line.positions
    first, last = (np.searchsorted(transactions, edges.positions) for edges in (begins, ends))
    return _merged_intervals(part, contributions, first, last, len(transactions))


def _merged_intervals(part: Part, contributions: Array, first: Array, last: Array, size: int) -> Array:
    """At each of `size` places, the rows whose interval `[first[i], last[i])` contains it, merged.

    A segment tree: a row is put on the few nodes that make up its interval, then nodes are handed down to their leaves
    (de Berg et al. 2008, Computational Geometry, 10.3).
    """
    leaves = 1 << max(0, size - 1).bit_length()
    tree = part.empties(2 * leaves, contributions)
    begin, end = first + leaves, last + leaves
    while len(begin):
        inside = begin < end
        begin, end, contributions = begin[inside], end[inside], contributions[inside]
        for node, is_own in ((begin, begin & 1 == 1), (end - 1, end & 1 == 1)):
            part.merge.at(tree, node[is_own], contributions[is_own])
        begin, end = (begin + 1) >> 1, end >> 1
    level = 1
    while level < leaves:
        tree[2 * level : 4 * level] = part.merge(tree[2 * level : 4 * level], np.repeat(tree[level : 2 * level], 2))
        level *= 2
    return tree[leaves : leaves + size]
