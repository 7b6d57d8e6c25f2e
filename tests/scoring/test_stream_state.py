"""What a stream retains between micro-batches is bounded by windows and keys, however long it runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from churn.features.engine.stream_state import FeatureProcessor
from churn.features.stream_features import StreamEngine
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.stream_deduplication import Deduplicator
from churn.sources.stream_ledger import LEDGER_COLUMNS
from tests.bucket_state import State

BEGIN = datetime(2026, 1, 1)
DAYS = 8
CUSTOMERS = 3
DAY = 24 * 3600 * 10**6


def test_transactions_are_known_for_the_retention_and_a_day() -> None:
    deduplicator, state = Deduplicator(retention=5 * DAY), State()
    deduplicator.init(state)  # type: ignore[arg-type]
    known = []
    for day in range(40):
        columns: dict[str, Any] = dict.fromkeys(TRANSACTIONS.schema.names)
        columns |= {"row_of": "transactions", "is_fraud": None, "rules": [], "raw": None, "customer_id": "ann"}
        times = {"event_time": day * DAY, "known_time": day * DAY}
        rows = [Row(**(columns | times | {"transaction_id": f"{day}-{n}"})) for n in range(10)]
        list(deduplicator.handleInputRows((0,), iter(rows), None))
        known.append(len(state.of["known"].values))
    assert known[:6] == [10, 20, 30, 40, 50, 60]
    assert set(known[10:]) == {60}


def test_a_report_that_is_known_at_1970_makes_a_version_known_then() -> None:
    """0 microseconds is a time like any other."""
    deduplicator, columns = Deduplicator(retention=5 * DAY), dict.fromkeys(TRANSACTIONS.schema.names)
    deduplicator.init(State())  # type: ignore[arg-type]
    columns |= {"transaction_id": "1", "customer_id": "ann", "event_time": -DAY, "rules": [], "raw": None}
    made = Row(**(columns | {"row_of": "transactions", "known_time": -DAY, "is_fraud": None}))
    reported = Row(**(columns | {"row_of": "fraud_reports", "known_time": 0, "is_fraud": True}))
    output = deduplicator.handleInputRows((0,), iter([made, reported]), None)
    assert [row["known_time"] for row in output if row["row_of"] == "fraud_reports"] == [0]


def arriving(spark: SparkSession, day: int) -> DataFrame:
    """Two transactions of each customer on a day, as the deduplicator passes them on."""
    rows = [
        (f"{day}-{hour}-{customer}", f"c{customer}", BEGIN + timedelta(days=day, hours=hour))
        for hour in (8, 20)
        for customer in range(CUSTOMERS)
    ]
    made = spark.createDataFrame(rows, "transaction_id string, customer_id string, event_time timestamp")
    filled = {
        "known_time": F.col("event_time"),
        "kind": F.lit("purchase"),
        "amount": F.lit(5),
        "row_of": F.lit("transactions"),
        "requested": F.lit(True),
        "retracted": F.lit(False),
        "superseded_at": F.lit(None).cast("timestamp"),
    }
    own = (field for field in TRANSACTIONS.schema if field.name not in made.columns)
    nulls = {field.name: F.lit(None).cast(field.dataType) for field in [*own, *LEDGER_COLUMNS]}
    return made.withColumns(nulls | filled)


def retained(spark: SparkSession, features: list[str], windows: list[float]) -> list[int]:
    """How many rows are in the state after each day."""
    past = {"transactions": spark.createDataFrame([], StructType(arriving(spark, 0).schema.fields))}
    engine = StreamEngine.of(past, features, delay=0, windows=windows, lateness=timedelta(hours=1), buckets=1)
    (route,) = engine.routes
    processor, state = FeatureProcessor(engine.routes, 1, 3600 * 10**6), State()
    processor.init(state)  # type: ignore[arg-type]
    counts = []
    for day in range(DAYS):
        packed = engine.packed(arriving(spark, day), ("transactions",)).coalesce(1).collect()
        for bucket in {row["bucket"] for row in packed}:
            rows = iter([row for row in packed if row["bucket"] == bucket])
            assert list(processor.handleInputRows((bucket,), rows, None))
        shards = state.of["shards"].values.values()
        counts.append(sum(len(pa.ipc.read_record_batch(pa.py_buffer(rows), route.schema)) for (rows,) in shards))
    return counts


def test_rows_are_retained_for_the_longest_window(spark: SparkSession) -> None:
    counts = retained(spark, ["customer_payments"], [1, 2])
    assert counts[:3] == [6, 12, 15]
    assert set(counts[3:]) == {15}


def test_a_feature_without_a_window_retains_one_row_a_key_more(spark: SparkSession) -> None:
    counts = retained(spark, ["customer_payments", "days_since_customer_first_payment"], [1, 2])
    assert set(counts[4:]) == {15 + CUSTOMERS}
