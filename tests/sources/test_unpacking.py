"""Which files of a path are read, and what a file is that cannot be."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from churn.config import RawInput
from churn.errors import BadInputError
from churn.sources.readers import read

CSV = b"id,who\n1,ann\n"


def source(path: Path, **settings: Any) -> RawInput:
    return RawInput(name="calls", file=Path("churn.toml"), path=str(path), **settings)


def ids(spark: SparkSession, path: Path, **settings: Any) -> list[str]:
    return sorted(row["id"] for row in read(spark, source(path, **settings)).collect())


def refusal(spark: SparkSession, path: Path, **settings: Any) -> str:
    with pytest.raises(BadInputError) as caught:
        read(spark, source(path, **settings)).collect()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_frame(data: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


# --- tables of other formats ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("path", ["", "calls", "calls/day=1", "calls/*.parquet", "calls/day=*/*"])
@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            "_delta_log/00000000000000000000.json",
            'deleted; set format = "delta", and path to this folder',
        ),
        (
            ".hoodie/hoodie.properties",
            "/calls holds .hoodie, so it is a table of Hudi, whose files also have rows that were replaced or deleted",
        ),
        (f"metadata/00001-{UUID(int=7)}.metadata.json", "/calls holds metadata, so it is a table of Iceberg, whose"),
        ("metadata/v3.metadata.json", "/calls holds metadata, so it is a table of Iceberg, whose"),
    ],
)
def test_a_table_is_not_read_as_files(
    spark: SparkSession, tmp_path: Path, kind: str, path: str, log: str, message: str
) -> None:
    for name in ("calls/a.parquet", "calls/day=1/b.parquet", f"calls/{log}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    assert message in refusal(spark, tmp_path / path, format=kind)


def test_a_folder_of_metadata_is_no_table(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "calls.metadata.json").write_text('{"id": "1"}')
    assert ids(spark, tmp_path, format="json") == ["1"]


# --- empty files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["in", "in/*.csv", "in/b.csv"])
def test_a_link_to_nothing_is_no_file_to_leave_out(spark: SparkSession, tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(CSV)
    (tmp_path / "in" / "b.csv").symlink_to(tmp_path / "gone.csv")
    (tmp_path / "in" / ".hidden").symlink_to(tmp_path / "gone.csv")
    message = "b.csv is a link to a file that is not there; bring it back, or remove it"
    assert message in refusal(spark, tmp_path / path)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_files_without_bytes_are_left_out(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pq.write_table(pa.table({"id": ["1"]}), tmp_path / "a.parquet")
    else:
        (tmp_path / f"a.{kind}").write_bytes(CSV if kind == "csv" else b'{"id": "1"}')
    (tmp_path / "day=1_$folder$").touch()
    (tmp_path / f"part-0.{kind}").touch()
    assert ids(spark, tmp_path, format=kind) == ["1"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.csv.gz", gzip.compress(b"", mtime=0)),
        ("b.csv.bz2", bz2.compress(b"")),
        ("b.csv.lz4", bytes(4)),  # what Hadoop writes
        ("b.csv.snappy", bytes(4)),
    ],
)
def test_a_packed_file_of_nothing_is_left_out(spark: SparkSession, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / name).write_bytes(content)
    assert ids(spark, tmp_path) == ["1"]


# --- what cannot be read ----------------------------------------------------------------------------------------------


def tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "short.csv.lz4": (lambda data: in_frame(data, "lz4"), "cannot be decompressed as Hadoop's .lz4: "),
    "long.csv.lz4": (lambda data: in_frame(data * 9_000, "lz4"), "cannot be decompressed as Hadoop's .lz4: "),
    "b.csv.snappy": (lambda data: b"\xff\x06\0\0sNaPpY" + data, "cannot be decompressed as Hadoop's .snappy: "),
    "b.csv.gz": (lambda data: data, "cannot be decompressed as Hadoop's .gz: "),
    "cut.csv.gz": (lambda data: gzip.compress(data, mtime=0)[:-12], "cannot be decompressed as Hadoop's .gz: "),
    "b.csv.bz2": (
        lambda data: data,
        "cannot be decompressed as Hadoop's .bz2: it holds nothing of this form",
    ),
    "b.csv.zst": (lambda data: in_frame(data, "zstd"), "cannot be decompressed as Hadoop's .zst: "),
    "b.tar.gz": (tar, "is a tar archive, want "),
}


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_cannot_be_read_is_named(spark: SparkSession, tmp_path: Path, kind: str, name: str) -> None:
    damage, reason = DAMAGED[name]
    data = CSV if kind == "csv" else b'{"id": "1", "who": "ann"}\n' * 2
    (tmp_path / f"a.{kind}").write_bytes(data)
    (tmp_path / name).write_bytes(damage(data))
    message = refusal(spark, tmp_path, format=kind)
    assert f"{tmp_path}/{name} " in message
    assert reason in message
