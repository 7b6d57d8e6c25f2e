"""The reference page of the contracts, generated from them."""

from __future__ import annotations

from churn.sources import CONTRACTS
from churn.sources.contract import BOOKKEEPING, Contract, Field


def markdown() -> str:
    """The text of docs/reference/contracts.md."""
    head = (
        "# Contracts\n\n"
        "What each source promises, and what ingest checks. Made from `churn/sources/catalog/`; do not edit.\n\n"
        "Times are UTC, money is decimal, ids are text with the blanks around them removed. A value outside its limits"
        " puts its row into quarantine. An accepted table also has:\n\n"
    )
    return head + _table(BOOKKEEPING) + "".join(map(_section, CONTRACTS.values()))


def _section(contract: Contract) -> str:
    key = ", ".join(f"`{name}`" for name in contract.key)
    return (
        f"\n## {contract.name}\n\n{contract.doc} One row: {contract.grain}. Key: {key}.\n\n{_table(contract.columns)}"
    )


def _table(fields: tuple[Field, ...]) -> str:
    rows = [("column", "type", "unit", "allowed", "meaning"), ("---",) * 5]
    rows += [(f"`{field.name}`", field.type, field.unit or "", _allowed(field), field.doc) for field in fields]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _allowed(field: Field) -> str:
    limits = [
        "required" if field.required else "",
        ", ".join(field.values or ()),
        "" if field.minimum is None else f"{field.minimum} or more",
        "" if field.maximum is None else f"{field.maximum} or less",
    ]
    return "; ".join(filter(None, limits))
