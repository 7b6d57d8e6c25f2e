"""The contracts: one file a source, found by itself. `calls.py` holds `CALLS = Contract(...)`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from churn.contracts.contract import Contract
from churn.errors import ContractError

_MACHINERY = frozenset({"contract", "source", "arrivals", "ingest", "reference"})


def _discover(package: str, path: list[str]) -> Mapping[str, Contract]:
    """Every contract of a package's files by name; two of one name, or a file without one, fail."""
    found: dict[str, Contract] = {}
    for name in sorted(module.name for module in iter_modules(path) if module.name not in _MACHINERY):
        contract = getattr(import_module(f"{package}.{name}"), name.upper(), None)
        if not isinstance(contract, Contract):
            raise ContractError(f"{package}.{name} holds no contract; write {name.upper()} = Contract(...) there")
        if contract.name in found:
            raise ContractError(f"two contracts are named {contract.name!r}, the second in {package}.{name}; rename it")
        found[contract.name] = contract
    return MappingProxyType(found)


CONTRACTS: Mapping[str, Contract] = _discover(__name__, __path__)
"""Every contract by its name, which is also its table's and its section's in churn.toml."""
