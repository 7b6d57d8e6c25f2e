"""Fraud from files to alerts, in one session, as `churn run` has it: a real Delta lake, a real MLflow store."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.dataset.feature_table import read_features, stored_features
from churn.errors import BadInputError
from churn.loading import load_spec
from churn.storage import Lake
from tests.jobs.company import run_chain, step
from tests.mlflow_store import stored

CONFIG = """
[sources.transactions]
path = "transactions.csv"

[sources.fraud_reports]
path = "fraud_reports.csv"
"""
MODEL = """
from churn import (
    Alerts, EvaluationSettings, FeatureSet, Fraud, LabelWindow, Logistic, ModelSpec, Schedule, Training,
)

SPEC = ModelSpec(
    name="fraud", label=Fraud(), window=LabelWindow(lead=0, horizon=1, maturity=7),
    features=FeatureSet(include=(
        "customer_payments", "merchant_fraud_share", "merchant_frauds", "customer_device_payments",
        "amount_to_customer_mean", "transaction_amount",
    ), windows=()),
    baseline="transaction_amount",
    schedule=Schedule(every=1, history=20, max_as_ofs=40, calibrate_as_ofs=7, test_as_ofs=14, test_every=1),
    training=Training(negatives_per_positive=10),
    evaluation=EvaluationSettings(period_days=7, blocked_card_days=14, resamples=20),
    alerts=Alerts(alert_budget=10, random_audit=3),
    candidates={"logistic": Logistic(reg_param_total=20.0)},
)
"""
BEGIN, DAYS, DAY = datetime(2026, 1, 1), 100, "2026-04-10"
CLOSED = ("2026-02-20", "2026-03-07", "2026-03-30")
"""Days on which nobody pays: one is learnt from, one calibrated on, one evaluated."""


def _write(folder: Path) -> Path:
    """Merchants that are compromised for weeks: half of their payments then are frauds, reported days later."""
    dice = random.Random(5)
    transactions = ["transaction_id,customer_id,event_time,kind,amount,merchant_id,device_id,country"]
    reports = ["transaction_id,customer_id,event_time,is_fraud"]
    bad_from = {merchant: dice.uniform(-20, DAYS) for merchant in range(12)}
    for number in range(12_000):
        day, customer, merchant = dice.uniform(0, DAYS), dice.randrange(300), dice.randrange(120)
        at = BEGIN + timedelta(days=day)
        if f"{at:%Y-%m-%d}" in CLOSED:
            continue
        fraud = 0 <= day - bad_from.get(merchant, 1e9) < 25 and dice.random() < 0.6
        amount = dice.lognormvariate(3, 0.7) * (1.2 if fraud else 1)
        device = f"d{customer}" if not fraud or dice.random() < 0.5 else f"x{number}"
        transactions.append(
            f"t{number},c{customer},{at:%Y-%m-%d %H:%M:%S},purchase,{amount:.2f},m{merchant},{device},NL"
        )
        if fraud:
            reported_at = at + timedelta(days=dice.uniform(0.2, 6.5))
            reports.append(f"t{number},c{customer},{reported_at:%Y-%m-%d %H:%M:%S},true")
    for name, text in {
        "transactions.csv": "\n".join(transactions) + "\n",
        "fraud_reports.csv": "\n".join(reports) + "\n",
        "churn.toml": CONFIG,
        "model.py": MODEL,
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    folder = _write(tmp_path_factory.mktemp("company"))
    (folder / "printed.txt").write_text(run_chain(folder, DAY))
    return folder


def test_a_days_transactions_are_scored_and_alerted_on(company: Path, spark: SparkSession) -> None:
    lake = Lake(spark, str(company / "lake"))
    scores = lake.read("scores_fraud")
    of_day = lake.read("transactions").where(F.to_date("event_time") == DAY)
    assert scores.count() == of_day.count() > 50
    assert scores.join(of_day, "transaction_id", "left_anti").isEmpty()
    alerts = lake.read("alerts_fraud").collect()
    assert Counter(row["chosen_by"] for row in alerts) == {"score": 10, "audit": 3}
    assert {row["rank"] for row in alerts if row["chosen_by"] == "score"} == set(range(1, 11))
    assert {row["model_version"] for row in alerts} == {"1"}


def test_the_model_is_evaluated_by_weeks_and_registered(company: Path) -> None:
    metrics = dict(stored(company, "select key, value from latest_metrics"))
    assert stored(company, "select name, alias, version from registered_model_aliases") == [("fraud", "challenger", 1)]
    assert stored(company, "select count(distinct step) from metrics where key = 'test/auc'") == [(2,)]
    assert metrics["test/auc"] > 0.8 > metrics["test/baseline/auc"]
    assert metrics["test/alerts/recall"] > metrics["test/baseline/alerts/recall"]
    assert metrics["test/average_precision"] > metrics["test/baseline/average_precision"]
    assert 0 < metrics["test/card_precision_at_100"] < 1


def test_a_day_without_rows_is_built_and_scored_like_another(company: Path, spark: SparkSession) -> None:
    """It differs from a day that was never built."""
    lake = Lake(spark, str(company / "lake"))
    days = [datetime.fromisoformat(day) for day in CLOSED]
    rows = lake.read("empty_as_ofs").orderBy("as_of").collect()
    assert [(row["features"], row["as_of"]) for row in rows] == [("features_fraud", day) for day in days]
    spec = load_spec(company / "model.py")
    assert read_features(stored_features(lake, spec), days).isEmpty()
    with pytest.raises(BadInputError, match="features_fraud was never built for as-of 2025-12-31; run build_features"):
        read_features(stored_features(lake, spec), [datetime(2025, 12, 31), *days])
    assert [step("build_features", company, CLOSED[-1], "--only"), step("score", company, CLOSED[-1])] == [0, 0]
    assert {f"{row['as_of']:%Y-%m-%d}" for row in lake.read("scores_fraud").collect()} == {DAY}


def test_a_day_that_has_not_been_delivered_is_held(
    company: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not a day without rows, as long as transactions of it may come."""
    lake = Lake(spark, str(company / "lake"))
    before = lake.read("empty_as_ofs").collect()
    assert step("build_features", company, "2026-04-11", "--only") == 3
    assert capsys.readouterr().err.endswith(
        "hold: as-of 2026-04-11 has no transactions, and transactions are complete only until 2026-04-10 00:00, want "
        "2026-04-12 00:00; ingest the batch after it, then run this again\n"
    )
    assert step("score", company, "2026-04-11") == 2
    assert lake.read("empty_as_ofs").collect() == before


def test_the_report_speaks_of_transactions(company: Path) -> None:
    page = (company / "reports" / f"fraud-{DAY}.html").read_text()
    assert "of frauds" in page
    assert "The chance that a transaction is a fraud" in page
    assert "leavers" not in page


def test_the_terminal_speaks_of_transactions(company: Path) -> None:
    printed = " ".join((company / "printed.txt").read_text().split())
    for text in ("transactions", "frauds", "2026-03-27", "likeliest frauds"):
        assert text in printed
    for text in ("customers", "left", "likeliest to leave", "leavers"):
        assert text not in printed


def _append(folder: Path, *transactions: tuple[str, str, int]) -> None:
    """Deliver transactions (id, event time, amount) after all others."""
    with (folder / "transactions.csv").open("a") as file:
        for name, at, amount in transactions:
            file.write(f"{name},c1,{at},purchase,{amount}.00,m1,d1,NL\n")


def _placed(spark: SparkSession, folder: Path, table: str) -> dict[str, tuple[str, str]]:
    """By transaction appended to the others: its day, and the day of the run that scored it."""
    rows = Lake(spark, str(folder / "lake")).read(table).where("transaction_id like 'late%'").collect()
    return {row["transaction_id"]: (f"{row['as_of']:%m-%d}", f"{row['scored_on']:%m-%d}") for row in rows}


def _keys(spark: SparkSession, folder: Path, table: str, where: str = "true") -> list[tuple[object, ...]]:
    rows = Lake(spark, str(folder / "lake")).read(table).where(where)
    return sorted((row["transaction_id"], row["as_of"], row["scored_on"], row["score"]) for row in rows.collect())


def test_a_transaction_that_arrives_after_its_day_was_scored_is_scored_by_the_next_daily_run(
    company: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its own day, once, in the budget of the run's day; alerts that were raised stay."""
    before = {table: _keys(spark, company, table) for table in ("scores_fraud", "alerts_fraud")}
    _append(
        company,
        ("late1", "2026-04-10 10:00:00", 9000),  # of a day that was scored
        ("late2", "2026-03-30 10:00:00", 20),  # of one that was scored and had no rows
        ("late3", "2026-04-09 10:00:00", 20),  # of one that was built and never scored
        ("late4", "2026-03-20 10:00:00", 20),  # of one that lies too far back
        *((f"late-of-its-day{number}", f"2026-04-11 0{number}:00:00", 20) for number in range(5)),
    )
    for _ in range(2):
        for job, *more in (("ingest",), ("build_features", "--only"), ("score",)):
            assert step(job, company, "2026-04-11", *more) == 0
        assert "of them 1 of 2026-03-30, 1 of 2026-04-10 arrived after" in capsys.readouterr().out
        own = {f"late-of-its-day{number}": ("04-11", "04-11") for number in range(5)}
        wanted = own | {"late1": ("04-10", "04-11"), "late2": ("03-30", "04-11")}
        assert _placed(spark, company, "scores_fraud") == wanted
        assert _placed(spark, company, "alerts_fraud") == wanted  # 7 are within a budget of 10
        for table, rows in before.items():
            assert _keys(spark, company, table, "scored_on < '2026-04-11'") == rows
    # Another run of the day itself leaves to the later run what that has scored.
    after = {table: _keys(spark, company, table) for table in before}
    assert [step("build_features", company, DAY, "--only"), step("score", company, DAY)] == [0, 0]
    assert {table: _keys(spark, company, table) for table in before} == after
