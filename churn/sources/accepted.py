"""The accepted tables of a lake."""

from __future__ import annotations

from churn.model_spec import Sources
from churn.sources import CONTRACTS
from churn.storage import Lake


def accepted(lake: Lake) -> Sources:
    """Every accepted table there is, by the name of its contract."""
    return {name: lake.read(name) for name in CONTRACTS if lake.exists(name)}
