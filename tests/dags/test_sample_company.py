"""The sample company from its files to a model in use, by Airflow as `make airflow` has it, with two slots."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from airflow_api import Airflow, airflow, wait
from conftest import PYTHON, ROOT
from lake import content

from tests.mlflow_store import runs, stored

AS_OF = "2026-10-01"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of its last day holds all rows before, too."""
    folder = tmp_path_factory.mktemp("company")
    line = [PYTHON, "-m", "churn.simulation.daily", "sample_data", str(folder), "2026-09-30", AS_OF]
    subprocess.run(line, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def running(company: Path, database: dict[str, str]) -> Iterator[Airflow]:
    settings = {**database, "CHURN_START": "2026-09-30", "PYTHONPATH": str(ROOT)}
    memory = ("--conf", "spark.driver.memory=4g")
    with airflow(company, models=ROOT / "models", options=memory, env=settings) as it:
        yield it


def test_nobody_gets_in_without_the_password_or_by_another_host(running: Airflow) -> None:
    """Every user of the machine reaches loopback, and so does any page in a browser by a name of its own."""
    url = f"{running.url}/api/v2/dags"
    password = running.home / "passwords.json"
    assert password.stat().st_mode & 0o777 == 0o600
    assert (running.home / "output.txt").read_text().count(running.password) == 1
    assert requests.get(url, timeout=60).status_code == 401
    assert requests.get(f"{running.url}/auth/token", timeout=60).status_code in (401, 403)
    wrong = {"username": "admin", "password": "admin"}
    assert requests.post(f"{running.url}/auth/token", json=wrong, timeout=60).status_code == 401
    assert running.session.get(url, timeout=60).status_code == 200
    assert running.session.get(url, headers={"Host": "attacker.example"}, timeout=60).status_code == 400


def test_a_model_is_trained_evaluated_and_promoted(running: Airflow, company: Path) -> None:
    running.unpause("churn_ingest", "churn_retrain")
    run = wait(lambda: running.runs("churn_ingest"), bool, seconds=120, what="a scheduled run")[0]["dag_run_id"]
    assert running.ended("churn_ingest", run) == "success"
    retrained = running.run_of("churn_retrain", partition=AS_OF)
    assert running.ended("churn_retrain", retrained) == "success"

    tasks = {**running.tasks("churn_ingest", run), **running.tasks("churn_retrain", retrained)}
    assert {(task["state"], task["try_number"]) for task in tasks.values()} == {("success", 1)}
    steps = ("train", "evaluate", "promote")
    assert runs(company) == [(f"{step} churn {AS_OF}", "FINISHED") for step in steps]
    aliases = stored(company, "select alias, version from registered_model_aliases where name = 'churn'")
    assert dict(aliases) == {"challenger": 1, "champion": 1}
    sources = len(tasks) - len(("accepted", "retrain_trigger", "build_features", *steps))
    [ledger] = content(company, "ledger")["ledger"]["rows"].values()
    assert len(ledger) == sources == 6


def test_the_champion_scores_and_is_within_its_limits(running: Airflow, company: Path) -> None:
    running.unpause("churn_score", "churn_plan", "monitor")
    scored = running.trigger("churn_score", as_of=AS_OF)
    assert running.ended("churn_score", scored) == "success"
    monitored = running.run_of("monitor", partition=AS_OF)
    assert running.ended("monitor", monitored) == "success"
    assert running.states("monitor", monitored) == {
        "monitor_churn": "success",
        "monitor_fraud": "skipped",
        "monitor_sales": "skipped",
    }
    rows = content(company, "scores_churn")["scores_churn"]["rows"][AS_OF]
    assert len(rows) > 2000
    assert all("'model_version': '1'" in row for row in rows)
    assert runs(company)[-1] == (f"monitor churn {AS_OF}", "FINISHED")


def test_a_plan_follows_the_scores(running: Airflow, company: Path) -> None:
    planned = running.run_of("churn_plan", partition=AS_OF)
    assert running.ended("churn_plan", planned) == "success"
    tables = content(company, "values", "plan_churn")
    values, plan = (tables[name]["rows"][AS_OF] for name in ("values", "plan_churn"))
    assert len(values) > len(plan) > 0
    treated = [row for row in plan if "'arm': 'treated'" in row]
    lines = (company / f"plan-churn-{AS_OF}.csv").read_text().splitlines()
    assert len(lines) == 1 + len(treated) == 1 + 200  # 40 calls on each of five days, a line each


def test_sales_are_trained_promoted_and_scored(running: Airflow, company: Path) -> None:
    running.unpause("sales_retrain", "sales_score")
    retrained = running.trigger("sales_retrain", as_of=AS_OF)
    assert running.ended("sales_retrain", retrained) == "success"
    scored = running.trigger("sales_score", as_of=AS_OF)
    assert running.ended("sales_score", scored) == "success"
    aliases = stored(company, "select alias, version from registered_model_aliases where name = 'sales'")
    assert dict(aliases) == {"challenger": 1, "champion": 1}
    rows = content(company, "scores_sales")["scores_sales"]["rows"][AS_OF]
    assert len(rows) > 2000
