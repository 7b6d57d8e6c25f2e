"""Transactions and fraud reports as they arrive: each told apart from what came before, and the two put together.

What `churn.sources.ingest` does with a batch, a stream does row by row with what it keeps of each transaction: the
same content again is a duplicate, other content that became known later a correction, which withdraws the version
before it. A report speaks of a transaction as `churn.labels.reported` has it, whichever of the two comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from typing import Any, Final

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from churn.sources.catalog.fraud_reports import FRAUD_REPORTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.contract import MICROS_PER_DAY
from churn.sources.ingest import CONFLICT
from churn.sources.mapping import RAW, RULES
from churn.sources.stream_ledger import LEDGER_COLUMNS, LEDGER_ROW

_TRANSACTION: Final = T.StructType(
    [
        T.StructField(of.name, T.LongType() if of.dataType == T.TimestampType() else of.dataType)
        for of in TRANSACTIONS.schema
    ]
)
"""As it is kept; times travel as microseconds, which have no zone to lose."""
_REPORT: Final = T.StructType(
    [
        T.StructField("said_at", T.LongType()),
        T.StructField("said_known", T.LongType()),
        T.StructField("is_fraud", T.BooleanType()),
    ]
)
_KEY: Final = "transaction_id string"
_KEPT: Final = T.StructType([*_TRANSACTION.fields[1:], *_REPORT])
_TOLD: Final = T.StructType(
    [
        T.StructField("row_of", T.StringType()),
        T.StructField("requested", T.BooleanType()),
        T.StructField("retracted", T.BooleanType()),
        *_TRANSACTION,
        T.StructField("is_fraud", T.BooleanType()),
        *LEDGER_COLUMNS,
    ]
)


def deduplicated(
    arrivals: Mapping[str, DataFrame], past: DataFrame | None, *, buckets: int, keep: timedelta
) -> DataFrame:
    """Versions of transactions, of transactions reported on, and what became of each row that came.

    `arrivals` are rows of transactions and fraud_reports as their contracts have them, with `_rules` and `_raw`. What
    comes out is as `StreamEngine.packed` takes it. A transaction is `requested` once, in the version that came first.
    `past` are those `known_transactions` from before: a row that is among them is a duplicate. A transaction is remembered for
    `keep` after it was made.
    """
    came = reduce(DataFrame.union, [_came(rows, name, buckets) for name, rows in arrivals.items()])
    told = came.groupBy("bucket").transformWithState(
        Apart(keep // timedelta(microseconds=1)),
        outputStructType=_TOLD,
        outputMode="append",
        timeMode="None",
        initialState=None if past is None else past.groupBy("bucket"),
    )
    times = {of.name: F.timestamp_micros(of.name) for of in TRANSACTIONS.schema if of.dataType == T.TimestampType()}
    return told.withColumns({**times, "superseded_at": F.lit(None).cast("timestamp")})


def _bucket(buckets: int) -> Column:
    return F.pmod(F.hash(F.coalesce("transaction_id", F.lit(""))), F.lit(buckets)).alias("bucket")


def _came(rows: DataFrame, source: str, buckets: int) -> DataFrame:
    return rows.select(
        _bucket(buckets),
        F.lit(source).alias("row_of"),
        *(
            (_plain(rows, field) if field.name in rows.columns else F.lit(None).cast(field.dataType)).alias(field.name)
            for field in (*_TRANSACTION, FRAUD_REPORTS.schema["is_fraud"])
        ),
        F.col(RULES).alias("rules"),
        F.col(RAW).alias("raw"),
    )


def _plain(rows: DataFrame, field: T.StructField) -> Column:
    return F.unix_micros(field.name) if rows.schema[field.name].dataType == T.TimestampType() else F.col(field.name)


def known_transactions(past: Mapping[str, DataFrame], *, buckets: int, keep: timedelta) -> DataFrame:
    """What accepted tables know of each recent transaction: its current version, and the current report."""
    transactions = past["transactions"].where(F.col("superseded_at").isNull())
    newest = transactions.agg(F.max("event_time").alias("_newest"))
    recent = transactions.join(F.broadcast(newest)).where(F.col("event_time") >= F.col("_newest") - F.lit(keep))
    kept = recent.select(_bucket(buckets), *(_plain(recent, field).alias(field.name) for field in _TRANSACTION))
    if "fraud_reports" not in past:
        return kept.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in _REPORT))
    said = past["fraud_reports"].where(F.col("superseded_at").isNull())
    reports = said.select(
        "transaction_id",
        F.unix_micros("event_time").alias("said_at"),
        F.unix_micros("known_time").alias("said_known"),
        "is_fraud",
    )
    return kept.join(reports, on="transaction_id", how="left").select(*kept.columns, *_REPORT.names)


@dataclass(frozen=True)
class _Known:
    """What is known of one transaction; either half may be missing."""

    transaction: tuple[Any, ...] | None
    report: tuple[int, int, bool] | None


class Apart(StatefulProcessor):
    """Tells the rows of a bucket of transactions apart, in the order in which they became known.

    All times, and how long a transaction is remembered, are in microseconds.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = handle.getMapState("known", _KEY, _KEPT)
        self._swept = handle.getValueState("swept", "until bigint")

    def handleInitialState(self, key: Any, initialState: Any, timerValues: Any) -> None:  # noqa: ARG002, N802, N803
        values = tuple(initialState[name] for name in _KEPT.names)
        self._state.updateValue((initialState["transaction_id"],), values)

    def handleInputRows(self, key: Any, rows: Any, timerValues: Any) -> Iterator[Row]:  # noqa: ARG002, N802, N803
        sound = []
        for row in rows:
            if row["rules"]:
                yield _ledger(row["row_of"], "quarantined", row["rules"], row["raw"])
            else:
                sound.append(row)
        known: dict[str, _Known] = {}
        changed = set()
        for row in sorted(sound, key=_in_order):
            transaction = row["transaction_id"]
            before = known.get(transaction) or self._load(transaction)
            after, status, told = (_paid if row["row_of"] == TRANSACTIONS.name else _said)(row, before)
            known[transaction] = after
            if after is not before:
                changed.add(transaction)
            yield from told
            conflict = status == "quarantined"
            yield _ledger(row["row_of"], status, [CONFLICT] if conflict else [], _content(row) if conflict else None)
        for transaction in sorted(changed):
            self._save(transaction, known[transaction])
        self._sweep(max((row["event_time"] for row in sound), default=None))

    def close(self) -> None:
        pass

    def _load(self, transaction: str) -> _Known:
        kept = self._state.getValue((transaction,))
        if kept is None:
            return _Known(None, None)
        own, report = tuple(kept[: len(_TRANSACTION) - 1]), tuple(kept[len(_TRANSACTION) - 1 :])
        return _Known((transaction, *own) if own[0] is not None else None, report if report[0] is not None else None)

    def _save(self, transaction: str, known: _Known) -> None:
        own = known.transaction[1:] if known.transaction else (None,) * (len(_TRANSACTION) - 1)
        self._state.updateValue((transaction,), (*own, *(known.report or (None, None, None))))

    def _sweep(self, newest: int | None) -> None:
        """Forget what is too old, once a day of data."""
        if newest is None:
            return
        until = newest - self._keep
        swept = self._swept.get()
        if swept is not None and until < swept[0] + MICROS_PER_DAY:
            return
        if swept is not None:
            old = [key for key, value in self._state.iterator() if (value[1] or value[-3]) < until]
            for key in old:
                self._state.removeKey(key)
        self._swept.update((until,))


def _in_order(row: Row) -> tuple[Any, ...]:
    """As they became known; a transaction before its report, and the rest in an order of their own."""
    return (row["known_time"], row["row_of"] != TRANSACTIONS.name, row["transaction_id"], _content(row))


def _content(row: Row) -> str:
    return str({name: row[name] for name in (*_TRANSACTION.names, "is_fraud")})


def _paid(row: Row, before: _Known) -> tuple[_Known, str, list[Row]]:
    """A version of a transaction: what is known after it, what became of it, and what is to be told."""
    now = tuple(row[name] for name in _TRANSACTION.names)
    after = replace(before, transaction=now)
    if before.transaction is None:
        return after, "accepted", [_version(now, requested=True), *_reported(after)]
    if _said_the_same(now, before.transaction):
        return before, "duplicate", []
    if row["known_time"] <= before.transaction[_KNOWN]:
        return before, "quarantined", []
    retracted = [
        _version(before.transaction, at=row["known_time"], retracted=True),
        *_reported(before, at=row["known_time"], retracted=True),
    ]
    return after, "accepted", [*retracted, _version(now), *_reported(after)]


def _said(row: Row, before: _Known) -> tuple[_Known, str, list[Row]]:
    """A report, likewise."""
    now = (row["event_time"], row["known_time"], row["is_fraud"])
    after = replace(before, report=now)
    if before.report is None:
        return after, "accepted", _reported(after)
    if (now[0], now[2]) == (before.report[0], before.report[2]):
        return before, "duplicate", []
    if row["known_time"] <= before.report[1]:
        return before, "quarantined", []
    return after, "accepted", [*_reported(before, at=row["known_time"], retracted=True), *_reported(after)]


_KNOWN: Final = _TRANSACTION.names.index("known_time")


def _said_the_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one[:_KNOWN] + one[_KNOWN + 1 :] == other[:_KNOWN] + other[_KNOWN + 1 :]


def _reported(known: _Known, *, at: int | None = None, retracted: bool = False) -> list[Row]:
    """The transaction as reported on, if both halves are there: known when both were."""
    if known.transaction is None or known.report is None:
        return []
    _, said_known, is_fraud = known.report
    moment = max(known.transaction[_KNOWN], said_known) if at is None else at
    return [_version(known.transaction, at=moment, retracted=retracted, is_fraud=is_fraud)]


def _version(
    transaction: tuple[Any, ...],
    *,
    at: int | None = None,
    requested: bool = False,
    retracted: bool = False,
    is_fraud: bool | None = None,
) -> Row:
    """A version of a transaction, or with `is_fraud` of one reported on, known `at` a moment."""
    values = dict(zip(_TRANSACTION.names, transaction, strict=True))
    values["known_time"] = at or values["known_time"]
    return _row(
        row_of=TRANSACTIONS.name if is_fraud is None else FRAUD_REPORTS.name,
        requested=requested,
        retracted=retracted,
        is_fraud=is_fraud,
        **values,
    )


def _ledger(source: str, status: str, rules: list[str], raw: str | None) -> Row:
    return _row(
        row_of=LEDGER_ROW, requested=False, retracted=False, of_source=source, status=status, rules=rules, raw=raw
    )


def _row(**values: Any) -> Row:
    return Row(**{name: values.get(name) for name in _TOLD.names})
