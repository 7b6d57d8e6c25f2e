"""The ledger: what became of the rows of every source in every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.storage import Lake, literal

LEDGER: Final = "ledger"
COUNTS: Final = ("rows_in", "accepted", "duplicate", "quarantined")

_COLUMNS: Final = {
    "source": "string",
    "batch": "string",
    "as_of": "timestamp",
    "rows_in": "bigint",
    "accepted": "bigint",
    "duplicate": "bigint",
    "quarantined": "bigint",
    "rules": "map<string,bigint>",
    "first_event": "timestamp",
    "last_event": "timestamp",
}


@dataclass(frozen=True)
class LedgerRow:
    """What became of the rows of one source in one batch; `rows_in` is the sum of the other three counts.

    `rules` counts the quarantined rows by rule; one that breaks two rules is in both. `first_event` and `last_event`
    span the rows that were not quarantined; None = there are none.
    """

    source: str
    batch: str
    as_of: datetime | None
    rows_in: int
    accepted: int
    duplicate: int
    quarantined: int
    rules: Mapping[str, int]
    first_event: datetime | None
    last_event: datetime | None


def ledger_frame(spark: SparkSession, rows: Sequence[LedgerRow]) -> DataFrame:
    """The rows as literals: from a list of Python's, Spark would start a Python worker for them."""
    structs = (
        "named_struct("
        + ", ".join(
            f"'{name}', cast({_cell(cell)} AS {kind})"
            for (name, kind), cell in zip(_COLUMNS.items(), astuple(row), strict=True)
        )
        + ")"
        for row in rows
    )
    return spark.range(1).selectExpr(f"inline(array({', '.join(structs)}))")


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return f"map({', '.join(literal(one) for item in value.items() for one in item)})"
    return "null" if value is None else literal(value)


def totals(lake: Lake) -> dict[str, dict[str, int]]:
    """By source, COUNTS over all batches; empty where nothing was ingested."""
    if not lake.exists(LEDGER):
        return {}
    rows = lake.read(LEDGER).groupBy("source").agg(*(F.sum(name).alias(name) for name in COUNTS)).orderBy("source")
    return {row["source"]: {name: int(row[name]) for name in COUNTS} for row in rows.collect()}
