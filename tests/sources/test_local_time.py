"""Local time, days off: columns that ingest adds."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Source, load
from churn.errors import ConfigError
from churn.sources.ingest import ingest
from churn.sources.local_time import is_day_off, local_time, utc_offset
from churn.storage import Lake
from churn.testing import frame

TIMES = [
    "2026-03-29 00:59:59",  # Berlin, the last second of winter
    "2026-03-29 01:00:00",
    "2026-01-02 23:30:00",  # a Friday in UTC, a Saturday in Berlin
    "2026-01-04 23:30:00",  # a Sunday in UTC, a Monday in Berlin
    "1900-01-01 00:00:00",  # local time of the sun
]


def found(spark: SparkSession, source: Source) -> list[tuple[object, ...]]:
    rows = frame(spark, [(n, text) for n, text in enumerate(TIMES)], "n int, event_time timestamp")
    columns = rows.selectExpr("*", f"{utc_offset(source)} AS utc_offset", f"{is_day_off(source)} AS is_day_off")
    local = local_time(F.col("event_time"), F.col("utc_offset")).alias("local")
    return [tuple(row) for row in columns.orderBy("n").select("utc_offset", "is_day_off", local).collect()]


def test_local_time_is_by_the_zone_of_the_source(spark: SparkSession) -> None:
    assert found(spark, Source(zone="Europe/Berlin")) == [
        (3600, True, datetime(2026, 3, 29, 1, 59, 59)),
        (7200, True, datetime(2026, 3, 29, 3)),
        (3600, True, datetime(2026, 1, 3, 0, 30)),
        (3600, False, datetime(2026, 1, 5, 0, 30)),
        (3600, False, datetime(1900, 1, 1, 1)),
    ]
    assert [row[:2] for row in found(spark, Source())] == [(0, True), (0, True), (0, False), (0, True), (0, False)]


def test_days_off_are_the_companys(spark: SparkSession) -> None:
    source = Source(zone="Asia/Jerusalem", weekend=("friday", "saturday"), holidays=(date(2026, 1, 5),))
    assert [row[1] for row in found(spark, source)] == [False, False, True, True, False]
    assert [row[1] for row in found(spark, Source(weekend=()))] == [False] * len(TIMES)


def test_a_null_offset_counts_as_utc(spark: SparkSession) -> None:
    rows = frame(spark, [("2026-01-01 10:00", None)], "event_time timestamp, utc_offset int")
    local = rows.select(local_time(F.col("event_time"), F.col("utc_offset")).alias("local"))
    assert [row["local"] for row in local.collect()] == [datetime(2026, 1, 1, 10)]


def test_ingest_adds_them_and_a_change_of_settings_alone_is_no_correction(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(
        "call_id,customer_id,event_time,reason,offset\n"
        "1,a,2026-01-02 23:30:00,Beschwerde,\n"  # local time of Chicago, on a Friday
        "2,a,2026-01-03T05:30:00Z,Frage,19800\n"  # the same instant: a Saturday of a customer in Delhi
    )

    def run(batch: str, settings: str) -> tuple[int, int]:
        (tmp_path / "churn.toml").write_text(
            f"{settings}\n[sources.calls]\npath = 'calls.csv'\nzone = 'America/Chicago'\n"
            "[sources.calls.columns]\nutc_offset = 'offset'\n"
        )
        config = load(tmp_path / "churn.toml")
        (row,) = ingest(spark, Lake(spark, str(tmp_path / "lake")), config, batch=batch, as_of=datetime(2026, 1, 10))
        return row.accepted, row.duplicate

    def rows() -> list[tuple[object, ...]]:
        columns = ("call_id", "event_time", "utc_offset", "is_day_off", "reason_groups", "batch")
        return [
            tuple(row)
            for row in Lake(spark, str(tmp_path / "lake")).read("calls").select(*columns).orderBy("call_id").collect()
        ]

    instant = datetime(2026, 1, 3, 5, 30)
    assert run("first", "") == (2, 0)
    assert rows() == [("1", instant, -21600, False, None, "first"), ("2", instant, 19800, True, None, "first")]
    german = "holidays = [2026-01-02]\n[reasons]\ncomplaint = ['Beschwerde']"
    assert run("second", german) == (0, 2)
    assert run("first", german) == (2, 0)
    assert [row[3:] for row in rows()] == [(True, "complaint", "first"), (True, None, "first")]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("holidays = ['25.12.2026']", r"holidays\[0\] is '25.12.2026', want a date such as 2026-12-25"),
        ("weekend = ['fri']", r"weekend\[0\] is 'fri', want one of monday, .* did you mean 'friday'\?"),
        ("[sources.calls]\npath = 'x'\nholidays = [2026-12-25]", r"\[sources.calls\] has no setting 'holidays'"),
    ],
)
def test_settings_of_days_off_are_checked(tmp_path: Path, setting: str, message: str) -> None:
    (tmp_path / "churn.toml").write_text(setting)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "churn.toml")
