"""Map foreign rows to contracts, and classify each as accepted, duplicate or quarantined.

In: files, tables and topics, as churn.toml maps them. Out: one accepted table a source with every version of every row,
the quarantine, and the ledger. Features and labels are computed elsewhere.
"""

from __future__ import annotations

from churn.discovery import Registry
from churn.sources import catalog
from churn.sources.contract import Contract

CONTRACTS: Registry[Contract] = Registry("source", lambda value: isinstance(value, Contract))
"""Every contract by its name, which is also its table's and its section's in churn.toml."""
CONTRACTS.discover(catalog.__name__, catalog.__path__)
