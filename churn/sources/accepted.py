"""The accepted tables of a lake."""

from __future__ import annotations

from churn.sources import CONTRACTS
from churn.sources.announcements import with_replaced_closures
from churn.sources.catalog.closures import CLOSURES
from churn.sources.completeness import Accepted
from churn.sources.ledger import complete_until
from churn.storage import Lake


def accepted(lake: Lake) -> Accepted:
    """Every accepted table there is, by the name of its contract; closures that were moved are superseded."""
    tables = {name: one.widened(lake.read(name)) for name, one in CONTRACTS.items() if lake.exists(name)}
    if CLOSURES.name in tables:
        tables[CLOSURES.name] = with_replaced_closures(tables[CLOSURES.name])
    return Accepted(tables, complete_until(lake))
