"""Card precision and alerts, computed by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from churn.evaluation.alert_metrics import alerts, card_precision
from churn.evaluation.by_date import evaluate_by_date
from churn.labels.fraud import Fraud
from churn.model_spec import Alerts, EvaluationSettings, LabelWindow, ModelSpec
from churn.training.algorithms import Logistic

ROWS = pd.DataFrame(
    [
        # Day 1: a is the riskiest by its second transaction, and a fraud; b is not; c is one that is ranked third.
        ("t1", "a", 1, 0, 0.1, 10.0),
        ("t2", "a", 1, 1, 0.9, 20.0),
        ("t3", "b", 1, 0, 0.8, 30.0),
        ("t4", "c", 1, 1, 0.7, 40.0),
        # Day 2: a was found on day 1 and is out; c was missed, and counts again.
        ("t5", "a", 2, 1, 0.95, 50.0),
        ("t6", "b", 2, 0, 0.6, 60.0),
        ("t7", "c", 2, 1, 0.5, 70.0),
        ("t8", "d", 2, 0, 0.4, 80.0),
    ],
    columns=["transaction_id", "customer_id", "day", "label", "score", "amount"],
)


def test_a_card_that_was_found_is_not_counted_again() -> None:
    assert card_precision(ROWS, cards=2) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert card_precision(ROWS, cards=1) == pytest.approx((1 / 1 + 0 / 1) / 2)


def test_fewer_cards_than_the_given_number_count_as_misses() -> None:
    assert card_precision(ROWS, cards=4) == pytest.approx((2 / 4 + 0 / 4) / 2)


def test_the_order_of_rows_does_not_matter() -> None:
    assert card_precision(ROWS.sample(frac=1, random_state=1), cards=2) == card_precision(ROWS, cards=2)
    assert alerts(ROWS.sample(frac=1, random_state=1), alert_budget=2) == alerts(ROWS, alert_budget=2)


def test_what_two_alerts_a_day_catch() -> None:
    assert alerts(ROWS, alert_budget=2) == {
        "a_day": 2.0,
        "precision": 2 / 4,
        "recall": 2 / 4,
        "amount_caught": (20 + 50) / (20 + 40 + 50 + 70),
        "false_positives_per_fraud": 1.0,
    }


def test_without_frauds_there_is_nothing_to_divide_by() -> None:
    none = alerts(ROWS.assign(label=0), alert_budget=1)
    assert (none["precision"], none["recall"], none["amount_caught"]) == (0.0, None, None)
    assert none["false_positives_per_fraud"] is None


def test_an_evaluation_has_alerts_where_the_model_declares_them() -> None:
    spec = ModelSpec(
        name="fraud",
        label=Fraud(),
        window=LabelWindow(lead=0, horizon=1),
        candidates={"logistic": Logistic()},
        evaluation=EvaluationSettings(resamples=0, period_days=2),
    )
    rows = ROWS.assign(as_of=pd.Timestamp("2026-06-04"), baseline=ROWS["amount"])
    found = evaluate_by_date(spec, rows)["2026-06-04"]
    assert found["card_precision_at_100"] == pytest.approx((2 / 100 + 0 / 100) / 2)  # c was found on day 1, too
    assert "alerts" not in found
    two = spec.model_copy(update={"alerts": Alerts(alert_budget=2)})
    found = evaluate_by_date(two, rows)["2026-06-04"]
    assert found["alerts"] == alerts(ROWS, alert_budget=2)
    assert found["baseline"]["alerts"]["amount_caught"] == (40 + 70) / (20 + 40 + 50 + 70)  # t4 and t7
