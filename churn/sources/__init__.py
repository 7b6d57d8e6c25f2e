"""Foreign rows come in as they are, and leave as accepted rows of a contract, duplicates, or quarantined rows.

In: files, tables, topics, as churn.toml maps them. Out: one accepted table a source, every version of every row; the
quarantine; the ledger. What a row means for a model (features, labels) is not for here.
"""

from __future__ import annotations

from churn.discovery import Registry
from churn.sources import catalog
from churn.sources.contract import Contract

CONTRACTS: Registry[Contract] = Registry("source", lambda value: isinstance(value, Contract))
"""Every contract by its name, which is also its table's and its section's in churn.toml."""
CONTRACTS.discover(catalog.__name__, catalog.__path__)
