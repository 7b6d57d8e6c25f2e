"""What `validate` says of rows that keep every rule."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from churn.config import load
from churn.sources.ingest import validate

TOML = """
[sources.customers]
path = "customers.csv"
[sources.customers.columns]
customer_id = "id"
event_time = "since"
[sources.calls]
path = "calls.csv"
[sources.calls.columns]
call_id = "id"
customer_id = "who"
event_time = "at"
talk_seconds = "talk"
"""


def notes(spark: SparkSession, folder: Path, customers: str, calls: list[tuple[str, int]]) -> list[str]:
    lines = "".join(f"{number},{who},2024-01-01,{talk}\n" for number, (who, talk) in enumerate(calls))
    (folder / "customers.csv").write_text(f"id,since\n{customers}")
    (folder / "calls.csv").write_text(f"id,who,at,talk\n{lines}")
    (folder / "churn.toml").write_text(TOML)
    return [note for report in validate(spark, load(folder / "churn.toml")) for note in report.notes]


def test_ids_of_another_form_are_shown_beside_those_of_the_customers(spark: SparkSession, tmp_path: Path) -> None:
    calls = [("123", 60), ("123", 60), ("C-7", 60)]
    assert notes(spark, tmp_path, "00123,2020-01-01\nC-7,2020-01-01\n", calls) == [
        (
            "calls: 33% of the rows have a customer who is among the customers; ids here have forms such as '999',"
            " those of customers '99999', 'X-9'; make them alike in [sources.calls.columns]"
        )
    ]


def test_ids_that_meet_are_not_mentioned(spark: SparkSession, tmp_path: Path) -> None:
    assert notes(spark, tmp_path, "1,2020-01-01\n", [("1", 60)] * 9 + [("2", 60)]) == []


def test_milliseconds_are_noticed(spark: SparkSession, tmp_path: Path) -> None:
    calls = [("1", 0), ("1", 0), ("1", 41_000), ("1", 5_000), ("1", 60_000)]
    assert notes(spark, tmp_path, "1,2020-01-01\n", calls) == [
        (
            "calls: half of talk_seconds are 41,000 s or more, which looks like milliseconds; divide them in"
            " [sources.calls.columns]"
        )
    ]


def test_times_of_a_wrong_unit_are_noticed(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("id,who,at\n1,ann,1767276309\n2,ann,1767276310\n")
    toml = TOML[TOML.index("[sources.calls]") :].replace('"at"', '"timestamp_millis(cast(at as bigint))"')
    (tmp_path / "churn.toml").write_text(toml.replace('talk_seconds = "talk"', ""))
    [report] = validate(spark, load(tmp_path / "churn.toml"))
    [note] = report.notes
    assert note == (
        "calls: all events are of 1970 or before, which looks like a wrong unit; check event_time in"
        " [sources.calls.columns]: timestamp_seconds(...), timestamp_millis(...) or timestamp_micros(...)"
    )


def test_amounts_without_a_currency_beside_others_are_noticed(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "tx.csv").write_text(
        "transaction_id,customer_id,event_time,kind,amount,currency\n"
        "1,ann,2024-01-01,purchase,10,\n"
        "2,ann,2024-01-02,purchase,10,USD\n"
    )
    (tmp_path / "churn.toml").write_text('[sources.transactions]\npath = "tx.csv"\n')
    [report] = validate(spark, load(tmp_path / "churn.toml"))
    [note] = report.notes
    assert note == (
        "transactions: 1 rows have no currency, the rest USD, and their amounts are added up; write currency ="
        " \"coalesce(currency, 'USD')\" if they are alike, else reject them by name, or set [money] currency and rates"
    )


def test_an_id_with_many_rows_is_noticed(spark: SparkSession, tmp_path: Path) -> None:
    many = [(str(number), 60) for number in range(1, 31)]
    customers = "".join(f"{number},2020-01-01\n" for number in range(31))
    assert notes(spark, tmp_path, customers, [*many, *[("0", 60)] * 10]) == [
        (
            "calls: one customer, of the form '9', has 25% of all rows; if it is no customer, name it in"
            " [sources.calls.reject] or in nulls"
        )
    ]
    assert notes(spark, tmp_path, customers, [*many, ("0", 60)]) == []
