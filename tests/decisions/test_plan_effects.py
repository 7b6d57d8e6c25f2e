"""What an offer changes is learnt from past contacts where that is better than chance, and from nothing known later."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from churn.config import Uplift
from churn.decisions.plan_effects import Effects, offer_factors, predicted_effects
from churn.labels.closure import Closure
from churn.model_spec import ModelSpec, Sources
from churn.sources.completeness import Accepted
from churn.storage import Lake
from churn.testing import frame
from churn.training.algorithms import Logistic

AS_OF = datetime(2026, 6, 1)
SPEC = ModelSpec(name="churn", label=Closure(), candidates={"logistic": Logistic()})
SETTINGS = Uplift(features=("calls_made",), halves=3, days=30)
TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
MARCH, MAY = "2026-03-01 09:00", "2026-05-20 09:00"


@pytest.fixture(scope="module")
def sources(spark: SparkSession) -> Accepted:
    """1,600 contacts of March: half of the customers call before. Of callers one in two leaves, and of those who are
    treated one in ten; others leave one in ten. All are contacted again in May, which has not matured by June, and
    whose leavers are known by July alone."""
    contacts, calls, closures = [], [], []
    for number in range(1_600):
        name, calls_first, treated = f"c{number:04}", number % 2 == 0, number // 2 % 2 == 0
        arm, offer = ("treated", ("discount", "call")[number // 4 % 2]) if treated else ("held_out", None)
        leaves = number // 8 % 10 < (5 if calls_first and not treated else 1)
        contacts.append((name, MARCH, MARCH, None, "k1", "march", arm, offer, "1"))
        if calls_first:
            calls.append((name, "2026-02-20", "2026-02-20", None, "inbound"))
        if leaves:
            closures.append((name, "2026-03-10", "2026-03-10", None, "voluntary"))
        else:
            contacts.append((name, MAY, MAY, None, "k2", "may", arm, offer, "1"))
            if treated:  # known only after the as-of: a plan that read it would contact nobody
                closures.append((name, "2026-05-25", "2026-07-01", None, "voluntary"))
    tables = {
        "contacts": frame(
            spark, contacts,
            f"{TIMES}, contact_id string, campaign string, arm string, offer string, cost string",
        ),
        "calls": frame(spark, calls, f"{TIMES}, direction string"),
        "closures": frame(spark, closures, f"{TIMES}, kind string"),
    }  # fmt: skip
    return Accepted(tables, dict.fromkeys(tables, ((None, datetime(2026, 8, 1)),)))


def effects(spark: SparkSession, folder: Path, sources: Sources, settings: Uplift = SETTINGS) -> Effects:
    customers = spark.createDataFrame([("new caller",), ("c0001",)], "customer_id string")
    lake = Lake(spark, str(folder / "lake"))
    return predicted_effects(lake, SPEC, settings, sources, customers, AS_OF, ["discount", "unheard of"])


def test_customers_are_given_the_effect_that_past_contacts_had(
    spark: SparkSession, tmp_path: Path, sources: Accepted
) -> None:
    """Only matured contacts are learnt from, by what was known at as-of: those of May have leavers known later."""
    recent = AS_OF - timedelta(days=5)
    called = [("new caller", recent, recent, None, "inbound")]
    calls = sources["calls"].union(spark.createDataFrame(called, sources["calls"].schema))
    tables = Accepted({**sources, "calls": calls}, sources.deliveries)
    found = effects(spark, tmp_path, tables)
    assert found.uplift is not None, found.why
    assert found.why.startswith("1,600 past contacts have a Qini of 0.")
    assert found.why.endswith("better than chance")
    rows = {row["customer_id"]: row for row in found.uplift.collect()}
    assert set(rows) == {"new caller", "c0001"}
    assert rows["new caller"]["uplift_0"] > 0.25
    assert abs(rows["c0001"]["uplift_0"]) < 0.1
    # Both offers had the same effect, and of one that no contact made nothing else is known.
    assert rows["new caller"]["uplift_1"] == pytest.approx(rows["new caller"]["uplift_0"], rel=0.2)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"outcome": "accepted"}, "the outcome 'accepted' of [uplift] is not what churn predicts"),
        ({"days": 365}, "none of 2880 contacts has an outcome yet"),
        ({"halves": 1}, "one half of the contacts gives no interval"),
    ],
)
def test_why_no_effects_are_learnt_is_reported(
    spark: SparkSession, tmp_path: Path, sources: Accepted, settings: dict[str, object], why: str
) -> None:
    found = effects(spark, tmp_path, sources, SETTINGS.model_copy(update=settings))
    assert found.uplift is None
    assert found.why.startswith(why)


def test_a_learner_that_is_no_better_than_chance_is_not_used(
    spark: SparkSession, tmp_path: Path, sources: Accepted
) -> None:
    """The arms make no difference: held-out customers are as those who were treated."""
    swapped = sources["contacts"].selectExpr(
        "* except (arm)", "if(cast(substr(customer_id, 2) as int) div 80 % 2 = 0, 'treated', 'held_out') as arm"
    )
    found = effects(spark, tmp_path, Accepted({**sources, "contacts": swapped}, sources.deliveries))
    assert found.uplift is None
    assert found.why.endswith("which is not better than chance")


def test_a_log_with_columns_of_its_own_is_not_about_the_customers(spark: SparkSession, tmp_path: Path) -> None:
    log = Uplift(input="log", treated="arm = 'mail'", outcome="stays", features=("age",))
    assert effects(spark, tmp_path, {}, log) == Effects(
        "[uplift] reads the log 'log', whose columns the customers do not have"
    )
    assert "map [sources.contacts]" in effects(spark, tmp_path, {}).why


def test_a_stronger_offer_has_a_larger_factor_the_more_contacts_show_it() -> None:
    """Of 40 treated with a three in four stay, of as many with b one, of those held out none; c is in no contact."""
    rows = [
        *[(0.5, True, int(number % 4 > 0), "a") for number in range(40)],
        *[(0.5, True, int(number % 4 == 0), "b") for number in range(40)],
        *[(0.5, False, 0, None)] * 40,
    ]
    contacts = pd.DataFrame(rows, columns=["uplift", "treated", "outcome", "offer"])
    strong, weak, unknown = offer_factors(contacts, ["a", "b", "c"])
    assert 1.3 < strong < 1.5
    assert 0.5 < weak < 0.7
    assert unknown == 1.0
    few_strong, few_weak, _ = offer_factors(contacts.iloc[::5], ["a", "b", "c"])
    assert 1 < few_strong < strong
    assert weak < few_weak < 1
