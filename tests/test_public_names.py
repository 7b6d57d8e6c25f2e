"""The public names, and the README's lines for a notebook."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pyspark.sql import SparkSession

import churn
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.testing import frame

README = Path(__file__).parents[1] / "README.md"


def test_no_public_name_is_also_a_module() -> None:
    """The import of the module would replace the name."""
    assert set(churn.__all__) & {module.name for module in iter_modules(churn.__path__)} == set()


def test_every_public_name_is_the_same_object_each_time() -> None:
    import_module("churn.features")
    for name in churn.__all__:
        assert getattr(churn, name) is getattr(churn, name), name


def test_the_readmes_notebook_runs(spark: SparkSession) -> None:
    (lines,) = re.findall(r"```python\n(import churn\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    values = {"transaction_id": "t1", "customer_id": "c1", "kind": "purchase", "amount": "10"}
    values |= {"event_time": "2026-03-01", "known_time": "2026-03-01"}
    row = tuple(values.get(field.name) for field in TRANSACTIONS.columns)
    schema = ", ".join(f"{field.name} {field.type}" for field in TRANSACTIONS.columns)
    transactions = frame(spark, [row], schema)
    names: dict[str, Any] = {"transactions": transactions}
    exec(lines, names)  # noqa: S102
    assert names["rows"].first()["purchases_90d"] == 0  # more than 90 days ago
