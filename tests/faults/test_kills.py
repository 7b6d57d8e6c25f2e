"""Every job of the chain is killed once and run again, by `python -m tests.faults.kills`, which kills more often."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from tests.faults.chain import AS_OFS, Bench
from tests.faults.kills import compared


def test_a_job_that_is_killed_and_run_again_leaves_what_one_run_leaves(spark: SparkSession, tmp_path: Path) -> None:
    """SIGKILL inside a commit or a call of MLflow's: tables, aliases, tags and runs are equal, and no half is read."""
    bench = Bench(spark, tmp_path)
    try:
        found = list(compared(bench, 8, seed=1, as_ofs=AS_OFS[:1], pause=1.5))
    finally:
        bench.stop()
    assert {str(kill): wrong for kill, wrong in found if wrong} == {}
    assert len({kill.step for kill, _ in found}) == 8
