"""The outcomes of past scores."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.dataset.examples import Period
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.model_spec import Alerts, EvaluationSettings, LabelWindow, ModelSpec
from churn.monitoring.outcomes import Outcome, Scored, matured_periods, outcome
from churn.testing import frame
from churn.training.algorithms import Logistic

CANDIDATES = {"logistic": Logistic()}
CHURN = ModelSpec(
    name="churn",
    label=Closure(),
    window=LabelWindow(lead=7, horizon=30),
    evaluation=EvaluationSettings(resamples=20),
    candidates=CANDIDATES,
)
FRAUD = ModelSpec(
    name="fraud",
    label=Fraud(),
    window=LabelWindow(lead=0, horizon=1, maturity=7),
    baseline="transaction_amount",
    evaluation=EvaluationSettings(resamples=20, period_days=7, blocked_card_days=14),
    alerts=Alerts(alert_budget=1),
    candidates=CANDIDATES,
)
JUNE, JULY = datetime(2026, 6, 1), datetime(2026, 7, 1)
TIMES = "event_time timestamp, known_time timestamp, superseded_at timestamp"


def period(version: str, *as_ofs: datetime, last: datetime | None = None) -> Scored:
    return Scored(Period(as_ofs, last or as_ofs[-1]), version)


def to_evaluate(
    spec: ModelSpec,
    scored: list[tuple[datetime, str]],
    evaluated: list[tuple[datetime, str]],
    *,
    known_until: datetime,
) -> list[Scored]:
    """The periods that are evaluated, of versions that learnt long before."""
    learnt_until = dict.fromkeys(("1", "2"), datetime(2026, 1, 1))
    new, learnt = matured_periods(spec, scored, evaluated, known_until=known_until, learnt_until=learnt_until)
    assert learnt == []
    return new


def test_scores_of_what_a_version_has_learnt_are_no_outcomes() -> None:
    """A period counts from the first test date on that the version may be evaluated at."""
    after, learnt_until = datetime(2026, 9, 1), {"1": datetime(2026, 1, 1), "2": JUNE + timedelta(days=1), "3": JUNE}
    scored = [(JUNE, "1"), (JUNE, "2"), (JULY, "2"), (JUNE, "3"), (JUNE, "deleted")]
    assert matured_periods(CHURN, scored, [], known_until=after, learnt_until=learnt_until) == (
        [period("1", JUNE), period("3", JUNE), period("2", JULY)],
        [period("2", JUNE), period("deleted", JUNE)],
    )
    assert matured_periods(CHURN, scored, [(JUNE, "2")], known_until=JUNE, learnt_until=learnt_until) == ([], [])


def test_a_cohort_is_evaluated_once_when_its_labels_are_complete() -> None:
    scored = [(JULY, "2"), (JUNE, "1")]
    assert to_evaluate(CHURN, scored, [], known_until=datetime(2026, 7, 7)) == []
    june = period("1", JUNE)
    assert to_evaluate(CHURN, scored, [], known_until=datetime(2026, 7, 8)) == [june]
    assert to_evaluate(CHURN, scored, [(JUNE, "1")], known_until=datetime(2026, 7, 8)) == []
    # Another version scored it since: that one has not been evaluated.
    assert to_evaluate(CHURN, scored, [(JUNE, "9")], known_until=datetime(2026, 7, 8)) == [june]
    assert to_evaluate(CHURN, scored, [], known_until=datetime(2026, 8, 7)) == [june, period("2", JULY)]


def test_days_of_transactions_are_evaluated_by_the_week() -> None:
    thursday = datetime(2026, 6, 4)  # weeks are counted from 1970, which began on one
    days = [thursday + timedelta(days=day) for day in (0, 1, 5, 7)]
    of_first, of_second = datetime(2026, 6, 10), datetime(2026, 6, 17)
    first, second = period("1", *days[:3], last=of_first), period("1", days[3], last=of_second)
    scored = [(day, "1") for day in days]
    assert to_evaluate(FRAUD, scored, [], known_until=datetime(2026, 6, 17)) == []
    assert to_evaluate(FRAUD, scored, [], known_until=datetime(2026, 6, 18)) == [first]  # 10 June and eight days
    assert to_evaluate(FRAUD, scored, [], known_until=datetime(2026, 6, 25)) == [first, second]
    # Half of a week was scored by another version.
    mixed = [(days[0], "1"), (days[1], "2")]
    assert to_evaluate(FRAUD, mixed, [], known_until=datetime(2026, 6, 18)) == [
        period("1", days[0], last=of_first),
        period("2", days[1], last=of_first),
    ]


@pytest.fixture(scope="module")
def closures(spark: SparkSession) -> dict[str, DataFrame]:
    rows = [
        ("leaver", "voluntary", "2026-06-20", "2026-06-21", None),  # in the window, which is 8 June to 8 July
        ("early", "voluntary", "2026-06-05", "2026-06-06", None),  # before anybody could have called
        ("unpaid", "involuntary", "2026-06-20", "2026-06-21", None),  # not by the customer
        ("late", "voluntary", "2026-07-01", "2026-09-01", None),  # not known when it was evaluated
    ]
    return {"closures": frame(spark, rows, f"customer_id string, kind string, {TIMES}")}


def test_outcomes_of_customers(spark: SparkSession, closures: dict[str, DataFrame]) -> None:
    given = {"leaver": 0.9, "early": 0.8, "unpaid": 0.7, "late": 0.3, "stayer": 0.3}
    rows = [(name, JUNE, score, "1") for name, score in given.items()] + [("other", JUNE, 0.1, "2")]
    scores = frame(spark, rows, "customer_id string, as_of timestamp, score double, model_version string")
    features = frame(
        spark,
        [(name, JUNE, 3 if name == "leaver" else 9) for name in given],
        "customer_id string, as_of timestamp, days_since_purchase int",
    )
    june = period("1", JUNE)
    found = outcome(CHURN, closures, scores, features, june, known_until=datetime(2026, 8, 1))
    assert found is not None
    assert (found.as_of, found.version, found.n, found.positives) == (JUNE, "1", 3, 1)
    assert found.mean_score == pytest.approx(0.5)
    assert found.rate == pytest.approx(1 / 3)
    assert (found.metrics["auc"], found.metrics["baseline"]["auc"]) == (1, 0)

    # In September the closure that was known late counts.
    later = outcome(CHURN, closures, scores, features, june, known_until=datetime(2026, 9, 2))
    assert later is not None
    assert (later.positives, later.metrics["auc"]) == (2, 0.75)  # one pair of four is tied

    # Of version 2 there is one customer, who stayed: counted, and nothing to rank.
    assert outcome(CHURN, closures, scores, features, period("2", JUNE), known_until=datetime(2026, 8, 1)) == (
        Outcome(JUNE, "2", 1, 0, 0.1, {})
    )
    assert outcome(CHURN, closures, scores, features, period("1", JULY), known_until=datetime(2026, 9, 1)) is None


def test_outcomes_of_transactions(spark: SparkSession) -> None:
    """A day's alert is the likeliest transaction; a card that is blocked by then is left out."""
    day, next_day = datetime(2026, 6, 4), datetime(2026, 6, 5)
    rows = [
        ("t1", "c1", day, 0.9),
        ("t2", "c2", day, 0.8),
        ("t3", "c3", day, 0.1),
        ("t4", "c1", next_day, 0.95),  # the fraud of the day before was reported at once
        ("t5", "c3", next_day, 0.7),
        ("t6", "c4", next_day, 0.2),
    ]
    schema = "transaction_id string, customer_id string, as_of timestamp"
    scores = frame(spark, [(*row, "1") for row in rows], f"{schema}, score double, model_version string")
    features = frame(
        spark, [(*row[:3], 10.0, 10.0) for row in rows], f"{schema}, amount double, transaction_amount double"
    )
    paid = [(row[0], row[1], row[2] + timedelta(hours=9), row[2] + timedelta(hours=9), None) for row in rows]
    reports = [("t1", True, datetime(2026, 6, 4, 12), None), ("t6", True, datetime(2026, 6, 9), None)]
    sources = {
        "transactions": frame(spark, paid, f"transaction_id string, customer_id string, {TIMES}"),
        "fraud_reports": frame(
            spark, reports, "transaction_id string, is_fraud boolean, known_time timestamp, superseded_at timestamp"
        ),
    }
    found = outcome(FRAUD, sources, scores, features, period("1", day, next_day), known_until=datetime(2026, 7, 1))
    assert found is not None
    assert (found.as_of, found.n, found.positives) == (day, 5, 2)
    assert found.metrics["alerts"]["precision"] == 0.5  # t1 was one, t5 was none
    assert found.metrics["auc"] == pytest.approx(4 / 6)
