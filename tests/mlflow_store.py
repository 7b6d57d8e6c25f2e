"""What MLflow's store beside churn.toml says, read without MLflow: for the tests of jobs and of DAGs alike."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


def stored(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the store; none while it is not yet made."""
    if not (folder / "mlflow.db").exists():
        return []
    with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        try:
            return store.execute(query).fetchall()
        except sqlite3.OperationalError:  # it is still being made
            return []


def runs(folder: Path) -> list[tuple[Any, ...]]:
    """The name and the status of every run, in the order of their start."""
    return stored(folder, "select name, status from runs order by start_time")


def statuses(folder: Path, name: str) -> list[str]:
    """How the runs of a name ended."""
    return [status for each, status in runs(folder) if each == name]
