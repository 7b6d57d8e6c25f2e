"""What is announced, and who came back, on rows that show each case."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.features import catalogue, customer_features, transaction_features, windowed
from churn.sources.announcements import with_replaced_closures
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.closures import CLOSURES
from churn.testing import frame

pytestmark = pytest.mark.usefixtures("_restored_catalogue")

SPINE = "customer_id string, as_of timestamp"
TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
CLOSURE = f"{TIMES}, kind string"
CUSTOMER = f"{TIMES}, monthly_fee decimal(18,4), plan string, opened_at timestamp"


def found(
    spark: SparkSession, sources: dict[str, DataFrame], names: list[str], rows: list[tuple[str, datetime]]
) -> list[tuple[Any, ...]]:
    """The features of each (customer, as-of), in this order."""
    computed = customer_features(frame(spark, rows, SPINE), sources, names, as_ofs={as_of for _, as_of in rows})
    by_key = {(row[0], row[1]): tuple(row[2:]) for row in computed.collect()}
    return [by_key[key] for key in rows]


def test_a_closure_is_seen_as_announced_until_it_takes_effect(spark: SparkSession) -> None:
    closures = frame(
        spark,
        [
            ("a", "2026-05-31", "2026-05-01", None, None),
            ("b", "2026-05-31", "2026-05-01", "2026-05-20", None),  # corrected: a month later
            ("b", "2026-06-30", "2026-05-20", None, None),
            ("c", "2026-05-31", "2026-05-01", "2026-05-20", None),  # retracted
            ("c", "2026-05-31", "2026-05-20", None, "retracted"),
            ("d", "2026-05-05", "2026-05-08", None, None),  # known only after it took effect: never announced
        ],
        CLOSURE,
    )
    days = [
        datetime(2026, 4, 30),
        datetime(2026, 5, 1),
        datetime(2026, 5, 25),
        datetime(2026, 5, 31),
        datetime(2026, 6, 2),
    ]
    names = ["days_to_announced_closure", "times_closed", "days_since_closure"]
    of = {who: found(spark, {"closures": closures}, names, [(who, day) for day in days]) for who in "abcd"}
    none = (None, 0, None)
    assert of == {
        "a": [none, (30.0, 0, None), (6.0, 0, None), (0.0, 0, None), (None, 1, 2.0)],
        "b": [none, (30.0, 0, None), (36.0, 0, None), (30.0, 0, None), (28.0, 0, None)],
        "c": [none, (30.0, 0, None), none, none, none],
        "d": [none, none, (None, 1, 20.0), (None, 1, 26.0), (None, 1, 28.0)],
    }


def test_a_plan_that_is_announced_is_not_the_plan_yet(spark: SparkSession) -> None:
    customers = frame(
        spark,
        [
            ("a", "2025-01-01", "2025-01-01", None, "20", "small", "2025-01-01"),
            ("a", "2026-06-01", "2026-05-01", None, "25", "large", "2025-01-01"),
            ("a", "2026-07-01", "2026-05-02", None, "30", "large", "2025-01-01"),
            ("b", "2025-01-01", "2025-01-01", None, "20", "small", "2025-01-01"),
        ],
        CUSTOMER,
    )
    names = ["plan", "monthly_fee", "days_to_announced_change", "announced_fee_to_fee", "fee_changes"]
    rows = [
        ("a", datetime(2026, 4, 1)),
        ("a", datetime(2026, 5, 2)),
        ("a", datetime(2026, 6, 11)),
        ("b", datetime(2026, 5, 2)),
    ]
    assert found(spark, {"customers": customers}, names, rows) == [
        ("small", 20.0, None, 1.0, 0, 0),
        ("small", 20.0, 30.0, 1.5, 0, 0),
        ("large", 25.0, 20.0, 1.2, 1, 1),
        ("small", 20.0, None, 1.0, 0, 0),
    ]


def test_who_returned_is_as_old_as_the_newest_opening(spark: SparkSession) -> None:
    customers = frame(
        spark,
        [
            ("a", "2020-01-01", "2020-01-01", None, "20", "small", "2020-01-01"),
            ("a", "2026-01-01", "2026-01-01", None, "20", "small", "2026-01-01"),
        ],
        CUSTOMER,
    )
    closures = frame(
        spark,
        [
            ("a", "2023-01-01", "2023-01-01", None, None),
            ("a", "2025-01-01", "2025-01-01", None, "involuntary"),
            ("a", "2025-06-01", "2025-01-01", None, "retracted"),
        ],
        CLOSURE,
    )
    names = ["tenure", "times_closed", "days_since_closure"]
    sources = {"customers": customers, "closures": closures}
    assert found(spark, sources, names, [("a", datetime(2026, 1, 11))]) == [(10.0, 2, 375.0)]


def test_a_closure_with_a_new_date_replaces_the_one_announced_before(spark: SparkSession) -> None:
    closures = frame(
        spark,
        [
            ("moved", "2026-05-31", "2026-05-01", None, None),
            ("moved", "2026-06-30", "2026-05-20", None, None),
            ("corrected", "2026-05-31", "2026-05-01", "2026-05-10", None),  # superseded before it was moved
            ("corrected", "2026-06-30", "2026-05-20", None, None),
            ("back", "2024-05-31", "2024-05-01", None, None),  # took effect before the next became known
            ("back", "2026-06-30", "2026-05-20", None, None),
        ],
        CLOSURE,
    )
    replaced = with_replaced_closures(closures)
    assert replaced.columns == closures.columns
    rows = replaced.where("event_time < '2026-06-01'").select("customer_id", "superseded_at").collect()
    assert {row[0]: row[1] for row in rows} == {
        "moved": datetime(2026, 5, 20),
        "corrected": datetime(2026, 5, 10),
        "back": None,
    }


def test_what_is_announced_tells_that_the_customer_has_decided() -> None:
    marked = {row["name"] for row in catalogue() if row["after_intent"]}
    assert marked == {"cancellation_calls", "days_to_announced_closure"}


def test_announcements_are_refused_where_there_are_none(spark: SparkSession) -> None:
    with pytest.raises(BadInputError, match=r"^announced_calls: calls is not announced; drop announced=True$"):

        @windowed(CALLS, agg="count", announced=True, unit="calls", fill=0)
        def announced_calls() -> Any:
            """Never."""
            return F.lit(1)

    @windowed(CLOSURES, agg="count", announced=True, unit="closures", fill=0)
    def announced_closures() -> Any:
        """Closures that are announced."""
        return F.lit(1)

    transactions = frame(spark, [("a", "2026-05-01")], "customer_id string, event_time timestamp")
    closures = frame(spark, [("a", "2026-05-31", "2026-05-01", None, None)], CLOSURE)
    with pytest.raises(BadInputError, match="what is announced is not counted for each transaction; leave it out"):
        transaction_features(transactions, {"closures": closures}, [announced_closures])
    with pytest.raises(BadInputError, match="no source named 'closures' was given"):
        found(spark, {}, ["days_to_announced_closure"], [("a", datetime(2026, 5, 1))])
