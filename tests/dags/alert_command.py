"""What a company's folder says of the jobs that have run: its lake."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from conftest import PYTHON, ROOT


def content(folder: Path, *tables: str) -> dict[str, Any]:
    """The version of each table, and its rows by as-of."""
    line = [PYTHON, str(ROOT / "tests" / "dags" / "content.py"), str(folder / "lake"), *tables]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
