"""Reasons, hours and days off mean what the company says, in every engine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from churn.features import customer_features, transaction_features
from churn.testing import frame

AS_OF = datetime(2026, 3, 3)
CALL = (
    "customer_id string, event_time timestamp, known_time timestamp, reason string, queue string, direction string,"
    " reason_groups string, utc_offset int, is_day_off boolean"
)
GROUPS = [
    *("complaint_calls", "billing_calls", "price_calls", "technical_calls", "cancellation_calls"),
    "calls_about_access",
]


def test_calls_count_in_the_groups_that_ingest_gave_them(spark: SparkSession) -> None:
    at = "2026-03-02 12:00"
    calls = frame(
        spark,
        [
            ("a", at, at, "Beschwerde", None, None, "complaint billing", 0, False),  # in both
            ("a", at, at, "cancel", None, None, None, 0, False),  # the company's words say otherwise
            ("a", at, at, "Auszug", None, "outbound", "leaving", 0, False),  # not made by the customer
            ("a", at, at, "Passwort", None, "inbound", "access", 0, False),
        ],
        CALL,
    )
    spine = frame(spark, [("a", AS_OF)], "customer_id string, as_of timestamp")
    (row,) = customer_features(spine, {"calls": calls}, GROUPS, as_ofs=[AS_OF], windows=(30,)).collect()
    assert [row[f"{name}_30d"] for name in GROUPS] == [1, 1, 0, 0, 0, 1]


def test_calls_without_groups_are_in_the_english_ones(spark: SparkSession) -> None:
    at = "2026-03-02 12:00"
    reasons = [
        "billing complaint",
        "price rise",
        "better offer",
        "technical",
        "cancellation",
        "password",
        "pin",
        "opinion",
    ]
    calls = frame(
        spark,
        [("a", at, at, reason) for reason in reasons],
        "customer_id string, event_time timestamp, known_time timestamp, reason string",
    ).selectExpr("*", "'inbound' AS direction")
    spine = frame(spark, [("a", AS_OF)], "customer_id string, as_of timestamp")
    (row,) = customer_features(spine, {"calls": calls}, GROUPS, as_ofs=[AS_OF], windows=(30,)).collect()
    assert [row[f"{name}_30d"] for name in GROUPS] == [1, 2, 2, 1, 1, 2]


def test_hours_and_days_off_are_local(spark: SparkSession) -> None:
    calls = frame(
        spark,
        [
            ("a", "2026-03-02 12:00", "2026-03-02 12:00", None, None, None, None, 8 * 3600, False),  # 20:00
            ("a", "2026-03-02 12:00", "2026-03-02 12:00", None, None, None, None, 7 * 3600, True),  # 19:00, a holiday
            ("a", "2026-03-02 12:00", "2026-03-02 12:00", None, None, None, None, -5 * 3600, False),  # 7:00
            ("a", "2026-03-02 12:00", "2026-03-02 12:00", None, None, None, None, None, None),
        ],
        CALL,
    )
    spine = frame(spark, [("a", AS_OF)], "customer_id string, as_of timestamp")
    names = ["calls_out_of_hours", "calls_on_days_off"]
    (row,) = customer_features(spine, {"calls": calls}, names, as_ofs=[AS_OF]).collect()
    assert tuple(row[2:]) == (2, 1)

    names = ["hour_of_day", "is_night", "is_weekend"]
    schema = "transaction_id string, customer_id string, event_time timestamp"
    rows: list[tuple[Any, ...]] = [
        ("t1", "a", "2026-03-01 23:30", 3600, False),  # a Sunday in UTC, 0:30 on a Monday where it was made
        ("t2", "a", "2026-03-01 23:30", 0, True),
        ("t3", "a", "2026-03-02 12:00", -7 * 3600, True),  # a Monday that is a holiday
    ]
    transactions = frame(spark, rows, f"{schema}, utc_offset int, is_day_off boolean")
    computed = transaction_features(transactions, {"transactions": transactions}, names)
    assert computed.columns == [*transactions.columns, *names]
    assert {row[0]: tuple(row[-3:]) for row in computed.collect()} == {
        "t1": (0, 1, 0),
        "t2": (23, 0, 1),
        "t3": (5, 1, 1),
    }
    plain = frame(spark, [row[:3] for row in rows], schema)  # as if in UTC, without holidays
    computed = transaction_features(plain, {}, names)
    assert computed.columns == [*plain.columns, *names]
    assert {row[0]: tuple(row[-3:]) for row in computed.collect()} == {
        "t1": (23, 0, 1),
        "t2": (23, 0, 1),
        "t3": (12, 0, 0),
    }
