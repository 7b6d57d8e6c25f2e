"""After a shuffle: the transactions of one bucket, each described as of its own moment.

A function over Arrow batches for `mapInArrow`. A row of a source is in a window from one moment to another, so what a
transaction sees is what has begun less what has ended: two searches in running sums, over key and time in one integer.
What does not subtract, a least or a greatest value, is laid over the moments at which it is seen.
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
from churn.features.engine.customer_kernel import filled, numbers, unpack, valid, whole
from churn.features.engine.memory import keep_memory
from churn.features.engine.packing import in_pieces, plain_rows, to_numpy
from churn.features.engine.plan import SPINE, Ask, Asked, Measure

MOMENT: Final = "event_time"
LARGEST: Final = 1 << 62

Seen = Callable[..., Array]


@dataclass(frozen=True)
class Stage(Asked):
    """What is asked of one key: the columns it is made of (`by`), the one that it is in (`key`), and the bucket column
    of the next stage (None = this is the last).

    `between` are the moments [first, last) that were promised. `seen` are the two halves of the rule of time, the
    moments from which and until which a row is seen. `itself` is the source that the transactions are all rows of:
    its columns travel with them, under the names they have in `columns`.
    """

    by: tuple[str, ...]
    key: str
    buckets: int
    following: str | None
    between: tuple[int, int] | None
    itself: str | None
    columns: Mapping[str, str]
    seen: tuple[Seen, Seen] = field(repr=False)


def describe_each(batches: Iterable[pa.RecordBatch], stage: Stage) -> Iterator[pa.RecordBatch]:
    """The transactions of one bucket with the stage's columns behind their own; packed, if there is a next stage."""
    keep_memory()
    sources = unpack(batches)
    pieces = sources.pop(SPINE, [])
    if not pieces:
        return
    spine = _together(pieces, {"key": stage.key, "moment": MOMENT, **(stage.columns if stage.itself else {})})
    moment = _in_micros(spine["moment"])
    _check(moment, stage)
    found = {name: whole([plain_rows(piece) for piece in of]) for name, of in sources.items()}
    if stage.itself:
        found[stage.itself] = spine
    made = answers(stage, spine["key"], moment, found)
    at = 0
    for piece in pieces:
        columns = dict(zip(piece.schema.names, piece.columns, strict=True))
        columns |= {name: column.slice(at, len(piece)) for name, column in made.items()}
        at += len(piece)
        if stage.following is None:
            yield plain_rows(pa.RecordBatch.from_pydict(columns))
        else:
            columns["bucket"] = columns.pop(stage.following)
            yield in_pieces(pa.RecordBatch.from_pydict(columns), np.arange(len(piece)), SPINE, stage.buckets)


def answers(stage: Stage, key: pa.Array, moment: Array, found: Mapping[str, pa.RecordBatch]) -> dict[str, pa.Array]:
    """The stage's columns of transactions with a `key` (null = none) at a `moment`, from the rows of each source.

    The rows of the stage's `itself` are these transactions, in the same order.
    """
    coded = key.dictionary_encode()
    keys, code = coded.dictionary, to_numpy(coded.indices.fill_null(-1)).astype(np.int64)
    seen = {
        name: SeenRows.of(rows, stage.measures[name], keys, code if name == stage.itself else None)
        for name, rows in found.items()
    }
    return _columns(stage, code, moment, seen, len(keys))


def _together(pieces: Iterable[pa.RecordBatch], columns: Mapping[str, str]) -> pa.RecordBatch:
    """Some columns of the pieces, under other names."""
    return whole([plain_rows(piece.select(list(columns.values()))).rename_columns(list(columns)) for piece in pieces])


def _in_micros(times: pa.Array) -> Array:
    """Times, in microseconds already or as timestamps; null = never."""
    return to_numpy(times.cast(pa.int64()).fill_null(np.iinfo(np.int64).max))


def _check(moment: Array, stage: Stage) -> None:
    if stage.between and not (stage.between[0] <= moment.min() and moment.max() < stage.between[1]):
        strange = moment[(moment < stage.between[0]) | (moment >= stage.between[1])][0]
        raise BadInputError(
            f"a transaction of {np.datetime64(int(strange), 'us')} is not `between` the moments given to rows(); widen "
            "them, or filter the transactions"
        )


def part_column(measure: int, part: str) -> str:
    """Where a merged row has a part of a measure."""
    return f"m{measure}.{part}"


@dataclass(frozen=True)
class SeenRows:
    """A source's rows of keys that are there: key, times, and for each measure whether a row counts and its value.

    A row that is `merged` stands for several, of which it has the `parts` that were asked for.
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
    ) -> SeenRows:
        """`code` is the number of each row's key among `keys`, -1 = none of them, if it is known."""
        if code is None:
            code = to_numpy(pc.index_in(rows["key"], value_set=keys).fill_null(-1)).astype(np.int64)
        if (code < 0).any():
            kept = np.flatnonzero(code >= 0)
            rows, code = rows.take(pa.array(kept)), code[kept]
        counted, value = {}, {}
        for number, measure in enumerate(measures):
            if f"m{number}" in rows.schema.names:
                column = rows[f"m{number}"]
                counts = valid(column, measure)
                if not counts.all():
                    counted[number] = counts
                if measure.kind != "mark":
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

    def of_keys(self, low: int, high: int) -> SeenRows:
        kept = (self.code >= low) & (self.code < high)
        if kept.all():
            return self
        counted, value = ({n: a[kept] for n, a in of.items()} for of in (self.counted, self.value))
        merged = None if self.merged is None else self.merged[kept]
        parts = {of: a[kept] for of, a in self.parts.items()}
        times = (self.event[kept], self.known[kept], self.superseded[kept])
        return SeenRows(self.code[kept], *times, counted, value, merged, parts)

    def brought(self, name: str, measure: int) -> Array:
        """What each row adds to a part; a row that does not count adds nothing."""
        part = PARTS[name]
        own = np.broadcast_to(part.of(self.value.get(measure), self.event), self.code.shape)
        counts = self.counted.get(measure)
        own = own if counts is None else np.where(counts, own, part.nothing(1, own))
        if self.merged is None:
            return own
        return np.where(self.merged, self.parts.get((measure, name), part.nothing(1, own)), own)


def _columns(stage: Stage, code: Array, moment: Array, seen: Mapping[str, SeenRows], keys: int) -> dict[str, pa.Array]:
    """The stage's columns in the order of the transactions. Keys are taken in turns that fit one integer with time."""
    span = int(moment.max() - moment.min()) + 2
    turn = max(1, LARGEST // span)
    present = {one.column: np.zeros(len(code), dtype=bool) for one in stage.asks}
    answer: dict[str, Array] = {}
    for low in range(0, keys, turn):
        own = np.flatnonzero((code >= low) & (code < low + turn))
        line = _Line(low, int(moment.min()), span, code[own], moment[own])
        for name, rows in seen.items():
            asks = sorted((a for a in stage.asks if a.source == name), key=lambda one: (one.delay, one.days or 0))
            with np.errstate(all="ignore"):
                for one, (there, value) in _of_source(line, rows.of_keys(low, low + turn), asks, stage.seen):
                    present[one.column][own] = there
                    answer.setdefault(one.column, np.zeros(len(code), value.dtype))[own] = value
    return {
        one.column: filled(
            one,
            stage.measures[one.source][one.measure],
            present[one.column],
            answer.get(one.column, np.zeros(len(code))),
        )
        for one in stage.asks
    }


class _Line:
    """Keys and moments in one integer, in order."""

    def __init__(self, low: int, origin: int, span: int, code: Array, moment: Array) -> None:
        self.low, self._origin, self._span = low, origin, span
        placed = self.place(code, moment)
        self.order = np.argsort(placed)
        self.placed = placed[self.order]
        self.moment = moment[self.order]

    def place(self, code: Array, time: Array) -> Array:
        """Times before all moments or after them are placed at the ends of their key."""
        placed: Array = (code - self.low) * self._span + np.clip(time, self._origin, self._origin + self._span - 1)
        return placed - self._origin

    def back(self, result: Array) -> Array:
        """From the line's order to that of the transactions."""
        found = np.empty_like(result)
        found[self.order] = result
        return found


def _of_source(
    line: _Line, rows: SeenRows, asks: list[Ask], seen: tuple[Seen, Seen]
) -> Iterator[tuple[Ask, tuple[Array, Array]]]:
    """The answers to all that is asked of one source, window by window."""
    seen_from, seen_until = seen
    for delay, delayed in groupby(asks, key=lambda one: one.delay):
        behind = _micros(delay)
        hint = line.order if len(rows.code) == len(line.order) else None
        begins = _Edges.of(line, line.place(rows.code, seen_from(rows.event, rows.known, delay=behind)), hint)
        for days, group in groupby(delayed, key=lambda one: one.days):
            until = seen_until(
                rows.event, rows.superseded, window=None if days is None else _micros(days), delay=behind
            )
            ends = begins.followed_by(np.maximum(line.place(rows.code, until), begins.placed))
            parts: dict[tuple[int, str], Array] = {}
            for one in group:
                for name in one.aggregation.parts:
                    if (one.measure, name) not in parts:
                        parts[one.measure, name] = _total(PARTS[name], rows.brought(name, one.measure), begins, ends)
                own = {name: parts[one.measure, name] for name in one.aggregation.parts}
                assert one.aggregation.finish
                yield one, (line.back(own["count"] > 0), line.back(one.aggregation.finish(own, line.moment)))


def _micros(days: float) -> int:
    return round(days * DAY)


@dataclass(frozen=True)
class _Edges:
    """Where each row begins, or ends, to be seen; `passed` says how many of them lie behind each moment."""

    line: _Line
    placed: Array
    order: Array
    passed: Array

    @classmethod
    def of(cls, line: _Line, placed: Array, order: Array | None = None) -> _Edges:
        """`order` is one to try first: rows that begin in some order mostly end in it."""
        ordered = placed if order is None else placed[order]
        if order is None or (ordered[1:] < ordered[:-1]).any():
            # Nearly in order: a merge sort finds the runs.
            order = np.argsort(placed) if order is None else order[np.argsort(ordered, kind="stable")]
            ordered = placed[order]
        return cls(line, placed, order, np.searchsorted(ordered, line.placed, side="right"))

    def followed_by(self, placed: Array) -> _Edges:
        return _Edges.of(self.line, placed, self.order)

    def running(self, brought: Array) -> Array:
        """What all rows behind each moment add up to; sums wrap around, and so does their difference, which fits."""
        return np.concatenate((np.zeros(1, np.int64), np.cumsum(brought[self.order], dtype=np.int64)))[self.passed]


def _total(part: Part, brought: Array, begins: _Edges, ends: _Edges) -> Array:
    """A part of the rows that each moment sees: of those that have begun and not ended."""
    if part.merge is np.add:
        return begins.running(brought) - ends.running(brought)
    moments = begins.line.placed
    first, last = (np.searchsorted(moments, edges.placed) for edges in (begins, ends))
    return _overlaid(part, brought, first, last, len(moments))


def _overlaid(part: Part, brought: Array, first: Array, last: Array, moments: int) -> Array:
    """At each of so many places, the rows that lie over it, merged; row i lies over `[first[i], last[i])`.

    A segment tree: a row is put on the few nodes that make up its stretch, then nodes are handed down to their leaves
    (de Berg et al. 2008, Computational Geometry, 10.3).
    """
    leaves = 1 << max(0, moments - 1).bit_length()
    tree = part.nothing(2 * leaves, brought)
    begin, end = first + leaves, last + leaves
    while len(begin):
        inside = begin < end
        begin, end, brought = begin[inside], end[inside], brought[inside]
        for node, is_own in ((begin, begin & 1 == 1), (end - 1, end & 1 == 1)):
            part.merge.at(tree, node[is_own], brought[is_own])
        begin, end = (begin + 1) >> 1, end >> 1
    level = 1
    while level < leaves:
        tree[2 * level : 4 * level] = part.merge(tree[2 * level : 4 * level], np.repeat(tree[level : 2 * level], 2))
        level *= 2
    return tree[leaves : leaves + moments]
