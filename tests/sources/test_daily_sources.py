"""A source that comes as a file a day: what a batch reads, and when it is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Config, load
from churn.errors import ConfigError, HoldError
from churn.sources.ingest import ingest
from churn.sources.ledger import LedgerRow
from churn.sources.mapping import map_source
from churn.storage import Lake

HEADER = "transaction_id,customer_id,event_time,kind,amount,loaded_at\n"
CONFIG = """
[sources.transactions]
path = "{path}"
look_back = {look_back}
[sources.transactions.columns]
known_time = "loaded_at"
[sources.transactions.expect]
rows = {rows}
"""
OCTOBER_3 = datetime(2026, 10, 3)


def sale(number: int, day: int, *, loaded: int | None = None) -> str:
    month = 9 if day == 30 else 10
    at, known = f"2026-{month:02}-{day:02} 08:00:00", f"2026-{month:02}-{loaded or day:02} 09:00:00"
    return f"t{number},ann,{at},purchase,9.50,{known}\n"


def write(
    folder: Path, files: Mapping[str, str], *, path: str = "sales/${day}.csv", look_back: int = 2, rows: int = 0
) -> Config:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "churn.toml").write_text(CONFIG.format(path=path, look_back=look_back, rows=rows))
    return load(folder / "churn.toml")


def days_read(spark: SparkSession, config: Config) -> list[int]:
    """The day of October of every row that the batch of 3 October reads."""
    rows = map_source(spark, config.sources["transactions"], as_of=OCTOBER_3).rows
    return sorted(row[0] for row in rows.select(F.dayofmonth("event_time")).collect())


def batch(
    spark: SparkSession, folder: Path, files: Mapping[str, str], *, rows: int = 0, as_of: datetime = OCTOBER_3
) -> LedgerRow:
    """Write the files and ingest the batch of an as-of."""
    config = write(folder, files, rows=rows)
    [row] = ingest(spark, Lake(spark, config.root), config, batch=f"{as_of:%Y-%m-%d}", as_of=as_of)
    return row


@pytest.mark.parametrize("path", ["sales/${day}.csv", "2026-01-01/s-${day}.csv", "dt=${day}/*.csv", "in*/${day}/"])
def test_a_batch_reads_the_days_before_its_as_of(spark: SparkSession, tmp_path: Path, path: str) -> None:
    place = path.replace("in*", "in1") + ("2020-02-02.csv" if path.endswith("/") else "")
    files = {
        place.replace("${day}", f"2026-10-0{day}").replace("*", "part-2020-02-02"): HEADER + sale(day, day)
        for day in (1, 2, 3, 4)
    }
    assert days_read(spark, write(tmp_path, files, path=path)) == [1, 2]


@pytest.mark.parametrize(
    ("there", "look_back", "missing"),
    [
        ((1,), 2, "2026-10-02.csv has not come"),  # the newest
        ((), 1, "2026-10-02.csv has not come"),
        ((4,), 3, "2026-10-02.csv has not come"),  # only what a later batch reads
        ((1, 2), 3, None),  # the first file there is begins the history
        ((2,), 3, None),
    ],
)
def test_a_day_without_a_file_holds_the_batch(
    spark: SparkSession, tmp_path: Path, there: tuple[int, ...], look_back: int, missing: str | None
) -> None:
    files = {f"sales/2026-10-0{day}.csv": HEADER + sale(day, day) for day in there}
    config = write(tmp_path, files, look_back=look_back)
    if missing is None:
        assert days_read(spark, config) == list(there)
    else:
        with pytest.raises(HoldError, match=missing):
            days_read(spark, config)


def test_a_gap_within_the_look_back_holds_the_batch(spark: SparkSession, tmp_path: Path) -> None:
    files = {f"sales/2026-09-{day}.csv": HEADER for day in (28, 29)}
    files["sales/2026-09-30.csv"] = ""  # there, but nothing in it yet: not even a header
    files |= {f"sales/2026-10-0{day}.csv": HEADER + sale(day, day) for day in (1, 2)}
    with pytest.raises(HoldError, match=r"2026-09-30\.csv has not come; nothing was written"):
        days_read(spark, write(tmp_path, files, look_back=4))


def test_rows_are_expected_of_the_last_day_alone(spark: SparkSession, tmp_path: Path) -> None:
    files = {"sales/2026-10-01.csv": HEADER + sale(1, 1) + sale(2, 1), "sales/2026-10-02.csv": HEADER + sale(3, 2)}
    with pytest.raises(HoldError, match="1 rows of 2026-10-02 have come, at least 2 are expected"):
        batch(spark, tmp_path, files, rows=2)
    assert not (tmp_path / "lake").exists()
    files["sales/2026-10-02.csv"] += sale(4, 2)
    assert batch(spark, tmp_path, files, rows=2).accepted == 4


def test_the_first_batch_reads_the_history_and_the_next_what_arrived_since(spark: SparkSession, tmp_path: Path) -> None:
    files = {f"sales/2026-09-{day}.csv": HEADER + sale(day, day).replace("2026-10", "2026-09") for day in (10, 20, 30)}
    files |= {f"sales/2026-10-0{day}.csv": HEADER + sale(day, day) for day in (1, 2)}
    first = batch(spark, tmp_path, files)
    files["sales/2026-10-02.csv"] += sale(3, 2, loaded=3)  # the file of the 2nd grows after its batch
    files["sales/2026-10-03.csv"] = HEADER + sale(4, 3)
    then = batch(spark, tmp_path, files, as_of=datetime(2026, 10, 4))
    again = batch(spark, tmp_path, files)  # the first is still the first; what the next took up stays there
    assert [(row.rows_in, row.accepted, row.duplicate) for row in (first, then, again)] == [
        (5, 5, 0),
        (3, 2, 1),
        (6, 5, 1),
    ]
    accepted = Lake(spark, str(tmp_path / "lake")).read("transactions").orderBy("event_time", "transaction_id")
    assert [(row["transaction_id"], row["batch"]) for row in accepted.collect()] == [
        ("t10", "2026-10-03"),
        ("t20", "2026-10-03"),
        ("t30", "2026-10-03"),
        ("t1", "2026-10-03"),
        ("t2", "2026-10-03"),
        ("t3", "2026-10-04"),
        ("t4", "2026-10-04"),
    ]


def test_a_batch_reads_every_day_since_the_batch_before_it(spark: SparkSession, tmp_path: Path) -> None:
    """Days between two batches are read: none is left out because its own batch was never run."""
    files = {f"sales/2026-10-{day:02}.csv": HEADER + sale(day, day) for day in range(1, 13)}
    rows = [batch(spark, tmp_path, files, as_of=datetime(2026, 10, day)) for day in (3, 10, 11, 10)]
    assert [(row.batch, row.accepted, row.duplicate) for row in rows] == [
        ("2026-10-03", 2, 0),  # the 1st and the 2nd
        ("2026-10-10", 7, 0),  # the 3rd to the 9th
        ("2026-10-11", 1, 1),  # the 10th, and the 9th again
        ("2026-10-10", 7, 0),  # again, though there is a later one
    ]
    accepted = Lake(spark, str(tmp_path / "lake")).read("transactions").select(F.dayofmonth("event_time"), "batch")
    assert sorted(tuple(row) for row in accepted.collect()) == [
        *((day, "2026-10-03") for day in (1, 2)),
        *((day, "2026-10-10") for day in range(3, 10)),
        (10, "2026-10-11"),
    ]


def test_days_between_two_batches_are_held_like_the_last(spark: SparkSession, tmp_path: Path) -> None:
    """A day without a file, or with fewer rows than are expected, holds the batch that reads it."""
    files = {f"sales/2026-10-0{day}.csv": HEADER + sale(day, day) for day in (1, 2, 4, 6, 7)}
    batch(spark, tmp_path, files)
    config = load(tmp_path / "churn.toml")
    lake = Lake(spark, config.root)
    with pytest.raises(HoldError, match=r"2026-10-03\.csv and 1 more has not come"):
        batch(spark, tmp_path, files, as_of=datetime(2026, 10, 8))
    for day in (1, 2, 4):  # files that are deleted do not begin the history anew
        (tmp_path / f"sales/2026-10-0{day}.csv").unlink()
    with pytest.raises(HoldError, match=r"2026-10-03\.csv and 2 more has not come"):
        ingest(spark, lake, config, batch="2026-10-08", as_of=datetime(2026, 10, 8))
    files |= {"sales/2026-10-03.csv": HEADER + sale(3, 3), "sales/2026-10-05.csv": HEADER}
    with pytest.raises(HoldError, match="0 rows of 2026-10-05 have come, at least 1 are expected"):
        batch(spark, tmp_path, files, rows=1, as_of=datetime(2026, 10, 8))
    assert batch(spark, tmp_path, files, as_of=datetime(2026, 10, 8)).accepted == 4


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("CDR_${day:yyyyMMdd}.csv", ["CDR_20260930.csv", "CDR_20261001.csv", "CDR_20261002.csv"]),
        (
            "in [new] ${day:dd-MM-yyyy}.csv",
            ["in [new] 30-09-2026.csv", "in [new] 01-10-2026.csv", "in [new] 02-10-2026.csv"],
        ),
        ("${day:yyyy/MM/dd}/", ["2026/09/30/a.csv", "2026/10/01/20260930.csv", "2026/10/02/a.csv"]),
        ("${day:yyyyMMdd}/*/*.csv", ["20260930/00/a.csv", "20261001/00/a.csv", "20261002/23/a.csv"]),
        ("${day:d.M.yy}.csv", ["30.9.26.csv", "1.10.26.csv", "2.10.26.csv"]),
        ("${day:yyyyDDD}.csv", ["2026273.csv", "2026274.csv", "2026275.csv"]),
        (
            "y=${day:yyyy}/m=${day:MM}/d=${day:dd}/*.csv",
            ["y=2026/m=09/d=30/a.csv", "y=2026/m=10/d=01/b.csv", "y=2026/m=10/d=02/c.csv"],
        ),
        (
            "${day:yyyyMM}/*/${day}.csv",
            ["202609/x/2026-09-30.csv", "202610/x/2026-10-01.csv", "202610/y/2026-10-02.csv"],
        ),
    ],
)
def test_the_day_has_the_form_of_its_pattern(
    spark: SparkSession, tmp_path: Path, path: str, files: Sequence[str]
) -> None:
    """The last days, those since the batch before over the end of a month, and those of validation are the same."""
    written = {name: HEADER + sale(day, day) for name, day in zip(files, (30, 1, 2), strict=True)}
    config = write(tmp_path, written, path=path, rows=1)
    assert days_read(spark, config) == [1, 2]
    source, lake = config.sources["transactions"], Lake(spark, config.root)
    assert map_source(spark, source).rows.count() == 3
    for day, accepted in ((1, 1), (3, 2)):
        [row] = ingest(spark, lake, config, batch=f"{day}", as_of=datetime(2026, 10, day))
        assert row.accepted == accepted
    with pytest.raises(HoldError, match="has not come; nothing was written, try again when it has"):
        ingest(spark, lake, config, batch="4", as_of=datetime(2026, 10, 4))


@pytest.mark.parametrize(
    ("path", "there", "advice"),
    [
        ("CDR_${day}.csv", ["CDR_20261001.csv", "CDR_20261002.csv"], "CDR_${day:yyyyMMdd}.csv"),
        ("CDR_${day:yyyyMMdd}.csv", ["CDR_20261002_081500.csv"], "CDR_${day:yyyyMMdd}*.csv"),
        ("${day}/*.csv", ["2026/10/02/a.csv"], "${day:yyyy/MM/dd}/*.csv"),
        ("y=${day:yyyy}/m=${day:MM}/d=${day:dd}/", ["y=2026/m=10/d=2/a.csv"], "y=${day:yyyy}/m=${day:M}/d=${day:d}"),
        # 10-02 is a day of either form, of which one finds all files
        ("${day}.csv", ["02-10-2026.csv", "10-02-2026.csv", "30-09-2026.csv"], "${day:dd-MM-yyyy}.csv"),
        ("${day}.csv", ["10-02-2026.csv", "02-10-2026.csv", "09-30-2026.csv"], "${day:MM-dd-yyyy}.csv"),
        ("CDR_${day}.csv", ["SMS_20261002.csv", "CDR_20261001.csv"], None),  # of another source, and of another day
    ],
)
def test_a_hold_names_the_file_whose_day_is_written_otherwise(
    spark: SparkSession, tmp_path: Path, path: str, there: Sequence[str], advice: str | None
) -> None:
    config = write(tmp_path, dict.fromkeys(there, HEADER), path=path)
    with pytest.raises(HoldError) as error:
        days_read(spark, config)
    if advice is None:
        assert str(error.value).endswith("has not come; nothing was written, try again when it has")
    else:
        assert f'if this is the file, write path = "{tmp_path}/{advice}" under churn.toml: [sources.tr' in str(
            error.value
        )


def test_looking_back_needs_days_in_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"look_back needs a path with a day in it, such as \"calls/\$\{day\}\.csv\""):
        write(tmp_path, {}, path="sales")


def test_a_daily_batch_needs_an_as_of(spark: SparkSession, tmp_path: Path) -> None:
    config = write(tmp_path, {})
    with pytest.raises(ConfigError, match="comes daily, so a batch of it needs an as-of"):
        ingest(spark, Lake(spark, config.root), config, batch="b")
