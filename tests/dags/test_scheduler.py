"""The life of the models under a real scheduler: each test goes on where the one before it stopped.

Airflow, spark-submit, Delta Lake and MLflow are the real ones; the state of a task, the exit code of its job and the
status of its run in MLflow have to agree.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_api import Airflow, airflow, wait
from company import write
from conftest import ROOT
from lake import content

from tests.mlflow_store import runs, statuses
from tests.postgresql import missing

FIRST, SECOND = "2024-06-25", "2024-06-26"
LAST_FILE = "2024-06-25"  # which the second as-of needs, and which has not arrived at first
DAILY = "2024-06-24"  # scored by hand, and by a backfill


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose files until 24 June have arrived: the batch of 25 June can be read, that of the 26th cannot."""
    return write(tmp_path_factory.mktemp("shop"), until=date(2024, 6, 25))


@pytest.fixture(scope="module")
def memory() -> dict[str, Any]:
    """What one test leaves to the next."""
    return {}


@pytest.fixture(scope="module")
def running(shop: Path, database: dict[str, str]) -> Iterator[Airflow]:
    settings = {
        **database,
        "CHURN_START": "2024-06-24",
        "CHURN_RETRY_SECONDS": "2",
        "CHURN_HOLD_SECONDS": "3",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "CHURN_ALERT_COMMAND": f"tee -a {shop / 'alerts.jsonl'}",
        "PYTHONPATH": str(ROOT),
    }
    # So few rows are read sooner than code is compiled for them.
    interpreted = ("--conf", "spark.sql.codegen.factoryMode=NO_CODEGEN")
    small = ("--master", "local[1]", "--conf", "spark.driver.memory=1g", *interpreted)
    with airflow(shop, models=shop / "models", options=small, env=settings) as it:
        yield it


def alerts(shop: Path) -> list[tuple[str, str, str]]:
    """The alerts that were sent: the kind, the DAG and the task."""
    lines = (shop / "alerts.jsonl").read_text().splitlines() if (shop / "alerts.jsonl").exists() else []
    return [(alert["kind"], alert["dag"], alert["task"]) for alert in map(json.loads, lines)]


def of_the_day(tables: dict[str, Any]) -> dict[str, list[str]]:
    """The rows of that day alone."""
    return {name: table["rows"][DAILY] for name, table in tables.items()}


def processes(shop: Path, job: str) -> dict[str, int]:
    """The JVM and the Python driver of a job under way."""
    running = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_text().split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if any(part.endswith(f"jobs/{job}.py") for part in line) and any(str(shop) in part for part in line):
            running["jvm" if any("SparkSubmit" in part for part in line) else "driver"] = int(place.parent.name)
    return running


def test_a_day_is_ingested_by_the_clock(running: Airflow, shop: Path) -> None:
    running.unpause("churn_ingest", "churn_retrain")
    [run] = wait(lambda: running.runs("churn_ingest"), bool, seconds=120, what="a scheduled run")
    assert (run["run_type"], run["data_interval_start"][:10], run["data_interval_end"][:10]) == (
        "scheduled",
        "2024-06-24",
        FIRST,
    )
    assert running.ended("churn_ingest", run["dag_run_id"]) == "success"
    assert set(running.states("churn_ingest", run["dag_run_id"]).values()) == {"success"}
    running.unpause("churn_ingest", paused=True)


def test_an_ingested_as_of_starts_a_retraining_that_survives_killed_drivers(running: Airflow, shop: Path) -> None:
    run = running.run_of("churn_retrain", partition=FIRST)

    def training(times: int) -> None:
        begun = [("train churn 2024-06-25", "FAILED")] * (times - 1) + [("train churn 2024-06-25", "RUNNING")]
        wait(lambda: runs(shop), lambda listed: listed == begun, seconds=600, what=f"training, try {times}")

    training(1)
    os.kill(processes(shop, "train")["driver"], signal.SIGKILL)  # its run stays RUNNING: the next try ends it
    training(2)
    os.kill(processes(shop, "train")["jvm"], signal.SIGTERM)
    assert running.ended("churn_retrain", run) == "success"
    tasks = running.tasks("churn_retrain", run)
    assert {name: (task["state"], task["try_number"]) for name, task in tasks.items()} == {
        "retrain_trigger": ("success", 1),
        "build_features": ("success", 1),
        "train": ("success", 3),
        "evaluate": ("success", 1),
        "promote": ("success", 1),
    }
    assert statuses(shop, "train churn 2024-06-25") == ["FAILED", "FAILED", "FINISHED"]
    assert [alert for alert in alerts(shop) if alert[0] == "failure"] == []


def test_without_new_labels_the_rest_is_skipped(running: Airflow) -> None:
    run = running.trigger("churn_retrain", as_of=FIRST)
    assert running.ended("churn_retrain", run) == "success"
    assert set(running.states("churn_retrain", run).values()) == {"skipped"}


def test_a_day_is_scored_by_hand(running: Airflow, shop: Path, memory: dict[str, Any]) -> None:
    memory["broken"] = running.trigger("churn_retrain", as_of=FIRST, model=str(shop / "models" / "broken.py"))
    running.unpause("churn_score")
    assert running.ended("churn_score", running.trigger("churn_score", as_of=DAILY)) == "success"
    memory["daily"] = content(shop, "features_churn", "scores_churn")
    assert all(len(rows) > 50 for rows in of_the_day(memory["daily"]).values())


def test_a_job_that_fails_is_retried_and_then_alerted_on(running: Airflow, shop: Path, memory: dict[str, Any]) -> None:
    assert running.ended("churn_retrain", memory["broken"]) == "failed"
    tasks = running.tasks("churn_retrain", memory["broken"])
    assert {name: (task["state"], task["try_number"]) for name, task in tasks.items()} == {
        "retrain_trigger": ("success", 1),
        "build_features": ("success", 1),
        "train": ("failed", 3),
        "evaluate": ("upstream_failed", 0),
        "promote": ("upstream_failed", 0),
    }
    assert [status for name, status in runs(shop) if name.startswith("train broken")] == ["FAILED"] * 3
    assert alerts(shop)[-1] == ("failure", "churn_retrain", "train")
    assert "exit code 1: " in (shop / "alerts.jsonl").read_text().splitlines()[-1]


def test_bad_input_fails_at_once(running: Airflow, shop: Path) -> None:
    run = running.trigger("churn_score", as_of=FIRST, model=str(shop / "models" / "nowhere.py"))
    assert running.ended("churn_score", run) == "failed"
    tasks = running.tasks("churn_score", run)
    assert {name: (task["state"], task["try_number"]) for name, task in tasks.items()} == {
        "build_features": ("failed", 1),
        "score": ("upstream_failed", 0),
    }
    assert alerts(shop)[-1] == ("failure", "churn_score", "build_features")


def test_a_task_that_is_marked_as_failed_ends_its_driver(running: Airflow, shop: Path) -> None:
    run = running.trigger("churn_score", as_of=FIRST)
    process_ids = wait(
        lambda: processes(shop, "build_features"), lambda running: len(running) == 2, seconds=300, what="a job"
    )
    path = f"/dags/churn_score/dagRuns/{run}/taskInstances/build_features"
    running.call("PATCH", path, json={"new_state": "failed"})
    wait(
        lambda: processes(shop, "build_features"),
        lambda running: not running,
        seconds=120,
        what=f"the end of {process_ids}",
    )
    assert running.ended("churn_score", run) == "failed"
    assert running.states("churn_score", run) == {"build_features": "failed", "score": "upstream_failed"}


def test_a_day_that_has_not_arrived_is_waited_for(running: Airflow, shop: Path) -> None:
    running.unpause("churn_ingest")
    run = second_ingest(running)
    for task in ("ingest_transactions", "ingest_closures"):
        wait(
            lambda task=task: running.states("churn_ingest", run)[task],
            lambda state: state == "up_for_reschedule",
            seconds=300,
            what=f"a hold of {task}",
        )
    hold = running.xcom("churn_ingest", run, "ingest_transactions", "hold")
    assert f"{shop / 'files' / 'transactions' / LAST_FILE}.csv has not come" in hold
    tries = {name: task["try_number"] for name, task in running.tasks("churn_ingest", run).items()}
    assert tries == {"ingest_transactions": 1, "ingest_closures": 1, "accepted": 0}
    held = [("hold", "churn_ingest", "ingest_closures"), ("hold", "churn_ingest", "ingest_transactions")]
    assert sorted(alert for alert in alerts(shop) if alert[0] == "hold") == held


def second_ingest(running: Airflow) -> str:
    _, run = wait(lambda: running.runs("churn_ingest"), lambda runs: len(runs) == 2, seconds=120, what="a second run")
    return str(run["dag_run_id"])


def test_it_is_ingested_when_it_arrives_with_late_rows_and_corrections(running: Airflow, shop: Path) -> None:
    files, to_come = (shop / name / "transactions" for name in ("files", "to_come"))
    row = (files / "2024-06-18.csv").read_text().splitlines()[1].split(",")
    corrected = ",".join([*row[:4], "999.99", "2024-06-25 06:00:00"])
    (to_come / f"{LAST_FILE}.csv").open("a").write(f"{corrected}\n")
    late = f"late,{row[1]},2024-06-19 12:00:00,purchase,111.11,2024-06-25 05:00:00\n"
    (files / "2024-06-23.csv").open("a").write(late)  # a file that was read before grows
    for source in ("closures", "transactions"):
        (shop / "to_come" / source / f"{LAST_FILE}.csv").replace(shop / "files" / source / f"{LAST_FILE}.csv")

    assert running.ended("churn_ingest", second_ingest(running)) == "success"
    running.unpause("churn_ingest", paused=True)
    scored = running.run_of("churn_score", partition=SECOND)
    assert running.ended("churn_score", scored) == "success"

    tables = content(shop, "transactions", "scores_churn")
    batch = [line for line in tables["transactions"]["rows"]["None"] if f"'batch': '{SECOND}'" in line]
    assert [sum(text in line for line in batch) for text in ("'late'", "Decimal('999.99", f"'{row[0]}'")] == [1, 1, 1]
    assert len(tables["scores_churn"]["rows"][SECOND]) > 50


@pytest.mark.skipif(missing() is not None, reason="creating a backfill can end a scheduler on SQLite")
def test_a_backfill_writes_what_the_daily_run_wrote_twice(running: Airflow, shop: Path, memory: dict[str, Any]) -> None:
    """More is known of that day than when it was scored: its features must not see it."""
    running.unpause("backfill")
    before = memory["daily"]
    begins = f"{date.fromisoformat(DAILY) - timedelta(days=1)}T00:00:00Z"  # the data interval, whose end is as-of
    for again in ("none", "completed"):
        request = {
            "dag_id": "backfill",
            "from_date": begins,
            "to_date": begins,
            "dag_run_conf": {"models": ["churn"]},
            "reprocess_behavior": again,
        }
        number = running.call("POST", "/backfills", json=request)["id"]
        wait(
            lambda number=number: running.call("GET", f"/backfills/{number}")["completed_at"],
            bool,
            seconds=900,
            what=f"backfill {number}",
        )
        for run in running.runs("backfill"):
            assert (run["state"], run["run_type"]) == ("success", "backfill")
            assert running.states("backfill", run["dag_run_id"]) == {
                "churn.build_features": "success",
                "churn.score": "success",
                "fraud.build_features": "skipped",
                "fraud.score": "skipped",
                "sales.build_features": "skipped",
                "sales.score": "skipped",
            }
        after = content(shop, "features_churn", "scores_churn")
        assert all(after[table]["version"] >= before[table]["version"] + 1 for table in after)
        assert of_the_day(after) == of_the_day(memory["daily"])
        before = after
    assert len(running.runs("backfill")) == 1
