"""The monitoring page: what it must say, and that it needs nobody and nothing to say it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from churn.monitoring.drift import Bins, Moved
from churn.monitoring.limits import verdicts
from churn.reporting.monitoring_report import render
from churn.monitoring.monitoring_run import Watched
from churn.training.algorithms import Logistic
from churn.model_spec import ModelSpec
from tests.reading import pictures_of_a_whole, text

SPEC = ModelSpec(name="churn", candidates={"logistic": Logistic()}, lead=7, horizon=30)
IMPORTANCE = {"spend_30d": 0.7, "plan": 0.3}
EVEN, SHIFTED = (500, 500), (900, 100)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text)


def outcome(as_of: str, judged_at: str, auc: float | None) -> dict[str, Any]:
    return {
        "as_of": day(as_of),
        "judged_at": day(judged_at),
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
        "rule_of_thumb_auc": auc and 0.6,
        "card_precision": None,
        "alert_precision": None,
        "alert_recall": None,
    }


def found(spend: tuple[int, int] = EVEN, **more: Any) -> Watched:
    """Version 2 at 1 September, with a plan whose name is hostile."""
    plan = Bins(texts=("<script>alert('basic')</script>", "gold"))
    moved = [
        Moved("score", "training", Bins(edges=(0.2,)), EVEN, (520, 480), 0, 0),
        Moved("spend_30d", "training", Bins(edges=(10.0,)), EVEN, spend, 100, 100),
        Moved("plan", "training", plan, (400, 400, 200), (500, 300, 200), 0, 0),
        Moved("score", "last_period", Bins(edges=(0.2,)), EVEN, EVEN, 0, 0),
        Moved("spend_30d", "last_period", Bins(edges=(10.0,)), EVEN, EVEN, 100, 100),
        Moved("plan", "last_period", plan, (500, 300, 200), (500, 300, 200), 0, 0),
    ]
    outcomes, expected = [outcome("2026-07-01", "2026-09-01", 0.74)], {"2": {"auc": 0.76}}
    whole = Watched(
        model="churn",
        version="2",
        as_of=day("2026-09-01"),
        looked_at=[day("2026-09-01")],
        against={"training": [day("2025-10-01"), day("2026-06-01")], "last_period": [day("2026-08-01")]},
        moved=moved,
        importance=IMPORTANCE,
        outcomes=outcomes,
        past=[outcome("2026-06-01", "2026-08-01", 0.77)],
        scores=[{"reference": "training", "as_of": day("2026-08-01"), "psi": 0.02}],
        expected=expected,
        verdicts=verdicts(SPEC, moved, IMPORTANCE, outcomes, expected, days=1),
    )
    return replace(whole, **more)


@pytest.fixture(scope="module")
def page() -> str:
    return render(SPEC, found(), run_id="0f2a")


def test_it_says_what_the_engineer_on_call_asks(page: str) -> None:
    seen = text(page)
    for sentence in (
        "All within limits",
        "The 1,000 customers of this as-of look like those the model learnt from.",
        "1 earlier as-of has turned out since the last look.",
        "Score, against training 0.002 stability index limit 0.25",
        "What has moved carries 0 % of the score, in 0 of 2 features limit 30 %",
        "AUC, as it turned out 0.740 scores of 1 July 2026 0.760 when judged",
        "below what the evaluation found, within its interval 0.740 for 0.760 at 2026-07-01 ✓ within",
        # Scored as of, version, turned out by, customers, said, left, AUC with its interval, of the rule, and so on.
        "2026-06-01 2 2026-08-01 1,000 12.0 % 10.0 % 0.770 0.740\N{EN DASH}0.800 0.600 0.310 2.50 0.020",
        "2026-07-01 2 2026-09-01 1,000",
        "plan 30.0 % 0.051 0.000 0.0 % 0.0 %",
        "training 2: 1 October 2025 to 1 June 2026",
        "a year ago not there",
    ):
        assert sentence in seen
    assert [*re.findall(r'<section id="(\w+)">', page)] == [
        "limits", "outcomes", "score", "features", "compared", "glossary",
    ]  # fmt: skip


def test_what_is_broken_comes_first() -> None:
    moved = found(SHIFTED).moved
    seen = text(render(SPEC, found(SHIFTED), run_id="0f2a"))
    assert verdicts(SPEC, moved, IMPORTANCE, [], {}, days=1)[1].passed is False
    assert "Look at this: 1 of 5 limits broken (features)" in seen
    assert "Features: 1 has moved and carries 70% of the score: spend_30d 0.88." in seen


def test_before_anything_has_turned_out() -> None:
    seen = text(render(SPEC, found(outcomes=[], past=[], scores=[]), run_id="0f2a"))
    assert "No earlier score has turned out since the last look: outcomes take 37 days." in seen
    assert "Nothing yet. The outcomes of a score are complete 37 days after its as-of" in seen


def test_a_cohort_of_one_outcome_has_a_row_and_no_figures() -> None:
    seen = text(render(SPEC, found(past=[outcome("2026-06-01", "2026-08-01", None)]), run_id="0f2a"))
    assert "2026-06-01 2 2026-08-01 1,000 12.0 % 10.0 % \N{EN DASH} \N{EN DASH}" in seen


def test_it_needs_no_network_and_runs_no_code(page: str) -> None:
    pictures = pictures_of_a_whole(page)
    assert len(pictures) == 4  # outcomes, score, trend, and the feature that has moved
    assert all(len(words) > 40 for words in pictures)


def test_the_same_findings_make_the_same_bytes(page: str) -> None:
    assert render(SPEC, found(), run_id="0f2a") == page
    assert len(page) < 500_000
