"""A company's own source, feature, label and model, a file each: the chain runs, and nothing in the library changes.

The label is a customer who spends less than half of what they spent before; its report is in its own words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.features import declarations
from churn.labels import LABELS
from churn.sources import CONTRACTS
from churn.storage import Lake
from tests.jobs.company import step
from tests.reading import text

BEGIN, DAYS = datetime(2025, 1, 1), 420
AS_OF = "2026-02-20"

FILES = {
    "ours/sources/visits.py": """
from churn import Contract, Field

VISITS = Contract(
    name="visits",
    doc="A customer who was seen in a shop, whether or not they bought.",
    grain="one visit",
    key=("visit_id",),
    event="When the customer entered the shop.",
    known="When our systems first had it.",
    fields=(Field("shop", "string", "Which shop."),),
)
""",
    "ours/features/shops.py": '''
from pyspark.sql import functions as F

from churn import CONTRACTS, windowed


@windowed(CONTRACTS["visits"], agg="count", days=(14, 28, 56), unit="visits", fill=0)
def shop_visits():
    """Visits to a shop."""
    return F.lit(1)


@windowed(CONTRACTS["visits"], agg="distinct", days=(14, 28, 56), unit="shops", fill=0)
def shops_visited():
    """Different shops visited."""
    return F.col("shop")
''',
    "ours/labels/spend_drop.py": '''
from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn import Label, LabelWindow, Vocabulary


class SpendDrop(Label):
    """1 where a customer spends less in the window than `share` of the spend of as many days before as-of."""

    name = "spend_drop"
    entity = "customer"
    sources = ("transactions",)
    vocabulary = Vocabulary(
        entity="shopper",
        entities="shoppers",
        positive="saver",
        positives="savers",
        happened="spent less",
        absent="spent on",
        act="invite",
        acted="invited",
        likeliest="likeliest to spend less",
    )

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @property
    def outcome(self) -> str:
        return f"spends less than {self.share:.0%} of what they spent before"

    def compute(self, rows: DataFrame, sources: dict[str, DataFrame], window: LabelWindow) -> DataFrame:
        as_of, event = F.col("as_of"), F.col("event_time")
        before = (event >= as_of - F.make_dt_interval(F.lit(window.horizon))) & (event < as_of)
        purchases = sources["transactions"].where("kind = 'purchase'").select("customer_id", "event_time", "amount")
        spend = (
            purchases.join(F.broadcast(rows.select("as_of").distinct()), on=before | window.contains(event))
            .groupBy("customer_id", "as_of")
            .agg(
                F.sum(F.when(before, F.col("amount"))).alias("_before"),
                F.sum(F.when(window.contains(event), F.col("amount"))).alias("_after"),
            )
        )
        labelled = rows.join(spend, on=["customer_id", "as_of"]).where(F.col("_before") > 0)
        label = (F.coalesce("_after", F.lit(0)) < self.share * F.col("_before")).cast("int")
        return labelled.withColumn("label", label).drop("_before", "_after")
''',
    "model.py": """
from churn import (
    LABELS, Cohort, EvaluationSettings, FeatureSet, LabelWindow, Logistic, ModelSpec, Schedule,
)

SPEC = ModelSpec(
    name="spend_drop",
    label=LABELS["spend_drop"](),
    window=LabelWindow(lead=0, horizon=28),
    cohort=Cohort(kind="active", active_days=28),
    features=FeatureSet(include=("shops", "spend", "days_since_purchase"), windows=(28, 56)),
    baseline="days_since_purchase",
    schedule=Schedule(every=28, history=60, calibrate_as_ofs=2, test_as_ofs=1),
    evaluation=EvaluationSettings(resamples=20),
    candidates={"logistic": Logistic(reg_param_total=20.0)},
)
""",
    "churn.toml": """
catalog = "ours"

[sources.transactions]
path = "transactions.csv"

[sources.visits]
path = "visits.csv"
[sources.visits.columns]
visit_id = "id"
customer_id = "who"
event_time = "entered"

[model.spend_drop.label]
share = 0.4
""",
}


def write_company(folder: Path, *, customers: int = 120) -> Path:
    """Customers who come and buy weekly or so; some day they come no more, and three weeks later they stop buying."""
    dice = random.Random(5)
    transactions, visits = ["transaction_id,customer_id,event_time,kind,amount"], ["id,who,entered,shop"]
    for customer in range(customers):
        pace, stops = dice.uniform(3, 9), dice.uniform(60, 2 * DAYS)
        day = dice.uniform(0, pace)
        while day < DAYS:
            at = f"{BEGIN + timedelta(days=day):%Y-%m-%d %H:%M:%S}"
            if day < stops - 21:
                visits.append(f"v{len(visits)},c{customer:03},{at},s{dice.randrange(4)}")
            if day < stops or dice.random() < 0.2:
                transactions.append(f"t{len(transactions)},c{customer:03},{at},purchase,{dice.uniform(5, 20):.2f}")
            day += dice.expovariate(1 / pace)
    files = {**FILES, "transactions.csv": "\n".join(transactions) + "\n", "visits.csv": "\n".join(visits) + "\n"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its folder; what it declares is gone when the test is done, for other tests speak of the library's own."""
    for registry in (CONTRACTS, LABELS):
        for part in ("_declared", "_files"):
            monkeypatch.setattr(registry, part, dict(getattr(registry, part)))
    yield write_company(tmp_path)
    declarations.forget("shops")


def test_own_files_make_a_model_and_a_report_in_their_own_vocabulary(spark: SparkSession, company: Path) -> None:
    for job in ("ingest", "build_features", "train", "evaluate"):
        assert step(job, company, AS_OF) == 0, job

    lake = Lake(spark, str(company / "lake"))
    features = lake.read("features_spend_drop")
    assert {"shop_visits_28d", "shop_visits_56d", "shops_visited_28d", "spend_28d"} < set(features.columns)
    last = features.where(F.col("as_of") == F.to_timestamp(F.lit(AS_OF)))
    of_one = last.orderBy(F.desc("shop_visits_28d"), "customer_id").first()
    assert of_one is not None
    visits = (company / "visits.csv").read_text().splitlines()[1:]
    since = f"{datetime.fromisoformat(AS_OF) - timedelta(days=28)}"
    own = [line.split(",") for line in visits if f",{of_one['customer_id']}," in line]
    recent = [shop for _, _, entered, shop in own if since <= entered < AS_OF]
    assert (of_one["shop_visits_28d"], of_one["shops_visited_28d"]) == (len(recent), len(set(recent)))

    [report] = (company / "reports").glob("spend_drop-*.html")
    page = text(report.read_text("utf-8"))
    outcome = "The chance that a shopper spends less than 40% of what they spent before"
    for sentence in (
        f"{outcome} in the 28 days from 20 February 2026 to 19 March 2026.",
        "Population: customers with a purchase in the last 28 days.",
        "Invite the top 10 % and reach ",
        " % of savers, ",
        "with as many shoppers invited.",
        "On each date the model scored every shopper by what was known by then",
        "To reach more of the savers, more shoppers that spent on are invited too.",
        "Visits to a shop.",
    ):
        assert sentence in page
    assert "leaver" not in page
