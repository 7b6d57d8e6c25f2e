"""The ledger: what became of the rows of every source in every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from functools import reduce
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.storage import Lake, literal

LEDGER: Final = "ledger"
COUNTS: Final = ("rows_in", "accepted", "duplicate", "quarantined")

_INPUT: Final = (
    "struct<name:string,rows:bigint,used:bigint,unused:bigint,rejected:bigint,malformed:bigint,"
    "rules:map<string,bigint>,reason:string>"
)
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
    "inputs": f"array<{_INPUT}>",
    "complete_until": "timestamp",
}


@dataclass(frozen=True)
class InputRow:
    """What became of the rows of one raw input of a query; `rows` is the sum of the next four counts.

    `unused` rows were read by the query, and their key is not in its result, for the `reason` that their owner names;
    without a key, or where the result does not have it, all rows that were read count as used. `rules` counts the
    rejected rows by rule.
    """

    name: str
    rows: int
    used: int
    unused: int
    rejected: int
    malformed: int
    rules: Mapping[str, int]
    reason: str | None

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason and self.unused else ""
        return (
            f"input {self.name}: {self.rows:,} rows = {self.used:,} used + {self.unused:,} unused{reason}"
            f" + {self.rejected:,} rejected + {self.malformed:,} malformed"
        )


@dataclass(frozen=True)
class LedgerRow:
    """What became of the rows of one source in one batch; `rows_in` is the sum of the other three counts.

    `rules` counts the quarantined rows by rule; one that breaks two rules is in both. `first_event` and `last_event`
    span the rows that were not quarantined; None = there are none. Of a query, `rows_in` are its rows, and those of its
    `inputs` that were rejected or malformed. `complete_until` is the end of what was delivered
    (churn.sources.completeness).
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
    inputs: tuple[InputRow, ...] = ()
    complete_until: datetime | None = None


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


def has_batch(lake: Lake, where: Mapping[str, Sequence[str]]) -> bool:
    """Whether a batch was written before, of one of some sources."""
    if not lake.exists(LEDGER):
        return False
    rows = lake.read(LEDGER)
    return not rows.where(F.col("source").isin(*where["source"]) & F.col("batch").isin(*where["batch"])).isEmpty()


def balance(lake: Lake, sources: Sequence[str]) -> None:
    """Count the accepted rows of every batch of these sources again: a batch that was run again may have handed rows
    to others, which were duplicates there."""
    counts = [lake.read(name).groupBy("batch").agg(F.count("*").alias("n")) for name in sources]
    by_source = [F.lit(name).alias("source") for name in sources]
    n = reduce(DataFrame.unionByName, (of.select(name, "*") for of, name in zip(counts, by_source, strict=True)))
    ledger = lake.read(LEDGER).where(F.col("source").isin(*sources))
    found = ledger.join(n, on=["source", "batch"], how="left").withColumn("n", F.coalesce("n", F.lit(0)))
    handed = found.where("n != accepted").withColumn("duplicate", F.expr("duplicate + accepted - n"))
    rows = handed.withColumn("accepted", F.col("n")).select(*ledger.columns)
    if not rows.isEmpty():
        lake.merge(rows, LEDGER, ["source", "batch"])


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return f"map({', '.join(literal(one) for item in value.items() for one in item)})"
    if isinstance(value, tuple):
        structs = (f"cast(struct({', '.join(map(_cell, one))}) AS {_INPUT})" for one in value)
        return f"array({', '.join(structs)})"
    return "null" if value is None else literal(value)


def totals(ledger: DataFrame) -> dict[str, dict[str, int]]:
    """By source, COUNTS over all batches."""
    rows = ledger.groupBy("source").agg(*(F.sum(name).alias(name) for name in COUNTS)).orderBy("source")
    return {row["source"]: {name: int(row[name]) for name in COUNTS} for row in rows.collect()}


def deliveries(ledger: DataFrame) -> dict[str, list[tuple[datetime | None, datetime | None]]]:
    """By source, of each batch its as-of and until when the source was complete then."""
    found: dict[str, list[tuple[datetime | None, datetime | None]]] = {}
    for row in ledger.select("source", "as_of", "complete_until").distinct().collect():
        found.setdefault(row["source"], []).append((row["as_of"], row["complete_until"]))
    return found
