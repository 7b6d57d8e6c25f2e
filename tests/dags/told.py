"""What a company's folder says of the jobs that have run: its runs in MLflow, its registry, its lake."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from conftest import PYTHON, ROOT


def mlflow(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the store; none while it has not been made."""
    if not (folder / "mlflow.db").exists():
        return []
    with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        try:
            return store.execute(query).fetchall()
        except sqlite3.OperationalError:  # it is still being made
            return []


def mlflow_runs(folder: Path) -> list[tuple[Any, ...]]:
    """The name and the status of every run, in the order of their start."""
    return mlflow(folder, "select name, status from runs order by start_time")


def content(folder: Path, *tables: str) -> dict[str, Any]:
    """The version of each table, and its rows by as-of."""
    line = [PYTHON, str(ROOT / "tests" / "dags" / "content.py"), str(folder / "lake"), *tables]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
