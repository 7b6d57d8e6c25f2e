"""Whom to contact with what: every constraint is kept, and cells are no formulas."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Offer, Plan, Value
from churn.decisions.plan import SCHEMA, CampaignPlan, Eligible, as_csv, check_not_made, chosen, plan_campaign, profits
from churn.decisions.value import check_values
from churn.errors import BadInputError, ConfigError
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.labels.sales import Upgrade
from churn.model_spec import Label, ModelSpec
from churn.reporting.campaign_report import render
from churn.storage import Lake
from churn.training.algorithms import Logistic
from tests.reading import text

AS_OF = datetime(2026, 10, 1)
ROOT = Path(__file__).parents[2]
SPEC = ModelSpec(name="churn", label=Closure(), candidates={"logistic": Logistic()})
OFFERS = {"discount": Offer(cost=10.0, acceptance=0.3), "call": Offer(cost=0.0, acceptance=0.1)}


CUSTOMER = st.tuples(st.floats(0, 1), st.floats(0, 1000), st.booleans(), st.booleans(), st.booleans())


def eligible(scores: list[float], values: list[float], held: list[bool] | None = None) -> pd.DataFrame:
    count = len(scores)
    value = np.array(values)
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:02}" for number in range(count)],
            "score": scores,
            "value": value,
            "value_low": value / 2,
            "value_high": value * 2,
            "reasons": ["Calls the customer made: 5 calls, usually 1"] * count,
            "model_version": ["3"] * count,
            "held": held or [False] * count,
            "suits_0": [True] * count,
            "suits_1": [True] * count,
        }
    )


def planned(found: pd.DataFrame, **values: object) -> CampaignPlan:
    return chosen(Eligible(found, {}), AS_OF, Plan(**values), OFFERS)


def test_the_profit_of_a_contact_by_hand() -> None:
    """Of a customer worth 200 who leaves with 50 %: a discount earns 0.5 * 0.3 * 190 - 0.5 * 10 - 1 = 22.5, a call
    0.5 * 0.1 * 200 - 1 = 9."""
    expected, low, high, cost, _ = profits(eligible([0.5], [200.0]), list(OFFERS.values()))
    assert expected.tolist() == [[22.5, 9.0]]
    assert cost.tolist() == [[0.5 * 0.3 * 10 + 0.5 * 10 + 1, 1.0]]
    assert (low < expected).all()
    assert expected - low == pytest.approx(high - expected)


def test_the_profit_of_a_contact_by_its_uplift() -> None:
    """One that adds 0.1 to the chance of staying earns 0.1 * 190 - 0.5 * 10 - 1 = 13; one that takes 0.1 from it loses
    0.1 * 200 more than its cost. The acceptance that offers state is not used."""
    found = eligible([0.5, 0.5], [200.0] * 2).assign(uplift_0=[0.1, -0.1], uplift_1=[0.1, -0.1])
    expected, low, _, _, effect = profits(found, list(OFFERS.values()))
    assert expected == pytest.approx(np.array([[13.0, 19.0], [-26.0, -21.0]]))
    assert (low < expected).all()
    assert effect.tolist() == [[0.1, 0.1], [-0.1, -0.1]]
    plan = chosen(Eligible(found, {}, "it beats chance"), AS_OF, Plan(hold_out=0.0), OFFERS)
    assert plan.rows[["customer_id", "effect", "effect_by"]].to_numpy().tolist() == [["c00", 0.1, "uplift"]]
    assert "Effects are the uplift learnt from past campaigns: it beats chance." in text(render(SPEC, plan, AS_OF))


def test_the_most_profitable_come_first_within_the_capacity_of_each_day() -> None:
    """Two a day for two days of five: the fifth earns least; ranks and days follow the profit."""
    plan = planned(eligible([0.9, 0.1, 0.5, 0.6, 0.7], [200.0] * 5), capacity=2, days=2, hold_out=0.0)
    assert [(row.customer_id, row.rank, row.day.day, row.offer) for row in plan.rows.itertuples()] == [
        ("c00", 1, 1, "discount"),
        ("c04", 2, 1, "discount"),
        ("c03", 3, 2, "discount"),
        ("c02", 4, 2, "discount"),
    ]
    total, low, high = plan.expected
    assert total == pytest.approx(plan.rows["expected_profit"].sum())
    assert low < total < high
    assert plan.curve[0] == 0
    assert plan.curve[-1] == pytest.approx(total)
    assert plan.capacity_price > 0


def test_the_budget_holds_even_if_everyone_accepts() -> None:
    """25 are enough for two discounts of 10 and a contact of 1; the others get the other offer, where it earns."""
    offers = {**OFFERS, "discount": Offer(cost=10.0, acceptance=0.3, budget=25.0)}
    plan = chosen(Eligible(eligible([0.9, 0.8, 0.7, 0.02], [200.0] * 4), {}), AS_OF, Plan(hold_out=0.0), offers)
    assert plan.rows["offer"].value_counts().to_dict() == {"discount": 2, "call": 1}
    assert plan.offer_prices["discount"] > 0


def test_held_out_customers_would_have_been_contacted() -> None:
    """They take nothing of the capacity, have an offer, a rank and a day, and are not in the file to load."""
    plan = planned(eligible([0.9, 0.8, 0.7, 0.01], [200.0] * 4, [False, True, False, True]), capacity=2, hold_out=0.5)
    assert plan.rows[["customer_id", "arm"]].to_numpy().tolist() == [
        ["c00", "treated"],
        ["c01", "held_out"],
        ["c02", "treated"],
    ]
    assert "c01" not in as_csv(plan)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CUSTOMER, min_size=1, max_size=30),
    st.integers(1, 5),
    st.integers(1, 3),
    st.floats(0, 100),
)
def test_every_constraint_holds(
    customers: list[tuple[float, float, bool, bool, bool]], capacity: int, days: int, budget: float
) -> None:
    """Capacity a day and in all, the budget, whom an offer suits, one offer a customer, and no contact at a loss."""
    score, value, held, first, second = map(list, zip(*customers, strict=True))
    found = eligible(score, value, held).assign(suits_0=first, suits_1=second)
    offers = {**OFFERS, "discount": Offer(cost=10.0, acceptance=0.3, budget=budget)}
    plan = chosen(Eligible(found, {}), AS_OF, Plan(capacity=capacity, days=days), offers)
    treated = plan.treated
    assert len(treated) <= capacity * days
    assert treated.groupby("day").size().max() <= capacity if len(treated) else True
    assert 11 * (treated["offer"] == "discount").sum() <= budget
    assert plan.rows["customer_id"].is_unique
    assert (plan.rows["expected_profit"] > 0).all()
    by_id = found.set_index("customer_id")
    for row in plan.rows.itertuples():
        assert by_id.loc[row.customer_id, "suits_0" if row.offer == "discount" else "suits_1"]
        assert (row.arm == "held_out") == by_id.loc[row.customer_id, "held"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", " ="])
def test_no_cell_is_a_formula(begin: str) -> None:
    found = eligible([0.9], [200.0]).assign(customer_id=[f"{begin}1+1"], reasons=[f'{begin}HYPERLINK("x")'])
    header, row = csv.reader(io.StringIO(as_csv(planned(found, hold_out=0.0)), newline=""))
    assert header[:5] == ["day", "rank", "customer_id", "offer", "reasons"]
    assert row[:5] == ["2026-10-01", "1", f"'{begin}1+1", "discount", f'\'{begin}HYPERLINK("x")']
    assert float(row[5]) == 0.9


def test_the_page_shows_what_a_lead_decides_by() -> None:
    found = eligible([0.9, 0.8], [200.0] * 2).assign(customer_id=["<b>a</b>", "b"])
    plan = planned(found, capacity=1, hold_out=0.0)
    page = render(SPEC, plan, AS_OF)
    total = plan.expected[0]
    assert f"1 contacts are expected to earn {total:,.2f}." in text(page)
    assert "one more would earn" in text(page)
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert render(SPEC, plan, AS_OF) == page


# ---------------------------------------------------------------- from tables


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """Six customers of the same score and value, scored and valued; g is scored alone."""
    lake = Lake(spark, str(tmp_path / "lake"))
    reasons = "array<struct<feature: string, effect: double, direction: string, value: string, text: string>>"
    scores = spark.createDataFrame(
        [(name, AS_OF, 0.6, "3", None) for name in "abcdefg"],
        f"customer_id string, as_of timestamp, score double, model_version string, reasons {reasons}",
    )
    values = spark.createDataFrame(
        [(name, AS_OF, 200.0, 100.0, 300.0, Value().model_dump_json()) for name in "abcdef"],
        "customer_id string, as_of timestamp, value double, value_low double, value_high double, settings string",
    )
    lake.replace(scores, "scores_churn", {"as_of": AS_OF})
    lake.replace(values, "values", {"as_of": AS_OF})
    return lake


def sources(spark: SparkSession) -> dict[str, object]:
    """Regions; whom a campaign contacted ten days ago, and whom it held out; one contact was known only later."""
    day, later = AS_OF - timedelta(days=10), AS_OF + timedelta(days=1)
    customers = spark.createDataFrame(
        [(name, day, day, None, "north" if name in "ab" else "south", Decimal(10)) for name in "abcdef"],
        "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp, region string,"
        " monthly_fee decimal(18,4)",
    )
    contacts = spark.createDataFrame(
        [
            ("b", day, day, None, None),
            ("c", day, day, None, "held_out"),
            ("d", day, later, None, "treated"),
            ("e", AS_OF - timedelta(days=40), day, None, "treated"),
        ],
        "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp, arm string",
    )
    return {"customers": customers, "contacts": contacts}


def test_who_may_not_be_contacted_is_left_out(spark: SparkSession, lake: Lake) -> None:
    """By a condition, by a contact in the last 30 days that is known, by an earlier plan, for want of a value; and
    offers suit some only. All who are scored are counted."""
    as_of, day = datetime(2026, 9, 20), date(2026, 9, 21)
    before = spark.createDataFrame(
        [("f", as_of, "treated", day), ("e", as_of, "held_out", day)],
        "customer_id string, as_of timestamp, arm string, day date",
    )
    lake.replace(before, "plan_churn", {"as_of": datetime(2026, 9, 20)})
    offers = {"discount": Offer(cost=10.0, acceptance=0.3, suits="region = 'south' AND score > 0.5")}
    settings_ = Plan(hold_out=0.0, do_not_contact="customer_id = 'd'")
    plan = plan_campaign(lake, SPEC, sources(spark), AS_OF, settings_, offers)
    assert plan.rows["customer_id"].tolist() == ["c", "e"]
    assert (plan.eligible, plan.left_out) == (3, {"contacted recently": 2, "do not contact": 1, "no value": 1})


@pytest.mark.parametrize(
    ("settings_", "offer", "eligible"),
    [
        (Plan(do_not_contact="true"), Offer(cost=10.0, acceptance=0.3), 0),
        (Plan(hold_out=0.5), Offer(cost=10.0, acceptance=0.3, budget=0.0), 6),
        (Plan(), Offer(cost=10.0, acceptance=0.3, suits="false"), 6),
        (Plan(), Offer(cost=1e6, acceptance=0.3), 6),
    ],
)
def test_a_plan_may_be_for_nobody(
    spark: SparkSession, lake: Lake, settings_: Plan, offer: Offer, eligible: int
) -> None:
    """Where nobody may be contacted, or no contact earns anything: the file has its header, and there is a page."""
    plan = plan_campaign(lake, SPEC, {}, AS_OF, settings_, {"discount": offer})
    assert (plan.eligible, len(plan.rows), plan.expected) == (eligible, 0, (0.0, 0.0, 0.0))
    assert len(as_csv(plan).splitlines()) == 1
    assert spark.createDataFrame(plan.records, SCHEMA).count() == 0
    assert "</html>" in render(SPEC, plan, AS_OF)


def test_the_hold_out_is_by_hash(spark: SparkSession, lake: Lake) -> None:
    """The same customers are held out in every run of an as-of, and others at another seed."""
    plans = [plan_campaign(lake, SPEC, {}, AS_OF, Plan(hold_out=0.5, seed=seed), OFFERS) for seed in (1, 1, 2, 3)]
    arms = [plan.rows.sort_values("customer_id")["arm"].tolist() for plan in plans]
    assert arms[0] == arms[1]
    assert len({tuple(one) for one in arms}) > 1


@pytest.mark.parametrize(
    ("offers", "plan", "message"),
    [
        ({}, Plan(), r"add \[offers.NAME\]"),
        ({"a": Offer(cost=1.0, acceptance=0.5, suits="regoin = 'x'")}, Plan(), r"\[offers.a\] suits = .*regoin"),
        ({"a": Offer(cost=1.0, acceptance=0.5, suits="score + 1")}, Plan(), "is double, want a condition"),
        ({"a": Offer(cost=1.0, acceptance=0.5)}, Plan(do_not_contact="rand() > 0.5"), "draws a random value"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    spark: SparkSession, lake: Lake, offers: dict[str, Offer], plan: Plan, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_campaign(lake, SPEC, sources(spark), AS_OF, plan, offers)


def test_an_as_of_without_scores_is_named(lake: Lake) -> None:
    with pytest.raises(BadInputError, match=r"scores_churn has no rows of as-of 2026-11-01: run jobs/score\.py"):
        plan_campaign(lake, SPEC, {}, datetime(2026, 11, 1), Plan(), OFFERS)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (Fraud(), "model m predicts which transaction is a fraud, and contacts do not prevent that"),
        (Upgrade(), "model m predicts which customer changes to a larger plan, and contacts do not prevent that"),
    ],
)
def test_a_model_of_what_contacts_do_not_prevent_is_refused(lake: Lake, label: Label, message: str) -> None:
    spec = ModelSpec(name="m", label=label, candidates={"logistic": Logistic()})
    with pytest.raises(ConfigError, match=message):
        plan_campaign(lake, spec, {}, AS_OF, Plan(), OFFERS)


def test_values_of_other_settings_are_named(lake: Lake) -> None:
    check_values(lake, AS_OF, Value())
    with pytest.raises(BadInputError, match=r'were computed by .*"horizon":365.*, want \[value\] .*"horizon":7'):
        check_values(lake, AS_OF, Value(horizon=7))
    with pytest.raises(BadInputError, match="values of as-of 2026-11-01 are missing"):
        check_values(lake, datetime(2026, 11, 1), Value())


def test_a_plan_that_was_acted_on_keeps_its_arms(spark: SparkSession, lake: Lake) -> None:
    """It was, once one of its customers is contacted within 30 days of the as-of."""
    rows = [("a", AS_OF, "treated", AS_OF.date()), ("b", AS_OF, "held_out", AS_OF.date())]
    schema = "customer_id string, as_of timestamp, arm string, day date"
    lake.replace(spark.createDataFrame(rows, schema), "plan_churn", {"as_of": AS_OF})

    def check(*contacts: tuple[str, int, str]) -> None:
        times = [(name, AS_OF + timedelta(days=days), arm) for name, days, arm in contacts]
        known = [(name, at, at, None, arm) for name, at, arm in times]
        columns = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp, arm string"
        check_not_made(lake, SPEC, {"contacts": spark.createDataFrame(known, columns)}, AS_OF, Plan())

    unrelated = [
        ("a", -1, "treated"),  # before the plan
        ("a", 30, "treated"),  # of a later plan
        ("a", 3, "held_out"),
        ("b", 3, "treated"),  # the plan holds b out
        ("c", 3, "treated"),  # not in the plan
    ]
    check(*unrelated)
    with pytest.raises(BadInputError, match="plan_churn of as-of 2026-10-01 has been acted on: 1 of its customers"):
        check(*unrelated, ("a", 29, "treated"))


def test_the_job_writes_the_table_the_file_and_the_page(
    spark: SparkSession, lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`jobs/plan_campaign.py` on what the jobs before it have written; run again, it replaces its own plan. Values of
    other settings are refused, or computed again."""
    customers = sources(spark)["customers"].withColumn("opened_at", F.col("event_time"))
    closures = customers.limit(0).selectExpr(
        "customer_id", "'1' AS closure_id", "event_time", "known_time", "superseded_at", "'voluntary' AS kind"
    )
    lake.replace(customers, "customers", {})
    lake.replace(closures, "closures", {})
    offers, plan = "[offers.discount]\ncost = 10.0\nacceptance = 0.3\n", "[plan]\ncapacity = 2\nhold_out = 0.0\n"
    (tmp_path / "churn.toml").write_text(f'[storage]\nroot = "lake"\n{offers}{plan}')
    main = run_path(str(ROOT / "jobs" / "plan_campaign.py"))["main"]
    arguments = ["--config", str(tmp_path / "churn.toml"), "--model", str(ROOT / "models" / "churn.py")]
    for _ in range(2):
        assert main([*arguments, "--as-of", "2026-10-01", "--out", str(tmp_path / "contacts.csv")]) == 0
    assert "effects by the offers' acceptance: there are no accepted contacts" in capsys.readouterr().out
    (tmp_path / "churn.toml").write_text(f'[storage]\nroot = "lake"\n{offers}{plan}[value]\nhorizon = 7\n')
    again = [*arguments, "--as-of", "2026-10-01", "--out", str(tmp_path / "contacts.csv")]
    assert main([*again, "--no-values"]) == 2
    assert "values of as-of 2026-10-01 were computed by" in capsys.readouterr().err
    rows = lake.read("plan_churn").orderBy("rank").collect()
    assert {row["effect_by"] for row in rows} == {"acceptance"}
    assert [(row["customer_id"], row["arm"], row["offer"], row["rank"]) for row in rows] == [
        ("a", "treated", "discount", 1),
        ("b", "treated", "discount", 2),
    ]
    assert len((tmp_path / "contacts.csv").read_text().splitlines()) == 3
    assert "2 contacts are expected to earn" in text((tmp_path / "reports" / "plan-churn-2026-10-01.html").read_text())
