"""Whether there is something new to learn, by the data and the as-of."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.labels.fraud import Fraud
from churn.labels.inactivity import Inactivity
from churn.model_spec import Cohort, LabelWindow, ModelSpec, Schedule
from churn.sources.completeness import Accepted
from churn.testing import frame
from churn.training.algorithms import Logistic
from churn.training.retrain_trigger import NewlyMatured, newly_matured

CANDIDATES = {"logistic": Logistic()}
CHURN = ModelSpec(
    name="churn",
    candidates=CANDIDATES,
    label=Inactivity(),
    cohort=Cohort(kind="active"),
    window=LabelWindow(lead=0, horizon=30),
    schedule=Schedule(history=60, test_as_ofs=1),
)
FRAUD = ModelSpec(
    name="fraud",
    candidates=CANDIDATES,
    label=Fraud(),
    window=LabelWindow(lead=0, horizon=1, maturity=7),
    schedule=Schedule(every=1, history=1, max_as_ofs=5, test_as_ofs=2, test_every=1),
)
TIMES = "event_time timestamp, known_time timestamp, superseded_at timestamp"


def learnt(*days: str) -> dict[str, dict[str, list[str]]]:
    """The `fit.json` of a version."""
    return {"split": {"matured": list(days)}}


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
        # That run is evaluated on 2 August, and learns from 3 July and every 30 days before. c2 is 1 at both as-ofs, c3
        # at the second.
        ("2025-09-01", "2025-05-04", (["2025-06-03", "2025-07-03"], 3)),
        # Two weeks later it is known that c3 came back, and the newest as-of is 14 days on: still two steps.
        ("2025-09-15 12:00", "2025-05-04", (["2025-06-03", "2025-07-03"], 2)),
        # Trained on all there is: another run at the same as-of has nothing new.
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
    found = newly_matured(spark, CHURN, shop, datetime.fromisoformat(as_of), learnt("2025-04-04", newest_learnt))
    assert found == NewlyMatured(
        datetime.fromisoformat(newest_learnt), tuple(datetime.fromisoformat(day) for day in as_ofs), positives
    )


def test_transactions_count_once_their_maturity_has_passed(spark: SparkSession) -> None:
    days = [datetime(2026, 1, 1, 9) + timedelta(days=day) for day in range(31)]
    paid = [(f"t{day.day}", "c1", day, day, None) for day in days]
    reports = [
        ("t12", True, datetime(2026, 1, 14), None),  # learnt from already
        ("t13", True, datetime(2026, 1, 16), None),
        ("t14", True, datetime(2026, 2, 3), None),  # not known on 1 February
        ("t15", True, datetime(2026, 1, 17), datetime(2026, 1, 19)),  # retracted
        ("t15", False, datetime(2026, 1, 19), None),
        ("t16", True, datetime(2026, 1, 18), None),  # matured, and held out to evaluate on
    ]
    tables = {
        "transactions": frame(spark, paid, f"transaction_id string, customer_id string, {TIMES}"),
        "fraud_reports": frame(
            spark, reports, "transaction_id string, is_fraud boolean, known_time timestamp, superseded_at timestamp"
        ),
    }
    sources = Accepted(tables, dict.fromkeys(tables, ((None, datetime(2026, 2, 1)),)))
    found = newly_matured(spark, FRAUD, sources, datetime(2026, 2, 1), learnt("2026-01-11", "2026-01-12"))
    assert found.as_ofs == (datetime(2026, 1, 13), datetime(2026, 1, 14), datetime(2026, 1, 15))
    assert found.positives == 1
