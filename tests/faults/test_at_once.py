"""Two jobs at once leave what they leave one after the other."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.errors import DamageError
from churn.runtime.locks import lock
from churn.sources.accepted import checked_snapshots
from churn.sources.ingest import ingest
from churn.storage import Lake

CONFIG = """
[sources.transactions]
path = "transactions.csv"
"""
DAYS = (datetime(2026, 10, 1), datetime(2026, 10, 2))


def at_once(*jobs: Callable[[], object]) -> None:
    """Run them in threads that begin together; raises what one of them raises."""
    errors: list[BaseException] = []
    ready = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        try:
            ready.wait()
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("second", [DAYS[1], DAYS[0]], ids=["two as-ofs", "the same batch"])
def test_two_batches_at_once_leave_each_row_once(spark: SparkSession, tmp_path: Path, second: datetime) -> None:
    """Batches of a source are classified and written one after the other, the first ones of a lake too."""
    rows = [
        f"t{number},c{number % 5},{DAYS[0] - timedelta(days=number + 1):%Y-%m-%d %H:%M:%S},purchase,9.50"
        for number in range(35)
    ]
    header = "transaction_id,customer_id,event_time,kind,amount"
    (tmp_path / "transactions.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "churn.toml").write_text(CONFIG)
    config, lake = load(tmp_path / "churn.toml"), Lake(spark, str(tmp_path / "lake"))

    def batch(as_of: datetime) -> object:
        return ingest(spark, lake, config, batch=f"{as_of:%Y-%m-%d}", as_of=as_of)

    at_once(lambda: batch(DAYS[0]), lambda: batch(second))

    accepted = lake.read("transactions")
    assert (accepted.count(), accepted.select("transaction_id").distinct().count()) == (35, 35)
    ledger = {
        row["batch"]: (row["rows_in"], row["accepted"], row["duplicate"]) for row in lake.read("ledger").collect()
    }
    batches = {f"{day:%Y-%m-%d}" for day in (DAYS[0], second)}
    assert set(ledger) == batches
    assert sorted(ledger.values()) == sorted([(35, 35, 0), (35, 0, 35)][: len(batches)])


def test_first_writes_of_a_table_at_once_both_arrive(spark: SparkSession, tmp_path: Path) -> None:
    """Two jobs of this machine that make one version of a table do it one after the other."""
    lake = Lake(spark, str(tmp_path / "lake"))

    def write(day: datetime) -> Callable[[], None]:
        frame = spark.createDataFrame([(day, day.day)], "as_of timestamp, score int")
        return lambda: lake.replace(frame, "scores", {"as_of": day})

    at_once(*(write(day) for day in DAYS))

    assert sorted(tuple(row) for row in lake.read("scores").collect()) == [(DAYS[0], 1), (DAYS[1], 2)]
    assert lake.version("scores") == 1


def test_a_session_that_saw_a_first_commit_begin_sees_its_table(spark: SparkSession, tmp_path: Path) -> None:
    """A session that has seen the empty log of a table sees the table as soon as another process has made it."""
    made, empty = Lake(spark, str(tmp_path / "made")), Lake(spark, str(tmp_path / "empty"))
    made.replace(spark.range(3), "scores", {})
    Path(empty.path("scores"), "_delta_log").mkdir(parents=True)
    assert not empty.exists("scores")
    shutil.copytree(made.path("scores"), empty.path("scores"), dirs_exist_ok=True)
    assert empty.exists("scores")
    assert empty.read("scores").count() == 3


def test_accepted_tables_are_read_before_an_ingest_or_after_it(spark: SparkSession, tmp_path: Path) -> None:
    """A job that begins between two commits of an ingest waits, and reads none of its tables or all of them."""
    lake = Lake(spark, str(tmp_path / "lake"))
    seen: list[dict[str, int]] = []

    def read() -> None:
        seen.append({name: one.frame.count() for name, one in checked_snapshots(lake).items()})

    reader = threading.Thread(target=read)
    with lock(lake.root, "ingest calls"):
        lake.replace(spark.range(2), "transactions", {})
        reader.start()
        reader.join(timeout=3)
        assert seen == []
        lake.replace(spark.range(1), "calls", {})
    reader.join()
    assert seen == [{"transactions": 2, "calls": 1}]


def test_a_table_with_fewer_rows_than_the_ledger_counts_is_damaged(spark: SparkSession, tmp_path: Path) -> None:
    """A log that lost its last commits reads as a smaller table; the ledger still has its count."""
    for name, count in (("one", 1), ("two", 3)):
        frame = spark.createDataFrame([(f"t{number}",) for number in range(count)], "transaction_id string")
        Lake(spark, str(tmp_path / name)).replace(frame, "transactions", {})
    lake = Lake(spark, str(tmp_path / "two"))
    counts = "source string, rows_in long, accepted long, duplicate long, quarantined long"
    ledger = spark.createDataFrame([("transactions", 2, 2, 0, 0), ("transactions", 3, 1, 2, 0)], counts)
    for folder in ("one", "two"):
        Lake(spark, str(tmp_path / folder)).replace(ledger, "ledger", {"source": "transactions"})
    assert checked_snapshots(lake)["transactions"].frame.count() == 3
    with pytest.raises(DamageError, match="one/transactions has 1 rows, and the ledger counts 3 accepted ones"):
        checked_snapshots(Lake(spark, str(tmp_path / "one")))
