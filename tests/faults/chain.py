"""A small company, the jobs of its chain in processes that can be killed, and all that they leave.

The company has transactions and fraud reports, of two as-ofs that follow each other, and a stream that goes on from the
second. Copies are taken of it between the jobs, so that a fault can be tried on each without the jobs before it.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any, Final, cast

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.registry.model_files import files_digest
from churn.registry.tracking import FILES
from churn.runtime.session import environment
from churn.storage import Lake, Snapshot, java_class
from tests.jobs.company import arguments, arrive

BEGIN, HISTORY = datetime(2026, 1, 1), 30
FIRST = BEGIN + timedelta(days=HISTORY)
AS_OFS: Final = tuple(f"{FIRST + timedelta(days=day):%Y-%m-%d}" for day in (-1, 0))
JOBS: Final = ("ingest", "build_features", "train", "evaluate", "promote", "score", "monitor")
STREAM: Final = "score_stream"

CONFIG = """
[sources.transactions]
path = "history/transactions"
[sources.transactions.stream]
path = "arriving/transactions"

[sources.fraud_reports]
path = "history/fraud_reports"
[sources.fraud_reports.stream]
path = "arriving/fraud_reports"

[stream]
files = 1
lateness_minutes = 120
"""
MODEL = """
from churn import (
    Alerts, EvaluationSettings, FeatureSet, Fraud, LabelWindow, Logistic, ModelSpec, Schedule, Training,
)
from churn.evaluation.gates import AtMost

SPEC = ModelSpec(
    name="fraud", label=Fraud(), window=LabelWindow(lead=0, horizon=1, maturity=2),
    features=FeatureSet(include=("velocity",), windows=()), baseline="transaction_amount",
    schedule=Schedule(every=1, history=5, max_as_ofs=8, calibrate_as_ofs=2, test_as_ofs=2, test_every=1),
    training=Training(negatives_per_positive=10), evaluation=EvaluationSettings(period_days=2, resamples=10),
    alerts=Alerts(alert_budget=4, random_audit=2), candidates={"logistic": Logistic(reg_param_total=20.0)},
    gates=(AtMost(0.99),),
)
"""
HEADERS: Final = {
    "transactions": "transaction_id,customer_id,event_time,known_time,kind,amount,merchant_id,device_id,country",
    "fraud_reports": "transaction_id,customer_id,event_time,known_time,is_fraud",
}


@dataclass(frozen=True)
class Step:
    """A job of the chain, at an as-of; the stream has none."""

    job: str
    as_of: str | None

    def __str__(self) -> str:
        return f"{self.job}@{self.as_of}" if self.as_of else self.job


def steps(as_ofs: Sequence[str] = AS_OFS) -> list[Step]:
    """The chain: every job at each as-of, then the stream."""
    return [*(Step(job, as_of) for as_of in as_ofs for job in JOBS), Step(STREAM, None)]


def _rows(dice: random.Random) -> dict[str, list[tuple[datetime, str]]]:
    """Lines of each source with the time they become known; some transactions are repeated, some corrected."""
    rows: dict[str, list[tuple[datetime, str]]] = {source: [] for source in HEADERS}
    for number in range(1500):
        made = BEGIN + timedelta(days=dice.uniform(0, HISTORY + 3))
        customer, fraud = dice.randrange(40), dice.random() < 0.1
        amount = dice.lognormvariate(3, 0.7) * (3 if fraud else 1)
        line = f"t{number},c{customer},{made},{{known}},purchase,{{amount:.2f}},m{number % 20},d{customer},NL"
        known = made + timedelta(minutes=dice.choice([0, 0, 45]))
        rows["transactions"].append((known, line.format(known=known, amount=amount)))
        if dice.random() < 0.05:
            later, change = known + timedelta(hours=30), dice.choice([0, 1])
            corrected = line.format(known=later if change else known, amount=amount + change)
            rows["transactions"].append((later, corrected))
        if fraud:
            at = made + timedelta(hours=dice.uniform(1, 40))
            rows["fraud_reports"].append((at, f"t{number},c{customer},{at},{at},true"))
    broken = BEGIN + timedelta(days=5)
    for number, at in enumerate((broken, FIRST + timedelta(days=1, hours=2))):
        rows["transactions"].append((at, f"b{number},c1,{at},{at},purchase,1O.5O,m1,d1,NL"))
    return {source: sorted(lines) for source, lines in rows.items()}


def write_company(folder: Path) -> None:
    """churn.toml, a model, history until the first as-of, a file of the next day, and two files that arrive."""
    folder.mkdir(parents=True)
    (folder / "churn.toml").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    end = FIRST + timedelta(days=3)
    for source, lines in _rows(random.Random(3)).items():
        header = HEADERS[source]
        arrive(folder / "history" / source / "all.csv", [header, *(line for known, line in lines if known < FIRST)])
        for day in range(1, 3):
            midnight = FIRST + timedelta(days=day)
            of_day = [line for known, line in lines if midnight <= known < midnight + timedelta(days=1)]
            file = folder / "arriving" / source / f"day-{day}.csv"
            arrive(file, [header, *of_day])
            os.utime(file, (end.timestamp() + day, end.timestamp() + day))
        of_day = [line for known, line in lines if FIRST <= known < FIRST + timedelta(days=1)]
        arrive(folder / "held" / f"{source}.csv", [header, *of_day])


def next_day_arrives(folder: Path) -> None:
    """The files of the second as-of are delivered: new rows, and corrections of earlier ones."""
    for source in HEADERS:
        shutil.copy2(folder / "held" / f"{source}.csv", folder / "history" / source / "next.csv")


class Worker:
    """A process group of its own with a Spark session, which runs jobs one at a time, as its standard input says.

    It starts at once, and is ready some seconds later, so that the time of the start is not waited for.
    """

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab")
        variables = os.environ | environment() | {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=variables, text=True,
            start_new_session=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def start(self, step: Step, folder: Path, *, kill: Sequence[Any] | None = None) -> None:
        """Begin a job; with `kill` (point, number, seconds) it kills its process group there."""
        order = {"job": step.job, "arguments": arguments(step.job, folder, step.as_of), "kill": kill}
        order["folder"] = str(folder)
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any] | None:
        """`code`, `output` and `points` of the job that was begun; None where it was killed."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line:
            return dict(json.loads(line))
        assert self.process.wait(timeout=60) == -signal.SIGKILL, f"a worker ended with {self.process.returncode}"
        return None

    def run(self, step: Step, folder: Path) -> dict[str, Any]:
        """A job from begin to end."""
        self.start(step, folder)
        done = self.result()
        assert done
        return done

    def stop(self) -> None:
        """End the process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            if pipe:
                pipe.close()


@dataclass
class Bench:
    """A folder in which one company is tried again and again, always at the same path: Spark and MLflow store it.

    `spare` is a worker that starts while others work.
    """

    spark: SparkSession
    folder: Path

    def __post_init__(self) -> None:
        self.company = self.folder / "company"
        self._workers: list[Worker] = []

    def worker(self) -> Worker:
        """A new worker, which starts now."""
        made = Worker(self.folder / "workers.log")
        self._workers.append(made)
        return made

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def keep(self, name: str) -> None:
        """Copy the company as it is."""
        shutil.copytree(self.company, self.folder / "copies" / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Make the company what it was."""
        shutil.rmtree(self.company)
        shutil.copytree(self.folder / "copies" / name, self.company, symlinks=True)
        forget_tables(self.spark)

    @property
    def lake(self) -> Lake:
        return Lake(self.spark, str(self.company / "lake"))

    def state(self) -> dict[str, Any]:
        """All that jobs have left: tables, aliases, tags, runs, reports and sent alerts."""
        tables = digests([self.lake.snapshot(name) for name in self.lake.names()])
        return {
            **{f"table {name}": found for (name, _), found in tables.items()},
            **registered(self.company),
            **written(self.company),
        }


def forget_tables(spark: SparkSession) -> None:
    """Let a session read the logs of all tables anew."""
    java_class(spark, "org.apache.spark.sql.delta.DeltaLog").clearCache()


def digests(tables: Sequence[Snapshot]) -> dict[tuple[str, int], tuple[int, str]]:
    """Of each table and version the number of its rows and a digest of them in whatever order, without the id of a
    stream, which is drawn; by one query."""

    def hashed(one: Snapshot) -> DataFrame:
        rows = one.frame.drop("stream")
        text = F.to_json(F.struct(*sorted(rows.columns)))
        hashes = rows.select(F.xxhash64(text).cast("decimal(38, 0)").alias("hash"))
        return hashes.agg(F.count("*").alias("rows"), F.sum("hash").alias("hash"))

    if not tables:
        return {}
    rows = reduce(DataFrame.unionByName, map(hashed, tables)).collect()
    return {(one.table, one.version): (row["rows"], str(row["hash"])) for one, row in zip(tables, rows, strict=True)}


def registered(folder: Path) -> dict[str, Any]:
    """Aliases, the tags of every version, and the runs with their last metrics.

    A run's id is replaced by its name, and the digest of a version's files, which hold times, by whether it is theirs.
    """
    aliases = query(folder, "select name, alias, version from registered_model_aliases")
    ids = dict(query(folder, "select run_uuid, name from runs"))
    versions = query(
        folder,
        "select version, run_id, coalesce(storage_location, source) from model_versions"
        " where current_stage != 'Deleted_Internal'",
    )
    places = {version: Path(str(place).removeprefix("file://")) for version, _, place in versions}
    tags = [
        (version, key, str(value == files_digest(places[version])) if key == FILES else _named(value, ids))
        for version, key, value in query(folder, "select version, key, value from model_version_tags")
        if version in places
    ]
    last = query(folder, "select max(start_time), run_uuid, name from runs where status = 'FINISHED' group by name")
    metrics = {
        name: sorted(query(folder, "select key, value, step from metrics where run_uuid = ?", run_id))
        for _, run_id, name in last
    }
    return {
        "aliases": sorted(aliases),
        "versions": sorted((version, ids[run_id]) for version, run_id, _ in versions),
        "tags": sorted(tags),
        "runs": sorted(Counter(query(folder, "select name, status from runs")).items()),
        "metrics": metrics,
    }


def query(folder: Path, text: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of the MLflow store; none before it is there."""
    file = folder / "mlflow.db"
    if not file.exists():
        return []
    store = sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=30)
    try:
        return store.execute(text, values).fetchall()
    finally:
        store.close()


def written(folder: Path) -> dict[str, Any]:
    """The reports, and the alerts that the stream has sent."""
    ids = dict(query(folder, "select run_uuid, name from runs"))
    sent = [line for file in (folder / "lake" / "_alerts").rglob("*.json") for line in file.read_text().splitlines()]
    alerts = sorted(json.dumps({**json.loads(line), "stream": None}, sort_keys=True) for line in sent)
    reports = {f"report {file.name}": _named(file.read_text(), ids) for file in (folder / "reports").glob("*.html")}
    return {"sent": alerts, **reports}


def _named(text: str, ids: Mapping[str, str]) -> str:
    return re.sub(r"[0-9a-f]{32}", lambda found: ids.get(found[0], found[0]), text)


def differences(seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between two states, a short line each."""
    names = sorted(name for name in {*seen, *wanted} if seen.get(name) != wanted.get(name))
    return [f"{name}: {_short(seen.get(name), wanted.get(name))}" for name in names]


def _short(seen: Any, wanted: Any) -> str:
    if isinstance(seen, list) and isinstance(wanted, list):
        more, less = ([one for one in these if one not in those] for these, those in ((seen, wanted), (wanted, seen)))
        return f"more {more}, less {less}"[:600]
    if isinstance(seen, str) and isinstance(wanted, str):
        at = next((at for at, (one, two) in enumerate(zip(seen, wanted, strict=False)) if one != two), 0)
        return f"...{seen[at : at + 60]!r}, want {wanted[at : at + 60]!r}"
    return f"{seen}, want {wanted}"[:600]


@dataclass
class Undisturbed:
    """The chain as it runs when nothing disturbs it: of each step the points it passes, and what is there after it.

    `versions` has what each table is, step by step: a reader may see any of these while the step is at work.
    """

    points: dict[Step, list[str]] = field(default_factory=dict)
    states: dict[Step | None, dict[str, Any]] = field(default_factory=dict)
    versions: dict[Step, dict[str, set[Any]]] = field(default_factory=dict)

    def before(self, step: Step) -> dict[str, Any]:
        """What is there before a step."""
        made = list(self.states)
        return self.states[made[made.index(step) - 1]]


def undisturbed(bench: Bench, worker: Worker, chain: Sequence[Step]) -> Undisturbed:
    """Run the chain once, with a copy of the company before each step; a bench that has it already is used again."""
    stored = bench.folder / "undisturbed.pickle"
    if stored.exists():
        return cast("Undisturbed", pickle.loads(stored.read_bytes()))  # noqa: S301 - its own file
    write_company(bench.company)
    found = Undisturbed(states={None: {}})
    last: dict[str, int] = {}
    for step in chain:
        if step == Step("ingest", AS_OFS[1]):
            next_day_arrives(bench.company)
        bench.keep(str(step))
        done = worker.run(step, bench.company)
        assert done["code"] == 0, f"{step} ended with {done['code']}: {done['output']}"
        before, found.points[step], found.states[step] = last, done["points"], bench.state()
        last = {name: bench.lake.version(name) or 0 for name in bench.lake.names()}
        between = [
            bench.lake.snapshot(name, number)
            for name, version in last.items()
            for number in range(before.get(name, 0), version)
        ]
        found.versions[step] = {name: {found.states[step][f"table {name}"]} for name in last}
        for (name, _), seen in digests(between).items():
            found.versions[step][name].add(seen)
    stored.write_bytes(pickle.dumps(found))
    return found


def bench_folder(given: Path | None) -> Path:
    """The folder of a bench: the one given, or a new one."""
    folder = given or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(bench: Bench, found: Iterable[tuple[object, list[str]]], good: str) -> int:
    """Print what differed in each case, or the word `good`, and at last how many are good; the exit code."""
    right = total = 0
    try:
        began = time.monotonic()
        for case, wrong in found:
            total += 1
            right += not wrong
            print(f"{total} {case}: {'; '.join(wrong) or good} ({time.monotonic() - began:.0f} s)", flush=True)
            began = time.monotonic()
    finally:
        bench.stop()
    print(f"{good}={right} of {total}")
    return int(right < total)
