"""Watching a model in use: what is written, when the task fails, and that exit code and MLflow say the same."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.job import Job
from churn.session import environment, submit
from churn.storage import Lake
from jobs import build_features, evaluate, ingest, monitor, ripe, score, train
from tests.browser import CHROMIUM, dom, newest, served
from tests.jobs.company import CONFIG, write_shop

MODEL = """
from churn import Logistic, ModelSpec

SPEC = ModelSpec(
    name="churn",
    candidates={"logistic": Logistic(reg_param_total=100.0)},
    features=("days_since_purchase", "purchases", "spend"),
    dates=5,
)
"""
JOBS = Path(__file__).parents[2] / "jobs"
BEFORE, BETWEEN, NOW = "2025-10-15", "2025-11-15", "2025-12-20"


def job(shop: Path, as_of: str) -> Job:
    args = Namespace(config=shop / "churn.toml", model=shop / "model.py", as_of=as_of, summary=None)
    args.only, args.source = as_of != BEFORE, None
    return Job("test", args)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    """Trained and judged in October, scored then, in November and in December."""
    folder = write_shop(tmp_path_factory.mktemp("shop"), customers=300)
    (folder / "model.py").write_text(MODEL)
    ingest.step(job(folder, NOW))
    for as_of in (BEFORE, BETWEEN, NOW):
        for module in (build_features, *((train, evaluate) if as_of == BEFORE else ()), score):
            module.step(job(folder, as_of))
    return folder


def watch(shop: Path, as_of: str) -> tuple[int, str]:
    """The exit code of a real spark-submit, and what it printed."""
    args = ("--config", str(shop / "churn.toml"), "--model", str(shop / "model.py"), "--as-of", as_of)
    line = submit(JOBS / "monitor.py", args)
    done = subprocess.run(
        line, env=os.environ | environment(), capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def runs(shop: Path, name: str) -> list[str]:
    with sqlite3.connect(f"file:{shop / 'mlflow.db'}?mode=ro", uri=True) as store:
        return [
            status for (status,) in store.execute("select status from runs where name = ? order by start_time", [name])
        ]


def rows(spark: SparkSession, shop: Path, table: str) -> list[dict[str, Any]]:
    found = Lake(spark, str(shop / "lake")).read(table).collect()
    return sorted((row.asDict() for row in found), key=str)


def test_what_has_moved_and_how_it_turned_out(shop: Path, spark: SparkSession) -> None:
    code, printed = watch(shop, NOW)
    assert (code, runs(shop, f"monitor churn {NOW}")) == (0, ["FINISHED"]), printed
    assert "within limits: score:" in printed

    drift = Lake(spark, str(shop / "lake")).read("drift")
    read = drift.where("reference = 'training'").select("feature").distinct().count()
    assert drift.count() == 2 * read  # training and the last period; there is no year ago
    assert {row["reference"] for row in drift.select("reference").distinct().collect()} == {"training", "last_period"}
    scored = drift.where("feature = 'score' AND reference = 'last_period'").first()
    assert scored is not None
    assert (f"{scored['as_of']:%Y-%m-%d}", scored["model"], scored["version"]) == (NOW, "churn", "1")
    assert scored["n"] == Lake(spark, str(shop / "lake")).read("scores_churn").where(F.col("as_of") == NOW).count()
    assert 0 <= scored["psi"] < 0.25

    # The outcomes of October and November are complete after 30 days, those of December are not.
    outcomes = rows(spark, shop, "outcomes")
    assert sorted(f"{row['as_of']:%Y-%m-%d}" for row in outcomes) == [BEFORE, BETWEEN]
    for row in outcomes:
        assert row["auc_low"] <= row["auc"] <= row["auc_high"]
        assert row["rule_of_thumb_auc"] > 0.5
        assert row["positives"] < row["n"]
        assert f"{row['judged_at']:%Y-%m-%d}" == NOW
    page = (shop / "reports" / f"churn-monitoring-{NOW}.html").read_text()
    assert "2 earlier as-ofs have turned out since the last look" in page
    with sqlite3.connect(shop / "mlflow.db") as store:
        logged = dict(store.execute("select key, value from latest_metrics").fetchall())
    assert logged["psi/last_period/score"] == scored["psi"]
    assert logged["outcome/auc"] == max(outcomes, key=lambda row: row["as_of"])["auc"]


def test_a_broken_limit_fails_the_task_and_the_run_when_all_is_written(shop: Path, spark: SparkSession) -> None:
    before = {table: rows(spark, shop, table) for table in ("drift", "outcomes")}
    (shop / "churn.toml").write_text(CONFIG + "auc_floor = 0.99\n")
    code, printed = watch(shop, NOW)
    assert (code, runs(shop, f"monitor churn {NOW}")[-1]) == (1, "FAILED")
    assert re.search(
        r"error: outcomes: 0\.\d+ at 2025-10-15, 0\.\d+ at 2025-11-15; want an AUC of 0\.99 or more", printed
    )
    assert "Traceback" not in printed
    assert "limits broken (outcomes)" in (shop / "reports" / f"churn-monitoring-{NOW}.html").read_text()
    for table, content in before.items():  # judged again, to the same figures
        assert rows(spark, shop, table) == content
    (shop / "churn.toml").write_text(CONFIG)


@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")
def test_the_pages_open_in_a_browser(shop: Path) -> None:
    """MLflow's pages of the evaluation, the version and the look at it, and both reports."""
    client = MlflowClient(f"sqlite:///{shop / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("churn")
    assert experiment is not None
    judged, watched = (newest(client, experiment.experiment_id, f"{what} churn") for what in ("evaluate", "monitor"))
    with served(shop / "mlflow.db") as address:
        runs_page = f"{address}/#/experiments/{experiment.experiment_id}/runs"
        run = dom(f"{runs_page}/{judged.info.run_id}")
        assert f"evaluate churn {BEFORE}" in run
        assert "average_precision" in run
        version = dom(f"{address}/#/models/churn/versions/1")
        assert "challenger" in version
        assert f"train churn {BEFORE}" in version
        for one, file in ((judged, "report.html"), (watched, "monitoring.html")):
            assert "<iframe" in dom(f"{runs_page}/{one.info.run_id}/artifacts/{file}")
    for name in (f"churn-{BEFORE}.html", f"churn-monitoring-{NOW}.html"):
        page = shop / "reports" / name
        # What a browser makes of it has all headings of the file, and nothing was left open.
        assert re.findall("<h[12][^>]*>", dom(page.as_uri())) == re.findall("<h[12][^>]*>", page.read_text())


def test_an_as_of_that_nobody_scored_is_bad_input(shop: Path) -> None:
    wanted = "scores_churn has no scores of as-of 2025-12-21, only 2025-10-15, 2025-11-15, 2025-12-20; score it first"
    with pytest.raises(BadInputError, match=wanted):
        monitor.step(job(shop, "2025-12-21"))
    assert runs(shop, "monitor churn 2025-12-21") == ["FAILED"]


def test_killed_in_the_middle_and_run_again(shop: Path, spark: SparkSession) -> None:
    whole = {table: rows(spark, shop, table) for table in ("drift", "outcomes")}
    name, seen = f"monitor churn {NOW}", len(runs(shop, f"monitor churn {NOW}"))
    args = ("--config", str(shop / "churn.toml"), "--model", str(shop / "model.py"), "--as-of", NOW)
    supervised = "import os, sys; from churn.lifetime import run; sys.exit(run(sys.argv[1:], env=os.environ))"
    line = [sys.executable, "-c", supervised, *submit(JOBS / "monitor.py", args)]
    started = subprocess.Popen(line, env=os.environ | environment(), start_new_session=True)
    deadline = time.monotonic() + 200
    while len(runs(shop, name)) == seen and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in _and_children(started.pid):  # each of its processes, and so nobody is left to say anything
        os.kill(process, signal.SIGKILL)
    assert started.wait(timeout=90) != 0
    assert runs(shop, name)[-1] == "RUNNING"
    monitor.step(job(shop, NOW))
    assert runs(shop, name)[seen:] == ["FAILED", "FINISHED"]
    for table, content in whole.items():
        assert rows(spark, shop, table) == content


def _and_children(pid: int) -> list[int]:
    """A process and all that it started, in sessions of their own or not, the youngest first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in children for one in _and_children(int(child))] + [pid]


def test_training_again_waits_for_labels(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code of a run that finds nothing to do is its own."""
    args = ["--config", str(shop / "churn.toml"), "--model", str(shop / "model.py")]
    line = [sys.executable, str(JOBS / "ripe.py"), *args]
    env = os.environ | environment()
    done = subprocess.run([*line, "--as-of", BEFORE], env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 4
    assert "nothing to do: churn: 0 leavers at 0 as-ofs have ripened by 2025-10-15" in done.stderr
    capsys.readouterr()
    ripe.step(job(shop, NOW))
    assert re.search(
        r"churn: \d+ leavers at 2 as-ofs have ripened by 2025-12-20, .*: train again", capsys.readouterr().out
    )
