"""Damage to tables and places: one message that names the place and the next step, and an exit code of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest
import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError, DamageError
from churn.options import exit_code
from churn.repair import Repaired, repair
from churn.runtime.faults import explained
from churn.runtime.files import write_whole
from churn.storage import Lake

DAYS = [datetime(2026, 5, day) for day in (1, 2, 3)]


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """A table of three versions, a day each."""
    lake = Lake(spark, str(tmp_path / "lake"))
    for day in DAYS:
        lake.replace(spark.createDataFrame([(day, day.day)], "as_of timestamp, score int"), "scores", {"as_of": day})
    return lake


def commit(lake: Lake, version: int) -> Path:
    return Path(lake.path("scores"), "_delta_log", f"{version:020}.json")


def ended(step: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the message of a job that does this."""
    app = typer.Typer()
    app.command()(lambda: step() and None)
    capsys.readouterr()
    return exit_code(app, []), capsys.readouterr().err


def empty_commit(lake: Lake) -> Path:
    file = commit(lake, 2)
    file.write_bytes(b"")
    return file


def garbled_commit(lake: Lake) -> Path:
    file = commit(lake, 1)
    file.write_bytes(file.read_bytes()[:40])
    return file


def missing_commit(lake: Lake) -> Path:
    file = commit(lake, 1)
    file.unlink()
    return Path(lake.path("scores"))


def missing_data(lake: Lake) -> Path:
    file = next(Path(lake.path("scores")).rglob("*.parquet"))
    file.unlink()
    return file


def garbled_data(lake: Lake) -> Path:
    file = next(Path(lake.path("scores")).rglob("*.parquet"))
    file.write_bytes(b"not parquet")
    file.with_name(f".{file.name}.crc").unlink()
    return file


def data_of(lake: Lake, day: int) -> Path:
    (file,) = Path(lake.path("scores")).glob(f"as_of=2026-05-0{day}*/*.parquet")
    return file


def truncated_data(lake: Lake) -> Path:
    file = data_of(lake, 2)
    file.write_bytes(file.read_bytes()[:-100])
    file.with_name(f".{file.name}.crc").unlink()
    return file


def broken_checkpoint(lake: Lake) -> Path:
    path = lake.path("scores")
    lake.spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.checkpointInterval' = '2')")
    lake.replace(lake.spark.createDataFrame([(DAYS[0], 1)], "as_of timestamp, score int"), "scores", {"as_of": DAYS[0]})
    (file,) = Path(path).glob("_delta_log/*.checkpoint*.parquet")
    file.write_bytes(b"not parquet")
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    return file


DAMAGES = (
    empty_commit,
    garbled_commit,
    missing_commit,
    missing_data,
    garbled_data,
    truncated_data,
    broken_checkpoint,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named_with_the_next_step(
    lake: Lake, spark: SparkSession, damage: Callable[[Lake], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A retry cannot help, so the exit code is not that of a failure; a commit of no bytes is no commit."""
    place = damage(lake)
    java_log = spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
    java_log.clearCache()  # as another process has it

    code, message = ended(lambda: lake.read("scores").collect(), capsys)

    assert code == 7, message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert str(place.name) in message
    assert "churn repair" in message


@pytest.mark.parametrize(
    ("damage", "version", "scores"),
    [
        (empty_commit, 1, [1, 2]),
        (garbled_commit, 0, [1]),
        (missing_commit, 0, [1]),
        (truncated_data, 0, [1]),
        (broken_checkpoint, 4, [1, 2, 3]),  # all commits are there, so nothing is lost
    ],
)
def test_repair_goes_back_to_the_newest_version_that_can_be_read(
    lake: Lake, spark: SparkSession, damage: Callable[[Lake], Path], version: int, scores: list[int]
) -> None:
    """That is what each message of a damaged table says to do."""
    damage(lake)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
    assert repair(lake, "scores").version == version
    assert sorted(row["score"] for row in lake.read("scores").collect()) == scores
    for day in DAYS:
        lake.replace(spark.createDataFrame([(day, day.day)], "as_of timestamp, score int"), "scores", {"as_of": day})
    assert sorted(row["score"] for row in lake.read("scores").collect()) == [1, 2, 3]
    with pytest.raises(BadInputError, match=r"the log and the files of 'scores' at .* are sound; nothing was changed"):
        repair(lake, "scores")


def test_a_table_without_a_sound_version_is_not_repaired(lake: Lake) -> None:
    """Its first file is gone, and all later versions read it."""
    data_of(lake, 1).unlink()
    before = sorted(Path(lake.path("scores")).rglob("*"))
    with pytest.raises(
        DamageError, match=r"table 'scores' at .* has no sound version: bring it back from a backup, or"
    ):
        repair(lake, "scores")
    assert sorted(Path(lake.path("scores")).rglob("*")) == before


def test_repair_goes_back_to_the_version_before_an_empty_commit(lake: Lake, spark: SparkSession) -> None:
    """What was written since is run again; the damaged files are kept beside the log."""
    empty_commit(lake)
    with pytest.raises(DamageError, match=r"version 2 is empty"):
        lake.read("scores")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]

    assert repair(lake, "scores") == Repaired(1, 2, (commit(lake, 2).name,))

    assert sorted(row["score"] for row in lake.read("scores").collect()) == [1, 2]
    lake.replace(spark.createDataFrame([(DAYS[2], 3)], "as_of timestamp, score int"), "scores", {"as_of": DAYS[2]})
    assert sorted(row["score"] for row in lake.read("scores").collect()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("damaged", "version", "rows", "aside"),
    [
        (("commit 1",), 6, 7, 0),  # no reader needs it: checkpoint 4 is later
        (("commit 1", "checkpoint 4"), 6, 7, 1),  # read from checkpoint 2
        (("commit 3", "checkpoint 4"), 2, 3, 5),  # commits 3 to 6, and the checkpoint
        (("commit 1", "commit 6"), 5, 6, 1),
        (("data 5",), 4, 5, 2),
        (("commit 1", "data 3"), 2, 3, 5),  # checkpoint 4 has the file too; its commits go with it
    ],
)
def test_repair_starts_from_the_newest_whole_checkpoint(
    spark: SparkSession, tmp_path: Path, damaged: Sequence[str], version: int, rows: int, aside: int
) -> None:
    """A table with versions 0 to 6, a row each, and checkpoints at 2 and 4; no version more is lost than must be."""
    lake = Lake(spark, str(tmp_path))
    spark.range(1).selectExpr("id", "0 AS n").write.format("delta").partitionBy("n").option(
        "delta.checkpointInterval", "2"
    ).save(lake.path("scores"))
    for n in range(1, 7):
        lake.append(spark.range(1).selectExpr("id", f"{n} AS n"), "scores", writer="test", number=n, partition=["n"])
    log = Path(lake.path("scores"), "_delta_log")
    (log / f"{6:020}.checkpoint.parquet").unlink()
    (log / "_last_checkpoint").unlink()
    for what, number in (one.split() for one in damaged):
        if what == "commit":
            commit(lake, int(number)).write_bytes(b"")
        elif what == "checkpoint":
            (log / f"{int(number):020}.checkpoint.parquet").write_bytes(b"not parquet")
        else:
            next(Path(lake.path("scores"), f"n={number}").glob("*.parquet")).unlink()
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]

    if aside:
        done = repair(lake, "scores")
        assert (done.version, len(done.files)) == (version, aside)
    else:
        with pytest.raises(BadInputError, match="are sound; nothing was changed"):
            repair(lake, "scores")
    assert sorted(row["n"] for row in lake.read("scores").collect()) == list(range(rows))
    assert lake.version("scores") == version


def test_an_empty_commit_concerns_the_versions_that_are_read_from_it(lake: Lake, spark: SparkSession) -> None:
    """Version 4 is a checkpoint; version 2 would be read without what commit 1 brought."""
    path = lake.path("scores")
    spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.checkpointInterval' = '2')")
    lake.replace(spark.createDataFrame([(DAYS[0], 1)], "as_of timestamp, score int"), "scores", {"as_of": DAYS[0]})
    commit(lake, 1).write_bytes(b"")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]

    assert sorted(row["score"] for row in lake.read("scores").collect()) == [1, 2, 3]
    assert [row["score"] for row in lake.read("scores", 0).collect()] == [1]
    with pytest.raises(DamageError, match=r"'scores': version 2 is read from version 1, which is empty \(.*1\.json\)"):
        lake.read("scores", 2)


def test_a_place_that_cannot_be_written_is_named(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lake below a file, as one on a read-only disk."""
    (tmp_path / "file").write_text("")
    lake = Lake(spark, str(tmp_path / "file" / "lake"))
    code, message = ended(lambda: lake.replace(spark.range(1), "scores", {}), capsys)
    assert (code, "a place cannot be written or read" in message) == (7, True), message
    assert str(tmp_path / "file") in message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_one_message_and_leaves_the_table_and_the_report(
    spark: SparkSession, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job there ends with the place and the next step, and readers see the rows of before."""
    lake = Lake(spark, str(small_disk / "lake"))
    lake.replace(spark.range(3), "scores", {})
    report = small_disk / "report.html"
    report.write_text("old")
    many = spark.range(2_000_000).select("id", F.sha2(F.col("id").cast("string"), 256).alias("text"))
    code, message = ended(lambda: lake.replace(many, "many", {}), capsys)
    assert (code, message.count("\n")) == (7, 1), message
    assert "the disk is full" in message
    assert str(small_disk) in message
    assert "make room, then run again" in message
    code, message = ended(lambda: write_whole(report, "x" * 5_000_000), capsys)
    assert (code, report.read_text()) == (7, "old")
    assert f"{report} cannot be written: No space left on device; make room" in message
    assert lake.read("scores").count() == 3


def test_a_read_only_disk_is_one_message_and_leaves_the_table(
    spark: SparkSession, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for the user who may do everything elsewhere."""
    lake = Lake(spark, str(small_disk / "lake"))
    lake.replace(spark.range(3), "scores", {})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, message = ended(lambda: lake.replace(spark.range(5), "scores", {}), capsys)
    assert (code, message.count("\n")) == (7, 1), message
    assert str(small_disk) in message
    assert "give permission, or set another [storage] root" in message
    assert lake.read("scores").count() == 3


def test_a_full_disk_is_named() -> None:
    """As the operating system says it."""
    found = explained(OSError(28, "No space left on device", "/lake/scores/part-0"))
    assert isinstance(found, DamageError)
    assert str(found) == "/lake/scores/part-0: No space left on device; mend that, then run again"
    assert explained(FileNotFoundError(2, "No such file", "/lake")) is None


def test_bad_input_that_a_worker_finds_has_its_own_exit_code(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spark passes on no more than the text of an error of a Python worker."""

    def broken(batches: object) -> object:
        raise BadInputError("a whole number of 9e30 is too large")

    frame: DataFrame = spark.range(3).mapInArrow(broken, "id long")  # type: ignore[arg-type]
    code, message = ended(lambda: frame.agg(F.sum("id")).collect(), capsys)
    assert (code, message) == (2, "error: a whole number of 9e30 is too large\n")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A report on a full disk leaves the old one; a link is replaced, and what it points to is left alone."""
    report, other = tmp_path / "report.html", tmp_path / "other.html"
    other.write_text("of somebody else")
    report.symlink_to(other)
    write_whole(report, "new")
    assert (report.read_text(), report.is_symlink(), other.read_text()) == ("new", False, "of somebody else")

    with pytest.raises(UnicodeEncodeError):
        write_whole(report, "half \ud800")
    assert report.read_text() == "new"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.html", "report.html"]


@pytest.mark.parametrize("name", ["col:on", "{a,b}", "[x]", "a b%20c"])
def test_a_lake_in_a_folder_of_any_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """No part of a path is a pattern, or a scheme."""
    lake = Lake(spark, str(tmp_path / name / "lake"))
    for day in DAYS[:2]:
        lake.replace(spark.createDataFrame([(day, day.day)], "as_of timestamp, score int"), "scores", {"as_of": day})
    assert sorted(row["score"] for row in lake.read("scores").collect()) == [1, 2]
    assert [row["score"] for row in lake.snapshot("scores", 0).frame.collect()] == [1]
