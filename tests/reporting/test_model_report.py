"""The model report: its sentences and figures, and that it fetches nothing."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from churn.evaluation.leakage import LeakEvidence
from churn.evaluation.metrics import evaluate
from churn.evaluation.profit import profit
from churn.model_spec import Campaign, Verdict
from churn.reporting.model_report import Driver, Report, Source, draw, render
from churn.scoring.reasons import FrequentReason
from tests.reading import picture_texts, text


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def report() -> Report:
    """Two dates of 200 customers each, the top 20 of whom all left, of 50 that did; segments with a hostile name."""
    rank = np.arange(200)
    customers = pd.DataFrame(
        {
            "label": (rank < 20) | ((rank % 5 == 0) & (rank >= 50)),
            "score": np.linspace(0.95, 0.05, 200),
            "baseline": (rank * 37) % 200,
            "segment": np.where(rank % 4 == 0, "<script>alert('shop')</script>", "web"),
        }
    ).astype({"label": int})
    rows = pd.concat([customers.assign(as_of=day(date)) for date in ("2026-05-01", "2026-06-01")], ignore_index=True)
    by_date = {
        f"{as_of:%Y-%m-%d}": {
            **evaluate(part["label"], part["score"], seed=1, resamples=20),
            "baseline": evaluate(part["label"], part["baseline"], seed=1, resamples=20, probability=False),
        }
        for as_of, part in rows.groupby("as_of")
    }
    return Report(
        model="churn",
        version="3",
        run_id="0f2a",
        as_of=day("2026-08-01"),
        outcome="closes the account",
        when=" in the 30 days from 8 August 2026 to 6 September 2026",
        population="customers with an open account",
        lead=7,
        horizon=30,
        baseline="days_since_purchase",
        by_date=by_date,
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
        settings={
            "name": "churn",
            "features": {"include": ("calls", "spending"), "windows": (30, 90, 180)},
            "training": {"trial_rows": 200_000, "refit": True},
            "alerts": None,
            "candidates": {"logistic": {"algorithm": "Logistic", "reg_param_total": 500.0}},
            "gates": ["NoLeak()"],
        },
        segments={
            str(name): evaluate(part["label"], part["score"], seed=1, resamples=20)
            for name, part in rows.groupby("segment")
        },
        left_out=["csat_mean"],
    )


@pytest.fixture(scope="module")
def drawn(report: Report) -> dict[str, str]:
    return draw(report)


@pytest.fixture(scope="module")
def page(report: Report, drawn: dict[str, str]) -> str:
    return render(report, drawn)


def test_customers_whom_a_contact_treated_are_counted(report: Report, drawn: dict[str, str]) -> None:
    """Left out or not, the page has how many."""
    counted = "12 of 400 customers to learn from, counted at each as-of, were treated by a campaign contact"
    for choice, sentence in (
        ("left_out", "They are left out, here and on the test dates: one who was saved is not a loyal one."),
        ("included", "They are included."),
    ):
        settings = {**report.settings, "training": {"treated": choice}}
        shown = text(render(replace(report, treated={"rows": 400, "treated": 12}, settings=settings), drawn))
        assert counted in shown
        assert sentence in shown
    assert "campaign contact" not in text(render(report, drawn))


def test_the_most_frequent_reasons_are_in_plain_language(report: Report, drawn: dict[str, str]) -> None:
    reasons = [
        FrequentReason("billing_calls", "Calls about <bills>", 0.4, 0.3),
        FrequentReason("tenure", "Tenure", 0.2, 0.0),
    ]
    page = render(replace(report, reasons=reasons), drawn)
    assert "Calls about &lt;bills&gt;: a reason for 40" in page
    assert "and raises the score of 30" in text(page)
    assert "The most frequent reasons" not in render(report, drawn)


def test_a_lead_finds_the_figures_to_decide_by(page: str) -> None:
    shown = text(page)
    for sentence in (
        "Ready: passed all gates",
        "Call the top 10 % and reach 40 % of leavers, 4.0 times as many as by chance.",
        "The chance that a customer closes the account in the 30 days from 8 August 2026 to 6 September 2026.",
        "Population: customers with an open account.",
        "calibrated a mean calibration error of 0.05 or less 0.030 ✓ passed",
        "10 % 20 20 100 % 40 % 4.00",  # customers called, leavers among them, share that left, of all leavers, lift
        "calls_30d 60.0 % Calls &amp; complaints.",
        "cancel_calls_30d 40.0 % (after intent)",
        "Left out, because their source is missing: csat_mean.",
        "✓ None found.",
        "with them 0.812 without them 0.799",
        "calls 4 18,211 18,020 90 101",
        # The settings by part.
        "model name churn alerts \N{EN DASH}",
        "features include calls, spending windows 30, 90, 180",
        "training trial_rows 200,000 refit yes",
        "candidates logistic algorithm Logistic, reg_param_total 500",
        "gates NoLeak()",
    ):
        assert sentence in shown
    assert [*re.findall(r'<section id="(\w+)">', page)] == [
        "what", "gates", "dates", "ranking", "drivers", "segments", "leaks", "data", "settings", "glossary",
    ]  # fmt: skip


def test_each_date_has_the_metrics_of_model_and_baseline(report: Report, page: str) -> None:
    for as_of, metrics in report.by_date.items():
        row = text(re.search(rf'<tr><th scope="row"[^>]*>{as_of}.*?</tr>', page).group())
        assert f" {metrics['auc']:.3f} " in row
        assert f" {metrics['baseline']['auc']:.3f} " in row
    assert re.search(r"<tfoot>.*Mean.*Worst.*</tfoot>", page, re.DOTALL)


def test_failed_gates_come_first(report: Report, drawn: dict[str, str]) -> None:
    failed = Verdict("beats the champion", False, "a higher average precision", "-0.010")
    leaky = LeakEvidence({"closed_flag": 0.99})
    page = text(render(replace(report, verdicts=[*report.verdicts, failed], leaks=leaky), drawn))
    assert "Not ready: 1 of 2 gates failed (beats the champion)" in page
    assert "✗ Suspicious. closed_flag reaches an AUC of 0.990 by itself." in page
    assert "The model uses no after-intent features." in page


def test_a_small_segment_has_no_metrics(report: Report, drawn: dict[str, str]) -> None:
    small = replace(report, segments={"new": {"n": 40, "positives": 3}})
    assert "too few to evaluate: 3 of 40 left" in text(render(small, drawn))


def test_it_needs_no_network_and_runs_no_code(page: str) -> None:
    descriptions = picture_texts(page)
    assert len(descriptions) == 5
    assert all(len(description) > 40 for description in descriptions)


def test_a_campaign_has_its_profit(report: Report) -> None:
    """EMPC of each date beside the baseline's, with what it assumes; a model without a campaign has no such section."""
    campaign = Campaign(clv=150.0)
    by_date = {
        date: {
            **evaluate(part["label"], part["score"], seed=1, resamples=20, campaign=campaign),
            **asdict(profit(part["label"], part["score"], campaign)),
            "baseline": evaluate(
                part["label"], part["baseline"], seed=1, resamples=20, probability=False, campaign=campaign
            ),
        }
        for date, (_, part) in zip(report.by_date, report.rows.groupby("as_of"), strict=True)
    }
    with_profit = replace(report, by_date=by_date, campaign=campaign)
    page = text(render(with_profit, draw(with_profit)))
    found, first = by_date["2026-05-01"], by_date["2026-05-01"]["baseline"]
    assert "a leaver who accepts is worth 150.00, the offer costs 10.00, a contact 1.00" in page
    low, high = found["intervals"]["empc"]
    interval = f"{low:.3f}\N{EN DASH}{high:.3f}"
    row = f"2026-05-01 {found['empc']:.3f} {interval} {first['empc']:.3f} {100 * found['empc_fraction']:.1f}"
    assert row in page
    assert "Profit curve" in page


def test_names_are_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(&#39;shop&#39;)&lt;/script&gt;" in page


def test_the_same_report_gives_the_same_bytes(report: Report, page: str) -> None:
    assert render(report, draw(report)) == page
    assert len(page) < 500_000
