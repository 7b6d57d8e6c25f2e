"""From challenger to champion and back, on a real lake and registry: the better wins, the worse and the leaky do not.

All steps run in the session of the tests.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.features import declarations
from churn.storage import Lake
from tests.jobs.company import churn, step, write_shop
from tests.mlflow_store import statuses

EARLIER, NOW = "2025-11-01", "2026-01-01"

MODEL = """
from churn import Closure, FeatureSet, Logistic, ModelSpec, Schedule
from churn.evaluation.gates import AtMost, Beats, NoLeak

SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    candidates={{"logistic": Logistic(reg_param_total=100.0)}},
    features=FeatureSet(include={features}),
    baseline="spend_90d",
    schedule=Schedule(max_as_ofs=6),
    gates=(Beats("baseline"), Beats("champion"), AtMost(0.1), NoLeak()),  # 0.1, as the shop is small
)
"""
LEAK = """
from pyspark.sql import functions as F
from churn import windowed
from churn.sources.catalog.transactions import TRANSACTIONS

@windowed(TRANSACTIONS, agg="last", days=(90,), unit="days", fill=None)
def next_purchase_in():
    "Days to the next purchase, as a nightly report writes it back onto each row."
    return F.col("merchant_id").cast("int")
"""
FEATURES = {
    "recency": ("days_since_purchase", "spend"),
    "pace": ("spending",),  # the same, and how often this customer buys
    "value": ("purchase_mean", "spend"),
    "leaky": ("spending", "next_purchase_in"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[Path]:
    """A shop after one ingest, where `merchant_id` is in how many days the customer buys again."""
    folder = write_shop(tmp_path_factory.mktemp("shop"), customers=600)
    file = folder / "transactions.csv"
    rows = list(csv.DictReader(file.open()))
    for row, following in pairwise(rows):  # sorted by customer and time
        gap = datetime.fromisoformat(following["event_time"]) - datetime.fromisoformat(row["event_time"])
        row["merchant_id"] = gap.days if following["customer_id"] == row["customer_id"] else 999
    with file.open("w") as out:
        writer = csv.DictWriter(out, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    for name, features in FEATURES.items():
        (folder / f"{name}.py").write_text(MODEL.format(features=features) + (LEAK if name == "leaky" else ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(declarations, "_REGISTRY", dict(declarations._REGISTRY))  # the leak stays out of the catalogue
        assert step("ingest", folder, NOW) == 0
        yield folder


def challenge(shop: Path, model: str, as_of: str) -> None:
    """The steps that make a challenger."""
    for job in ("build_features", "train", "evaluate"):
        assert step(job, shop, as_of, model=model) == 0


def promote(shop: Path, model: str, as_of: str) -> int:
    return step("promote", shop, as_of, model=model)


def client(shop: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{shop / 'mlflow.db'}")


def aliases(shop: Path) -> dict[str, str]:
    return {alias: str(version) for alias, version in client(shop).get_registered_model("churn").aliases.items()}


def decided(shop: Path, version: str) -> str:
    return str(client(shop).get_model_version("churn", version).tags["promotion"])


def scored_by(shop: Path, spark: SparkSession) -> set[str]:
    scores = Lake(spark, str(shop / "lake")).read("scores_churn").where(F.col("as_of") == F.lit(NOW))
    return {row["model_version"] for row in scores.select("model_version").distinct().collect()}


def test_the_better_wins_the_worse_and_the_leaky_do_not_and_a_rollback_restores(
    shop: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge(shop, "recency", EARLIER)
    assert promote(shop, "recency", NOW) == 2  # not evaluated at that as-of
    assert aliases(shop) == {"challenger": "1"}
    assert promote(shop, "recency", EARLIER) == 0
    assert aliases(shop) == {"challenger": "1", "champion": "1"}
    assert "beats the champion (there is no champion yet)" in decided(shop, "1")
    assert statuses(shop, f"promote churn {NOW}") == ["FAILED"]
    assert statuses(shop, f"promote churn {EARLIER}") == ["FINISHED"]

    challenge(shop, "pace", NOW)
    assert promote(shop, "pace", NOW) == 0
    won = {"challenger": "2", "champion": "2", "previous": "1"}
    assert aliases(shop) == won
    assert decided(shop, "2").startswith(f"promoted as of {NOW}: passed beats the baseline (+0.")
    page = (shop / "reports" / f"churn-{NOW}.html").read_text()
    assert "Against the champion, version 1" in page
    assert promote(shop, "pace", NOW) == 0  # again, and nothing changes
    assert aliases(shop) == won

    challenge(shop, "value", NOW)  # reads other columns than the champion, which is evaluated on the same rows
    assert promote(shop, "value", NOW) == 0
    assert aliases(shop) == won | {"challenger": "3"}
    assert decided(shop, "3").startswith(f"refused as of {NOW}: beats the champion: -0.")

    capsys.readouterr()
    assert step("score", shop, NOW, model="value") == 0
    assert "scored by churn version 2, the champion" in capsys.readouterr().out
    assert scored_by(shop, spark) == {"2"}

    challenge(shop, "leaky", NOW)
    assert promote(shop, "leaky", NOW) == 0
    assert aliases(shop) == won | {"challenger": "4"}
    assert "no leak: next_purchase_in_90d 1.000, want no feature with an AUC of 0.95 or more" in decided(shop, "4")
    assert "beats the champion" not in decided(shop, "4")  # it does, but that does not count

    where = ("--config", shop / "churn.toml")
    done = churn("rollback", "churn", *where, "--why", "complaints")
    assert (done.exit_code, done.stdout) == (
        0, "churn: version 1 is the champion again; version 2 went: complaints\n"
    )  # fmt: skip
    assert aliases(shop) == {"challenger": "4", "champion": "1"}
    assert step("build_features", shop, NOW, model="value") == step("score", shop, NOW, model="value") == 0
    assert scored_by(shop, spark) == {"1"}
    again = churn("rollback", "churn", *where)
    assert (again.exit_code, "there is no previous to go back to" in again.stderr) == (2, True)
    assert statuses(shop, "rollback churn") == ["FINISHED", "FAILED"]
    nobody = churn("rollback", "fraud", *where)
    assert (nobody.exit_code, "registered are churn; train one first" in nobody.stderr) == (2, True)
