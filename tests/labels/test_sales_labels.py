"""What buying more means, on rows that show each case."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession

from churn.labels import LABELS
from churn.labels.sales import AddOn, MoreSpend, Upgrade
from churn.model_spec import LabelWindow
from churn.testing import frame

AS_OF = datetime(2026, 3, 1)
WINDOW = LabelWindow(lead=7, horizon=30)
BEFORE = "2026-01-01"
TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
STATES = f"{TIMES}, plan string, monthly_fee decimal(18,4)"
PAID = f"{TIMES}, kind string, amount decimal(18,4), status string, merchant_id string"


def spine(spark: SparkSession, customers: str) -> DataFrame:
    return frame(spark, [(c, AS_OF) for c in customers], "customer_id string, as_of timestamp")


def labels(labelled: DataFrame) -> dict[str, int]:
    return {row["customer_id"]: row["label"] for row in labelled.collect()}


def test_an_upgrade_is_a_change_to_a_larger_plan_inside_the_window(spark: SparkSession) -> None:
    first = [(c, BEFORE, BEFORE, None, "basic", "10") for c in "abcdef"]
    later = [
        ("a", "2026-03-08", "2026-03-08", None, "plus", "20"),  # the first instant of the window
        ("b", "2026-04-07", "2026-04-07", None, "plus", "20"),  # the first instant after it
        ("c", "2026-03-20", "2026-03-20", None, "basic", "12"),  # a fee that rises within a plan
        ("d", "2026-03-20", "2026-03-20", None, "lite", "5"),  # a smaller plan
        ("e", "2026-03-02", "2026-03-02", None, "plus", "20"),  # before anyone could have offered it
    ]
    sources = {"customers": frame(spark, [*first, *later], STATES)}
    labelled = Upgrade().compute(spine(spark, "abcdefg"), sources, WINDOW)
    assert labelled.columns == ["customer_id", "as_of", "label"]
    assert labels(labelled) == {"a": 1, "b": 0, "c": 0, "d": 0, "e": 0, "f": 0, "g": 0}
    by_name = Upgrade(plans=("plus", "basic", "lite")).compute(spine(spark, "ad"), sources, WINDOW)
    assert labels(by_name) == {"a": 0, "d": 1}


def test_an_upgrade_that_was_announced_is_decided(spark: SparkSession) -> None:
    """Only what is known at as-of tells: "b" announces it later, and the version of "c" was retracted before."""
    states = [(c, BEFORE, BEFORE, None, "basic", "10") for c in "abc"]
    states += [
        ("a", "2026-03-20", "2026-02-20", None, "plus", "20"),
        ("b", "2026-03-20", "2026-03-05", None, "plus", "20"),
        ("c", "2026-03-20", "2026-02-10", "2026-02-20", "plus", "20"),
    ]
    left = Upgrade().undecided(spine(spark, "abc"), {"customers": frame(spark, states, STATES)})
    assert sorted(row["customer_id"] for row in left.collect()) == ["b", "c"]


def test_an_add_on_is_a_purchase_of_a_kind_at_a_merchant(spark: SparkSession) -> None:
    paid = [
        ("a", "2026-03-08", "2026-03-08", None, "purchase", "5", None, "shop"),
        ("b", "2026-03-08", "2026-03-08", None, "purchase", "5", "declined", "shop"),
        ("c", "2026-03-08", "2026-03-08", None, "fee", "5", None, "shop"),
        ("d", "2026-03-08", "2026-03-08", None, "purchase", "5", None, "other"),
        ("e", "2026-02-01", "2026-02-01", None, "purchase", "5", None, "shop"),  # bought it before
    ]
    sources = {"transactions": frame(spark, paid, PAID)}
    at_shop = AddOn(merchants=("shop",))
    wanted = {"a": 1, "b": 0, "c": 0, "d": 0, "e": 0}
    assert labels(at_shop.compute(spine(spark, "abcde"), sources, WINDOW)) == wanted
    assert labels(AddOn().compute(spine(spark, "abcde"), sources, WINDOW)) == wanted | {"d": 1}
    assert at_shop.undecided(spine(spark, "abcde"), sources).count() == 5
    first_only = AddOn(merchants=("shop",), first_only=True).undecided(spine(spark, "abcde"), sources)
    assert sorted(row["customer_id"] for row in first_only.collect()) == ["a", "b", "c", "d"]


def test_more_spend_is_above_the_customers_own_trend(spark: SparkSession) -> None:
    """60 in the 60 days before is a trend of 30 in 30 days; 1.5 times as much is 45."""
    before = [(c, "2026-02-01", "2026-02-01", None, "purchase", "60", None, None) for c in "abc"]
    within = [
        ("a", "2026-03-08", "2026-03-08", None, "purchase", "45.01", None, None),
        ("b", "2026-03-08", "2026-03-08", None, "purchase", "45", None, None),
        ("d", "2026-03-08", "2026-03-08", None, "purchase", "45", None, None),  # no trend
    ]
    sources = {"transactions": frame(spark, [*before, *within], PAID)}
    labelled = MoreSpend(trend_days=60).compute(spine(spark, "abcd"), sources, WINDOW)
    assert labelled.columns == ["customer_id", "as_of", "label"]
    assert labels(labelled) == {"a": 1, "b": 0, "c": 0}


def test_labels_of_sales_are_found_and_have_their_outcome() -> None:
    assert (LABELS["upgrade"], LABELS["add_on"], LABELS["more_spend"]) == (Upgrade, AddOn, MoreSpend)
    assert Upgrade().outcome == "changes to a larger plan"
    assert AddOn(merchants=("shop",), first_only=True).outcome == "makes a purchase at shop for the first time"
    assert MoreSpend().outcome == "spends more than 1.5 times as much a day as in the 180 days before"
