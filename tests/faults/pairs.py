"""Start every pair of jobs that could meet together, and compare what is left with one after the other.

    python -m tests.faults.pairs --times 10 [--pairs 'train*+*' ...] [--folder FOLDER]

Jobs meet at one as-of, or at two that follow each other, on a company whose chain has run and where new rows have
arrived since. What two leave is what they leave in one of the two orders, exit codes included; or one of them lost: it
says so in one line, with an exit code of churn/errors.py, and what is left is the other's. The last line is
`serial=N of N`; the exit code is 1 where one is neither.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

from churn.runtime.session import session
from tests.faults.chain import (
    AS_OFS,
    HEADERS,
    JOBS,
    STREAM,
    Bench,
    Step,
    Worker,
    arrive,
    bench_folder,
    differences,
    report,
    steps,
    undisturbed,
)

LOSES = range(1, 8)
"""The exit codes of churn/errors.py."""
BASE = "pairs"


def pairs() -> list[tuple[Step, Step]]:
    """Every two jobs that could meet: of the second as-of, or one of each; the stream meets all of the second."""
    first, second = ([Step(job, as_of) for job in JOBS] for as_of in AS_OFS)
    return [*combinations_with_replacement([*second, Step(STREAM, None)], 2), *product(first, second)]


@dataclass
class Outcome:
    """The exit codes of two jobs, and the state that they leave."""

    codes: tuple[Any, Any]
    state: Mapping[str, Any]

    def differences(self, wanted: Outcome) -> list[str]:
        codes = [] if self.codes == wanted.codes else [f"exit codes {self.codes}, want {wanted.codes}"]
        return codes + differences(self.state, wanted.state)


@dataclass
class Pairs:
    """Two workers that run jobs on one company, one after the other or both at once."""

    bench: Bench
    workers: tuple[Worker, Worker]
    _alone: dict[Step, tuple[Any, Mapping[str, Any]]] = field(default_factory=dict)

    def alone(self, step: Step) -> tuple[Any, Mapping[str, Any]]:
        """The exit code and the state after one job, which is kept for the job that follows it."""
        if step not in self._alone:
            self.bench.restore(BASE)
            done = self.workers[0].run(step, self.bench.company)
            self.bench.keep(f"after {step}")
            self._alone[step] = done["code"], self.bench.state()
        return self._alone[step]

    def serial(self, first: Step, second: Step) -> Outcome:
        """One after the other."""
        code, _ = self.alone(first)
        self.bench.restore(f"after {first}")
        done = self.workers[1].run(second, self.bench.company)
        return Outcome((code, done["code"]), self.bench.state())

    def at_once(self, first: Step, second: Step) -> tuple[Outcome, tuple[str, str]]:
        """Both together, and what each printed."""
        self.bench.restore(BASE)
        for worker, step in zip(self.workers, (first, second), strict=True):
            worker.start(step, self.bench.company)
        one, two = (worker.result() for worker in self.workers)
        assert one
        assert two
        return Outcome((one["code"], two["code"]), self.bench.state()), (one["output"], two["output"])

    def verdict(self, first: Step, second: Step, orders: list[Outcome]) -> list[str]:
        """What is wrong with what both together leave; nothing where it is as of an order. `orders` are those known."""
        seen, printed = self.at_once(first, second)
        wrong: list[list[str]] = []
        for number in range(1 if first == second else 2):
            if number == len(orders):
                found = self.serial(*((first, second), (second, first))[number])
                orders.append(Outcome(found.codes[:: (1, -1)[number]], found.state))
            wrong.append(seen.differences(orders[number]))
            if not wrong[-1]:
                return []
        for code, output, winner in zip(seen.codes, printed, (second, first), strict=True):
            if code in LOSES and output.count("error:") == 1 and "Traceback" not in output:
                wanted = dict(self.alone(winner)[1])
                state = dict(seen.state)
                state["runs"] = [one for one in state["runs"] if one[0][1] != "FAILED"]
                if not differences(state, wanted):
                    return []
        tails = [text.strip()[-700:] for code, text in zip(seen.codes, printed, strict=True) if code]
        return [*min(wrong, key=len), *tails]


def compared(bench: Bench, times: int, patterns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each pair, each time, and what was wrong."""
    workers = bench.worker(), bench.worker()
    undisturbed(bench, workers[0], steps())
    bench.restore(STREAM)
    for source, header in HEADERS.items():
        of_next = (bench.company / "history" / source / "next.csv").read_text().splitlines()[1:]
        more = [line.replace("t", "n", 1) for line in of_next[:20]]
        arrive(bench.company / "history" / source / "more.csv", [header, *more])
    shutil.rmtree(bench.folder / "copies" / BASE, ignore_errors=True)
    bench.keep(BASE)
    tried = Pairs(bench, workers)
    for first, second in pairs():
        if not any(fnmatch(f"{first}+{second}", pattern) for pattern in patterns):
            continue
        orders: list[Outcome] = []
        for _ in range(times):
            yield f"{first} + {second}", tried.verdict(first, second, orders)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--pairs", nargs="+", default=["*"], help="patterns of pairs, such as 'train*+*'")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    spark = session("pairs", conf={"spark.master": "local[1]", "spark.driver.memory": "1g"}, lean=True)
    bench = Bench(spark, bench_folder(options.folder))
    return report(bench, compared(bench, options.times, options.pairs), "serial")


if __name__ == "__main__":
    sys.exit(main())
