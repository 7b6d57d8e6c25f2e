"""Before the shuffle: the rows of each bucket of customers, serialized in a few large binary values.

Functions over Arrow batches for `mapInArrow`, so that the one shuffle moves some hundred binary rows instead of all
small ones. They hold `CHUNK` rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.features.engine.aggregations import Array
from churn.features.engine.memory import retain_memory
from churn.features.engine.plan import SPINE, Plan

CHUNK: Final = 1 << 19

_SAMPLE: Final = 1 << 12

PACKED: Final = "bucket int, source string, batch binary"
"""How rows travel: `batch` is an Arrow IPC stream of one bucket's rows of one source."""

_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4")
"""Spark copies a batch a dozen times before it compresses it."""


def pack(batches: Iterable[pa.RecordBatch], source: str, plan: Plan) -> Iterator[pa.RecordBatch]:
    """Rows (bucket, key, ...) of a source, or of the spine, as PACKED; rows that no as-of sees are left out."""
    retain_memory()
    for chunk in in_chunks(batches):
        rows, selected = (chunk, np.arange(len(chunk))) if source == SPINE else _located(chunk, source, plan)
        yield serialize_by_bucket(rows, selected, source, plan.buckets)


def pack_all(batches: Iterable[pa.RecordBatch], source: str, buckets: int) -> Iterator[pa.RecordBatch]:
    """Rows (bucket, ...) as PACKED, all of them as they are; repetitive texts are dictionary-encoded."""
    retain_memory()
    for chunk in in_chunks(batches):
        columns = {name: _encode_repetitive(chunk[name]) for name in chunk.schema.names}
        yield serialize_by_bucket(pa.RecordBatch.from_pydict(columns), np.arange(len(chunk)), source, buckets)


def _encode_repetitive(column: pa.Array) -> pa.Array:
    """A text column with a dictionary, if its first rows show that this is shorter."""
    if not pa.types.is_string(column.type) or len(pc.unique(column.slice(0, _SAMPLE))) > _SAMPLE // 16:
        return column
    return column.dictionary_encode()


def decode_dictionaries(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows without dictionaries."""
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, rows.schema.names)


def serialize_by_bucket(rows: pa.RecordBatch, selected: Array, source: str, buckets: int) -> pa.RecordBatch:
    """The selected rows as PACKED, a batch for each bucket that has any; their own column `bucket` is left out."""
    batches = dict(_split_by_bucket(rows, selected, buckets))
    return pa.RecordBatch.from_pydict(
        {
            "bucket": pa.array(batches, pa.int32()),
            "source": pa.array([source] * len(batches), pa.string()),
            "batch": _serialize_all(batches.values()),
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


def _located(chunk: pa.RecordBatch, source: str, plan: Plan) -> tuple[pa.RecordBatch, Array]:
    """The rows with their segment and the as-ofs that see them in place of their times, and which rows are seen."""
    event, known = to_numpy(chunk["event"]), to_numpy(chunk["known"])
    superseded = to_numpy(chunk["superseded"].fill_null(np.iinfo(np.int64).max))
    first, last = plan.visible(event, known, superseded, np.array(plan.as_ofs))
    edges = plan.edges(source)
    columns: dict[str, Any] = {
        "bucket": chunk["bucket"],
        "key": chunk["key"],
        "segment": _smallest_type(np.searchsorted(edges, event, side="right"), len(edges)),
        "first": _smallest_type(first, len(plan.as_ofs)),
        "last": _smallest_type(last, len(plan.as_ofs)),
    }
    if plan.needs_event(source):
        columns["event"] = event
    columns |= {name: chunk[name] for name in chunk.schema.names if name.startswith("m")}
    return pa.RecordBatch.from_pydict(columns), np.flatnonzero(first < last)


def _smallest_type(numbers: Array, largest: int) -> Array:
    return numbers.astype(np.min_scalar_type(largest))


def _split_by_bucket(rows: pa.RecordBatch, selected: Array, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The selected rows of each bucket that has any."""
    bucket = to_numpy(rows["bucket"]).astype(np.int16)[selected]
    sorted_rows = rows.drop_columns(["bucket"]).take(pa.array(selected[np.argsort(bucket, kind="stable")]))
    ends = np.cumsum(np.bincount(bucket, minlength=buckets))
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        if start < end:
            yield number, sorted_rows.slice(start, end - start)


def serialize(rows: pa.RecordBatch) -> bytes:
    """Rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue())


def _serialize_all(batches: Iterable[pa.RecordBatch]) -> pa.Array:
    """Each batch as a stream of its own, one after the other in the array's only buffer: they are copied once."""
    sink, ends = pa.BufferOutputStream(), [0]
    for batch in batches:
        with pa.ipc.new_stream(sink, batch.schema, options=_COMPRESSED) as stream:
            stream.write_batch(batch)
        ends.append(sink.tell())
    offsets = pa.py_buffer(np.array(ends, dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, offsets, sink.getvalue()])


def to_numpy(column: pa.Array) -> Array:
    """An Arrow column as numpy; without a copy where possible."""
    values: Array = column.to_numpy(zero_copy_only=False)
    return values
