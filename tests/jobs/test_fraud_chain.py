"""Fraud from files to alerts, in one session, as `churn run` has it: a real Delta lake, a real MLflow store."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.storage import Lake
from tests.jobs.company import run_chain
from tests.mlflow_store import stored

CONFIG = """
[sources.transactions]
path = "transactions.csv"

[sources.fraud_reports]
path = "fraud_reports.csv"
"""
MODEL = """
from churn import Logistic, ModelSpec

SPEC = ModelSpec(
    name="fraud", label="fraud", lead=0, horizon=1, maturity=7, windows=(),
    features=(
        "customer_payments", "merchant_fraud_share", "merchant_frauds", "device_uses", "amount_to_usual",
        "transaction_amount",
    ),
    rule_of_thumb="transaction_amount", every=1, history=20, dates=40, calibrate_dates=7, test_dates=14, test_every=1,
    judged_days=7, blocked_days=14, negatives_per_positive=10, budget=10, audit=3, resamples=20,
    candidates={"logistic": Logistic(reg_param_total=20.0)},
)
"""
BEGIN, DAYS, DAY = datetime(2026, 1, 1), 100, "2026-04-10"


def _write(folder: Path) -> Path:
    """Merchants that are in trouble for weeks: half of what is paid there then is a fraud, reported days later."""
    dice = random.Random(5)
    paid = ["transaction_id,customer_id,event_time,kind,amount,merchant_id,device_id,country"]
    said = ["transaction_id,customer_id,event_time,is_fraud"]
    bad_from = {merchant: dice.uniform(-20, DAYS) for merchant in range(12)}
    for number in range(12_000):
        day, customer, merchant = dice.uniform(0, DAYS), dice.randrange(300), dice.randrange(120)
        moment = BEGIN + timedelta(days=day)
        fraud = 0 <= day - bad_from.get(merchant, 1e9) < 25 and dice.random() < 0.6
        amount = dice.lognormvariate(3, 0.7) * (1.2 if fraud else 1)
        device = f"d{customer}" if not fraud or dice.random() < 0.5 else f"x{number}"
        paid.append(f"t{number},c{customer},{moment:%Y-%m-%d %H:%M:%S},purchase,{amount:.2f},m{merchant},{device},NL")
        if fraud:
            told = moment + timedelta(days=dice.uniform(0.2, 6.5))
            said.append(f"t{number},c{customer},{told:%Y-%m-%d %H:%M:%S},true")
    for name, text in {
        "transactions.csv": "\n".join(paid) + "\n",
        "fraud_reports.csv": "\n".join(said) + "\n",
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
    alerts = lake.read("alerts").collect()
    assert Counter(row["chosen_by"] for row in alerts) == {"score": 10, "audit": 3}
    assert {row["rank"] for row in alerts if row["chosen_by"] == "score"} == set(range(1, 11))
    assert {row["model_version"] for row in alerts} == {"1"}


def test_the_model_is_judged_by_weeks_and_registered(company: Path) -> None:
    metrics = dict(stored(company, "select key, value from latest_metrics"))
    assert stored(company, "select name, alias, version from registered_model_aliases") == [("fraud", "challenger", 1)]
    assert stored(company, "select count(distinct step) from metrics where key = 'test/auc'") == [(2,)]
    assert metrics["test/auc"] > 0.8 > metrics["test/rule_of_thumb/auc"]
    assert metrics["test/alerts/recall"] > metrics["test/rule_of_thumb/alerts/recall"]
    assert metrics["test/average_precision"] > metrics["test/rule_of_thumb/average_precision"]
    assert 0 < metrics["test/card_precision_at_100"] < 1


def test_the_report_speaks_of_transactions(company: Path) -> None:
    page = (company / "reports" / f"fraud-{DAY}.html").read_text()
    assert "of frauds" in page
    assert "The chance that a transaction is a fraud" in page
    assert "leavers" not in page


def test_the_terminal_speaks_of_transactions(company: Path) -> None:
    printed = " ".join((company / "printed.txt").read_text().split())
    for words in ("transactions", "frauds", "2026-03-27", "likeliest frauds"):
        assert words in printed
    for words in ("customers", "left", "likeliest to leave", "leavers"):
        assert words not in printed
