"""Delta tables: replaced and merged in one commit each, readable at older versions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.errors import BadInputError
from churn.storage import Lake

SCHEMA = "as_of timestamp, id string, score int"
MAY, JUNE = datetime(2026, 5, 1), datetime(2026, 6, 1)


def rows(lake: Lake, name: str, version: int | None = None) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in lake.read(name, version).collect())


def test_a_partition_is_replaced_in_one_commit_and_older_versions_stay(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    assert not lake.exists("scores")
    assert lake.version("scores") is None

    lake.replace(spark.createDataFrame([(MAY, "a", 1), (MAY, "b", 2)], SCHEMA), "scores", {"as_of": MAY})
    lake.replace(spark.createDataFrame([(JUNE, "a", 3)], SCHEMA), "scores", {"as_of": JUNE})
    lake.replace(spark.createDataFrame([(MAY, "a", 9)], SCHEMA), "scores", {"as_of": MAY})

    assert lake.version("scores") == 2
    assert rows(lake, "scores") == [(MAY, "a", 9), (JUNE, "a", 3)]
    assert rows(lake, "scores", version=0) == [(MAY, "a", 1), (MAY, "b", 2)]
    with pytest.raises(BadInputError, match="table 'scores' has versions 0 to 2, not 7"):
        lake.read("scores", version=7)


def test_a_list_replaces_several_partitions_and_quotes_are_escaped(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    three = spark.createDataFrame([(MAY, "o'neil", 1), (MAY, "b\\", 2), (MAY, "c", 3)], SCHEMA)
    lake.replace(three, "scores", {"id": ["o'neil", "b\\", "c"]})

    lake.replace(spark.createDataFrame([(MAY, "o'neil", 9)], SCHEMA), "scores", {"id": ["o'neil", "b\\"]})

    assert rows(lake, "scores") == [(MAY, "c", 3), (MAY, "o'neil", 9)]


def test_merge_updates_inserts_and_deletes_by_key(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    lake.replace(spark.createDataFrame([(MAY, "a", 1), (MAY, "b", 2), (MAY, "c", 3)], SCHEMA), "scores", {"as_of": MAY})

    changes = [
        (MAY, "a", 9, False),  # existing: updated
        (MAY, "d", 4, False),  # missing: inserted
        (MAY, "b", 0, True),  # existing and flagged: deleted
        (MAY, "e", 0, True),  # missing and flagged: nothing to delete
    ]
    df = spark.createDataFrame(changes, f"{SCHEMA}, deleted boolean")
    lake.merge(df, "scores", ["as_of", "id"], delete="deleted", within={"as_of": [MAY]})

    assert rows(lake, "scores") == [(MAY, "a", 9), (MAY, "c", 3), (MAY, "d", 4)]
    assert lake.version("scores") == 1


def test_rows_of_a_writer_are_appended_once(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    first = spark.createDataFrame([(MAY, "a", 1)], SCHEMA)
    lake.append(first, "scores", writer="stream", number=1)
    lake.append(first, "scores", writer="stream", number=1)  # a micro-batch that is repeated
    lake.append(
        spark.createDataFrame([(MAY, "b", 2, "x")], f"{SCHEMA}, reason string"), "scores", writer="stream", number=2
    )
    assert rows(lake, "scores") == [(MAY, "a", 1, None), (MAY, "b", 2, "x")]


def test_a_missing_table_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    with pytest.raises(BadInputError, match=f"no table 'calls' at {tmp_path}/calls; write it first"):
        lake.read("calls")

    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "export.csv").write_text("id\n1\n")
    with pytest.raises(BadInputError, match="calls is not a Delta table, but there are files; move them"):
        lake.exists("calls")


def test_a_first_write_succeeds_after_one_that_was_killed(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "part-0.snappy.parquet").write_bytes(b"half a file")
    (tmp_path / "scores" / ".part-0.snappy.parquet.crc").write_bytes(b"")

    lake.replace(spark.createDataFrame([(MAY, "a", 1)], SCHEMA), "scores", {"as_of": MAY})

    assert rows(lake, "scores") == [(MAY, "a", 1)]


def test_a_frame_reads_the_version_there_was_when_it_was_made(spark: SparkSession, tmp_path: Path) -> None:
    """Every action on it gives the same rows, whatever another job writes in between."""
    lake = Lake(spark, str(tmp_path))
    lake.replace(spark.createDataFrame([(MAY, "a", 1)], SCHEMA), "scores", {})
    frame = lake.read("scores")
    lake.replace(spark.createDataFrame([(MAY, "a", 2), (MAY, "b", 2)], SCHEMA), "scores", {})
    assert frame.count() == 1
    assert [tuple(row) for row in frame.collect()] == [(MAY, "a", 1)]
    assert lake.read("scores").count() == 2


def test_a_snapshot_stays_at_its_version(spark: SparkSession, tmp_path: Path) -> None:
    """What a run logs is what it reads, whatever is written while it runs."""
    lake = Lake(spark, str(tmp_path))
    lake.replace(spark.createDataFrame([(MAY, "a", 1)], SCHEMA), "scores", {"as_of": MAY})
    pinned = lake.snapshot("scores")
    lake.replace(spark.createDataFrame([(MAY, "a", 9)], SCHEMA), "scores", {"as_of": MAY})
    assert (pinned.table, pinned.path, pinned.version) == ("scores", f"{tmp_path}/scores", 0)
    assert [tuple(row) for row in pinned.frame.collect()] == [(MAY, "a", 1)]
    assert lake.snapshot("scores").version == 1
    assert [tuple(row) for row in lake.snapshot("scores", 0).frame.collect()] == [(MAY, "a", 1)]
