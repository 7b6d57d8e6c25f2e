"""Monitoring a model in use: what is written, when the task fails, and that exit code and MLflow agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.storage import Lake
from tests.browser import CHROMIUM, dom, newest, served
from tests.jobs.company import content, step, write_shop
from tests.mlflow_store import statuses, stored

MODEL = """
from churn import Closure, FeatureSet, Logistic, ModelSpec, Schedule
from churn.monitoring.limits import LIMITS, OutcomeFloor

SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    candidates={"logistic": Logistic(reg_param_total=100.0)},
    features=FeatureSet(include=("days_since_purchase", "purchases", "spend")),
    schedule=Schedule(max_as_ofs=5),
    limits=LIMITS,
)
"""
STRICT = MODEL.replace("limits=LIMITS", "limits=(*LIMITS[:3], OutcomeFloor(auc=0.99), *LIMITS[4:])")
BEFORE, BETWEEN, NOW = "2025-10-15", "2025-11-15", "2025-12-20"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    """Trained and evaluated in October, scored then, in November and in December."""
    folder = write_shop(tmp_path_factory.mktemp("shop"), customers=300)
    (folder / "model.py").write_text(MODEL)
    assert step("ingest", folder, NOW) == 0
    for as_of in (BEFORE, BETWEEN, NOW):
        assert step("build_features", folder, as_of, *(() if as_of == BEFORE else ("--only",))) == 0
        for job in (*(("train", "evaluate") if as_of == BEFORE else ()), "score"):
            assert step(job, folder, as_of) == 0
    return folder


def rows(spark: SparkSession, shop: Path, table: str) -> list[dict[str, Any]]:
    found = Lake(spark, str(shop / "lake")).read(table).collect()
    return sorted((row.asDict() for row in found), key=str)


def test_drift_and_outcomes(shop: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    assert (step("monitor", shop, NOW), statuses(shop, f"monitor churn {NOW}")) == (0, ["FINISHED"])
    assert "within limits: score:" in capsys.readouterr().out

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
        assert row["baseline_auc"] > 0.5
        assert row["positives"] < row["n"]
        assert f"{row['evaluated_at']:%Y-%m-%d}" == NOW
    page = (shop / "reports" / f"churn-monitoring-{NOW}.html").read_text()
    assert "The labels of 2 earlier as-ofs have matured since the last monitoring run." in page
    logged = dict(stored(shop, "select key, value from latest_metrics"))
    assert logged["psi/last_period/score"] == scored["psi"]
    assert logged["outcome/auc"] == max(outcomes, key=lambda row: row["as_of"])["auc"]


def test_an_exceeded_limit_has_an_exit_code_of_its_own_when_all_is_written(
    shop: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {table: content(spark, shop, table) for table in ("drift", "outcomes")}
    (shop / "model.py").write_text(STRICT)
    assert (step("monitor", shop, NOW), statuses(shop, f"monitor churn {NOW}")[-1]) == (5, "FINISHED")
    assert re.search(
        r"error: outcomes: 0\.\d+ at 2025-10-15, 0\.\d+ at 2025-11-15; want an AUC of 0\.99 or more",
        capsys.readouterr().err,
    )
    assert "1 of 5 limits exceeded (outcomes)" in (shop / "reports" / f"churn-monitoring-{NOW}.html").read_text()
    for table, rows_before in before.items():  # evaluated again, to the same figures
        assert content(spark, shop, table) == rows_before
    (shop / "model.py").write_text(MODEL)


@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")
def test_the_pages_open_in_a_browser(shop: Path) -> None:
    """MLflow's pages of the evaluation, the version and the monitoring run, and both reports."""
    client = MlflowClient(f"sqlite:///{shop / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("churn")
    assert experiment is not None
    evaluated, monitored = (newest(client, experiment.experiment_id, f"{job} churn") for job in ("evaluate", "monitor"))
    with served(shop / "mlflow.db") as address:
        runs_page = f"{address}/#/experiments/{experiment.experiment_id}/runs"
        run = dom(f"{runs_page}/{evaluated.info.run_id}")
        assert f"evaluate churn {BEFORE}" in run
        assert "average_precision" in run
        version = dom(f"{address}/#/models/churn/versions/1")
        assert "challenger" in version
        assert f"train churn {BEFORE}" in version
        for one, file in ((evaluated, "report.html"), (monitored, "monitoring.html")):
            assert "<iframe" in dom(f"{runs_page}/{one.info.run_id}/artifacts/{file}")
    for name in (f"churn-{BEFORE}.html", f"churn-monitoring-{NOW}.html"):
        page = shop / "reports" / name
        # What a browser makes of it has all headings of the file, and nothing was left open.
        assert re.findall("<h[12][^>]*>", dom(page.as_uri())) == re.findall("<h[12][^>]*>", page.read_text())


def test_an_as_of_that_nobody_scored_is_bad_input(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("monitor", shop, "2025-12-21") == 2
    wanted = "scores_churn has no scores of as-of 2025-12-21, only 2025-10-15, 2025-11-15, 2025-12-20; score it first"
    assert wanted in capsys.readouterr().err
    assert statuses(shop, "monitor churn 2025-12-21") == ["FAILED"]


def test_retraining_waits_for_labels(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code of a run that finds nothing to do is its own."""
    assert step("retrain_trigger", shop, BEFORE) == 4
    assert "nothing to do: churn: 0 leavers at 0 as-ofs have matured by 2025-10-15" in capsys.readouterr().err
    assert step("retrain_trigger", shop, NOW) == 0
    assert re.search(
        r"churn: \d+ leavers at 2 as-ofs have matured by 2025-12-20, .*: train again", capsys.readouterr().out
    )
