"""A small shop for tests of whole jobs: a config, and transactions that follow a rule."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

CONFIG = """
[sources.transactions]
path = "transactions.csv"

[model.churn]
label = "inactivity"
lead = 0
horizon = 30
cohort = "active"
active_days = 60
windows = [30, 90]
test_dates = 1
resamples = 20
"""

MODEL = """
from churn import Logistic, ModelSpec

SPEC = ModelSpec(
    name="churn", candidates={"logistic": Logistic(reg_param_total=100.0)}, features=("spending",)
)
"""

BEGIN = datetime(2025, 1, 1)
AS_OF = "2026-01-01"


def write_shop(folder: Path, *, customers: int = 150, days: int = 365) -> Path:
    """churn.toml, model.py and transactions.csv of customers who buy weekly or so, and stop when they stop."""
    dice = random.Random(11)
    rows = ["transaction_id,customer_id,event_time,kind,amount"]
    for customer in range(customers):
        pace, stops = dice.uniform(3, 20), dice.uniform(60, 2 * days)
        day = dice.uniform(0, pace)
        while day < min(days, stops):
            moment = BEGIN + timedelta(days=day)
            rows.append(f"t{len(rows)},c{customer:03},{moment:%Y-%m-%d %H:%M:%S},purchase,{dice.uniform(5, 80):.2f}")
            day += dice.expovariate(1 / pace)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "transactions.csv").write_text("\n".join(rows) + "\n")
    (folder / "churn.toml").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    return folder


def churn(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, with what it printed."""
    line = [sys.executable, "-m", "churn", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=500)


def run_chain(folder: Path, as_of: str) -> str:
    """What `churn run` printed, which went well."""
    done = churn("run", "--config", folder / "churn.toml", "--model", folder / "model.py", "--as-of", as_of)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def arrive(place: Path, lines: Sequence[str]) -> None:
    """Put a file where it is taken up as soon as it is seen: it is there whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    hidden = place.with_name(f".{place.name}")
    hidden.write_text("\n".join(lines) + "\n")
    hidden.rename(place)
