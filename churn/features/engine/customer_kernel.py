"""After the shuffle: the features of one bucket's customers, as of each as-of.

A function over Arrow batches for `mapInArrow`. It holds one bucket's rows, and takes the customers in shards, so that
their partial sums are at most `CELLS` numbers.
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
from churn.features.engine.aggregations import DAY, PARTS, Array, Part, Rows, run_starts
from churn.features.engine.memory import retain_memory
from churn.features.engine.packing import to_numpy
from churn.features.engine.plan import ARROW, SPINE, Measure, Plan, Request

CELLS: Final = 1 << 22
EXACT: Final = 1 << 51
"""Whole numbers below this add up exactly, and so do their squares."""

TIMES: Final = ("segment", "first", "last", "event")
ColumnKey = str | tuple[str, int]

Values = tuple[Array, Array]
"""For each customer of the shard: whether there is a value, and the value."""


def compute_features(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
    """The spine rows of one bucket, as-of by as-of, with the plan's columns behind their own."""
    retain_memory()
    packed = {name: concatenate(rows) for name, rows in unpack(batches).items()}
    if SPINE not in packed:
        return
    spine = packed.pop(SPINE)
    customers = pc.unique(spine["key"])
    code = to_numpy(pc.index_in(spine["key"], value_set=customers))
    sources = {name: Source.of(name, plan, rows, customers) for name, rows in packed.items()}
    shard_size = max(1, CELLS // (1 + sum(_cells_per_customer(plan, name) for name in sources)))
    shards = {name: source.shards(shard_size, len(customers)) for name, source in sources.items()}
    group = code // shard_size * len(plan.as_ofs) + _positions(spine["as_of"], plan)
    order = np.argsort(group, kind="stable")
    current = -1
    for begin, end in pairwise(np.flatnonzero(np.diff(group[order], prepend=-1, append=-1))):
        rows = order[begin:end]
        number, at = divmod(int(group[rows[0]]), len(plan.as_ofs))
        if number != current:
            current, low = number, number * shard_size
            size = min(shard_size, len(customers) - low)
            engines = _engines(plan, {name: of[number] for name, of in shards.items()}, size)
        values: dict[str, Values] = {}
        with np.errstate(all="ignore"):
            for engine in engines:
                values.update(engine.compute(at))
        own = spine.take(pa.array(rows))
        columns = {"customer_id": customers.take(pa.array(code[rows]))}
        columns |= {name: own[name] for name in own.schema.names if name != "key"}
        columns |= {one.column: _column(one, plan, sources, values, code[rows] - low) for one in plan.requests}
        yield pa.RecordBatch.from_pydict(columns)


def unpack(batches: Iterable[pa.RecordBatch]) -> dict[str, list[pa.RecordBatch]]:
    """The batches of each source, from PACKED rows."""
    sources: dict[str, list[pa.RecordBatch]] = defaultdict(list)
    for packed in batches:
        for source, batch in zip(packed["source"].to_pylist(), packed["batch"], strict=True):
            sources[source] += pa.ipc.open_stream(batch.as_buffer())
    return sources


def concatenate(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches as one."""
    combined = pa.Table.from_batches(batches).combine_chunks().to_batches()
    if len(combined) > 1:
        raise BadInputError("a bucket holds more text than one column can; set more spark.sql.shuffle.partitions")
    return combined[0]


def _positions(as_of: pa.Array, plan: Plan) -> Array:
    """The position of each spine row's as-of among the plan's."""
    micros = to_numpy(as_of.cast(pa.int64()))
    position = np.searchsorted(plan.as_ofs, micros)
    unexpected = np.take(plan.as_ofs, position, mode="clip") != micros
    if unexpected.any():
        first = np.datetime64(int(micros[unexpected][0]), "us")
        raise BadInputError(
            f"the spine has a row as of {first}, which is not among the as_ofs given to customer_features(); add it"
        )
    return position


# ---------------------------------------------------------------- decoding


@dataclass(frozen=True)
class Source:
    """A source's visible rows of customers on the spine, column by column.

    `code` is the customer. `event` is there if some feature needs it, a measure's `value` if its kind is not
    "presence", and its `valid` unless every row counts.
    """

    name: str
    columns: Mapping[ColumnKey, Array]
    texts: Mapping[int, pa.Array]

    @classmethod
    def of(cls, name: str, plan: Plan, rows: pa.RecordBatch, customers: pa.Array) -> Source:
        code = to_numpy(pc.index_in(rows["key"], value_set=customers).fill_null(-1))
        columns: dict[ColumnKey, Array] = {"code": code}
        columns |= {time: to_numpy(rows[time]) for time in TIMES if time in rows.schema.names}
        texts = {}
        for number, measure in enumerate(plan.measures[name]):
            if not measure.always:
                column = rows[f"m{number}"]
                if measure.kind == "text":
                    column, texts[number] = _ranked(column)
                counts = valid(column, measure)
                if not counts.all():
                    columns["valid", number] = counts
                if measure.kind != "presence":
                    columns["value", number] = numbers(column, measure)
        return cls(name, columns, texts).where(code >= 0)

    def __getitem__(self, column: ColumnKey) -> Array:
        return self.columns[column]

    def where(self, selected: Array | slice) -> Source:
        if isinstance(selected, np.ndarray) and selected.dtype == bool and selected.all():
            return self
        return replace(self, columns={name: column[selected] for name, column in self.columns.items()})

    def shards(self, size: int, customers: int) -> list[Source]:
        """The rows of `size` customers each, who are counted from 0 in every shard."""
        shard, code = np.divmod(self["code"], size)
        shard = shard.astype(np.min_scalar_type(customers // size))
        rows = replace(self, columns={**self.columns, "code": code}).where(np.argsort(shard, kind="stable"))
        ends = np.cumsum(np.bincount(shard, minlength=customers // size + 1))
        return [rows.where(slice(start, end)) for start, end in pairwise([0, *ends.tolist()])]

    def with_value(self, measure: int) -> Source:
        """The rows in which the measure counts."""
        return self.where(self["valid", measure]) if ("valid", measure) in self.columns else self

    def contributions(self, part: Part, measure: int) -> Array | int:
        """What each row adds to a part."""
        values: Array | int = part.of_row(self.columns.get(("value", measure)), self.columns.get("event"))
        return values


def _ranked(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Texts as their ranks among the sorted distinct ones, which do not depend on the order of rows."""
    distinct = pc.unique(column.drop_null())
    texts = distinct.take(pc.sort_indices(distinct))
    return pc.index_in(column, value_set=texts), texts


def valid(column: pa.Array, measure: Measure) -> Array:
    """Whether each row counts: null and NaN do not."""
    if measure.kind == "presence":
        return to_numpy(column)
    is_valid = column.is_valid()
    return to_numpy(pc.and_not(is_valid, column.is_nan().fill_null(False)) if measure.kind == "double" else is_valid)


def numbers(column: pa.Array, measure: Measure) -> Array:
    """Whole numbers (of the last decimal place, ranks of texts, microseconds, days) or doubles; 0 for null."""
    value = to_numpy(column.fill_null(0))
    if measure.kind == "double":
        return value
    if measure.scale:
        value = np.rint(value * measure.unit)
    if measure.kind == "integer" and len(value) and max(-value.min(), value.max()) >= EXACT:
        raise BadInputError(f"a whole number of {np.abs(value).max():.0f} is too large to add exactly; cast to double")
    return value.astype(np.int64)


# ---------------------------------------------------------------- the two engines


def _engines(plan: Plan, sources: Mapping[str, Source], size: int) -> list[Sums | Ordered]:
    return [*(Sums(plan, source, size) for source in sources.values()), Ordered(plan, sources, size)]


def _cells_per_customer(plan: Plan, source: str) -> int:
    """How many numbers a customer's partial sums take."""
    parts = {(request.measure, part) for request in plan.mergeable(source) for part in request.aggregation.parts}
    return (len(plan.edges(source)) + 1) * len(parts)


class Sums:
    """Parts by customer and segment, which add up to windows.

    A row that every as-of after its event sees goes into its segment. One that became known late, or was superseded, is
    added to the windows of just those as-ofs that see it.
    """

    def __init__(self, plan: Plan, source: Source, size: int) -> None:
        self._plan, self._size, self._edges = plan, size, plan.edges(source.name)
        self._requests: dict[tuple[int, float | None], list[Request]] = defaultdict(list)
        for request in plan.mergeable(source.name):
            self._requests[request.measure, request.days].append(request)
        begins = np.concatenate(([plan.as_ofs[0] - 1], self._edges))
        earliest = np.searchsorted(plan.as_ofs, begins, side="right")[source["segment"]]
        always_seen = (source["first"] == earliest) & (source["last"] == len(plan.as_ofs))
        self._exceptions, regular = source.where(~always_seen), source.where(always_seen)
        self._cells = {measure: self._by_segment(regular.with_value(measure), measure) for measure, _ in self._requests}

    def _parts(self, measure: int) -> list[str]:
        requests = (one for (of, _), requests in self._requests.items() if of == measure for one in requests)
        return list(dict.fromkeys(part for request in requests for part in request.aggregation.parts))

    def _by_segment(self, rows: Source, measure: int) -> dict[str, Array]:
        key = rows["segment"].astype(np.int64) * self._size + rows["code"]
        cells = {}
        for name in self._parts(measure):
            part = PARTS[name]
            contributions = rows.contributions(part, measure)
            cell = part.empties((len(self._edges) + 1) * self._size, contributions)
            part.merge.at(cell, key, contributions)
            cells[name] = cell.reshape(-1, self._size)
        return cells

    def compute(self, at: int) -> Iterator[tuple[str, Values]]:
        """The values of each column at the as-of of this position."""
        as_of = self._plan.as_ofs[at]
        visible = self._exceptions.where((self._exceptions["first"] <= at) & (at < self._exceptions["last"]))
        end = int(np.searchsorted(self._edges, as_of)) + 1
        for (measure, days), requests in self._requests.items():
            start = 0 if days is None else int(np.searchsorted(self._edges, as_of - round(days * DAY))) + 1
            added = visible.where(visible["segment"] >= start).with_value(measure)
            parts = {}
            for name, cells in self._cells[measure].items():
                merge = PARTS[name].merge
                parts[name] = merge.reduce(cells[start:end], axis=0)
                merge.at(parts[name], added["code"], added.contributions(PARTS[name], measure))
            for request in requests:
                assert request.aggregation.finish
                yield request.column, (parts["count"] > 0, request.aggregation.finish(parts, as_of))


class Ordered:
    """Rows sorted by customer, event time and value; each as-of reads those that it sees."""

    def __init__(self, plan: Plan, sources: Mapping[str, Source], size: int) -> None:
        self._plan, self._size = plan, size
        self._requests = [request for request in plan.requests if not request.is_mergeable(plan.kind(request))]
        self._lookback_days = {
            (name, measure): days for name in sources for measure, days in plan.ordered(name).items()
        }
        self._sorted = {(name, measure): _sorted(sources[name], measure) for name, measure in self._lookback_days}

    def compute(self, at: int) -> Iterator[tuple[str, Values]]:
        """The values of each column at the as-of of this position."""
        visible = {key: self._visible(key, at) for key in self._sorted}
        windows: dict[tuple[str, int, float | None], Rows] = {}
        for request in self._requests:
            key = request.source, request.measure
            if key in visible and (request.cause is None or request.cause in visible):
                if (*key, request.days) not in windows:
                    windows[*key, request.days] = _with_window(visible[key], request.days)
                rows = windows[*key, request.days]
                if request.cause:
                    rows = rows.after(visible[request.cause], request.within_days)
                yield request.column, self._values(request, rows)

    def _visible(self, key: tuple[str, int], at: int) -> Rows:
        source, as_of, days = self._sorted[key], self._plan.as_ofs[at], self._lookback_days[key]
        earliest = -inf if days == inf else as_of - days * DAY
        rows = source.where((source["first"] <= at) & (at < source["last"]) & (source["event"] >= earliest))
        value = rows.columns.get(("value", key[1]), rows["event"])
        return Rows(rows["code"], rows["event"], value, as_of, as_of)

    def _values(self, request: Request, rows: Rows) -> Values:
        if request.aggregation.ordered and not (request.aggregation.parts and self._plan.kind(request) == "integer"):
            customer, result = request.aggregation.ordered(rows, **request.parameters)
        else:
            customer, result = _from_parts(request, rows.in_window)
        present = np.zeros(self._size, dtype=bool)
        values = np.zeros(self._size, dtype=result.dtype)
        present[customer], values[customer] = True, result
        return present, values


def _from_parts(request: Request, rows: Rows) -> tuple[Array, Array]:
    """A mergeable aggregation of rows in order."""
    starts = run_starts(rows.customer)
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows.customer)))
    parts = {}
    for name in request.aggregation.parts:
        contributions = PARTS[name].of_row(rows.value, rows.event)
        parts[name] = PARTS[name].empties(len(starts), contributions)
        PARTS[name].merge.at(parts[name], group, contributions)
    assert request.aggregation.finish
    return rows.customer[starts], request.aggregation.finish(parts, rows.as_of)


def _with_window(rows: Rows, days: float | None) -> Rows:
    since = np.iinfo(np.int64).min if days is None else rows.as_of - round(days * DAY)
    return replace(rows, since=since)


def _sorted(source: Source, measure: int) -> Source:
    """The rows that have a value, sorted by customer, event time and value."""
    rows = source.with_value(measure)
    rows = rows.where(np.lexsort((rows["event"], rows["code"])))
    same = (rows["code"][1:] == rows["code"][:-1]) & (rows["event"][1:] == rows["event"][:-1])
    if ("value", measure) not in rows.columns or not same.any():
        return rows
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    order = np.arange(len(rows["code"]))
    order[tied] = tied[np.lexsort([rows[key][tied] for key in (("value", measure), "event", "code")])]
    return rows.where(order)


# ---------------------------------------------------------------- the result


def _column(
    request: Request, plan: Plan, sources: Mapping[str, Source], values: Mapping[str, Values], customer: Array
) -> pa.Array:
    """One requested column for these customers."""
    measure = plan.measures[request.source][request.measure]
    if request.column not in values:
        return pa.array([request.fill] * len(customer), ARROW[plan.result(request)])
    present, value = (part[customer] for part in values[request.column])
    if plan.result(request) == "text":
        column = sources[request.source].texts[request.measure].take(pa.array(value, mask=~present))
        return column if request.fill is None else column.fill_null(request.fill)
    return filled(request, measure, present, value)


def filled(request: Request, measure: Measure, present: Array, value: Array) -> pa.Array:
    """A column of numbers or times, in its unit, with the feature's fill where there is no value."""
    kind = request.result(measure.kind)
    if kind in ("timestamp", "date", "count"):
        value = value.astype(np.int32 if kind == "date" else np.int64)
    else:
        value = value.astype(float) if request.aggregation.result == "number" else value / measure.unit
        present = present & ~np.isnan(value)
    column = (
        pa.array(value, mask=~present) if request.fill is None else pa.array(np.where(present, value, request.fill))
    )
    return column.cast(ARROW[kind])
