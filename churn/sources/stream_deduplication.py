"""Transactions and fraud reports as they arrive: duplicates and corrections recognised, reports joined to transactions.

What `churn.sources.classification` does with a batch, a stream does row by row, beside the current version of each
transaction and of its report, by the rules of `churn.sources.versions`. A correction retracts the version before it. A
report and its transaction are joined whichever of the two comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from churn.sources.mapping import RAW, RULES
from churn.sources.stream_ledger import LEDGER_COLUMNS, LEDGER_ROW
from churn.sources.versions import CONFLICT, NEVER, Status, both_valid, contradicting, status

_TRANSACTION: Final = T.StructType(
    [
        T.StructField(of.name, T.LongType() if of.dataType == T.TimestampType() else of.dataType)
        for of in TRANSACTIONS.schema
    ]
)
"""A transaction in state; times travel as microseconds, which have no zone to lose."""
_REPORT: Final = T.StructType(
    [
        T.StructField("reported_at", T.LongType()),
        T.StructField("report_known", T.LongType()),
        T.StructField("is_fraud", T.BooleanType()),
    ]
)
_KEY: Final = "transaction_id string"
_STATE: Final = T.StructType([*_TRANSACTION.fields[1:], *_REPORT])
_MADE_AT: Final = _STATE.names.index("event_time")
_REPORTED_AT: Final = _STATE.names.index("reported_at")
_OUTPUT: Final = T.StructType(
    [
        T.StructField("row_of", T.StringType()),
        T.StructField("requested", T.BooleanType()),
        T.StructField("retracted", T.BooleanType()),
        *_TRANSACTION,
        T.StructField("is_fraud", T.BooleanType()),
        *LEDGER_COLUMNS,
    ]
)
_KNOWN: Final = _TRANSACTION.names.index("known_time")
_CONTENT: Final = [_TRANSACTION.names.index(name) for name in TRANSACTIONS.content]


def deduplicated(
    arriving: Mapping[str, DataFrame], past: DataFrame | None, *, buckets: int, retention: timedelta
) -> DataFrame:
    """Versions of transactions, of transactions reported on, and what became of each row that arrived.

    `arriving` are rows of transactions and fraud_reports as their contracts have them, with `_rules` and `_raw`. The
    result is as `StreamEngine.packed` takes it. A transaction is `requested` once, in the version that came first.
    `past` are the `known_transactions` of accepted tables: a row that is among them is a duplicate. State about a
    transaction is retained for `retention` after it was made.
    """
    rows = reduce(DataFrame.union, [_input_rows(frame, name, buckets) for name, frame in arriving.items()])
    output = rows.groupBy("bucket").transformWithState(
        Deduplicator(retention // timedelta(microseconds=1)),
        outputStructType=_OUTPUT,
        outputMode="append",
        timeMode="None",
        initialState=None if past is None else past.groupBy("bucket"),
    )
    times = {of.name: F.timestamp_micros(of.name) for of in TRANSACTIONS.schema if of.dataType == T.TimestampType()}
    return output.withColumns({**times, "superseded_at": F.lit(None).cast("timestamp")})


def _bucket(buckets: int) -> Column:
    return F.pmod(F.hash(F.coalesce("transaction_id", F.lit(""))), F.lit(buckets)).alias("bucket")


def _input_rows(rows: DataFrame, source: str, buckets: int) -> DataFrame:
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


def known_transactions(past: Mapping[str, DataFrame], *, buckets: int, retention: timedelta) -> DataFrame:
    """The initial state by accepted tables: the current version of each recent transaction, and of its report."""
    transactions = past["transactions"].where(F.col("superseded_at").isNull())
    newest = transactions.agg(F.max("event_time").alias("_newest"))
    recent = transactions.join(F.broadcast(newest)).where(F.col("event_time") >= F.col("_newest") - F.lit(retention))
    current = recent.select(_bucket(buckets), *(_plain(recent, field).alias(field.name) for field in _TRANSACTION))
    if "fraud_reports" not in past:
        return current.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in _REPORT))
    reports = (
        past["fraud_reports"]
        .where(F.col("superseded_at").isNull())
        .select(
            "transaction_id",
            F.unix_micros("event_time").alias("reported_at"),
            F.unix_micros("known_time").alias("report_known"),
            "is_fraud",
        )
    )
    return current.join(reports, on="transaction_id", how="left").select(*current.columns, *_REPORT.names)


@dataclass(frozen=True)
class _Current:
    """The current version of one transaction and of its report; either may be missing."""

    transaction: tuple[Any, ...] | None
    report: tuple[int, int, bool] | None


class Deduplicator(StatefulProcessor):
    """Classifies the rows of a bucket of transactions, in the order in which they became known.

    All times, and `retention`, are in microseconds.
    """

    def __init__(self, retention: int) -> None:
        self._retention = retention

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = handle.getMapState("known", _KEY, _STATE)
        self._evicted = handle.getValueState("evicted", "until bigint")

    def handleInitialState(self, key: Any, initialState: Any, timerValues: Any) -> None:  # noqa: ARG002, N802, N803
        values = tuple(initialState[name] for name in _STATE.names)
        self._state.updateValue((initialState["transaction_id"],), values)

    def handleInputRows(self, key: Any, rows: Any, timerValues: Any) -> Iterator[Row]:  # noqa: ARG002, N802, N803
        sound = []
        for row in rows:
            if row["rules"]:
                yield _ledger(row["row_of"], "quarantined", row["rules"], row["raw"])
            else:
                sound.append(row)
        conflicts = contradicting((_row_key(row), row["known_time"], _content(row)) for row in sound)
        current: dict[str, _Current] = {}
        changed = set()
        for row in sorted(sound, key=_in_order):
            transaction = row["transaction_id"]
            before = current.get(transaction) or self._load(transaction)
            if (_row_key(row), row["known_time"]) in conflicts:
                yield _conflict(row)
                continue
            after, its_status, output = (_transaction if row["row_of"] == TRANSACTIONS.name else _report)(row, before)
            current[transaction] = after
            if after is not before:
                changed.add(transaction)
            yield from output
            yield _conflict(row) if its_status == "quarantined" else _ledger(row["row_of"], its_status, [], None)
        for transaction in sorted(changed):
            self._save(transaction, current[transaction])
        self._evict(max((row["event_time"] for row in sound), default=None))

    def close(self) -> None:
        pass

    def _load(self, transaction: str) -> _Current:
        stored = self._state.getValue((transaction,))
        if stored is None:
            return _Current(None, None)
        own, report = tuple(stored[: len(_TRANSACTION) - 1]), tuple(stored[len(_TRANSACTION) - 1 :])
        return _Current((transaction, *own) if own[0] is not None else None, report if report[0] is not None else None)

    def _save(self, transaction: str, current: _Current) -> None:
        own = current.transaction[1:] if current.transaction else (None,) * (len(_TRANSACTION) - 1)
        self._state.updateValue((transaction,), (*own, *(current.report or (None, None, None))))

    def _evict(self, newest: int | None) -> None:
        """Remove what is older than `retention`, once a day of data."""
        if newest is None:
            return
        until = newest - self._retention
        last = self._evicted.get()
        if last is not None and until < last[0] + MICROS_PER_DAY:
            return
        if last is not None:
            old = [key for key, value in self._state.iterator() if _happened_at(value) < until]
            for key in old:
                self._state.removeKey(key)
        self._evicted.update((until,))


def _happened_at(stored: Sequence[Any]) -> int:
    """When a stored transaction was made, or where it has not arrived, when it was reported."""
    made_at, reported_at = stored[_MADE_AT], stored[_REPORTED_AT]
    happened_at: int = reported_at if made_at is None else made_at
    return happened_at


def _in_order(row: Row) -> tuple[Any, ...]:
    """As they became known; a transaction before its report, and the rest in an order of their own."""
    return (row["known_time"], row["row_of"] != TRANSACTIONS.name, row["transaction_id"], _text(row))


def _row_key(row: Row) -> tuple[str, str]:
    return row["row_of"], row["transaction_id"]


def _text(row: Row) -> str:
    return str({name: row[name] for name in (*_TRANSACTION.names, "is_fraud")})


def _content(row: Row) -> tuple[Any, ...]:
    """What makes a version differ from another."""
    if row["row_of"] == TRANSACTIONS.name:
        return tuple(row[name] for name in TRANSACTIONS.content)
    return row["event_time"], row["is_fraud"]


def _content_of(transaction: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(transaction[place] for place in _CONTENT)


def _transaction(row: Row, before: _Current) -> tuple[_Current, Status, list[Row]]:
    """A version of a transaction: what is current after it, its status, and the rows that go on."""
    version = tuple(row[name] for name in _TRANSACTION.names)
    current = before.transaction
    its_status = status(row["known_time"], _content(row), (current[_KNOWN], _content_of(current)) if current else None)
    if its_status != "accepted":
        return before, its_status, []
    after = replace(before, transaction=version)
    retracted = _retracted(before, row["known_time"])
    return after, its_status, [*retracted, _version(version, requested=not current), *_reported(after)]


def _report(row: Row, before: _Current) -> tuple[_Current, Status, list[Row]]:
    """A version of a report, likewise."""
    current = before.report
    its_status = status(row["known_time"], _content(row), (current[1], (current[0], current[2])) if current else None)
    if its_status != "accepted":
        return before, its_status, []
    after = replace(before, report=(row["event_time"], row["known_time"], row["is_fraud"]))
    retracted = _reported(before, superseded=row["known_time"]) if current else []
    return after, its_status, [*retracted, *_reported(after)]


def _retracted(current: _Current, at: int) -> list[Row]:
    """The transaction, and the transaction as reported on, no longer valid from a time on."""
    if current.transaction is None:
        return []
    return [_version(current.transaction, known=at, retracted=True), *_reported(current, superseded=at)]


def _reported(current: _Current, *, superseded: int | None = None) -> list[Row]:
    """The transaction as reported on, if both are there; retracted if one of them is superseded."""
    if current.transaction is None or current.report is None:
        return []
    _, report_known, is_fraud = current.report
    transaction_valid = (current.transaction[_KNOWN], NEVER if superseded is None else superseded)
    begin, end = both_valid(transaction_valid, (report_known, NEVER))
    known, retracted = (begin, False) if superseded is None else (end, True)
    return [_version(current.transaction, known=known, retracted=retracted, is_fraud=is_fraud)]


def _version(
    transaction: tuple[Any, ...],
    *,
    known: int | None = None,
    requested: bool = False,
    retracted: bool = False,
    is_fraud: bool | None = None,
) -> Row:
    """A version of a transaction, or with `is_fraud` of one reported on; `known` replaces its known time."""
    values = dict(zip(_TRANSACTION.names, transaction, strict=True))
    if known is not None:
        values["known_time"] = known
    return _row(
        row_of=TRANSACTIONS.name if is_fraud is None else FRAUD_REPORTS.name,
        requested=requested,
        retracted=retracted,
        is_fraud=is_fraud,
        **values,
    )


def _conflict(row: Row) -> Row:
    return _ledger(row["row_of"], "quarantined", [CONFLICT], _text(row))


def _ledger(source: str, status: str, rules: list[str], raw: str | None) -> Row:
    return _row(
        row_of=LEDGER_ROW, requested=False, retracted=False, of_source=source, row_status=status, rules=rules, raw=raw
    )


def _row(**values: Any) -> Row:
    return Row(**{name: values.get(name) for name in _OUTPUT.names})
