"""Labelled feature rows as matrices: packed by Spark, prepared in numpy.

`pack` runs in `mapInArrow` over the rows, once: it turns the rows of an as-of into one compressed block and a summary
of every column. `Preparation.fit` reads the merged summaries of a slice, and `Rows.matrix` gives the slice's matrix in
one task. The values are those that the stages of `churn.training.pipeline` give a row, to the bit: float32 numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn.dataset.column_summary import Summary, by_as_of, double
from churn.errors import BadInputError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

ORDER: Final = "_order"
"""A hash of the key: rows are in its order, whatever their partitions were."""
DRAW: Final = "_draw"
"""A number from 0 to below 1, drawn by the key: a sample has the rows whose number is low enough."""
PACKED: Final = "as_of timestamp, rows bigint, positives bigint, summary binary, block binary"

MOST_LEVELS: Final = 100
"""Texts of a column that have a slot of their own, the most frequent; the rest have none."""

_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4")


def signed_log(values: Floats) -> Array:
    """sign(x) ln(1 + |x|) as float32, NaN where x is; an infinite x counts as the greatest double."""
    greatest = np.finfo(np.float64).max
    finite = np.clip(values, -greatest, greatest)
    logarithms: Array = (np.sign(finite) * np.log(1 + np.abs(finite))).astype(np.float32)
    return logarithms


# ---------------------------------------------------------------- packing


def pack(batches: Iterable[pa.RecordBatch], numbers: Sequence[str], texts: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows (as_of, label, ORDER, DRAW, features) as PACKED: one row for each as-of of a batch."""
    for as_of, rows in by_as_of(batches):
        label = rows["label"].to_numpy(zero_copy_only=False)
        yield pa.RecordBatch.from_pydict(
            {
                "as_of": pa.array([as_of], pa.int64()).cast(rows["as_of"].type),
                "rows": pa.array([len(label)], pa.int64()),
                "positives": pa.array([int(label.sum())], pa.int64()),
                "summary": pa.array([pickle.dumps(Summary.of(rows, numbers, texts))], pa.binary()),
                "block": pa.array([_block(rows, as_of, numbers, texts)], pa.binary()),
            }
        )


def _block(batch: pa.RecordBatch, as_of: int, numbers: Sequence[str], texts: Sequence[str]) -> bytes:
    columns = {
        "as_of": pa.array(np.full(len(batch), as_of)),
        **{name: batch[name] for name in ("label", ORDER, DRAW)},
        **{name: pa.array(signed_log(double(batch[name]))) for name in numbers},
        **{name: batch[name] for name in texts},
    }
    rows = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_COMPRESSED) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue())


@dataclass(frozen=True)
class _Block:
    """The packed rows of an as-of. `chosen` are the rows in use, `places` where these are in the order of all."""

    packed: pa.Buffer
    chosen: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    def columns(self, names: Iterable[str]) -> pa.Table:
        """Some columns of the chosen rows; the others are not decompressed."""
        return _read(self.packed, names).take(pa.array(self.chosen))


def _read(packed: pa.Buffer, names: Iterable[str]) -> pa.Table:
    fields = pa.ipc.open_stream(packed).schema
    options = pa.ipc.IpcReadOptions(included_fields=sorted(map(fields.get_field_index, names)), use_threads=False)
    return pa.ipc.open_stream(packed, options=options).read_all()


@dataclass(frozen=True)
class Rows:
    """Rows in the order of their key. Their features stay packed until they are asked for: a matrix and one block are
    all that is in memory."""

    as_of: npt.NDArray[np.int64]
    label: Floats
    _blocks: tuple[_Block, ...] = field(repr=False)

    @classmethod
    def unpacked(cls, batches: Iterable[pa.RecordBatch], is_wanted: Callable[[pa.Table], Array]) -> Rows:
        """The wanted rows of all blocks, together. `is_wanted` gets the columns as_of, label, ORDER and DRAW."""
        blocks = [block.as_buffer() for batch in batches for block in batch["block"]]
        keys = [_read(block, ("as_of", "label", ORDER, DRAW)) for block in blocks]
        chosen = [np.flatnonzero(is_wanted(of_block)) for of_block in keys]
        wanted = pa.concat_tables(of.take(pa.array(rows)) for of, rows in zip(keys, chosen, strict=True))
        as_of, order = wanted["as_of"].to_numpy(), wanted[ORDER].to_numpy()
        sorted_rows = np.lexsort((order, as_of))
        places = np.empty(len(sorted_rows), np.int64)
        places[sorted_rows] = np.arange(len(sorted_rows))
        by_block = np.split(places, np.cumsum([len(rows) for rows in chosen])[:-1])
        label = wanted["label"].to_numpy().astype(np.float64)
        return cls(as_of[sorted_rows], label[sorted_rows], tuple(map(_Block, blocks, chosen, by_block)))

    def where(self, mask: npt.NDArray[np.bool_]) -> Rows:
        places = np.cumsum(mask) - 1
        blocks = (
            _Block(block.packed, block.chosen[wanted], places[block.places[wanted]])
            for block in self._blocks
            if (wanted := mask[block.places]).any()
        )
        return Rows(self.as_of[mask], self.label[mask], tuple(blocks))

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Columns as they are packed: features, numbers as signed logarithms, and DRAW."""
        together = pa.concat_tables(block.columns(names) for block in self._blocks).combine_chunks()
        return together.take(pa.array(np.argsort(np.concatenate([block.places for block in self._blocks]))))

    def matrix(self, preparation: Preparation) -> npt.NDArray[np.float32]:
        """One row a row, one column a slot."""
        matrix = np.empty((len(self.label), len(preparation.slots)), np.float32, order="F")
        for block in self._blocks:
            columns = block.columns({slot.feature for slot in preparation.slots})
            for slot, values in zip(preparation.slots, matrix.T, strict=True):
                values[block.places] = slot.values(columns[slot.feature])
        return matrix


# ---------------------------------------------------------------- preparation


@dataclass(frozen=True)
class Slot:
    """One element of the feature vector: a column's signed logarithm, with `fill` for null; whether it is null
    (`is_missing`); or whether it is the text `level`."""

    feature: str
    fill: float = 0.0
    is_missing: bool = False
    level: str | None = None

    def values(self, column: pa.ChunkedArray) -> Array:
        """The element of each row of a packed column."""
        if self.level is not None:
            is_level: Array = pc.equal(column, self.level).fill_null(False).to_numpy()
            return is_level
        if self.is_missing:
            is_null: Array = column.is_null(nan_is_null=True).to_numpy()
            return is_null
        numbers: Array = column.to_numpy()
        return np.where(np.isnan(numbers), self.fill, numbers)


@dataclass(frozen=True)
class Preparation:
    """How feature columns become a vector, fitted on the rows of a slice.

    `numeric` and `text` are the columns that vary there; `nullable` those among them that are null somewhere. A null is
    imputed by the column's median; a nullable column has a slot for whether it is null.
    """

    numeric: tuple[str, ...]
    text: tuple[str, ...]
    nullable: tuple[str, ...]
    slots: tuple[Slot, ...] = field(repr=False)

    @classmethod
    def fit(cls, summary: Summary, features: Sequence[str], *, of_logarithms: bool = False) -> Preparation:
        """`of_logarithms` says that the summary is one of signed logarithms already. Raises BadInputError where no
        column varies."""
        numbers = {name: summary.numbers[name] for name in features if name in summary.numbers}
        texts = {name: summary.texts[name] for name in features if name in summary.texts}
        numeric = tuple(name for name, of in numbers.items() if of.least < of.greatest)
        text = tuple(name for name, of in texts.items() if len(of) > 1)
        if not numeric and not text:
            raise BadInputError(
                f"none of {len(numbers) + len(texts)} features varies on {summary.rows} training rows; is there more "
                "than one customer, and are there rows before the training as-ofs?"
            )
        known = summary.known
        nullable = tuple(name for name in numeric + text if known[name] < summary.rows)
        # The median of whole numbers to 256 is exact, that of others within 0.4 % (see Number).
        medians = {name: numbers[name].quantile(0.5) for name in numeric}
        if not of_logarithms:
            medians = {name: float(signed_log(np.array([median]))[0]) for name, median in medians.items()}
        levels = {name: sorted(level for level, _ in _most_frequent(texts[name])) for name in text}
        return cls(
            numeric,
            text,
            nullable,
            (
                *(Slot(name, fill=medians[name]) for name in numeric),
                *(Slot(name, is_missing=True) for name in nullable),
                *(Slot(name, level=level) for name in text for level in levels[name]),
            ),
        )

    def only(self, mask: npt.NDArray[np.bool_]) -> Preparation:
        """The same with these slots alone, and the columns that they need."""
        slots = tuple(slot for slot, wanted in zip(self.slots, mask, strict=True) if wanted)
        needed = {slot.feature for slot in slots}
        numeric, text, nullable = (
            tuple(name for name in names if name in needed) for names in (self.numeric, self.text, self.nullable)
        )
        return Preparation(numeric, text, nullable, slots)

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature columns that are read."""
        return self.numeric + self.text

    @property
    def features(self) -> tuple[str, ...]:
        """The feature of each element of the vector."""
        return tuple(slot.feature for slot in self.slots)


def _most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_LEVELS]
