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

from churn.features.aggregate import Array
from churn.features.plan import SPINE, Plan

CHUNK: Final = 1 << 21

PACKED: Final = "bucket int, source string, piece binary"


def pack(batches: Iterable[pa.RecordBatch], source: str, plan: Plan) -> Iterator[pa.RecordBatch]:
    """Rows (bucket, customer, ...) as pieces: all rows of a chunk and bucket, columns packed, in one binary value."""
    narrow = _keep if source == SPINE else _narrow
    for chunk in _chunks(batches):
        rows = narrow(chunk, source, plan)
        if rows.num_rows:
            pieces = list(_split(rows, plan.buckets))
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array([bucket for bucket, _ in pieces], pa.int32()),
                    pa.array([source] * len(pieces), pa.string()),
                    pa.array([piece for _, piece in pieces], pa.binary()),
                ],
                names=["bucket", "source", "piece"],
            )


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= CHUNK:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def _keep(chunk: pa.RecordBatch, source: str, plan: Plan) -> pa.RecordBatch:
    return chunk


def _narrow(chunk: pa.RecordBatch, source: str, plan: Plan) -> pa.RecordBatch:
    """The visible rows with their times replaced by their segment and by the as-ofs that see them."""
    event, known = to_numpy(chunk["event"]), to_numpy(chunk["known"])
    superseded = to_numpy(chunk["superseded"].fill_null(np.iinfo(np.int64).max))
    as_ofs = np.array(plan.as_ofs)
    first, last = plan.visible(event, known, superseded, as_ofs)
    segment = np.searchsorted(plan.edges(source), event, side="right")
    columns: dict[str, Any] = {
        "bucket": chunk["bucket"],
        "customer": chunk["customer"],
        "segment": segment.astype(np.int32),
        "first": first.astype(np.int16),
        "last": last.astype(np.int16),
    }
    if plan.needs_event(source):
        columns["event"] = event
    for number, measure in enumerate(plan.measures[source]):
        if not measure.always:
            columns[f"m{number}"] = chunk[f"m{number}"]
    rows = pa.RecordBatch.from_pydict(columns)
    seen = first < last
    return rows if seen.all() else rows.filter(pa.array(seen))


def _split(rows: pa.RecordBatch, buckets: int) -> Iterator[tuple[int, bytes]]:
    """Each bucket's rows, their customers encoded by a dictionary of that bucket's own."""
    bucket = to_numpy(rows["bucket"])
    encoded = rows["customer"].dictionary_encode()
    code = to_numpy(encoded.indices)
    home = np.empty(len(encoded.dictionary), dtype=np.int16)
    home[code] = bucket
    by_home = np.argsort(home, kind="stable")
    rank = np.empty(len(home), dtype=np.int32)
    rank[by_home] = np.arange(len(home), dtype=np.int32)
    order = pa.array(np.argsort(bucket.astype(np.int16), kind="stable"))
    customers = encoded.dictionary.take(pa.array(by_home))
    code = rank[code]
    rows = rows.drop_columns(["bucket", "customer"]).append_column("code", pa.array(code)).take(order)
    ends = np.cumsum(np.bincount(bucket, minlength=buckets))
    homes = np.cumsum(np.bincount(home, minlength=buckets))
    for number, ((start, end), (low, high)) in enumerate(zip(pairwise([0, *ends]), pairwise([0, *homes]), strict=True)):
        if start < end:
            piece = rows.slice(start, end - start)
            local = pc.subtract(piece["code"], pa.scalar(low, pa.int32()))
            customer = pa.DictionaryArray.from_arrays(local, customers.slice(low, high - low))
            yield number, _bytes(piece.drop_columns(["code"]).append_column("customer", customer))


def _bytes(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return sink.getvalue().to_pybytes()


def to_numpy(column: pa.Array) -> Array:
    """An Arrow column as numpy; without a copy where there is one to be had."""
    values: Array = column.to_numpy(zero_copy_only=False)
    return values
