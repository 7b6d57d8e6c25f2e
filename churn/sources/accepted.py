"""The accepted tables of a lake."""

from __future__ import annotations

from collections.abc import Mapping

from churn.model_spec import Sources
from churn.sources import CONTRACTS
from churn.sources.announcements import with_replaced_closures
from churn.sources.catalog.closures import CLOSURES
from churn.storage import Lake, Snapshot


def accepted_snapshots(lake: Lake, versions: Mapping[str, int] | None = None) -> dict[str, Snapshot]:
    """Every accepted table there is, by the name of its contract; with `versions` those alone, at these versions."""
    if versions is not None:
        return {name: lake.snapshot(name, versions[name]) for name in CONTRACTS if name in versions}
    return {name: lake.snapshot(name) for name in CONTRACTS if lake.exists(name)}


def accepted(lake: Lake) -> Sources:
    """`sources_of` the newest versions."""
    return sources_of(accepted_snapshots(lake))


def sources_of(snapshots: Mapping[str, Snapshot]) -> Sources:
    """The rows of accepted tables; closures that were moved are superseded."""
    tables = {name: snapshot.frame for name, snapshot in snapshots.items()}
    if CLOSURES.name in tables:
        tables[CLOSURES.name] = with_replaced_closures(tables[CLOSURES.name])
    return tables
