"""The report: what it must say, and that it needs nobody and nothing to say it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from churn.model_spec import Verdict
from churn.evaluation.leakage import LeakEvidence
from churn.evaluation.metrics import by_segment, evaluate
from churn.reporting.model_report import Driver, Report, Source, draw, render
from tests.reading import pictures_of_a_whole, text


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def report() -> Report:
    """Two dates of 200 customers each, the top 20 of whom all left, of 50 that did; segments with a hostile name."""
    rank = np.arange(200)
    one = pd.DataFrame(
        {
            "label": (rank < 20) | ((rank % 5 == 0) & (rank >= 50)),
            "score": np.linspace(0.95, 0.05, 200),
            "rule_of_thumb": (rank * 37) % 200,
            "segment": np.where(rank % 4 == 0, "<script>alert('shop')</script>", "web"),
        }
    ).astype({"label": int})
    rows = pd.concat([one.assign(as_of=day("2026-05-01")), one.assign(as_of=day("2026-06-01"))], ignore_index=True)
    judged = {
        f"{as_of:%Y-%m-%d}": {
            **evaluate(part["label"], part["score"], seed=1, resamples=20),
            "rule_of_thumb": evaluate(part["label"], part["rule_of_thumb"], seed=1, resamples=20, probability=False),
        }
        for as_of, part in rows.groupby("as_of")
    }
    return Report(
        model="churn",
        version="3",
        run_id="0f2a",
        as_of=day("2026-08-01"),
        outcome="closes the account",
        population="customers with an open account",
        lead=7,
        horizon=30,
        rule="days_since_purchase",
        judged=judged,
        rows=rows,
        verdicts=[Verdict("calibrated", True, "a mean calibration error of 0.05 or less", "0.030")],
        leaks=LeakEvidence({"days_since_purchase": 0.71}, ("cancel_calls_30d",), {"auc": 0.8123}, {"auc": 0.7987}),
        drivers=[Driver("calls_30d", 0.6, "Calls & complaints."), Driver("cancel_calls_30d", 0.4, after_intent=True)],
        schedule={
            "train": [day("2026-01-01")],
            "calibrate": [day("2026-03-01")],
            "test": [day("2026-05-01"), day("2026-06-01")],
        },
        sources=[Source("calls", 4, 18211, 18020, 90, 101)],
        settings={"windows": "30, 90, 180"},
        segments=by_segment(rows["label"], rows["score"], rows["segment"], seed=1, resamples=20),
        left_out=["csat_mean"],
    )


@pytest.fixture(scope="module")
def drawn(report: Report) -> dict[str, str]:
    return draw(report)


@pytest.fixture(scope="module")
def page(report: Report, drawn: dict[str, str]) -> str:
    return render(report, drawn)


def test_it_says_what_a_lead_asks(page: str) -> None:
    seen = text(page)
    for sentence in (
        "Ready: passed all gates",
        "Call the top 10 % and reach 40 % of leavers, 4.0 times as many as by chance.",
        "The chance that a customer closes the account in the 30 days from 8 August 2026 to 6 September 2026.",
        "It speaks for customers with an open account.",
        "calibrated a mean calibration error of 0.05 or less 0.030 ✓ passed",
        "10 % 20 20 100 % 40 % 4.00",  # customers called, leavers among them, share that left, of all leavers, lift
        "calls_30d 60.0 % Calls &amp; complaints.",
        "cancel_calls_30d 40.0 % (after intent)",
        "Left out, because their source is not there: csat_mean.",
        "✓ None found.",
        "with them 0.812 without them 0.799",
        "calls 4 18,211 18,020 90 101",
        "windows 30, 90, 180",
    ):
        assert sentence in seen
    assert [*re.findall(r'<section id="(\w+)">', page)] == [
        "what", "gates", "dates", "ranking", "drivers", "segments", "leaks", "data", "settings", "glossary",
    ]  # fmt: skip


def test_each_date_stands_beside_the_rule_of_thumb(report: Report, page: str) -> None:
    for as_of, metrics in report.judged.items():
        row = text(re.search(rf'<tr><th scope="row"[^>]*>{as_of}.*?</tr>', page).group())
        assert f" {metrics['auc']:.3f} " in row
        assert f" {metrics['rule_of_thumb']['auc']:.3f} " in row
    assert re.search(r"<tfoot>.*Mean.*Worst.*</tfoot>", page, re.DOTALL)


def test_what_failed_comes_first(report: Report, drawn: dict[str, str]) -> None:
    failed = Verdict("beats the champion", False, "a higher average precision", "-0.010")
    leaky = LeakEvidence({"closed_flag": 0.99})
    seen = text(render(replace(report, verdicts=[*report.verdicts, failed], leaks=leaky), drawn))
    assert "Not ready: 1 of 2 gates failed (beats the champion)" in seen
    assert "✗ Suspicious. closed_flag reaches an AUC of 0.990 by itself." in seen
    assert "The model uses no signal that follows a decision to leave." in seen


def test_a_segment_too_small_is_not_judged(report: Report, drawn: dict[str, str]) -> None:
    small = replace(report, segments={"new": {"n": 40, "positives": 3}})
    assert "too few to judge: 3 of 40 left" in text(render(small, drawn))


def test_it_needs_no_network_and_runs_no_code(page: str) -> None:
    # Every picture is there in words too.
    pictures = pictures_of_a_whole(page)
    assert len(pictures) == 5
    assert all(len(words) > 40 for words in pictures)


def test_names_are_shown_not_run(page: str) -> None:
    assert "&lt;script&gt;alert(&#39;shop&#39;)&lt;/script&gt;" in page


def test_the_same_report_makes_the_same_bytes(report: Report, page: str) -> None:
    assert render(report, draw(report)) == page
    assert len(page) < 500_000
