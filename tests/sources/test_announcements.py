"""What is known before it takes effect: accepted where the contract says so, with its effective time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.sources.accepted import accepted
from churn.sources.ingest import ingest
from churn.storage import Lake

AS_OF = datetime(2026, 5, 10)
Row = tuple[object, ...]


class Company:
    """A lake of closures or customers, ingested from a file of rows."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.lake = spark, folder, Lake(spark, str(folder / "lake"))

    def ingest(self, source: str, csv: str, *, batch: str = "first", as_of: datetime = AS_OF) -> Row:
        (self.folder / "rows.csv").write_text(csv)
        (self.folder / "churn.toml").write_text(f"[sources.{source}]\npath = 'rows.csv'\nmax_quarantined = 1.0\n")
        config = load(self.folder / "churn.toml")
        (row,) = ingest(self.spark, self.lake, config, batch=batch, as_of=as_of)
        return row.accepted, row.duplicate, dict(row.rules)

    def closures(self) -> list[Row]:
        rows = accepted(self.lake)["closures"].select(
            "customer_id", "event_time", "known_time", "superseded_at", "kind"
        )
        return sorted((tuple(row) for row in rows.collect()), key=lambda row: row[:3])


@pytest.fixture
def company(spark: SparkSession, tmp_path: Path) -> Company:
    return Company(spark, tmp_path)


def day(number: int, month: int = 5) -> datetime:
    return datetime(2026, month, number)


def test_a_closure_may_be_known_before_it_takes_effect_and_a_call_may_not(company: Company) -> None:
    header = "customer_id,event_time,known_time\n"
    closures = (
        "a,2026-05-31 00:00:00,2026-05-01 00:00:00\n"
        "b,2030-05-01 00:00:00,2026-05-01 00:00:00\n"  # in four years, as a contract may be bound
        "c,2099-12-31 00:00:00,2026-05-01 00:00:00\n"  # stands for no date
        "d,2026-05-31 00:00:00,2028-05-01 00:00:00\n"  # known in the future
    )
    assert company.ingest("closures", header + closures) == (2, 0, {"in_future": 2})
    assert company.closures() == [("a", day(31), day(1), None, None), ("b", datetime(2030, 5, 1), day(1), None, None)]
    assert company.ingest("customers", header + closures) == (2, 0, {"in_future": 2})
    calls = "call_id,customer_id,event_time,known_time\n1,a,2026-05-02 00:00:00,2026-05-01 00:00:00\n"
    assert company.ingest("calls", calls) == (0, 0, {"known_before_event": 1})


def test_without_known_time_an_announcement_is_known_from_its_batch_on(company: Company) -> None:
    first = "customer_id,event_time\na,2026-05-01 00:00:00\nb,2026-05-31 00:00:00\n"
    assert company.ingest("closures", first) == (2, 0, {})
    assert company.closures() == [("a", day(1), day(1), None, None), ("b", day(31), day(10), None, None)]
    # the same again a day later, and one that was moved: the dump has only the new date
    second = "customer_id,event_time\na,2026-05-01 00:00:00\nb,2026-06-30 00:00:00\n"
    assert company.ingest("closures", second, batch="second", as_of=day(11)) == (1, 1, {})
    assert company.closures() == [
        ("a", day(1), day(1), None, None),
        ("b", day(31), day(10), day(11), None),
        ("b", day(30, 6), day(11), None, None),
    ]


def test_a_customer_may_be_closed_more_than_once_and_a_closure_be_corrected_by_its_id(company: Company) -> None:
    first = (
        "customer_id,closure_id,event_time,known_time,kind\n"
        "a,,2024-05-01 00:00:00,2024-05-01 00:00:00,voluntary\n"
        "a,,2026-05-01 00:00:00,2026-05-01 00:00:00,voluntary\n"
        "b,k1,2026-05-05 00:00:00,2026-05-05 00:00:00,voluntary\n"
    )
    assert company.ingest("closures", first) == (3, 0, {})
    second = (
        "customer_id,closure_id,event_time,known_time,kind\n"
        "b,k1,2026-05-06 00:00:00,2026-05-08 00:00:00,voluntary\n"  # the date was wrong
        "a,,2026-05-01 00:00:00,2026-05-08 00:00:00,retracted\n"  # it was not so after all
    )
    assert company.ingest("closures", second, batch="second", as_of=day(11)) == (2, 0, {})
    assert company.closures() == [
        ("a", datetime(2024, 5, 1), datetime(2024, 5, 1), None, "voluntary"),
        ("a", day(1), day(1), day(8), "voluntary"),
        ("a", day(1), day(8), None, "retracted"),
        ("b", day(5), day(5), day(8), "voluntary"),
        ("b", day(6), day(8), None, "voluntary"),
    ]
