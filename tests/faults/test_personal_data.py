"""Cells of rows are in the quarantine alone: messages, logs and MLflow have no more than their form."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from churn.options import exit_code
from churn.registry import tracking
from churn.runtime.faults import without_values
from churn.runtime.session import environment, submit

JOBS = Path(__file__).parents[2] / "jobs"
UPLIFT = """
[inputs.contacts]
path = "contacts.csv"
[uplift]
input = "contacts"
treated = "arm = '1'"
outcome = "cast(bought as int) = 1"
features = ["age"]
"""
CELLS = {
    "cast(iban as int)": ("NL91ABNA0417164300", "'XX99XXXX9999999999'"),
    "to_date(iban, 'yyyy-MM-dd')": ("Ann O'Hara 7", "Xxx X"),
    "cast(concat(iban, chr(10), 'b') as date)": ("+31 6 12345678", "'+99 9 99999999"),
    "cast(cast(iban as decimal(18, 2)) as tinyint)": ("4171643.25", "9999999.99"),
}


@pytest.mark.parametrize("expression", CELLS)
def test_the_cell_that_an_expression_fails_on_is_not_shown(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str], expression: str
) -> None:
    """Neither on the terminal, which is Airflow's log, nor in the tags of the run."""
    cell, form = CELLS[expression]
    rows = spark.createDataFrame([(cell,)], "iban string").repartition(2)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def step() -> None:
        with tracking.run(store, "models", "train", key="train churn 2026-10-01"):
            rows.selectExpr(expression).collect()

    code, printed = ended(step, capfd)
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("models").experiment_id])
    for text in (printed, run.data.tags["error"]):
        assert form in text, text
        assert cell not in text, text
        assert all(word not in text for word in cell.split() if len(word) > 3), text
    assert (code, printed.count("\n")) == (2, 1)
    assert printed.startswith("error: a value cannot be computed: [")


def test_spark_itself_does_not_show_the_cell_of_a_job_that_fails_on_it(tmp_path: Path) -> None:
    """Nor does PySpark: this is all that spark-submit prints."""
    cell = "NL91ABNA0417164300"
    rows = [f"{number},{number % 2},{cell if number == 7 else number % 3}" for number in range(20)]
    (tmp_path / "contacts.csv").write_text("\n".join(["age,arm,bought", *rows]) + "\n")
    (tmp_path / "churn.toml").write_text(UPLIFT)
    options = ["--config", str(tmp_path / "churn.toml"), "--out", str(tmp_path / "uplift.json")]
    line = submit(JOBS / "uplift.py", options)
    done = subprocess.run(line, env=os.environ | environment(), capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    assert (done.returncode, cell in printed) == (2, False), printed
    assert "error: a value cannot be computed: [CAST_INVALID_INPUT]" in printed
    assert "ERROR Executor: Exception in task" in printed


def ended(step: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a job that does this, and what it prints of an error."""
    app = typer.Typer()
    app.command()(step)
    capfd.readouterr()
    code = exit_code(app, [])
    lines = [line for line in capfd.readouterr().err.splitlines(keepends=True) if line.startswith("error:")]
    return code, "".join(lines)


def test_a_value_that_was_cut_off_or_holds_quotes_is_masked_whole() -> None:
    assert without_values("[CAST_INVALID_INPUT] The value 'Ann 'the' Bee\nof 9'") == (
        "[CAST_INVALID_INPUT] The value 'Xxx 'xxx' Xxx"
    )
    assert without_values('no "INT(10)" is 25 or \'Ann') == 'no "INT(10)" is 99 or \'Xxx'
