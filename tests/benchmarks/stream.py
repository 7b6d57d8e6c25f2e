"""How fast transactions are scored as they arrive: `python -m tests.benchmarks.stream [--customers N]`.

A simulated company has a history in the lake and a model; the days after it arrive as files, through real spark-submits
of jobs/score_stream.py. First all at once, for the throughput: transactions scored in a second, once the state is
there. Then a few every second, for the delay: from a file's arrival to the alert on a transaction of it, where nearly
everything is alerted on. Prints both, the last line as transactions_per_second=X delay_seconds=Y (medians).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median

from churn.runtime.session import environment, submit
from tests.jobs.company import arrive

JOBS = Path(__file__).parents[2] / "jobs"
BEGIN = datetime(2026, 1, 1)
HISTORY = 45
FIRST = BEGIN + timedelta(days=HISTORY)
REPORTS = "transaction_id,customer_id,event_time,is_fraud"
HEADER = "transaction_id,customer_id,event_time,kind,amount,merchant_id,device_id,country"
CONFIG = """
[sources.transactions]
path = "history/transactions.csv"
[sources.transactions.stream]
path = "arriving"
[sources.fraud_reports]
path = "history/fraud_reports.csv"
[stream]
files = {files}
checkpoint = "{checkpoint}"
"""
MODEL = """
from churn import (
    Alerts, EvaluationSettings, FeatureSet, Fraud, LabelWindow, Logistic, ModelSpec, Schedule, Training,
)

SPEC = ModelSpec(
    name="fraud", label=Fraud(), window=LabelWindow(lead=0, horizon=1, maturity=4),
    features=FeatureSet(include=("velocity",), windows=()), baseline="transaction_amount",
    schedule=Schedule(every=1, history=20, max_as_ofs=8, calibrate_as_ofs=2, test_as_ofs=2, test_every=1),
    training=Training(negatives_per_positive=10), evaluation=EvaluationSettings(period_days=1, resamples=20),
    alerts=Alerts(alert_budget=1_000_000, random_audit=3), candidates={"logistic": Logistic(reg_param_total=20.0)},
)
"""


def lines(dice: random.Random, begin: datetime, days: float, count: int, customers: int, name: str) -> Iterator[str]:
    """Transactions in the order of their times; a fiftieth of the merchants are where frauds happen."""
    times = sorted(dice.uniform(0, days) for _ in range(count))
    for number, day in enumerate(times):
        customer, merchant = dice.randrange(customers), dice.randrange(customers // 10)
        made = (begin + timedelta(days=day)).replace(microsecond=0)
        amount = dice.lognormvariate(3, 0.7) * (2 if merchant % 50 == 0 else 1)
        yield f"{name}{number},c{customer},{made},purchase,{amount:.2f},m{merchant},d{customer},NL"


def reports_of(dice: random.Random, transactions: Iterable[str]) -> Iterator[tuple[datetime, str]]:
    """When each report of a fraud is made, and its line."""
    for row in transactions:
        transaction, customer, made, _, _, merchant, *_ = row.split(",")
        if int(merchant[1:]) % 50 == 0 and dice.random() < 0.3:
            at = (datetime.fromisoformat(made) + timedelta(days=dice.uniform(0.1, 3.9))).replace(microsecond=0)
            yield at, f"{transaction},{customer},{at},true"


def start_stream(folder: Path, *args: str) -> subprocess.Popen[bytes]:
    """jobs/score_stream.py in a process group of its own."""
    common = ["--config", str(folder / "churn.toml"), "--model", str(folder / "model.py"), "--challenger"]
    line = submit(JOBS / "score_stream.py", [*common, *args], lean=False)
    return subprocess.Popen(line, env=os.environ | environment(), start_new_session=True, stdout=subprocess.DEVNULL)


def run(job: str, folder: Path, *args: str) -> None:
    common = ["--config", str(folder / "churn.toml"), "--model", str(folder / "model.py")]
    model = [] if job == "ingest" else common[2:]
    line = submit(JOBS / f"{job}.py", [*common[:2], *model, *args], lean=False)
    subprocess.run(line, env=os.environ | environment(), check=True, stdout=subprocess.DEVNULL)


def company(folder: Path, customers: int, history: int) -> random.Random:
    """The history, and a model trained on it."""
    dice = random.Random(1)
    transactions = list(lines(dice, BEGIN, HISTORY, history, customers, "h"))
    arrive(folder / "history" / "transactions.csv", [HEADER, *transactions])
    reports = [report for _, report in reports_of(dice, transactions)]
    (folder / "history" / "fraud_reports.csv").write_text("\n".join([REPORTS, *reports]) + "\n")
    (folder / "model.py").write_text(MODEL)
    (folder / "arriving").mkdir()
    (folder / "churn.toml").write_text(CONFIG.format(files=1, checkpoint="checkpoint"))
    day = f"{FIRST - timedelta(days=1):%Y-%m-%d}"
    for job in ("ingest", "build_features", "train"):
        run(job, folder, "--as-of", day)
    run("score", folder, "--as-of", day, "--challenger")
    return dice


def throughput(folder: Path, dice: random.Random, customers: int, size: int, files: int) -> list[float]:
    """Transactions a second of each micro-batch but the first, which also takes in the history."""
    for number in range(files):
        begin, place = FIRST + timedelta(days=number / files), folder / "arriving" / f"{number:03}.csv"
        arrive(place, [HEADER, *lines(dice, begin, 1 / files, size, customers, f"a{number}-")])
        os.utime(place, (number + 1, number + 1))
    run("score_stream", folder, "--challenger")
    ends = [(folder / "checkpoint" / "commits" / str(number)).stat().st_mtime for number in range(files)]
    return [size / (end - before) for before, end in pairwise(ends)]


def delays(folder: Path, dice: random.Random, customers: int, size: int, seconds: int) -> list[float]:
    """Seconds from the arrival of a file to each alert on its transactions, with a file a second."""
    (folder / "churn.toml").write_text(CONFIG.format(files=100, checkpoint="checkpoint"))
    stream = start_stream(folder, "--every", "0 seconds")
    arrived: dict[str, float] = {}
    begin = FIRST + timedelta(days=1)
    alerted: dict[str, float] = {}
    try:
        for number in range(-3, seconds):
            rows = list(lines(dice, begin + timedelta(seconds=number), 1 / 86_400, size, customers, f"d{number}-"))
            arrived |= dict.fromkeys((row.split(",")[0] for row in rows), time.time())
            arrive(folder / "arriving" / f"delay{number}.csv", [HEADER, *rows])
            if number < 0:  # until the stream has started, and has warmed up
                _wait(folder, f"d{number}-")
            time.sleep(1)
        _wait(folder, f"d{seconds - 1}-")
        alerted = _alerted(folder)
    finally:
        os.killpg(stream.pid, signal.SIGTERM)
        stream.wait(90)
    return sorted(at - arrived[one] for one, at in alerted.items() if one.startswith("d") and one[1] != "-")


def _alerted(folder: Path) -> dict[str, float]:
    """When each transaction was alerted on."""
    return {
        json.loads(row)["transaction_id"]: alerts.stat().st_mtime
        for alerts in (folder / "lake" / "_alerts").rglob("part-*.json")
        for row in alerts.read_text().splitlines()
    }


def _wait(folder: Path, name: str) -> None:
    deadline = time.monotonic() + 240
    while not any(one.startswith(name) for one in _alerted(folder)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no alert on a transaction {name}...; is the stream running?")
        time.sleep(0.5)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=20_000)
    arguments.add_argument("--history", type=int, default=300_000, help="transactions of 45 days")
    arguments.add_argument("--size", type=int, default=20_000, help="transactions a file, for the throughput")
    arguments.add_argument("--files", type=int, default=6)
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dice = company(folder, args.customers, args.history)
        each = throughput(folder, dice, args.customers, args.size, args.files)
        print(f"micro-batches of {args.size:,}: {', '.join(f'{rate:,.0f}' for rate in each)} transactions a second")
        waited = delays(folder, dice, args.customers, 20, 60)
        print(f"20 transactions a second: {len(waited):,} alerts, {waited[0]:.1f} to {waited[-1]:.1f} s after arrival")
        print(f"transactions_per_second={median(each):,.0f} delay_seconds={median(waited):.1f}")


if __name__ == "__main__":
    main()
