"""A small shop for tests of whole jobs: churn.toml, a model file, and simulated purchases."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path

from pyspark.sql import SparkSession

from churn.cli import app
from churn.options import exit_code
from churn.runtime.processes import run as run_group
from churn.runtime.session import environment, submit
from churn.storage import Lake

JOBS = Path(__file__).parents[2] / "jobs"

CONFIG = """
[sources.transactions]
path = "transactions.csv"

[model.churn]
label = "inactivity"

[model.churn.window]
lead = 0
horizon = 30

[model.churn.cohort]
kind = "active"
active_days = 60

[model.churn.features]
windows = [30, 90]

[model.churn.schedule]
test_as_ofs = 1

[model.churn.evaluation]
resamples = 20
"""

MODEL = """
from churn import Closure, FeatureSet, Logistic, ModelSpec

SPEC = ModelSpec(
    name="churn", label=Closure(), features=FeatureSet(include=("spending",)),
    candidates={"logistic": Logistic(reg_param_total=100.0)},
)
"""

BEGIN = datetime(2025, 1, 1)
AS_OF = "2026-01-01"


def write_shop(folder: Path, *, customers: int = 150, days: int = 365) -> Path:
    """churn.toml, model.py and transactions.csv of customers who buy every 3 to 20 days until they leave."""
    dice = random.Random(11)
    rows = ["transaction_id,customer_id,event_time,kind,amount"]
    for customer in range(customers):
        pace, stops = dice.uniform(3, 20), dice.uniform(60, 2 * days)
        day = dice.uniform(0, pace)
        while day < min(days, stops):
            at = BEGIN + timedelta(days=day)
            rows.append(f"t{len(rows)},c{customer:03},{at:%Y-%m-%d %H:%M:%S},purchase,{dice.uniform(5, 80):.2f}")
            day += dice.expovariate(1 / pace)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "transactions.csv").write_text("\n".join(rows) + "\n")
    (folder / "churn.toml").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    return folder


@dataclass(frozen=True)
class Result:
    """The exit code of a command, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def churn(*args: str | Path) -> Result:
    """Run the command in this process, and in the session of the tests if there is one."""
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        code = exit_code(app, [*map(str, args)], name="churn")
    return Result(code, stdout.getvalue(), stderr.getvalue())


def run_chain(folder: Path, as_of: str) -> str:
    """The output of a `churn run` that succeeded."""
    done = churn("run", "--config", folder / "churn.toml", "--model", folder / "model.py", "--as-of", as_of)
    assert done.exit_code == 0, done.output
    return done.stdout


def arguments(job: str, folder: Path, as_of: str | None, model: str = "model") -> list[str]:
    """The arguments of a job's script."""
    of_model = () if job == "ingest" else ("--model", str(folder / f"{model}.py"))
    of_model += ("--challenger",) if job.startswith("score") else ()  # these shops are too small for a champion
    return ["--config", str(folder / "churn.toml"), *(("--as-of", as_of) if as_of else ()), *of_model]


def step(job: str, folder: Path, as_of: str, *more: str, model: str = "model") -> int:
    """The exit code of a job's script, run in this process and the session of the tests, as `churn run` does."""
    return int(import_module(f"jobs.{job}").main([*arguments(job, folder, as_of, model), *more]))


def submit_line(job: str, folder: Path, as_of: str | None) -> list[str]:
    """The spark-submit line of a job."""
    return submit(JOBS / f"{job}.py", arguments(job, folder, as_of))


def submitted(job: str, folder: Path, as_of: str) -> int:
    """The exit code of a real spark-submit of a job."""
    return run_group(submit_line(job, folder, as_of), env=os.environ | environment())


def ended_at(job: str, folder: Path, as_of: str | None, *, seen: Callable[[], object], by: signal.Signals) -> int:
    """The exit code of a spark-submit whose process group gets the signal `by` as soon as `seen` returns true."""
    started = subprocess.Popen(
        submit_line(job, folder, as_of), env=os.environ | environment(), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not seen():
        assert started.poll() is None, f"{job} ended with {started.returncode} before it was seen at work"
        assert time.monotonic() < deadline, f"{job} was not seen at work within 240 s"
        time.sleep(0.005)
    os.killpg(started.pid, by)
    return started.wait(timeout=90)


def content(spark: SparkSession, folder: Path, table: str) -> list[str]:
    """The rows of a table as sorted texts, which show every bit of a number."""
    frame = Lake(spark, str(folder / "lake")).read(table)
    return sorted(str(row.asDict(recursive=True)) for row in frame.collect())


def arrive(place: Path, lines: Sequence[str]) -> None:
    """Write a file in one step into a folder that a stream reads: the stream never sees a part of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    hidden = place.with_name(f".{place.name}")
    hidden.write_text("\n".join(lines) + "\n")
    hidden.rename(place)
