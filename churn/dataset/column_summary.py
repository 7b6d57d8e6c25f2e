"""Counts and quantiles of many columns in one Arrow pass. Summaries add up, in any order of rows and partitions.

A plan of a thousand aggregates takes longer to compile than most tables take to read.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

BatchTask = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
_SCHEMA: Final = "as_of timestamp, summary binary"


@dataclass
class Number:
    """A number column of some rows: rows that are not null, and how many have which value, to 8 bits of precision.

    A value is known by the upper half of its float32, ordered as the numbers are: whole numbers to 256 are exact,
    others within 0.4 %. Two summaries add up, in any order.
    """

    least: float
    greatest: float
    codes: Array
    counts: Array

    @classmethod
    def of(cls, values: Floats) -> Number:
        known = values[~np.isnan(values)]
        if not len(known):
            return cls(np.inf, -np.inf, np.zeros(0, np.uint16), np.zeros(0, np.int64))
        return cls(float(known.min()), float(known.max()), *_counts(_code(known)))

    @classmethod
    def merged(cls, parts: Sequence[Number]) -> Number:
        codes = np.concatenate([part.codes for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        return cls(min(part.least for part in parts), max(part.greatest for part in parts), *_counts(codes, counts))

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    @property
    def values(self) -> Array:
        """The values that `counts` counts, in their order."""
        return _values(self.codes)

    def quantile(self, share: float) -> float:
        """The least value that `share` of the rows do not exceed. Needs a row."""
        place = int(np.searchsorted(np.cumsum(self.counts), share * self.n, side="left"))
        return float(self.values[min(place, len(self.codes) - 1)])


def _code(values: Floats) -> Array:
    """The upper 16 bits of float32, as whole numbers in the order of the values; -0 is 0."""
    with np.errstate(over="ignore"):
        bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> 16).astype(np.int64)


def _counts(codes: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """The codes there are, in their order, and how often each; with `weights`, a code counts as many times."""
    if not len(codes):
        return np.zeros(0, np.uint16), np.zeros(0, np.int64)
    least = int(codes.min())
    counts = np.bincount(codes.astype(np.int64) - least, weights)
    present = np.flatnonzero(counts)
    return (present + least).astype(np.uint16), counts[present].astype(np.int64)


def _values(codes: Array) -> Array:
    """The numbers that codes begin with."""
    ordered = codes.astype(np.uint32) << np.uint32(16)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return bits.astype(np.uint32).view(np.float32)


@dataclass
class Summary:
    """Of every column of some rows: `numbers` by value, `texts` by how often each is there, both without nulls."""

    rows: int
    numbers: dict[str, Number]
    texts: dict[str, Counter[str]]

    @property
    def known(self) -> dict[str, int]:
        """By column, how many rows are not null."""
        numbers = {name: of.n for name, of in self.numbers.items()}
        return numbers | {name: of.total() for name, of in self.texts.items()}

    @classmethod
    def of(cls, batch: pa.RecordBatch, numbers: Sequence[str], texts: Sequence[str]) -> Summary:
        return cls(
            len(batch),
            {name: Number.of(double(batch[name])) for name in numbers},
            {name: _counted(batch[name]) for name in texts},
        )

    @classmethod
    def merged(cls, parts: Sequence[Summary]) -> Summary:
        """Raises ValueError where there is none."""
        first = parts[0]
        return cls(
            sum(part.rows for part in parts),
            {name: Number.merged([part.numbers[name] for part in parts]) for name in first.numbers},
            {name: sum((part.texts[name] for part in parts), Counter()) for name in first.texts},
        )


def double(column: pa.Array) -> Floats:
    """An Arrow column as numbers, NaN where it is null."""
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _counted(column: pa.Array) -> Counter[str]:
    counts = column.drop_null().value_counts()
    return Counter({one["values"]: one["counts"] for one in counts.to_pylist()})


def by_as_of(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each as-of of a batch, in microseconds."""
    for batch in batches:
        as_ofs = batch["as_of"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        for as_of in np.unique(as_ofs):
            yield int(as_of), batch.filter(pa.array(as_ofs == as_of))


def summarised(rows: DataFrame, numbers: Sequence[str], texts: Sequence[str]) -> dict[datetime, Summary]:
    """The summary of the columns at each as-of."""
    of_batches = partial(_summaries, numbers=numbers, texts=texts)
    found = rows.select("as_of", *numbers, *texts).mapInArrow(of_batches, _SCHEMA).collect()
    return merged([(row["as_of"], row["summary"]) for row in found])


def _summaries(
    batches: Iterable[pa.RecordBatch], numbers: Sequence[str], texts: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    for as_of, rows in by_as_of(batches):
        summary = pickle.dumps(Summary.of(rows, numbers, texts))
        as_ofs = pa.array([as_of], pa.int64()).cast(rows["as_of"].type)
        yield pa.RecordBatch.from_pydict({"as_of": as_ofs, "summary": pa.array([summary], pa.binary())})


def merged(pickled: Sequence[tuple[datetime, bytes]]) -> dict[datetime, Summary]:
    """Pickled summaries of parts of the rows, together, by as-of."""
    parts: dict[datetime, list[Summary]] = {}
    for as_of, summary in pickled:
        parts.setdefault(as_of, []).append(pickle.loads(summary))  # noqa: S301 - what this job's own tasks made
    return {as_of: Summary.merged(of) for as_of, of in parts.items()}


def map_in_arrow(rows: DataFrame, task: BatchTask, schema: str) -> DataFrame:
    """`rows.mapInArrow`, for columns of any name: it takes what is before a dot for the name of a struct."""
    numbered = rows.toDF(*(f"_{number}" for number in range(len(rows.columns))))
    return numbered.mapInArrow(partial(_of_names, names=rows.columns, task=task), schema)


def _of_names(batches: Iterable[pa.RecordBatch], *, names: Sequence[str], task: BatchTask) -> Iterator[pa.RecordBatch]:
    return task(pa.RecordBatch.from_arrays(batch.columns, names=list(names)) for batch in batches)


GREATEST: Final = "greatest array<tinyint>"


def greatest(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of each batch, whose columns are bytes, the greatest value of every column, as GREATEST; 0 where it has none.

    An aggregate of hundreds of columns by Spark is too large a method to be compiled.
    """
    for batch in batches:
        of_columns = [[pc.max(column).as_py() or 0 for column in batch.columns]]
        yield pa.RecordBatch.from_pydict({"greatest": pa.array(of_columns, pa.list_(pa.int8()))})
