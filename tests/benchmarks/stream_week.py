"""What a stream stores of a week at ten times the load: `python -m tests.benchmarks.stream_week [--times 10]`.

A company has a history in the lake and a model, as in `stream`. Of the week after it, transactions and reports of fraud
arrive as files, six hours in each, `times` as many a day as in the history, through one spark-submit of
jobs/score_stream.py. Prints of each day how long it took, how many transactions the state knows, the size of the rows
that features read, and the most memory that the JVM and its Python workers had. The state is what its checkpoint has:
it grows until the windows are full. The last line is memory_growth=X, the most memory of the last day over that of the
second, when the history has been taken in.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import time

from pyspark.sql import DataFrame, SparkSession

from churn.runtime.session import session
from tests.benchmarks.stream import CONFIG, FIRST, HEADER, HISTORY, REPORTS, company, lines, reports_of, start_stream
from tests.jobs.company import arrive

DAYS = 7
FILES = 4
"""A day."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """Bytes that the JVM and the Python workers of a stream had in memory."""

    at: float
    jvm: int
    python: int


@dataclass(frozen=True)
class Stored:
    """What the state has after a micro-batch: transactions it knows, shards of rows for features, and their bytes."""

    known: int
    shards: int
    shard_bytes: int


def processes(root: int) -> Iterator[Path]:
    """A process and all that it started, as folders of /proc."""
    for children in Path(f"/proc/{root}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from processes(int(child))
    yield Path(f"/proc/{root}")


def sample(root: int) -> Sample:
    jvm = python = 0
    for process in processes(root):
        try:
            name, pages = (process / "comm").read_text().strip(), int((process / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        if name == "java":
            jvm += pages * PAGE
        elif name.startswith("python"):
            python += pages * PAGE
    return Sample(time(), jvm, python)


@contextmanager
def sampled(root: int) -> Iterator[list[Sample]]:
    """Memory once a second."""
    samples: list[Sample] = []
    ended = threading.Event()

    def measure() -> None:
        while not ended.wait(1):
            samples.append(sample(root))

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def arrivals(folder: Path, rows: Sequence[str], reports: Sequence[tuple[datetime, str]]) -> None:
    """The files of the week: transactions, and the reports made in the same hours."""
    (folder / "reported").mkdir()
    hours = timedelta(days=1 / FILES)
    made = [datetime.fromisoformat(row.split(",")[2]) for row in rows]
    for number in range(DAYS * FILES):
        begin, end = FIRST + number * hours, FIRST + (number + 1) * hours
        of_transactions = [row for row, at in zip(rows, made, strict=True) if begin <= at < end]
        of_reports = [report for at, report in reports if begin <= at < end]
        for place, lines_of in (("arriving", [HEADER, *of_transactions]), ("reported", [REPORTS, *of_reports])):
            arrive(folder / place / f"{number:03}.csv", lines_of)
            os.utime(folder / place / f"{number:03}.csv", (number + 1, number + 1))


def stored(spark: SparkSession, checkpoint: Path, micro_batch: int) -> Stored:
    def state(operator: int, variable: str) -> DataFrame:
        reader = spark.read.format("statestore").option("batchId", micro_batch)
        return reader.option("operatorId", operator).option("stateVarName", variable).load(str(checkpoint))

    shards = state(0, "shards").selectExpr("count(*)", "sum(length(user_map_value.rows))").first()
    return Stored(state(1, "known").count(), shards[0], shards[1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--customers", type=int, default=20_000)
    arguments.add_argument("--history", type=int, default=90_000, help="transactions of 45 days")
    arguments.add_argument("--times", type=float, default=10, help="transactions a day, as a multiple of the history's")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dice = company(folder, args.customers, args.history)
        each_day = round(args.times * args.history / HISTORY)
        rows = list(lines(dice, FIRST, DAYS, DAYS * each_day, args.customers, "w"))
        arrivals(folder, rows, list(reports_of(dice, rows)))
        config = CONFIG.format(files=1, checkpoint="checkpoint")
        config += '[sources.fraud_reports.stream]\npath = "reported"\n'
        (folder / "churn.toml").write_text(config)
        stream, started = start_stream(folder), time()
        with sampled(stream.pid) as samples:
            if code := stream.wait():
                raise SystemExit(f"the stream ended with {code}")
        checkpoint = folder / "checkpoint"
        ends = [(checkpoint / "commits" / str(number)).stat().st_mtime for number in range(DAYS * FILES)]
        spark = session("stream week")
        assert not spark.streams.active  # which starts what the state is read by
        memory = []
        for day in range(DAYS):
            begin, end = ends[day * FILES - 1] if day else started, ends[(day + 1) * FILES - 1]
            within = [one for one in samples if begin <= one.at <= end]
            jvm, python = max(one.jvm for one in within), max(one.python for one in within)
            state = stored(spark, checkpoint, (day + 1) * FILES - 1)
            memory.append(jvm + python)
            print(
                f"day {day + 1}: {each_day:,} transactions in {end - begin:.0f} s; {state.known:,} known, "
                f"{state.shard_bytes / 1e6:.1f} MB in {state.shards:,} shards; JVM {jvm / 1e6:,.0f} MB, Python "
                f"{python / 1e6:,.0f} MB",
                flush=True,
            )
        spark.stop()
        print(f"memory_growth={memory[-1] / memory[1]:.2f}")


if __name__ == "__main__":
    main()
