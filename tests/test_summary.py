"""The summary that `churn run` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from churn import cli
from churn.config import load
from churn.labels.closure import Closure
from churn.model_spec import ModelSpec
from churn.training.algorithms import Logistic

METRICS: dict[str, Any] = {
    "n": 10,
    "positives": 2,
    "auc": 0.7,
    "average_precision": 0.3,
    "lift": {"0.1": 2.0},
    "baseline": {"auc": 0.6},
}


def test_names_from_data_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A customer named [/x] is no markup, one with a control character does not reach the terminal, and a password of
    the store's address is not shown."""
    (tmp_path / "churn.toml").write_text('[tracking]\nuri = "postgresql://ann:hush@db/mlflow"\n')
    results = {
        "ledger": [],
        "test": {"2026-08-01": METRICS},
        "top": [[1, "[/x]", 0.5], [2, "\x1b[2Jann\n", 0.4]],
        "report": "report.html",
        "scores": "lake/scores_churn",
        "scored_by": "churn version 1, the challenger, as there is no champion",
    }
    spec = ModelSpec(name="churn", label=Closure(), candidates={"logistic": Logistic()})

    cli._print_summary(results, load(tmp_path / "churn.toml"), spec)

    printed = capsys.readouterr().out
    assert "[/x]" in printed
    assert "\x1b" not in printed
    assert r"\x1b[2Jann\n" in printed
    assert "scored by: churn version 1, the challenger, as there is no champion" in printed
    assert "MLflow store: postgresql://ann:***@db/mlflow" in printed
