"""Rows in messages and logs: columns that the mapping reads, and of what is personal only the form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from churn.config import Source
from churn.errors import form
from churn.sources.contract import Contract


def shown(raw: str, source: Source, contract: Contract) -> str:
    """A raw row, as JSON, for a message: the columns that the mapping reads; ids, free text and what the source
    declares `personal` by their form, and so is a line that could not be parsed, and a row of an input."""
    row = json.loads(raw)
    if "_input" in row or set(row) <= {"line", "_file"}:
        values = {name: value if name in ("_input", "_file") else _form_of(value) for name, value in row.items()}
        return json.dumps(values, ensure_ascii=False)
    hidden = _personal(source, contract)
    expressions = {**{name: name for name in row}, **{name: column.sql for name, column in source.columns.items()}}
    known = {field.name for field in contract.columns}
    read = [text for name, text in expressions.items() if name in known] + list(source.reject.values())
    personal = [text for name, text in expressions.items() if name in hidden and name in known]
    shown_row = {}
    for name, value in row.items():
        if not _names(name, read) and name != "_file":
            continue
        is_personal = name in hidden or _names(name, personal)
        shown_row[name] = _form_of(value) if is_personal else value
    return json.dumps(shown_row, ensure_ascii=False, default=str)


def is_personal(column: str, source: Source, contract: Contract) -> bool:
    """Whether a column of the contract, or a raw column that its expression names, is personal."""
    hidden = _personal(source, contract)
    expression = source.columns[column].sql if column in source.columns else column
    return column in hidden or any(_names(name, [expression]) for name in hidden)


def _form_of(value: object) -> str | None:
    return None if value is None else form(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _personal(source: Source, contract: Contract) -> set[str]:
    return {field.name for field in contract.columns if field.is_personal} | set(source.personal)


def _names(column: str, expressions: Iterable[str]) -> bool:
    """Whether one of the expressions names a raw column."""
    pattern = re.compile(rf"(?<![\w`]){re.escape(column)}(?![\w`])|`{re.escape(column)}`", re.IGNORECASE)
    return any(pattern.search(text) for text in expressions)
