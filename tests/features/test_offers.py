"""Offers that a customer has seen and refused, and how long the plan has lasted, on rows that show each case."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import SparkSession

from churn.features import customer_features
from churn.testing import frame

AS_OF = datetime(2026, 3, 1)
TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"


def test_offers_are_those_made_and_known_before_as_of(spark: SparkSession) -> None:
    contacts = [
        ("a", "2026-02-20", "2026-02-20", None, "treated", "upgrade", False),  # refused
        ("a", "2026-02-25", "2026-02-25", None, None, "discount", None),  # no answer; no arm is treated
        ("a", "2025-06-01", "2025-06-01", None, "treated", "upgrade", True),
        ("b", "2026-02-20", "2026-02-20", None, "held_out", "upgrade", False),
        ("b", "2026-02-20", "2026-03-02", None, "treated", "upgrade", False),  # known later
        ("c", "2026-03-01", "2026-03-01", None, "treated", "upgrade", False),  # at as-of
    ]
    sources = {"contacts": frame(spark, contacts, f"{TIMES}, arm string, offer string, accepted boolean")}
    spine = frame(spark, [(c, AS_OF) for c in "abc"], "customer_id string, as_of timestamp")
    names = ["offers", "offers_accepted", "offers_refused", "days_since_offer"]
    rows = customer_features(spine, sources, names, as_ofs=[AS_OF]).drop("as_of").collect()
    assert sorted(tuple(row) for row in rows) == [
        ("a", 2, 3, 0, 1, 1, 1, 4.0),
        ("b", 0, 0, 0, 0, 0, 0, None),
        ("c", 0, 0, 0, 0, 0, 0, None),
    ]


def test_a_plan_lasts_since_it_last_changed(spark: SparkSession) -> None:
    states = [
        ("a", "2026-01-01", "2026-01-01", None, "basic"),
        ("a", "2026-02-01", "2026-02-01", None, "plus"),
        ("a", "2026-02-20", "2026-02-20", None, "plus"),  # renewed
        ("b", "2026-01-01", "2026-01-01", None, "basic"),
        ("b", "2026-02-01", "2026-03-02", None, "plus"),  # known later
    ]
    sources = {"customers": frame(spark, states, f"{TIMES}, plan string")}
    spine = frame(spark, [(c, AS_OF) for c in "ab"], "customer_id string, as_of timestamp")
    rows = customer_features(spine, sources, ["days_since_plan_change"], as_ofs=[AS_OF]).collect()
    assert sorted((row["customer_id"], row["days_since_plan_change"]) for row in rows) == [("a", 28.0), ("b", None)]
