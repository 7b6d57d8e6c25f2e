"""Until when each source is complete: by what was delivered of it, and of no other."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import load
from churn.errors import BadInputError
from churn.sources.completeness import ALWAYS, Accepted, begin, complete_until
from churn.sources.ingest import ingest
from churn.sources.ledger import LEDGER, deliveries
from churn.storage import Lake
from churn.testing import frame

TIMES = "customer_id string, event_time timestamp, known_time timestamp"
AS_OF = datetime(2026, 2, 22)
CONFIG = """
[sources.transactions]
path = "transactions.csv"

[sources.closures]
path = "closures.csv"
[sources.closures.columns]
known_time = "loaded"

[sources.calls]
path = "calls/${day}.csv"
zone = "Asia/Tokyo"
"""


def rows(spark: SparkSession, *times: tuple[str, str]) -> DataFrame:
    return frame(spark, [("a", *map(datetime.fromisoformat, pair)) for pair in times], TIMES)


def test_a_frame_is_complete_until_the_midnight_after_its_newest_row(spark: SparkSession) -> None:
    """One source does not speak for another, nor does a row that is dated in the future or known only later."""
    sources = {
        "calls": rows(spark, ("2026-02-20 09:00", "2026-02-20 09:10"), ("2027-02-20 09:00", "2027-02-20 09:10")),
        "transactions": rows(spark, ("2026-02-01 09:00", "2026-02-01 09:00"), ("2026-02-20 09:00", "2026-02-25 09:00")),
        "closures": rows(spark, ("2026-09-01 00:00", "2026-02-03 08:00")),  # announced: not in September
    }
    assert complete_until(sources, sources, by=AS_OF) == {
        "calls": datetime(2026, 2, 21),
        "transactions": datetime(2026, 2, 2),
        "closures": datetime(2026, 2, 4),
    }
    assert begin(sources, by=AS_OF) == datetime(2026, 2, 1, 9)
    with pytest.raises(BadInputError, match="no row of transactions is known before 2026-02-01 00:00"):
        complete_until(sources, ["transactions"], by=datetime(2026, 2, 1))
    with pytest.raises(BadInputError, match="no row of calls or transactions is known before 2026-01-01 00:00"):
        begin(sources, by=datetime(2026, 1, 1))


def test_history_begins_with_the_first_row_that_was_known(spark: SparkSession) -> None:
    calls = rows(spark, ("2026-01-05 09:00", "2026-02-25 09:00"), ("2026-02-01 09:00", "2026-02-01 09:00"))
    assert begin({"calls": calls}, by=AS_OF) == datetime(2026, 2, 1, 9)
    assert begin({"calls": calls}, by=datetime(2026, 3, 1)) == datetime(2026, 1, 5, 9)


def end(*batches: tuple[str | None, str | None], by: str, delivered_by: datetime | None = None) -> str:
    """Until when a source of these batches, (as-of, complete until), is complete by a time."""
    read = [tuple(text and datetime.fromisoformat(text) for text in batch) for batch in batches]
    sources = Accepted({}, {"calls": read})
    found = complete_until(sources, ["calls"], by=datetime.fromisoformat(by), delivered_by=delivered_by)
    return f"{found['calls']:%Y-%m-%d}"


def test_accepted_tables_are_complete_by_what_their_ledger_had_by_then() -> None:
    """A batch says nothing of what was known before it; the first brings history, which was known when it happened."""
    first, second, third = ("2026-10-01", "2026-09-21"), ("2026-10-25", "2026-10-21"), ("2026-11-01", "2026-11-01")
    for batches in ([first, second, third], [third, second, first], [("2026-10-25", None), first, second, third]):
        assert [end(*batches, by=by) for by in ("2026-08-15", "2026-10-01", "2026-10-24", "2026-10-25")] == [
            "2026-08-15",
            "2026-09-21",
            "2026-09-21",
            "2026-10-21",
        ]
    assert end(first, third, by="2026-10-01", delivered_by=ALWAYS) == "2026-10-01"
    assert end(first, second, by="9999-01-01") == "2026-10-21"
    # A batch without an as-of is known when it happened; one that brings nothing completes nothing.
    assert end(first, (None, "2026-09-25"), by="2026-10-01") == "2026-09-25"
    with pytest.raises(BadInputError, match="no row of calls is known before 2026-10-10 00:00"):
        end(("2026-10-01", None), second, by="2026-10-10")


def test_the_ledger_has_the_end_of_what_was_delivered(spark: SparkSession, tmp_path: Path) -> None:
    """Of files a day the end of the last day, in the source's zone, with rows or without; of a file with all rows the
    midnight after the newest that can have been delivered."""
    (tmp_path / "churn.toml").write_text(CONFIG)
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "2026-02-21.csv").write_text("call_id,customer_id,event_time\n")
    (tmp_path / "transactions.csv").write_text(
        "transaction_id,customer_id,event_time,kind,amount\n"
        "t1,a,2026-02-12 08:00:00,purchase,5\n"
        "t2,a,2027-02-01 08:00:00,purchase,5\n"  # dated next year
    )
    (tmp_path / "closures.csv").write_text(
        "customer_id,event_time,loaded\n"
        "a,2026-02-10 08:00:00,2026-02-10 09:00:00\n"
        "b,2026-05-01 00:00:00,2026-02-19 08:00:00\n"  # announced
    )
    config = load(tmp_path / "churn.toml")
    lake = Lake(spark, config.root)
    ingest(spark, lake, config, batch="2026-02-22", as_of=AS_OF)
    assert deliveries(lake.read(LEDGER)) == {
        "calls": [(AS_OF, datetime(2026, 2, 21, 15))],  # midnight in Tokyo
        "closures": [(AS_OF, datetime(2026, 2, 20))],
        "transactions": [(AS_OF, datetime(2026, 2, 13))],
    }
