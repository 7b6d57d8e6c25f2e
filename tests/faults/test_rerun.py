"""A job that fails, and is run again, leaves what one run leaves.

Each fails at every commit it makes, while its files are written, and after its last one, in the session of the tests.
Those that are ended by SIGKILL are in tests/faults/test_kills.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.runtime.processes import TERMINATED
from churn.runtime.session import environment
from churn.storage import Lake
from tests.jobs.company import AS_OF, arguments, content, step, write_shop
from tests.mlflow_store import runs

COMMITS: Final = {
    "ingest": ("transactions", "quarantine", "ledger"),
    "build_features": ("features_churn",),
    "score": ("scores_churn",),
    "monitor": ("drift", "outcomes"),
}
"""The tables that a job writes, in the order of its commits."""
CHAIN: Final = ("ingest", "build_features", "train", "evaluate", "promote", "score", "monitor")


class DiskFullError(Exception):
    """What the tests break a commit with."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    """A shop after one run of each job."""
    folder = write_shop(tmp_path_factory.mktemp("whole"))
    assert [step(job, folder, AS_OF) for job in CHAIN] == [0] * len(CHAIN)
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shop before any job: each test below takes the next jobs one step on."""
    return write_shop(tmp_path_factory.mktemp("broken"))


@contextmanager
def failing(number: int, point: str) -> Iterator[None]:
    """A lake whose commit of this number, from 0, fails while its files are written, or after it."""
    replace, made = Lake.replace, []

    def fail(lake: Lake, df: DataFrame, name: str, where: Any, **more: Any) -> None:
        made.append(name)
        if len(made) - 1 != number:
            return replace(lake, df, name, where, **more)
        if point == "inside":
            full = F.raise_error(F.lit("the disk is full"))
            ends = df.sparkSession.range(1).select(
                *(full.cast(field.dataType).alias(field.name) for field in df.schema)
            )
            df = df.unionAll(ends)
        replace(lake, df, name, where, **more)
        raise DiskFullError(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "replace", fail)
        yield


@pytest.mark.parametrize("job", COMMITS)
def test_a_job_that_fails_at_any_of_its_commits(job: str, whole: Path, broken: Path, spark: SparkSession) -> None:
    """Each run continues where the one before it failed; a commit that fails inside was not yet begun for readers."""
    for before in CHAIN[: CHAIN.index(job)]:
        if before not in COMMITS and (f"{before} churn {AS_OF}", "FINISHED") not in runs(broken):
            assert step(before, broken, AS_OF) == 0
    tables = COMMITS[job]
    for number, point in (*((number, "inside") for number in range(len(tables))), (len(tables) - 1, "after")):
        with failing(number, point), pytest.raises(Exception, match="disk is full|" + tables[number]):
            step(job, broken, AS_OF)
        for table in tables[:number]:
            assert content(spark, broken, table) == content(spark, whole, table), (number, point, table)
    assert step(job, broken, AS_OF) == 0
    for table in tables:
        assert content(spark, broken, table) == content(spark, whole, table), table


def test_sigterm_ends_a_chain_in_one_session(tmp_path: Path) -> None:
    """While a model is trained: both the exit code and the run in MLflow report it."""
    shop = write_shop(tmp_path / "shop")
    line = [sys.executable, "-m", "churn", "run", *arguments("train", shop, AS_OF)]
    started = subprocess.Popen(line, env=os.environ | environment(), stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not runs(shop) and time.monotonic() < deadline:
        time.sleep(0.1)
    started.terminate()
    assert started.wait(timeout=60) == TERMINATED
    assert runs(shop) == [(f"train churn {AS_OF}", "FAILED")]
