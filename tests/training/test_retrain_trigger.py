"""Whether there is something new to learn, by the data and the moment they are looked at."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.testing import frame
from churn.training.algorithms import Logistic
from churn.training.retrain_trigger import Ripened, ripened
from churn.model_spec import ModelSpec

CANDIDATES = {"logistic": Logistic()}
CHURN = ModelSpec(
    name="churn",
    candidates=CANDIDATES,
    label="inactivity",
    cohort="active",
    lead=0,
    horizon=30,
    history=60,
    test_dates=1,
)
FRAUD = ModelSpec(
    name="fraud",
    candidates=CANDIDATES,
    label="fraud",
    lead=0,
    horizon=1,
    maturity=7,
    every=1,
    history=1,
    dates=5,
    test_dates=2,
    test_every=1,
)
TIMES = "event_time timestamp, known_time timestamp, superseded_at timestamp"


def learnt(*days: str) -> dict[str, dict[str, list[str]]]:
    """What `fit.json` says of a version."""
    return {"split": {"ripe": list(days)}}


@pytest.fixture(scope="module")
def shop(spark: SparkSession) -> dict[str, DataFrame]:
    """c1 buys every day. c2 stops in May, c3 in June; that c3 came back in July is known only in mid-September."""
    daily = [datetime(2025, 1, 1, 12) + timedelta(days=day) for day in range(300)]
    rows = [(f"a{n}", "c1", "purchase", None, day, day, None) for n, day in enumerate(daily)] + [
        ("b1", "c2", "purchase", None, datetime(2025, 5, 20), datetime(2025, 5, 20), None),
        ("b2", "c3", "purchase", None, datetime(2025, 6, 20), datetime(2025, 6, 20), None),
        ("b3", "c3", "purchase", None, datetime(2025, 7, 20), datetime(2025, 9, 15), None),
    ]
    columns = f"transaction_id string, customer_id string, kind string, status string, {TIMES}"
    return {"transactions": frame(spark, rows, columns)}


@pytest.mark.parametrize(
    ("as_of", "newest_learnt", "wanted"),
    [
        # A run at that moment is judged by 2 August, and learns from 3 July and every 30 days before. c2 is 1 at both
        # as-ofs, c3 at the second.
        ("2025-09-01", "2025-05-04", (["2025-06-03", "2025-07-03"], 3)),
        # Two weeks later it is known that c3 came back, and the newest as-of is 14 days on: still two steps.
        ("2025-09-15 12:00", "2025-05-04", (["2025-06-03", "2025-07-03"], 2)),
        # Trained on all there is: another run at the same moment has nothing new.
        ("2025-09-01", "2025-07-03", ([], 0)),
        # 29 days later it is one short of a step.
        ("2025-09-30", "2025-07-03", ([], 0)),
        ("2025-10-01", "2025-07-03", (["2025-08-02"], 2)),
    ],
)
def test_customers(
    shop: dict[str, DataFrame], spark: SparkSession, as_of: str, newest_learnt: str, wanted: tuple[list[str], int]
) -> None:
    as_ofs, positives = wanted
    found = ripened(spark, CHURN, shop, datetime.fromisoformat(as_of), learnt("2025-04-04", newest_learnt))
    assert found == Ripened(
        datetime.fromisoformat(newest_learnt), tuple(datetime.fromisoformat(day) for day in as_ofs), positives
    )


def test_transactions_count_once_their_reports_have_had_their_time(spark: SparkSession) -> None:
    days = [datetime(2026, 1, 1, 9) + timedelta(days=day) for day in range(31)]
    paid = [(f"t{day.day}", "c1", day, day, None) for day in days]
    said = [
        ("t12", True, datetime(2026, 1, 14), None),  # learnt from already
        ("t13", True, datetime(2026, 1, 16), None),
        ("t14", True, datetime(2026, 2, 3), None),  # nobody knew on 1 February
        ("t15", True, datetime(2026, 1, 17), datetime(2026, 1, 19)),  # taken back
        ("t15", False, datetime(2026, 1, 19), None),
        ("t16", True, datetime(2026, 1, 18), None),  # ripe, and held out to judge by
    ]
    sources = {
        "transactions": frame(spark, paid, f"transaction_id string, customer_id string, {TIMES}"),
        "fraud_reports": frame(
            spark, said, "transaction_id string, is_fraud boolean, known_time timestamp, superseded_at timestamp"
        ),
    }
    found = ripened(spark, FRAUD, sources, datetime(2026, 2, 1), learnt("2026-01-11", "2026-01-12"))
    assert found.as_ofs == (datetime(2026, 1, 13), datetime(2026, 1, 14), datetime(2026, 1, 15))
    assert found.positives == 1
