"""The cost of the chain against a single-machine stack, on the same simulated company.

    python -m tests.benchmarks.chain --customers 4000 [--repeats 3] [--keep FOLDER]

The single-machine stack is a script that does the same with DuckDB and LightGBM, without quarantine, ledger, Delta
tables, MLflow and reports: `single_machine.py` in CHURN_BENCH_TOOLS. Both read the files of `churn simulate`.
CPU seconds are those of whole process trees. The last line is `ratio_to_single_machine=X`, of medians.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

PROJECT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("CHURN_BENCH_TOOLS", PROJECT.parent / "shared" / "tools"))
PACKAGES = ("duckdb", "lightgbm", "scikit-learn", "pandas", "pyarrow")
AS_OF = "2026-10-01"
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Cost:
    """Of one command: wall-clock seconds, CPU seconds of all its processes, and its standard output."""

    wall: float
    cpu: float
    stdout: str


def measured(*command: str | Path, cwd: Path = PROJECT) -> Cost:
    """Run a command to the end of every process that it started; exits where it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    wall = time.monotonic() - start
    while True:  # this process is the subreaper of what the command left running
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(
            f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def single_machine_python() -> Path:
    """The Python of an environment with PACKAGES, which is created once."""
    folder = PROJECT / ".venv-bench"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (folder / "ready").touch()
    return python


def chain_metrics(store: Path) -> dict[str, float]:
    """Mean AUC and average precision over the test dates, from the MLflow store."""
    with sqlite3.connect(store) as opened:
        rows = opened.execute(
            "select key, value from metrics where key in ('test/auc', 'test/average_precision') order by key, step"
        ).fetchall()
    return {name: fmean(value for key, value in rows if key == f"test/{name}") for name in ("auc", "average_precision")}


def single_machine_metrics(stdout: str) -> dict[str, float]:
    """The same, from the lines that the script prints for each test date: date, rows, positives, AUC, precision."""
    lines = re.findall(r"^(\d{4}-\d\d-\d\d) (\d+) (\d+) ([\d.]+) ([\d.]+)", stdout, re.MULTILINE)
    return {
        "auc": fmean(float(line[3]) for line in lines),
        "average_precision": fmean(float(line[4]) for line in lines),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--customers", type=int, default=4000)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--keep", type=Path, help="a folder for the company, which is used again")
    options = arguments.parse_args()
    script = TOOLS / "single_machine.py"
    if not script.exists():
        sys.exit(f"{script} is not there; set CHURN_BENCH_TOOLS to the folder that has it")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as scratch:
        company = (options.keep or Path(scratch)) / f"company-{options.customers}"
        if not company.exists():
            settings = ("--customers", options.customers, "--seed", 2026, "--format", "csv.gz", "--out", company)
            measured(sys.executable, "-m", "churn", "simulate", *map(str, settings))
        shutil.copy(PROJECT / "sample_data" / "churn.toml", company)
        chain, single = [], []
        for number in range(options.repeats):
            for output in ("lake", "mlruns", "reports"):
                shutil.rmtree(company / output, ignore_errors=True)
            (company / "mlflow.db").unlink(missing_ok=True)
            run = ("run", "--config", company / "churn.toml", "--as-of", AS_OF)
            chain.append(measured(sys.executable, "-m", "churn", *run))
            single.append(measured(single_machine_python(), script, company, cwd=Path(scratch)))
            for name, cost in (("chain", chain[-1]), ("single machine", single[-1])):
                print(f"{number + 1}/{options.repeats} {name}: {cost.cpu:.1f} CPU s, {cost.wall:.1f} s", flush=True)
        by_stack = {
            "chain": chain_metrics(company / "mlflow.db"),
            "single machine": single_machine_metrics(single[-1].stdout),
        }
        for name, metrics in by_stack.items():
            print(f"{name}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()))
    costs = [median(cost.cpu for cost in runs) for runs in (chain, single)]
    print(f"chain_cpu_seconds={costs[0]:.1f} single_machine_cpu_seconds={costs[1]:.1f}")
    print(f"ratio_to_single_machine={costs[0] / costs[1]:.2f}")


if __name__ == "__main__":
    main()
