"""Versions of rows: a later version supersedes the earlier one, and no version counts before it is known.

A version is valid in `[known_time, superseded_at)`. Each rule is written here for whoever needs it: as SQL for batches,
over plain numbers for a row of a stream, and over arrays for the kernels of features.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

Ints = npt.NDArray[np.int64]
Interval = tuple[int, int]
Status = Literal["accepted", "duplicate", "quarantined"]

CONFLICT: Final = "conflicting_id"
"""The rule that rows of one key break which differ, with nothing to tell which of them came later."""
HANDED: Final = "handed"
"""The status of a row that another batch delivered too, and has now: the batch that had it brings it no more."""
NEVER: Final = int(np.iinfo(np.int64).max)
"""When a current version is superseded, as a number; null in tables."""

# --- a later version supersedes ---------------------------------------------------------------------------------------


def resolve(rows: DataFrame, key: Sequence[str], *, has_known_time: bool, has_as_of: bool) -> DataFrame:
    """Incoming rows beside the existing versions of their keys: adds `_status`, `_is_conflict` and `superseded_at`.

    `rows` have known_time, `_batch`, `_content_hash`, `_is_incoming` and `_is_again`. `_status` is null for existing
    rows; incoming ones are

    - quarantined, if another row of the key differs and nothing orders the two: their known time is the same, or it is
      not in the source and they are of one batch, or it is not in the source and the batch has no as-of either;
    - duplicates, if the version before them has the same content;
    - accepted, otherwise: they supersede the version before them, and are superseded by the next.

    Where `_is_again`, another batch delivered the row too, as a duplicate then. It is handed to that batch where
    the row would not be there any more, has no status otherwise, and contradicts no other row.
    """
    # All windows ask for one order, so rows are sorted once.
    by = f"PARTITION BY {', '.join(key)}"
    every = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
    order = "_is_again, _is_incoming, if(_is_again, _batch, null)"
    same_time = f"OVER ({by}, known_time ORDER BY {order} {every})"
    own = "if(_is_again, null, _content_hash)"
    differs = f"coalesce(min({own}) {same_time} != max({own}) {same_time}, false)"
    in_order = f"{by} ORDER BY known_time, {order}"
    if not has_known_time:
        unordered = "if(_is_incoming, _content_hash, null)" if has_as_of else own
        of_key = f"OVER ({in_order} {every})"
        differs = f"({differs} OR coalesce(min({unordered}) {of_key} != max({unordered}) {of_key}, false))"
    rows = rows.selectExpr("*", f"_is_incoming AND {differs} AS _is_conflict")

    before = f"OVER ({in_order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    previous = f"last_value(if(_is_conflict, null, _content_hash)) IGNORE NULLS {before}"
    rows = rows.selectExpr(
        "*",
        "CASE WHEN _is_conflict THEN 'quarantined'"
        f" WHEN coalesce({previous} = _content_hash, false) THEN if(_is_incoming, 'duplicate', null)"
        f" WHEN _is_again THEN '{HANDED}' WHEN _is_incoming THEN 'accepted' END AS _status",
    )
    is_version = f"NOT (_is_incoming OR _is_again) OR _status IN ('accepted', '{HANDED}')"
    rows = rows.selectExpr("*", f"if({is_version}, known_time, null) AS _version_known")
    following = f"lead(_version_known) IGNORE NULLS OVER ({in_order})"
    return rows.selectExpr("*", f"if(_version_known IS NOT NULL, {following}, null) AS superseded_at")


def contradicting(versions: Iterable[tuple[Hashable, int, Hashable]]) -> set[tuple[Hashable, int]]:
    """Of incoming versions (key, known, content): those (key, known) at which two differ.

    >>> contradicting([("a", 1, "x"), ("a", 1, "x"), ("b", 1, "x"), ("b", 1, "y"), ("b", 2, "x")])
    {('b', 1)}
    """
    first: dict[tuple[Hashable, int], Hashable] = {}
    return {(key, known) for key, known, content in versions if first.setdefault((key, known), content) != content}


def status(known: int, content: object, current: tuple[int, object] | None) -> Status:
    """What becomes of an incoming version beside the current one (known, content), the only one that a stream retains.

    One that became known before the current one cannot be put into its place any more, and is quarantined.

    >>> [status(known, content, (5, "x")) for known, content in ((6, "y"), (6, "x"), (5, "y"), (4, "y"))]
    ['accepted', 'duplicate', 'quarantined', 'quarantined']
    """
    if current is None:
        return "accepted"
    if content == current[1]:
        return "duplicate"
    return "accepted" if known > current[0] else "quarantined"


def supersede(ids: npt.NDArray[np.integer], known: Ints, superseded: Ints) -> Ints:
    """When each version is superseded: when the next of its id becomes known, or at `superseded` if that is earlier.

    Of two known at the same time, the one superseded earlier comes first.

    >>> supersede(np.array([7, 8, 7]), np.array([5, 1, 2]), np.array([NEVER, 9, NEVER])) == [NEVER, 9, 5]
    array([ True,  True,  True])
    """
    order = np.lexsort((superseded, known, ids))
    has_next = np.append(ids[order][1:] == ids[order][:-1], False)[: len(order)]
    next_known = np.append(known[order][1:], NEVER)[: len(order)]
    ends = superseded.copy()
    ends[order] = np.where(has_next, np.minimum(superseded[order], next_known), superseded[order])
    return ends


# --- known by then ----------------------------------------------------------------------------------------------------


def known_by(as_of: Column) -> Column:
    """Whether a row is known, in this version, at `as_of`; needs the columns known_time and superseded_at."""
    superseded_later = F.col("superseded_at").isNull() | (F.col("superseded_at") > as_of)
    return (F.col("known_time") <= as_of) & superseded_later


def known_positions(known: Ints, superseded: Ints, as_ofs: Ints) -> tuple[Ints, Ints]:
    """The positions [first, last) of the as-ofs, in ascending order, at which each version is known.

    >>> known_positions(np.array([20]), np.array([99]), as_ofs=np.array([5, 20, 30, 99]))
    (array([1]), array([3]))
    """
    return np.searchsorted(as_ofs, known, side="left"), np.searchsorted(as_ofs, superseded, side="left")


def first_versions(transactions: DataFrame) -> DataFrame:
    """Each transaction as it first became known, which is all that could be scored by then."""
    later = transactions.where(F.col("superseded_at").isNotNull()).select(
        "transaction_id", F.col("superseded_at").alias("known_time")
    )
    return transactions.join(later, on=["transaction_id", "known_time"], how="left_anti")


# --- which transactions reports are about -----------------------------------------------------------------------------


def reported_transactions(transactions: DataFrame, reports: DataFrame) -> DataFrame:
    """The transactions that reports are about: a transaction's columns, and `is_fraud`.

    Event time is the transaction's; it is known when both it and the report are, superseded when either is. One row per
    pair of versions that are valid at the same time.
    """
    columns = {"known_time": "_known", "superseded_at": "_superseded"}
    of_reports = reports.select("transaction_id", "is_fraud", *columns).withColumnsRenamed(columns)
    return (
        transactions.join(of_reports, on="transaction_id", how="inner")
        .withColumn("known_time", F.greatest("known_time", "_known"))
        .withColumn("superseded_at", F.least("superseded_at", "_superseded"))
        .where(F.col("superseded_at").isNull() | (F.col("known_time") < F.col("superseded_at")))
        .drop("_known", "_superseded")
    )


def both_valid(transaction: Interval, report: Interval) -> Interval:
    """When a version of a transaction and one of its report are both valid; never, where it ends before it begins.

    >>> both_valid((1, 9), (5, NEVER))
    (5, 9)
    """
    return max(transaction[0], report[0]), min(transaction[1], report[1])


def with_reported_transactions(sources: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Sources as features of transactions read them: fraud reports as the transactions that they are about."""
    if "fraud_reports" not in sources:
        return dict(sources)
    return {**sources, "fraud_reports": reported_transactions(sources["transactions"], sources["fraud_reports"])}
