"""Rows to a real Kafka broker and back, by Spark alone."""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.testing import frame
from tests.broker import broker, create_topic

SCHEMA = "id string, at timestamp, amount decimal(18, 4)"


def send(rows: DataFrame, address: str, topic: str) -> None:
    """One message a row: the id as its key, the whole row as JSON."""
    messages = rows.select(F.col("id").alias("key"), F.to_json(F.struct(*rows.columns)).alias("value"))
    messages.write.format("kafka").option("kafka.bootstrap.servers", address).option("topic", topic).save()


def drain(spark: SparkSession, address: str, topic: str, folder: Path) -> None:
    """Append the messages since the last call to the Delta table `folder`/table."""
    messages = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", address)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    rows = messages.select(F.from_json(F.col("value").cast("string"), SCHEMA).alias("row"), "partition").select(
        "row.*", "partition"
    )
    query = (
        rows.writeStream.format("delta")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(folder / "table"))
    )
    query.awaitTermination()


def table(spark: SparkSession, folder: Path) -> list[tuple[str, datetime, str]]:
    read = spark.read.format("delta").load(str(folder / "table")).orderBy("id", "amount")
    return [(row["id"], row["at"], str(row["amount"])) for row in read.collect()]


def test_each_row_of_a_topic_is_streamed_once(spark: SparkSession, kafka: str, tmp_path: Path) -> None:
    first = [
        ("a", "2026-03-29 01:30", "9.50"),  # an hour that Paris skipped
        ("a", "2026-03-29 01:30", "9.50"),  # sent twice: a topic has both
        ("b", "2026-10-01 00:00", "0.01"),
    ]
    send(frame(spark, first, SCHEMA), kafka, "once")
    drain(spark, kafka, "once", tmp_path)
    expected = [
        ("a", datetime(2026, 3, 29, 1, 30), "9.5000"),
        ("a", datetime(2026, 3, 29, 1, 30), "9.5000"),
        ("b", datetime(2026, 10, 1), "0.0100"),
    ]
    assert table(spark, tmp_path) == expected

    drain(spark, kafka, "once", tmp_path)  # nothing new
    assert table(spark, tmp_path) == expected

    send(frame(spark, [("c", "2026-10-02 00:00", "7")], SCHEMA), kafka, "once")
    drain(spark, kafka, "once", tmp_path)
    assert table(spark, tmp_path) == [*expected, ("c", datetime(2026, 10, 2), "7.0000")]


def test_a_stream_starts_on_an_empty_topic(spark: SparkSession, kafka: str, tmp_path: Path) -> None:
    create_topic(spark, kafka, "empty", 3)
    drain(spark, kafka, "empty", tmp_path)

    send(frame(spark, [(str(i), "2026-10-01 00:00", "1") for i in range(40)], SCHEMA), kafka, "empty")
    drain(spark, kafka, "empty", tmp_path)
    read = spark.read.format("delta").load(str(tmp_path / "table"))
    by_partition = {row["partition"]: row["count"] for row in read.groupBy("partition").count().collect()}
    assert set(by_partition) == {0, 1, 2}
    assert sum(by_partition.values()) == 40


@pytest.mark.usefixtures("kafka_jars")
def test_a_broker_ends_with_its_block(tmp_path: Path) -> None:
    with broker(tmp_path) as address:
        host, _, port = address.partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
