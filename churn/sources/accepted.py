"""The accepted tables of a lake."""

from __future__ import annotations

from churn.model_spec import Sources
from churn.sources import CONTRACTS
from churn.sources.announcements import with_replaced_closures
from churn.sources.catalog.closures import CLOSURES
from churn.storage import Lake


def accepted(lake: Lake) -> Sources:
    """Every accepted table there is, by the name of its contract; closures that were moved are superseded."""
    tables = {name: lake.read(name) for name in CONTRACTS if lake.exists(name)}
    if CLOSURES.name in tables:
        tables[CLOSURES.name] = with_replaced_closures(tables[CLOSURES.name])
    return tables
