"""The foreign data sets of docs/examples, by configuration only: every row accounted for."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Config, load
from churn.features import customer_features, features
from churn.sources.ingest import ingest, validate
from churn.sources.ledger import LedgerRow
from churn.storage import Lake

pytestmark = pytest.mark.usefixtures("compiled")

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CHURN_BENCH_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def example() -> Callable[[str], Config]:
    def configured(name: str) -> Config:
        if not (DATA / name).is_dir():
            pytest.skip(f"no {DATA / name}; set CHURN_BENCH_DATA to the folder of benchmark inputs")
        return load(ROOT / "docs" / "examples" / name / "churn.toml", env={"CHURN_BENCH_DATA": str(DATA.absolute())})

    return configured


def test_bank_calls(spark: SparkSession, tmp_path: Path, example: Callable[[str], Config]) -> None:
    lake = Lake(spark, str(tmp_path))
    as_of = datetime(1999, 3, 1)

    customers, calls = ingest(spark, lake, example("bank_calls"), batch="1999-02", as_of=as_of)

    assert calls == LedgerRow(
        source="calls",
        batch="1999-02",
        as_of=as_of.replace(tzinfo=UTC),
        rows_in=33_344,
        accepted=13_564,
        duplicate=0,
        quarantined=19_780,  # 56 of the phantom calls are unidentified too
        rules={"unidentified": 19_558, "phantom": 278},
        first_event=datetime(1999, 2, 1, 5, 40, 46, tzinfo=UTC),
        last_event=datetime(1999, 2, 28, 19, 6, 20, tzinfo=UTC),
        complete_until=as_of.replace(tzinfo=UTC),
    )
    assert (customers.rows_in, customers.accepted, customers.duplicate) == (33_344, 4_084, 9_702)
    assert customers.rules == {"unidentified": 19_558}
    assert lake.read("customers").select("customer_id").distinct().count() == 4_081

    wanted = ("call_id", "customer_id", "event_time", "known_time", "wait_seconds", "talk_seconds", "abandoned")
    few = ["AA0104-1999-02-08-22869", "AA0102-1999-02-15-31056", "AA0201-1999-02-21-35509"]
    few_calls = lake.read("calls").where(F.col("call_id").isin(few)).select(*wanted).orderBy("call_id").collect()
    assert [tuple(row) for row in few_calls] == [
        # both end past midnight in Israel
        (few[1], "15696776", at(15, "21:59:54"), at(15, "22:01:33"), 27, 67, False),
        (few[0], "24309866", at(8, "21:51:29"), at(8, "22:00:55"), 47, 515, False),
        # hung up in the queue; the menu's clock runs ahead of the queue's
        (few[2], "25725821", at(21, "15:13:32"), at(21, "15:13:44"), 43, 0, True),
    ]

    spine = lake.read("customers").select("customer_id", F.lit(as_of).alias("as_of")).distinct()
    rows = customer_features(spine, {"calls": lake.read("calls")}, features("calls"), as_ofs=[as_of]).persist()
    assert rows.count() == 4_081
    by_hand = {
        # four calls on 21 February: 20, 49 and 28 s in the queue and hung up, then 274 s and 202 s with an agent, which
        # began at 12:44:14 in Israel; a fifth one is a phantom
        "22032791": [0, 0, None, 4, 1, 202, 92.75, 274, 3, 3, days("13:15:46", 7)],
        # 8 February twice, then 15 February, less than a week after the first, and 22 February, more than one later
        "10241115": [1, 66, 11.0, 4, 3, 434, 18.0, 34, 0, 2, days("09:07:20", 6)],
        # one call, a phantom
        "12225918": [0, 0, None, 0, 0, 0, None, None, 0, 0, None],
    }
    month = ("calls_made", "call_days", "talk_time", "wait_mean", "wait_max", "calls_abandoned", "repeat_calls")
    columns = ("calls_made_7d", "talk_time_7d", "wait_mean_7d", *(f"{name}_30d" for name in month), "days_since_call")
    for row in rows.where(F.col("customer_id").isin(*by_hand)).select("customer_id", *columns).collect():
        assert list(row)[1:] == [pytest.approx(value) for value in by_hand.pop(row["customer_id"])]
    assert not by_hand


def days(time: str, whole: int) -> float:
    hours, minutes, seconds = map(int, time.split(":"))
    return whole + (hours * 3600 + minutes * 60 + seconds) / 86_400


def at(day: int, time: str) -> datetime:
    return datetime.fromisoformat(f"1999-02-{day:02} {time}")


def test_cdnow(spark: SparkSession, example: Callable[[str], Config]) -> None:
    [report] = validate(spark, example("cdnow"))

    row = report.row
    assert (row.rows_in, row.accepted, row.duplicate, row.quarantined) == (69_659, 69_404, 255, 0)
    assert (row.first_event, row.last_event) == (datetime(1997, 1, 1, tzinfo=UTC), datetime(1998, 6, 30, tzinfo=UTC))


def test_online_retail(spark: SparkSession, example: Callable[[str], Config]) -> None:
    [report] = validate(spark, example("online_retail"))

    # Of the 5,268 lines that come twice, 43 have no customer either.
    row = report.row
    assert (row.rows_in, row.accepted, row.duplicate, row.quarantined) == (541_909, 401_604, 5_225, 135_080)
    assert row.rules == {"customer_id_missing": 135_080, "no_customer": 135_080}
    assert report.problem is None
