"""The accepted tables of a lake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyspark.sql import DataFrame

from churn.errors import DamageError
from churn.runtime.locks import locks
from churn.runtime.session import side_by_side
from churn.sources import CONTRACTS
from churn.sources.announcements import with_replaced_closures
from churn.sources.catalog.closures import CLOSURES
from churn.sources.completeness import Accepted
from churn.sources.ledger import LEDGER, deliveries, totals
from churn.storage import Lake, Snapshot

_AT_ONCE: Final = 4
"""How many tables are counted at a time."""


def accepted_snapshots(lake: Lake, versions: Mapping[str, int] | None = None) -> dict[str, Snapshot]:
    """Every accepted table there is, by the name of its contract, and the ledger; with `versions` those alone, at these
    versions."""
    names = (*CONTRACTS, LEDGER)
    if versions is not None:
        return {name: lake.snapshot(name, versions[name]) for name in names if name in versions}
    return {name: lake.snapshot(name) for name in names if lake.exists(name)}


def checked_snapshots(lake: Lake) -> dict[str, Snapshot]:
    """The newest snapshots, all before an ingest or all after it: one that is at work is waited for.

    Raises DamageError where a table has fewer rows than the ledger counts: a part of it is gone, or an ingest was cut
    short.
    """
    with locks(lake.root, [f"ingest {name}" for name in CONTRACTS], shared=True):
        snapshots = accepted_snapshots(lake)
    for name, (rows, counted) in _short(lake, snapshots).items():
        raise DamageError(
            f"{lake.path(name)} has {rows:,} rows, and the ledger counts {counted:,} accepted ones: if an ingest was "
            f"cut short, run it again; else bring the table back from a backup, or restore a version that has them all"
        )
    return snapshots


def _short(lake: Lake, snapshots: Mapping[str, Snapshot]) -> dict[str, tuple[int, int]]:
    """The tables that have fewer rows than the ledger counts: both numbers. Delta has the first in its log."""
    ledger = snapshots[LEDGER].once(totals) if LEDGER in snapshots else {}
    counted = {name: counts["accepted"] for name, counts in ledger.items()}
    wanted = [name for name in snapshots if name in counted]
    counts = side_by_side(lake.spark, lambda name: snapshots[name].once(DataFrame.count), wanted, at_once=_AT_ONCE)
    rows = dict(zip(wanted, counts, strict=True))
    return {name: (rows[name], counted[name]) for name in rows if rows[name] < counted[name]}


def accepted(lake: Lake) -> Accepted:
    """`sources_of` the newest versions."""
    return sources_of(accepted_snapshots(lake))


def sources_of(snapshots: Mapping[str, Snapshot]) -> Accepted:
    """The rows of accepted tables, and the deliveries of each by the ledger; closures that were moved are
    superseded."""
    tables = {name: one.widened(snapshots[name].frame) for name, one in CONTRACTS.items() if name in snapshots}
    if CLOSURES.name in tables:
        tables[CLOSURES.name] = with_replaced_closures(tables[CLOSURES.name])
    return Accepted(tables, snapshots[LEDGER].once(deliveries) if LEDGER in snapshots else {})
