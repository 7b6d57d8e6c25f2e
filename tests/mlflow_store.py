"""MLflow's SQLite store beside churn.toml, read without MLflow: for the tests of jobs and of DAGs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


def stored(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the store; none before it exists."""
    if not (folder / "mlflow.db").exists():
        return []
    with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        try:
            return store.execute(query).fetchall()
        except sqlite3.OperationalError:  # its tables are still being created
            return []


def runs(folder: Path) -> list[tuple[Any, ...]]:
    """The name and the status of every run, in the order of their start."""
    return stored(folder, "select name, status from runs order by start_time")


def statuses(folder: Path, name: str) -> list[str]:
    """The statuses of the runs of a name, in the order of their start."""
    return [status for run_name, status in runs(folder) if run_name == name]
