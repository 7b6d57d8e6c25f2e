"""The tables of the lake in a company's folder, read in the environment of the jobs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from conftest import PYTHON, ROOT


def content(folder: Path, *tables: str) -> dict[str, Any]:
    """The version of each table, and its rows by as-of."""
    line = [PYTHON, str(ROOT / "tests" / "dags" / "print_tables.py"), str(folder / "lake"), *tables]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    tables_by_name: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return tables_by_name
