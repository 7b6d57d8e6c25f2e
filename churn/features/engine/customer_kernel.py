"""After the shuffle: the customers of one bucket, described as of each as-of.

A function over Arrow batches for `mapInArrow`. It holds one bucket's rows, and takes the customers in turns so that
the sums it keeps of them are at most `CELLS` numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.errors import BadInputError
from churn.features.engine.aggregations import DAY, PARTS, Array, Part, Rows, heads
from churn.features.engine.memory import keep_memory
from churn.features.engine.packing import to_numpy
from churn.features.engine.plan import ARROW, SPINE, Ask, Measure, Plan

CELLS: Final = 1 << 22
EXACT: Final = 1 << 51
"""Whole numbers below this add up exactly, and so do their squares."""

TIMES: Final = ("segment", "first", "last", "event")
Column = str | tuple[str, int]

Answer = tuple[Array, Array]
"""For each customer of the turn: whether there is a result, and the result."""


def describe(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
    """The spine rows of one bucket, as-of by as-of, with the plan's columns behind their own."""
    keep_memory()
    pieces = {name: whole(rows) for name, rows in unpack(batches).items()}
    if SPINE not in pieces:
        return
    spine = pieces.pop(SPINE)
    customers = pc.unique(spine["key"])
    code = to_numpy(pc.index_in(spine["key"], value_set=customers))
    sources = {name: Source.of(name, plan, rows, customers) for name, rows in pieces.items()}
    turn = max(1, CELLS // (1 + sum(_cells(plan, name) for name in sources)))
    turns = {name: source.turns(turn, len(customers)) for name, source in sources.items()}
    group = code // turn * len(plan.as_ofs) + _positions(spine["as_of"], plan)
    order = np.argsort(group, kind="stable")
    now = -1
    for begin, end in pairwise(np.flatnonzero(np.diff(group[order], prepend=-1, append=-1))):
        rows = order[begin:end]
        number, at = divmod(int(group[rows[0]]), len(plan.as_ofs))
        if number != now:
            now, low = number, number * turn
            size = min(turn, len(customers) - low)
            engines = _engines(plan, {name: parts[number] for name, parts in turns.items()}, size)
        answers: dict[str, Answer] = {}
        with np.errstate(all="ignore"):
            for engine in engines:
                answers.update(engine.answers(at))
        own = spine.take(pa.array(rows))
        columns = {"customer_id": customers.take(pa.array(code[rows]))}
        columns |= {name: own[name] for name in own.schema.names if name != "key"}
        columns |= {ask.column: _column(ask, plan, sources, answers, code[rows] - low) for ask in plan.asks}
        yield pa.RecordBatch.from_pydict(columns)


def unpack(batches: Iterable[pa.RecordBatch]) -> dict[str, list[pa.RecordBatch]]:
    """The pieces of each source."""
    pieces: dict[str, list[pa.RecordBatch]] = defaultdict(list)
    for batch in batches:
        for source, piece in zip(batch["source"].to_pylist(), batch["piece"], strict=True):
            pieces[source] += pa.ipc.open_stream(piece.as_buffer())
    return pieces


def whole(pieces: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Pieces as one."""
    found = pa.Table.from_batches(pieces).combine_chunks().to_batches()
    if len(found) > 1:
        raise BadInputError("a bucket holds more text than one column can; set more spark.sql.shuffle.partitions")
    return found[0]


def _positions(as_of: pa.Array, plan: Plan) -> Array:
    """Which of the plan's as-ofs each spine row speaks for."""
    moment = to_numpy(as_of.cast(pa.int64()))
    position = np.searchsorted(plan.as_ofs, moment)
    strange = np.take(plan.as_ofs, position, mode="clip") != moment
    if strange.any():
        first = np.datetime64(int(moment[strange][0]), "us")
        raise BadInputError(
            f"the spine has a row as of {first}, which is not among the as_ofs given to panel(); add it"
        )
    return position


# ---------------------------------------------------------------- decoding


@dataclass(frozen=True)
class Source:
    """A source's visible rows of customers on the spine, column by column.

    `code` is the customer. `event` is there if some feature asks for it, a measure's `value` if it is more than a
    mark, and its `valid` unless every row counts.
    """

    name: str
    columns: Mapping[Column, Array]
    texts: Mapping[int, pa.Array]

    @classmethod
    def of(cls, name: str, plan: Plan, rows: pa.RecordBatch, customers: pa.Array) -> Source:
        code = to_numpy(pc.index_in(rows["key"], value_set=customers).fill_null(-1))
        columns: dict[Column, Array] = {"code": code}
        columns |= {time: to_numpy(rows[time]) for time in TIMES if time in rows.schema.names}
        texts = {}
        for number, measure in enumerate(plan.measures[name]):
            if not measure.always:
                column = rows[f"m{number}"]
                if measure.kind == "text":
                    column, texts[number] = _ranked(column)
                counted = valid(column, measure)
                if not counted.all():
                    columns["valid", number] = counted
                if measure.kind != "mark":
                    columns["value", number] = numbers(column, measure)
        return cls(name, columns, texts).where(code >= 0)

    def __getitem__(self, column: Column) -> Array:
        return self.columns[column]

    def where(self, kept: Array | slice) -> Source:
        if isinstance(kept, np.ndarray) and kept.dtype == bool and kept.all():
            return self
        return replace(self, columns={name: column[kept] for name, column in self.columns.items()})

    def turns(self, size: int, customers: int) -> list[Source]:
        """The rows of `size` customers each, who are counted from 0 in every turn."""
        turn, code = np.divmod(self["code"], size)
        turn = turn.astype(np.min_scalar_type(customers // size))
        rows = replace(self, columns={**self.columns, "code": code}).where(np.argsort(turn, kind="stable"))
        ends = np.cumsum(np.bincount(turn, minlength=customers // size + 1))
        return [rows.where(slice(start, end)) for start, end in pairwise([0, *ends.tolist()])]

    def counted(self, measure: int) -> Source:
        """The rows that have a value."""
        return self.where(self["valid", measure]) if ("valid", measure) in self.columns else self

    def brought(self, part: Part, measure: int) -> Array | int:
        """What each row adds to a part."""
        brought: Array | int = part.of(self.columns.get(("value", measure)), self.columns.get("event"))
        return brought


def _ranked(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Texts as their ranks among the sorted distinct ones: the same order whatever came first."""
    distinct = pc.unique(column.drop_null())
    texts = distinct.take(pc.sort_indices(distinct))
    return pc.index_in(column, value_set=texts), texts


def valid(column: pa.Array, measure: Measure) -> Array:
    """Whether each row counts: nulls do not, and what is not a number does not."""
    if measure.kind == "mark":
        return to_numpy(column)
    known = column.is_valid()
    return to_numpy(pc.and_not(known, column.is_nan().fill_null(False)) if measure.kind == "fraction" else known)


def numbers(column: pa.Array, measure: Measure) -> Array:
    """Whole numbers (of the last decimal place, ranks of texts, microseconds, days) or fractions; 0 for null."""
    value = to_numpy(column.fill_null(0))
    if measure.kind == "fraction":
        return value
    if measure.scale:
        value = np.rint(value * measure.unit)
    if measure.kind == "whole" and len(value) and max(-value.min(), value.max()) >= EXACT:
        raise BadInputError(f"a whole number of {np.abs(value).max():.0f} is too large to add exactly; cast to double")
    return value.astype(np.int64)


# ---------------------------------------------------------------- the two engines


def _engines(plan: Plan, sources: Mapping[str, Source], size: int) -> list[Sums | Ordered]:
    return [*(Sums(plan, source, size) for source in sources.values()), Ordered(plan, sources, size)]


def _cells(plan: Plan, source: str) -> int:
    """How many numbers a customer's sums take."""
    parts = {(ask.measure, part) for ask in plan.merged(source) for part in ask.aggregation.parts}
    return (len(plan.edges(source)) + 1) * len(parts)


class Sums:
    """Parts by customer and segment, which add up to windows.

    A row that every as-of after it sees goes into its segment. One that came late, or was replaced, is added to the
    windows of just those as-ofs that see it.
    """

    def __init__(self, plan: Plan, source: Source, size: int) -> None:
        self._plan, self._size, self._edges = plan, size, plan.edges(source.name)
        self._asks: dict[tuple[int, float | None], list[Ask]] = defaultdict(list)
        for ask in plan.merged(source.name):
            self._asks[ask.measure, ask.days].append(ask)
        begins = np.concatenate(([plan.as_ofs[0] - 1], self._edges))
        earliest = np.searchsorted(plan.as_ofs, begins, side="right")[source["segment"]]
        usual = (source["first"] == earliest) & (source["last"] == len(plan.as_ofs))
        self._late, on_time = source.where(~usual), source.where(usual)
        self._cells = {measure: self._by_segment(on_time.counted(measure), measure) for measure, _ in self._asks}

    def _parts(self, measure: int) -> list[str]:
        asks = (ask for (asked, _), asks in self._asks.items() if asked == measure for ask in asks)
        return list(dict.fromkeys(part for ask in asks for part in ask.aggregation.parts))

    def _by_segment(self, rows: Source, measure: int) -> dict[str, Array]:
        key = rows["segment"].astype(np.int64) * self._size + rows["code"]
        cells = {}
        for name in self._parts(measure):
            part = PARTS[name]
            brought = rows.brought(part, measure)
            cell = part.nothing((len(self._edges) + 1) * self._size, brought)
            part.merge.at(cell, key, brought)
            cells[name] = cell.reshape(-1, self._size)
        return cells

    def answers(self, at: int) -> Iterator[tuple[str, Answer]]:
        as_of = self._plan.as_ofs[at]
        late = self._late.where((self._late["first"] <= at) & (at < self._late["last"]))
        end = int(np.searchsorted(self._edges, as_of)) + 1
        for (measure, days), asks in self._asks.items():
            start = 0 if days is None else int(np.searchsorted(self._edges, as_of - round(days * DAY))) + 1
            added = late.where(late["segment"] >= start).counted(measure)
            parts = {}
            for name, cells in self._cells[measure].items():
                merge = PARTS[name].merge
                parts[name] = merge.reduce(cells[start:end], axis=0)
                merge.at(parts[name], added["code"], added.brought(PARTS[name], measure))
            for ask in asks:
                assert ask.aggregation.finish
                yield ask.column, (parts["count"] > 0, ask.aggregation.finish(parts, as_of))


class Ordered:
    """Rows sorted by customer, event time and value; each as-of reads those that it sees."""

    def __init__(self, plan: Plan, sources: Mapping[str, Source], size: int) -> None:
        self._plan, self._size = plan, size
        self._asks = [ask for ask in plan.asks if not ask.merges(plan.kind(ask))]
        self._reach = {(name, measure): days for name in sources for measure, days in plan.ordered(name).items()}
        self._sorted = {(name, measure): _sorted(sources[name], measure) for name, measure in self._reach}

    def answers(self, at: int) -> Iterator[tuple[str, Answer]]:
        seen = {wanted: self._seen(wanted, at) for wanted in self._sorted}
        windows: dict[tuple[str, int, float | None], Rows] = {}
        for ask in self._asks:
            wanted = ask.source, ask.measure
            if wanted in seen and (ask.cause is None or ask.cause in seen):
                if (*wanted, ask.days) not in windows:
                    windows[*wanted, ask.days] = _since(seen[wanted], ask.days)
                rows = windows[*wanted, ask.days]
                if ask.cause:
                    rows = rows.after(seen[ask.cause], ask.within_days)
                yield ask.column, self._answer(ask, rows)

    def _seen(self, wanted: tuple[str, int], at: int) -> Rows:
        source, as_of, days = self._sorted[wanted], self._plan.as_ofs[at], self._reach[wanted]
        earliest = -inf if days == inf else as_of - days * DAY
        seen = (source["first"] <= at) & (at < source["last"]) & (source["event"] >= earliest)
        rows = source.where(seen)
        value = rows.columns.get(("value", wanted[1]), rows["event"])
        return Rows(rows["code"], rows["event"], value, as_of, as_of)

    def _answer(self, ask: Ask, rows: Rows) -> Answer:
        if ask.aggregation.ordered and not (ask.aggregation.parts and self._plan.kind(ask) == "whole"):
            customer, result = ask.aggregation.ordered(rows, **ask.parameters)
        else:
            customer, result = _merged(ask, rows.inside)
        present = np.zeros(self._size, dtype=bool)
        answer = np.zeros(self._size, dtype=result.dtype)
        present[customer], answer[customer] = True, result
        return present, answer


def _merged(ask: Ask, rows: Rows) -> tuple[Array, Array]:
    """A mergeable aggregation of rows in order."""
    starts = heads(rows.customer)
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows.customer)))
    parts = {}
    for name in ask.aggregation.parts:
        brought = PARTS[name].of(rows.value, rows.event)
        parts[name] = PARTS[name].nothing(len(starts), brought)
        PARTS[name].merge.at(parts[name], group, brought)
    assert ask.aggregation.finish
    return rows.customer[starts], ask.aggregation.finish(parts, rows.as_of)


def _since(rows: Rows, days: float | None) -> Rows:
    since = np.iinfo(np.int64).min if days is None else rows.as_of - round(days * DAY)
    return replace(rows, since=since)


def _sorted(source: Source, measure: int) -> Source:
    """The rows that have a value, sorted by customer, event time and value."""
    rows = source.counted(measure)
    rows = rows.where(np.lexsort((rows["event"], rows["code"])))
    same = (rows["code"][1:] == rows["code"][:-1]) & (rows["event"][1:] == rows["event"][:-1])
    if ("value", measure) not in rows.columns or not same.any():
        return rows
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    order = np.arange(len(rows["code"]))
    order[tied] = tied[np.lexsort([rows[key][tied] for key in (("value", measure), "event", "code")])]
    return rows.where(order)


# ---------------------------------------------------------------- the answer


def _column(
    ask: Ask, plan: Plan, sources: Mapping[str, Source], answers: Mapping[str, Answer], customer: Array
) -> pa.Array:
    """One column of the panel for these customers."""
    measure = plan.measures[ask.source][ask.measure]
    if ask.column not in answers:
        return pa.array([ask.fill] * len(customer), ARROW[plan.result(ask)])
    present, value = (part[customer] for part in answers[ask.column])
    if plan.result(ask) == "text":
        column = sources[ask.source].texts[ask.measure].take(pa.array(value, mask=~present))
        return column if ask.fill is None else column.fill_null(ask.fill)
    return filled(ask, measure, present, value)


def filled(ask: Ask, measure: Measure, present: Array, value: Array) -> pa.Array:
    """A column of numbers or times, in its unit, and filled."""
    kind = ask.result(measure.kind)
    if kind in ("moment", "day", "count"):
        value = value.astype(np.int32 if kind == "day" else np.int64)
    else:
        value = value.astype(float) if ask.aggregation.result == "number" else value / measure.unit
        present = present & ~np.isnan(value)
    column = pa.array(value, mask=~present) if ask.fill is None else pa.array(np.where(present, value, ask.fill))
    return column.cast(ARROW[kind])
