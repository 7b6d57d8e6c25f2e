"""The reference page of the features, generated from the catalogue."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from churn.features import catalogue


def markdown() -> str:
    """The text of docs/reference/features.md."""
    head = (
        "# Features\n\n"
        "Every feature, by family. Generated from `churn/features/`; do not edit.\n\n"
        "A feature has a column for each of its windows, `[as_of - N days, as_of)`: `spend_30d` is of thirty days,"
        " `_6h` of six hours, `_15m` of fifteen minutes, and *ever* is all history before as-of. A model may set its"
        " own windows, which replace those of every feature that has several. A feature with a parameter has a column"
        " for each of its values: `spend_decayed_90d` has a half-life of 90 days, `days_since_purchase_day_k2` is of"
        " the last purchase day but one. Fill is the value where there are no such rows; without its source a feature"
        " is left out, never 0. Rows of the source are those of the customer, unless the table names other columns."
        " Features *of a transaction* are computed by `churn.transaction_features` alone, each as of the transaction's"
        " event time; the others also by `churn.customer_features`.\n"
    )
    rows = sorted(catalogue(), key=lambda row: str(row["family"]))
    return head + "".join(_family(name, list(of)) for name, of in groupby(rows, key=lambda row: str(row["family"])))


def _family(name: str, rows: list[dict[str, Any]]) -> str:
    table = [("feature", "unit", "source", "windows", "fill", "meaning"), ("---",) * 6, *map(_cells, rows)]
    return f"\n## {name}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    windows = (
        ", ".join(dict.fromkeys(column.rpartition("_")[2] for column in row["columns"])) if row["days"] else "ever"
    )
    fill = "null" if row["fill"] is None else str(row["fill"])
    mark = " **After intent.**" if row["after_intent"] else ""
    of = " *Of a transaction.*" if row["of"] == "transaction" else ""
    by = f" by {', '.join(row['by'])}" if row["by"] and row["by"] != ["customer_id"] else ""
    return _names(row), row["unit"], ", ".join(row["sources"]) + by, windows, fill, str(row["doc"]) + mark + of


def _names(row: dict[str, Any]) -> str:
    """The feature's name; with each value of a parameter, where it has several."""
    if not any(isinstance(values, list) for values in row["parameters"].values()):
        return f"`{row['name']}`"
    columns = [column.rpartition("_")[0] if row["days"] else column for column in row["columns"]]
    first, *rest = dict.fromkeys(columns)
    return ", ".join((f"`{first}`", *(f"`{name.removeprefix(row['name'])}`" for name in rest)))
