"""What a stream retains between micro-batches is bounded by windows and keys, however long it runs."""

from __future__ import annotations

from collections.abc import Iterator
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

BEGIN = datetime(2026, 1, 1)
DAYS = 8
CUSTOMERS = 3
DAY = 24 * 3600 * 10**6


class State:
    """The state of one bucket, in memory: a map state, or a value state."""

    def __init__(self) -> None:
        self.values: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.of: dict[str, State] = {}

    def getMapState(self, name: str, *_: object) -> State:  # noqa: N802
        return self.of.setdefault(name, State())

    def getValueState(self, name: str, *_: object) -> State:  # noqa: N802
        return self.of.setdefault(name, State())

    def get(self) -> tuple[Any, ...] | None:
        return self.values.get(())

    def update(self, value: tuple[Any, ...]) -> None:
        self.values[()] = value

    def getValue(self, key: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: N802
        return self.values.get(key)

    def updateValue(self, key: tuple[Any, ...], value: tuple[Any, ...]) -> None:  # noqa: N802
        self.values[key] = value

    def removeKey(self, key: tuple[Any, ...]) -> None:  # noqa: N802
        del self.values[key]

    def iterator(self) -> Iterator[tuple[Any, Any]]:
        return iter(list(self.values.items()))


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
