"""Amounts in one currency, as they arrive in a stream: converted as those of a batch are."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from pyspark.sql import SparkSession

from churn.config import load
from churn.sources.mapping import RULES, map_source
from churn.sources.streaming import read_stream

TOML = """
[money]
currency = "EUR"
[sources.rates]
path = "rates.csv"
[sources.transactions]
path = "history.csv"
[sources.transactions.columns]
kind = "'purchase'"
[sources.transactions.stream]
path = "arriving"
"""
HEADER = "transaction_id,customer_id,event_time,amount,currency\n"
ROWS = "1,ann,2026-01-03,10,USD\n2,bob,2026-01-03,10,EUR\n3,cy,2026-01-03,10,GBP\n4,di,2026-01-01,10,USD\n"


def test_a_stream_converts_as_a_batch_does(spark: SparkSession, tmp_path: Path) -> None:
    """A rate holds from the day after it was known; a row without one breaks a rule."""
    (tmp_path / "arriving").mkdir()
    for name in ("history.csv", "arriving/1.csv"):
        (tmp_path / name).write_text(HEADER + ROWS)
    (tmp_path / "rates.csv").write_text("currency,event_time,known_time,rate\nUSD,2026-01-01,2026-01-01 12:00:00,0.9\n")
    (tmp_path / "churn.toml").write_text(TOML)
    config = load(tmp_path / "churn.toml", env={})
    stream = read_stream(spark, config, "transactions", "files")
    assert stream is not None
    columns = ("transaction_id", "amount", "currency", RULES)
    query = (
        stream.rows.select(*columns)
        .writeStream.format("memory")
        .queryName("converted")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    in_batch = map_source(spark, config.sources["transactions"]).rows.select(*columns)
    streamed = sorted(map(tuple, spark.table("converted").collect()))
    assert streamed == sorted(map(tuple, in_batch.collect()))
    assert streamed == [
        ("1", Decimal("9.0000"), "EUR", []),
        ("2", Decimal("10.0000"), "EUR", []),
        ("3", Decimal("10.0000"), "GBP", ["currency_without_rate"]),
        ("4", Decimal("10.0000"), "USD", ["currency_without_rate"]),
    ]
