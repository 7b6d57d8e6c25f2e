"""Before the shuffle: a source's rows, packed by customer into few large pieces.

A function over Arrow batches for `mapInArrow`, so that the panel's one shuffle moves some hundred binary rows instead
of all small ones. It holds `CHUNK` rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.features.engine.aggregations import Array
from churn.features.engine.memory import keep_memory
from churn.features.engine.plan import SPINE, Plan

CHUNK: Final = 1 << 19

_LOOK: Final = 1 << 12

PACKED: Final = "bucket int, source string, piece binary"

_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4")
"""Spark copies a piece a dozen times before it compresses it."""


def pack(batches: Iterable[pa.RecordBatch], source: str, plan: Plan) -> Iterator[pa.RecordBatch]:
    """Rows (bucket, key, ...) as pieces: a chunk's visible rows of one bucket, in one binary value."""
    keep_memory()
    for chunk in in_chunks(batches):
        rows, kept = (chunk, np.arange(len(chunk))) if source == SPINE else _narrow(chunk, source, plan)
        yield in_pieces(rows, kept, source, plan.buckets)


def pack_whole(batches: Iterable[pa.RecordBatch], source: str, buckets: int) -> Iterator[pa.RecordBatch]:
    """The same, of all rows as they are; texts that repeat are coded by their number in a list."""
    keep_memory()
    for chunk in in_chunks(batches):
        columns = {name: _coded(chunk[name]) for name in chunk.schema.names}
        yield in_pieces(pa.RecordBatch.from_pydict(columns), np.arange(len(chunk)), source, buckets)


def _coded(column: pa.Array) -> pa.Array:
    """A text column by a dictionary, if a look at its first rows says that this is shorter."""
    if not pa.types.is_string(column.type) or len(pc.unique(column.slice(0, _LOOK))) > _LOOK // 16:
        return column
    return column.dictionary_encode()


def plain(column: pa.Array) -> pa.Array:
    """The column without a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def plain_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows without dictionaries."""
    return pa.RecordBatch.from_arrays([plain(column) for column in rows.columns], rows.schema.names)


def in_pieces(rows: pa.RecordBatch, kept: Array, source: str, buckets: int) -> pa.RecordBatch:
    """The kept rows, a piece for each bucket that has any; `bucket` itself is left out."""
    pieces = dict(_split(rows, kept, buckets))
    return pa.RecordBatch.from_pydict(
        {
            "bucket": pa.array(pieces, pa.int32()),
            "source": pa.array([source] * len(pieces), pa.string()),
            "piece": _binary(pieces.values()),
        }
    )


def in_chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, CHUNK or more at a time."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= CHUNK:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def _narrow(chunk: pa.RecordBatch, source: str, plan: Plan) -> tuple[pa.RecordBatch, Array]:
    """The rows with their times replaced by their segment and by the as-ofs that see them, and which are seen."""
    event, known = to_numpy(chunk["event"]), to_numpy(chunk["known"])
    superseded = to_numpy(chunk["superseded"].fill_null(np.iinfo(np.int64).max))
    first, last = plan.visible(event, known, superseded, np.array(plan.as_ofs))
    edges = plan.edges(source)
    columns: dict[str, Any] = {
        "bucket": chunk["bucket"],
        "key": chunk["key"],
        "segment": _small(np.searchsorted(edges, event, side="right"), len(edges)),
        "first": _small(first, len(plan.as_ofs)),
        "last": _small(last, len(plan.as_ofs)),
    }
    if plan.needs_event(source):
        columns["event"] = event
    columns |= {name: chunk[name] for name in chunk.schema.names if name.startswith("m")}
    return pa.RecordBatch.from_pydict(columns), np.flatnonzero(first < last)


def _small(numbers: Array, most: int) -> Array:
    return numbers.astype(np.min_scalar_type(most))


def _split(rows: pa.RecordBatch, kept: Array, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The kept rows of each bucket that has any."""
    bucket = to_numpy(rows["bucket"]).astype(np.int16)[kept]
    sorted_rows = rows.drop_columns(["bucket"]).take(pa.array(kept[np.argsort(bucket, kind="stable")]))
    ends = np.cumsum(np.bincount(bucket, minlength=buckets))
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        if start < end:
            yield number, sorted_rows.slice(start, end - start)


def as_piece(rows: pa.RecordBatch) -> bytes:
    """Rows as one piece."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue())


def _binary(pieces: Iterable[pa.RecordBatch]) -> pa.Array:
    """Each piece as a stream of its own, one after the other in the array's only buffer: they are copied once."""
    sink, ends = pa.BufferOutputStream(), [0]
    for piece in pieces:
        with pa.ipc.new_stream(sink, piece.schema, options=_COMPRESSED) as stream:
            stream.write_batch(piece)
        ends.append(sink.tell())
    offsets = pa.py_buffer(np.array(ends, dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, offsets, sink.getvalue()])


def to_numpy(column: pa.Array) -> Array:
    """An Arrow column as numpy; without a copy where there is one to be had."""
    values: Array = column.to_numpy(zero_copy_only=False)
    return values
