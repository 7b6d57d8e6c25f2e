"""The monitoring report: its sentences and figures, and that it fetches nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from churn.labels.closure import Closure
from churn.model_spec import LabelWindow, ModelSpec
from churn.monitoring.drift import Bins, Drift
from churn.monitoring.limits import Evidence, check_limits
from churn.monitoring.monitoring_run import MonitoringRun
from churn.reporting.monitoring_report import render
from churn.training.algorithms import Logistic
from tests.reading import picture_texts, text

SPEC = ModelSpec(
    name="churn", label=Closure(), window=LabelWindow(lead=7, horizon=30), candidates={"logistic": Logistic()}
)
IMPORTANCE = {"spend_30d": 0.7, "plan": 0.3}
EVEN, SHIFTED = (500, 500), (900, 100)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text)


def outcome(as_of: str, evaluated_at: str, auc: float | None) -> dict[str, Any]:
    return {
        "as_of": day(as_of),
        "evaluated_at": day(evaluated_at),
        "version": "2",
        "n": 1000,
        "positives": 100,
        "rate": 0.1,
        "mean_score": 0.12,
        "auc": auc,
        "auc_low": auc and auc - 0.03,
        "auc_high": auc and auc + 0.03,
        "average_precision": auc and 0.31,
        "lift_10": auc and 2.5,
        "brier": auc and 0.08,
        "calibration_error": auc and 0.02,
        "baseline_auc": auc and 0.6,
        "card_precision": None,
        "alert_precision": None,
        "alert_recall": None,
    }


def monitoring_run(spend: tuple[int, int] = EVEN, **more: Any) -> MonitoringRun:
    """Version 2 at 1 September, with a plan whose name is hostile."""
    plan = Bins(texts=("<script>alert('basic')</script>", "gold"))
    drifts = [
        Drift("score", "training", Bins(edges=(0.2,)), EVEN, (520, 480), 0, 0),
        Drift("spend_30d", "training", Bins(edges=(10.0,)), EVEN, spend, 100, 100),
        Drift("plan", "training", plan, (400, 400, 200), (500, 300, 200), 0, 0),
        Drift("score", "last_period", Bins(edges=(0.2,)), EVEN, EVEN, 0, 0),
        Drift("spend_30d", "last_period", Bins(edges=(10.0,)), EVEN, EVEN, 100, 100),
        Drift("plan", "last_period", plan, (500, 300, 200), (500, 300, 200), 0, 0),
    ]
    outcomes, expected = [outcome("2026-07-01", "2026-09-01", 0.74)], {"2": {"auc": 0.76}}
    whole = MonitoringRun(
        model="churn",
        version="2",
        as_of=day("2026-09-01"),
        as_ofs=[day("2026-09-01")],
        against={"training": [day("2025-10-01"), day("2026-06-01")], "last_period": [day("2026-08-01")]},
        drifts=drifts,
        importance=IMPORTANCE,
        outcomes=outcomes,
        past=[outcome("2026-06-01", "2026-08-01", 0.77)],
        learnt={},
        score_drifts=[{"reference": "training", "as_of": day("2026-08-01"), "psi": 0.02}],
        expected=expected,
        verdicts=check_limits(Evidence(drifts, IMPORTANCE, outcomes, expected)),
    )
    return replace(whole, **more)


@pytest.fixture(scope="module")
def page() -> str:
    return render(SPEC, monitoring_run(), run_id="0f2a")


def test_the_engineer_on_call_finds_verdicts_drift_and_outcomes(page: str) -> None:
    shown = text(page)
    for sentence in (
        "All within limits",
        "The 1,000 customers of this as-of resemble those that the model learnt from.",
        "The labels of 1 earlier as-of have matured since the last monitoring run.",
        "Score, against training 0.002 stability index limit 0.25",
        "Drifted share of the score 0 % 0 of 2 features limit 30 %",
        "Observed AUC 0.740 scores of 1 July 2026 evaluation 0.760",
        "below what the evaluation found, within its interval 0.740 for 0.760 at 2026-07-01 ✓ within",
        # Scored as of, version, evaluated at, customers, mean score, left, AUC with its interval, the baseline's, ...
        "2026-06-01 2 2026-08-01 1,000 12.0 % 10.0 % 0.770 0.740\N{EN DASH}0.800 0.600 0.310 2.50 0.020",
        "2026-07-01 2 2026-09-01 1,000",
        "plan 30.0 % 0.051 0.000 0.0 % 0.0 %",
        "training 2: 1 October 2025 to 1 June 2026",
        "a year ago no features stored",
    ):
        assert sentence in shown
    assert [*re.findall(r'<section id="(\w+)">', page)] == [
        "limits", "outcomes", "score", "features", "compared", "glossary",
    ]  # fmt: skip


def test_exceeded_limits_come_first() -> None:
    shown = text(render(SPEC, monitoring_run(SHIFTED), run_id="0f2a"))
    assert monitoring_run(SHIFTED).verdicts[1].passed is False
    assert "1 of 5 limits exceeded (features)" in shown
    assert "Features: 1 has drifted and carries 70% of the score: spend_30d 0.88." in shown


def test_before_any_labels_have_matured() -> None:
    shown = text(render(SPEC, monitoring_run(outcomes=[], past=[], score_drifts=[]), run_id="0f2a"))
    assert "No labels of earlier scores have matured since the last monitoring run; labels take 37 days." in shown
    assert "None yet. The labels of a score mature 37 days after its as-of" in shown


def test_scores_of_as_ofs_that_were_learnt_from_are_named_and_not_evaluated(page: str) -> None:
    learnt = {"2": [day("2026-01-01"), day("2026-02-01")], "1": [day("2026-01-01")]}
    shown = text(render(SPEC, monitoring_run(learnt=learnt), run_id="0f2a"))
    left_out = "Not evaluated are scores of version"
    assert f"{left_out} 2 whose outcomes it may have learnt from: 2 as-ofs, 1 January 2026 to 1 February 2026." in shown
    assert f"{left_out} 1 whose outcomes it may have learnt from: 1 as-of, 1 January 2026." in shown
    assert left_out not in text(page)


def test_without_stored_training_features_the_last_period_is_the_reference() -> None:
    run = monitoring_run()
    drifts = [drift for drift in run.drifts if drift.reference == "last_period"]
    shown = text(render(SPEC, replace(run, drifts=drifts, against={"last_period": [day("2026-08-01")]}), run_id="0f2a"))
    assert "Score, against the last period 0.000 stability index limit 0.25" in shown
    assert "training no features stored" in shown


def test_a_cohort_of_one_outcome_has_a_row_and_no_figures() -> None:
    shown = text(render(SPEC, monitoring_run(past=[outcome("2026-06-01", "2026-08-01", None)]), run_id="0f2a"))
    assert "2026-06-01 2 2026-08-01 1,000 12.0 % 10.0 % \N{EN DASH} \N{EN DASH}" in shown


def test_it_needs_no_network_and_runs_no_code(page: str) -> None:
    descriptions = picture_texts(page)
    assert len(descriptions) == 4  # outcomes, score, trend, and the feature that has drifted
    assert all(len(description) > 40 for description in descriptions)


def test_the_same_run_gives_the_same_bytes(page: str) -> None:
    assert render(SPEC, monitoring_run(), run_id="0f2a") == page
    assert len(page) < 500_000
