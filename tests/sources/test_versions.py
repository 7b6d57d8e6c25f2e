"""One table of versions, on which a batch, a stream and the arrays of the feature kernels agree when each is valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from churn.sources.catalog.fraud_reports import FRAUD_REPORTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.classification import classify
from churn.sources.contract import MICROS_PER_DAY, Contract
from churn.sources.stream_deduplication import Deduplicator
from churn.sources.stream_ledger import LEDGER_COLUMNS, LEDGER_ROW
from churn.sources.versions import NEVER, known_by, known_positions, reported_transactions, supersede
from tests.bucket_state import State

# Delivery (a batch, or a micro-batch), transaction, the day on which the version became known, content.
TRANSACTION_VERSIONS = [
    (1, "corrected", 1, 10),
    (2, "corrected", 4, 12),
    # a duplicate, known again later
    (1, "repeated", 1, 10),
    (2, "repeated", 3, 10),
    # the earlier version comes behind the later one
    (1, "late", 5, 20),
    (1, "late", 2, 10),
    # two contents known at the same time: what was known before stays
    (1, "conflict", 1, 10),
    (2, "conflict", 3, 11),
    (2, "conflict", 3, 12),
    # likewise, and the first of the two is there already
    (1, "contradicted", 1, 10),
    (2, "contradicted", 1, 11),
    # made before its report, known after it
    (2, "early", 5, 10),
]
REPORT_VERSIONS = [
    # of one version of its transaction, then of the next
    (1, "corrected", 3, True),
    # a fraud, then cleared
    (1, "repeated", 2, True),
    (2, "repeated", 6, False),
    (1, "late", 4, True),
    # known before its transaction
    (1, "early", 2, True),
]
STATUSES = {
    ("transactions", "accepted"): 8,
    ("transactions", "duplicate"): 1,
    ("transactions", "quarantined"): 3,
    ("fraud_reports", "accepted"): 5,
}
# Transaction, the first day on which the version is valid, the first on which it is not any more, content.
VALID_TRANSACTIONS = [
    ("conflict", 1, None, 10),
    ("contradicted", 1, None, 10),
    ("corrected", 1, 4, 10),
    ("corrected", 4, None, 12),
    ("early", 5, None, 10),
    ("late", 2, 5, 10),
    ("late", 5, None, 20),
    ("repeated", 1, None, 10),
]
VALID_REPORTED = [
    ("corrected", 3, 4, True),
    ("corrected", 4, None, True),
    ("early", 5, None, True),
    ("late", 4, 5, True),
    ("late", 5, None, True),
    ("repeated", 2, 6, True),
    ("repeated", 6, None, False),
]
Valid = tuple[str, int, int | None, Any]

BEGIN = datetime(2026, 1, 1)


def in_batches(
    spark: SparkSession, contract: Contract, column: str, versions: Iterable[tuple[int, str, int, Any]]
) -> tuple[DataFrame, Counter[tuple[str, str]]]:
    """The accepted versions after all deliveries, and how many rows had each status."""
    existing, statuses = None, Counter[tuple[str, str]]()
    for delivery in (1, 2):
        rows = [
            {"transaction_id": name, "event_time": BEGIN, "known_time": BEGIN + timedelta(days=known), column: value}
            for number, name, known, value in versions
            if number == delivery
        ]
        incoming = spark.createDataFrame(rows, contract.schema).repartition(3)
        classified = classify(incoming, existing, contract, has_known_time=True, as_of=BEGIN).localCheckpoint()
        counts = classified.where("_status IS NOT NULL").groupBy("_status").count().collect()
        statuses.update({(contract.name, row["_status"]): row["count"] for row in counts})
        valid = classified.where("_status IS NULL OR _status = 'accepted'")
        existing = valid.select(*contract.schema.names, "superseded_at", F.lit(str(delivery)).alias("batch"))
    assert existing is not None
    return existing, statuses


def day(at: datetime | None) -> int | None:
    return None if at is None else (at - BEGIN).days


def intervals(frame: DataFrame, content: str) -> list[Valid]:
    rows = frame.select("transaction_id", "known_time", "superseded_at", content).collect()
    return sorted((name, day(known) or 0, day(end), value) for name, known, end, value in rows)


def in_stream(
    transactions: Iterable[tuple[int, str, int, int]], reports: Iterable[tuple[int, str, int, bool]]
) -> list[Row]:
    """What the deduplicator passes on, and the rows of its ledger; each delivery is a micro-batch."""
    deduplicator = Deduplicator(retention=400 * MICROS_PER_DAY)
    deduplicator.init(State())  # type: ignore[arg-type]
    rows = [(n, _arriving("transactions", name, known, amount=value)) for n, name, known, value in transactions]
    rows += [(n, _arriving("fraud_reports", name, known, is_fraud=value)) for n, name, known, value in reports]
    output: list[Row] = []
    for delivery in (1, 2):
        output += deduplicator.handleInputRows((0,), [row for number, row in rows if number == delivery], None)
    return output


def _arriving(source: str, transaction: str, known: int, **content: Any) -> Row:
    columns: dict[str, Any] = dict.fromkeys(TRANSACTIONS.schema.names)
    columns |= {"row_of": source, "transaction_id": transaction, "customer_id": "ann", "event_time": MICROS_PER_DAY}
    columns |= {"known_time": known * MICROS_PER_DAY, "is_fraud": None, "rules": [], "raw": None}
    return Row(**(columns | content))


def by_arrays(rows: Iterable[Mapping[str, Any]], content: str) -> list[Valid]:
    """When each version is valid, by the rule of the feature kernels: a retracted version ends when it begins."""
    rows = list(rows)
    names = np.array([row["transaction_id"] for row in rows])
    known = np.array([row["known_time"] for row in rows]) // MICROS_PER_DAY
    superseded = np.where([row["retracted"] for row in rows], known, NEVER)
    ends = supersede(np.unique(names, return_inverse=True)[1], known, superseded)
    return sorted(
        (row["transaction_id"], int(begin), None if end == NEVER else int(end), row[content])
        for row, begin, end in zip(rows, known, ends, strict=True)
        if begin < end
    )


def test_batch_stream_and_arrays_agree_when_a_version_is_valid(spark: SparkSession) -> None:
    transactions, statuses = in_batches(
        spark, TRANSACTIONS, "amount", [(n, name, k, Decimal(v)) for n, name, k, v in TRANSACTION_VERSIONS]
    )
    reports, of_reports = in_batches(spark, FRAUD_REPORTS, "is_fraud", REPORT_VERSIONS)
    assert intervals(transactions, "amount") == VALID_TRANSACTIONS
    assert intervals(reported_transactions(transactions, reports), "is_fraud") == VALID_REPORTED
    assert statuses + of_reports == STATUSES

    output = in_stream(TRANSACTION_VERSIONS, REPORT_VERSIONS)
    assert by_arrays((row for row in output if row["row_of"] == "transactions"), "amount") == VALID_TRANSACTIONS
    assert by_arrays((row for row in output if row["row_of"] == "fraud_reports"), "is_fraud") == VALID_REPORTED
    assert Counter((row["of_source"], row["row_status"]) for row in output if row["row_of"] == LEDGER_ROW) == STATUSES
    requested = Counter(row["transaction_id"] for row in output if row["requested"])
    assert requested == dict.fromkeys(("conflict", "contradicted", "corrected", "early", "late", "repeated"), 1)

    known = [
        {"transaction_id": name, "known_time": begin * MICROS_PER_DAY, "retracted": False, "amount": amount}
        for name, begin, _, amount in reversed(VALID_TRANSACTIONS)
    ]
    assert by_arrays(known, "amount") == VALID_TRANSACTIONS


def test_column_and_arrays_agree_which_version_is_known_by_an_as_of(spark: SparkSession) -> None:
    rows = [
        (name, BEGIN + timedelta(days=begin), None if end is None else BEGIN + timedelta(days=end))
        for name, begin, end, _ in VALID_TRANSACTIONS
    ]
    frame = spark.createDataFrame(rows, "name string, known_time timestamp, superseded_at timestamp")
    begins = np.array([begin for _, begin, _, _ in VALID_TRANSACTIONS])
    ends = np.array([NEVER if end is None else end for _, _, end, _ in VALID_TRANSACTIONS])
    as_ofs = np.arange(8)
    first, last = known_positions(begins, ends, as_ofs)
    for position, as_of in enumerate(as_ofs):
        at = BEGIN + timedelta(days=int(as_of))
        by_column = frame.where(known_by(F.lit(at))).select("name", "known_time").collect()
        by_position = [row[:2] for row, a, b in zip(rows, first, last, strict=True) if a <= position < b]
        assert sorted(map(tuple, by_column)) == sorted(by_position)


def test_a_stream_cannot_place_a_version_before_its_current_one() -> None:
    """It retains no other. A batch puts such a version in its place, so the day's ingest has it."""
    output = in_stream([(1, "late", 5, 20), (2, "late", 2, 10)], [])
    ledger = [(row["row_status"], row["rules"]) for row in output if row["row_of"] == LEDGER_ROW]
    assert ledger == [("accepted", []), ("quarantined", ["conflicting_id"])]
    assert by_arrays((row for row in output if row["row_of"] == "transactions"), "amount") == [("late", 5, None, 20)]


def test_columns_of_the_ledger_are_none_of_a_transaction() -> None:
    """They travel side by side."""
    assert not set(LEDGER_COLUMNS.names) & {*TRANSACTIONS.schema.names, *FRAUD_REPORTS.schema.names}
