"""Jobs that end before their time: killed and run again they leave what one run leaves; told to end, they say so."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.lifetime import run as run_group
from churn.session import environment, submit
from churn.storage import Lake
from tests.jobs.company import AS_OF, write_shop

JOBS = Path(__file__).parents[2] / "jobs"


def line(job: str, shop: Path) -> list[str]:
    args = ["--config", str(shop / "churn.toml"), "--as-of", AS_OF]
    return submit(JOBS / f"{job}.py", [*args, *(() if job == "ingest" else ("--model", str(shop / "model.py")))])


def run(job: str, shop: Path) -> int:
    return run_group(line(job, shop), env=os.environ | environment())


def kill_after(job: str, shop: Path, seconds: float) -> None:
    """Start a job and end all its processes, without a word, after some seconds."""
    started = subprocess.Popen(line(job, shop), env=os.environ | environment(), start_new_session=True)
    time.sleep(seconds)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def content(spark: SparkSession, shop: Path, table: str) -> list[str]:
    frame: DataFrame = Lake(spark, str(shop / "lake")).read(table)
    return sorted(str(row.asDict(recursive=True)) for row in frame.collect())


@pytest.mark.parametrize(
    ("job", "tables"), [("ingest", ("transactions", "ledger")), ("build_features", ("features_churn",))]
)
def test_killed_at_random_points_and_run_again(
    job: str, tables: tuple[str, ...], tmp_path: Path, spark: SparkSession
) -> None:
    whole, broken = (write_shop(tmp_path / name) for name in ("whole", "broken"))
    if job != "ingest":
        assert run("ingest", whole) == run("ingest", broken) == 0
    begin = time.monotonic()
    assert run(job, whole) == 0
    took = time.monotonic() - begin
    dice = random.Random(3)
    for _ in range(3):
        kill_after(job, broken, took * dice.uniform(0.4, 0.98))
    assert run(job, broken) == 0
    for table in tables:
        assert content(spark, broken, table) == content(spark, whole, table)


def test_sigterm_fails_the_run_and_the_exit_code(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop")
    assert run("ingest", shop) == run("build_features", shop) == 0
    started = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys; from churn.lifetime import run; sys.exit(run(sys.argv[1:], env=os.environ))",
            *line("train", shop),
        ],
        env=os.environ | environment(),
    )
    deadline = time.monotonic() + 120
    while not _statuses(shop) and time.monotonic() < deadline:
        time.sleep(0.3)
    started.terminate()
    assert started.wait(timeout=60) != 0
    assert _statuses(shop) == ["FAILED"]


def _statuses(shop: Path) -> list[str]:
    if not (shop / "mlflow.db").exists():
        return []
    with sqlite3.connect(f"file:{shop / 'mlflow.db'}?mode=ro", uri=True) as store:
        try:
            return [status for (status,) in store.execute("select status from runs")]
        except sqlite3.OperationalError:  # the store is still being made
            return []
