"""The reference page of the features, made from the catalogue."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from churn.features import catalogue


def markdown() -> str:
    """The text of docs/reference/features.md."""
    head = (
        "# Features\n\n"
        "Every feature there is, by family. Made from `churn/features/`; do not edit.\n\n"
        "A feature has a column for each of its windows, `[as_of - N days, as_of)`; `30d` is thirty days, `6h` six"
        " hours, `15m` fifteen minutes, and *ever* is all that came before. A model may set its own windows, which"
        " replace those of every feature that has several. Fill is the value where there are no such rows; without its"
        " source a feature is left out, never 0. The source is looked at by customer unless it says otherwise. What is"
        " *of a transaction* describes transactions, each as of its own moment (`churn.rows`); the rest describes"
        " customers too (`churn.panel`).\n"
    )
    rows = sorted(catalogue(), key=lambda row: str(row["family"]))
    return head + "".join(_family(name, list(of)) for name, of in groupby(rows, key=lambda row: str(row["family"])))


def _family(name: str, rows: list[dict[str, Any]]) -> str:
    table = [("feature", "unit", "source", "windows", "fill", "meaning"), ("---",) * 6, *map(_cells, rows)]
    return f"\n## {name}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    windows = ", ".join(column.rpartition("_")[2] for column in row["columns"]) if row["days"] else "ever"
    fill = "null" if row["fill"] is None else str(row["fill"])
    mark = " **After intent.**" if row["after_intent"] else ""
    doc = " ".join(str(row["doc"]).split())
    of = " *Of a transaction.*" if row["of"] == "transaction" else ""
    by = f" by {', '.join(row['by'])}" if row["by"] and row["by"] != ["customer_id"] else ""
    return f"`{row['name']}`", row["unit"], ", ".join(row["sources"]) + by, windows, fill, doc + mark + of
