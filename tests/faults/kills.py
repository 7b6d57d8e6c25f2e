"""Kill every job of the chain, run it again, and compare what is left with one run that nothing disturbed.

    python -m tests.faults.kills --count 40 --seed 1 [--folder FOLDER] [--only PATTERN]

Points are drawn by the seed: inside the commits of Delta tables and the calls of MLflow first, then the rest. A kill
is a SIGKILL of the job's process group, its JVM included. While it works, is killed and works again, a reader reads all
tables, aliases and reports: it must see each of them as it was before a commit or after one. The last line is
`equal=N of N`; the exit code is 1 where one differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from churn.runtime.session import session
from tests.faults.chain import (
    AS_OFS,
    Bench,
    Step,
    Undisturbed,
    Worker,
    bench_folder,
    differences,
    digests,
    query,
    report,
    steps,
    undisturbed,
)


@dataclass(frozen=True)
class Kill:
    """Where a job is killed: at the point of this name that it passes for the `number`th time, some seconds later where
    the point is inside a commit."""

    step: Step
    point: str
    number: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.step} at {self.point}" + (f" ({self.number})" if self.number > 1 else "")


def drawn(found: Undisturbed, count: int, seed: int, only: str = "*") -> list[Kill]:
    """So many kills, one step after the other: first inside a commit, then inside a call of MLflow's, then anywhere."""
    dice = random.Random(seed)
    pools: dict[Step, list[list[tuple[str, int]]]] = {}
    for step, points in found.points.items():
        numbered = [(point, points[:at].count(point) + 1) for at, point in enumerate(points)]
        numbered = [one for one in numbered if fnmatch(f"{step} {one[0]}", only)]
        commits = [one for one in numbered if one[0].startswith("commit") and one[0].endswith(("files", "log"))]
        calls = [one for one in numbered if one[0].startswith("mlflow") and one[0].endswith("inside")]
        rest = [one for one in numbered if one not in commits and one not in calls]
        for pool in (commits, calls, rest):
            dice.shuffle(pool)
        if numbered:
            pools[step] = [commits, calls, rest]
    kills: list[Kill] = []
    for number in range(count):
        if not any(map(any, pools.values())):
            break
        left = [step for step in pools if any(pools[step])]
        step, round_ = left[number % len(left)], number // len(left)
        of_step = pools[step]
        pool = next(pool for pool in (of_step[round_ % 3 :] + of_step) if pool)
        kills.append(Kill(step, *pool.pop(), seconds=dice.choice([0, 0, 0.05, 0.2])))
    return kills


class Reader:
    """Reads all tables, aliases and reports in a thread, all the time, and notes what was none of what may be seen.

    A version of a table is read once, as it does not change; which version there is, is asked all the time.
    """

    def __init__(self, bench: Bench, pause: float) -> None:
        self.bench = bench
        self.pause = pause
        self.wrong: list[str] = []
        self.reads = 0

    @contextmanager
    def reading(self, allowed: dict[str, set[Any]], aliases: Sequence[Any]) -> Iterator[None]:
        """Inside, it reads; a table may be one of its `allowed` digests."""
        stop = threading.Event()
        self.wrong = []
        known: set[tuple[str, int]] = set()

        def read() -> None:
            while not stop.is_set():
                self._note("tables", partial(self._tables, allowed, known))
                self._note("aliases", partial(self._aliases, aliases))
                self._note("reports", self._reports)
                stop.wait(self.pause)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _note(self, what: str, check: Any) -> None:
        self.reads += 1
        try:
            if found := check():
                self.wrong.append(f"{what}: {found}")
        except Exception as error:
            self.wrong.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")

    def _tables(self, allowed: dict[str, set[Any]], known: set[tuple[str, int]]) -> str | None:
        """What is wrong with the versions that are not `known`, to which they are added."""
        lake = self.bench.lake
        newest = [(name, version) for name in allowed if (version := lake.version(name)) is not None]
        seen = digests([lake.snapshot(*one) for one in newest if one not in known])
        known |= set(seen)
        wrong = [
            f"{name} is {of}, none of {sorted(allowed[name])}"
            for (name, _), of in seen.items()
            if of not in allowed[name]
        ]
        return "; ".join(wrong) or None

    def _aliases(self, allowed: Sequence[Any]) -> str | None:
        company = self.bench.company
        try:
            seen = sorted(query(company, "select name, alias, version from registered_model_aliases"))
        except Exception as error:
            return None if "no such table" in str(error) else str(error)
        for _, alias, version in seen:
            found = query(company, "select storage_location, source from model_versions where version = ?", version)
            if not found:
                return f"{alias} is version {version}, which is not there"
            place = Path(str(found[0][0] or found[0][1]).removeprefix("file://"))
            if place.is_absolute() and not (place / "MLmodel").exists():
                return f"{alias} is version {version}, without files at {place}"
        return None if seen in allowed else f"{seen}, none of {allowed}"

    def _reports(self) -> str | None:
        halves = [
            file.name
            for file in (self.bench.company / "reports").glob("*.html")
            if not file.read_text().rstrip().endswith("</html>")
        ]
        return f"a half of {halves}" if halves else None


def tried(bench: Bench, reader: Reader, found: Undisturbed, kill: Kill, killed: Worker, rerun: Worker) -> list[str]:
    """Kill a step in one worker, run it again in the other: what differs from the undisturbed run."""
    step = kill.step
    bench.restore(str(step))
    before, wanted = found.before(step), dict(found.states[step])
    allowed = found.versions[step]
    aliases = [before.get("aliases", []), wanted["aliases"], *_between(before.get("aliases", []), wanted["aliases"])]
    with reader.reading(allowed, aliases):
        killed.start(step, bench.company, kill=[kill.point, kill.number, kill.seconds])
        done = killed.result()
        left = (
            dict(query(bench.company, "select run_uuid, name || ' ' || status from runs")) if _has_runs(bench) else {}
        )
        again = rerun.run(step, bench.company)
    if done is not None:
        return [f"it was not killed, and ended with {done['code']}: {done['output'].strip()[-1500:]}"]
    if again["code"] != 0:
        return [f"run again it ended with {again['code']}: {again['output'].strip()[-1500:]}"]
    state = bench.state()
    states = {tuple(run): count for run, count in wanted["runs"]}
    earlier = {tuple(run): count for run, count in before.get("runs", [])}
    expected: dict[Any, int] = {}
    for name, status in (one.rpartition(" ")[::2] for one in left.values()):
        one = (name, "FAILED" if status == "RUNNING" else status)
        expected[one] = expected.get(one, 0) + 1
    for one, count in states.items():
        expected[one] = expected.get(one, 0) + count - earlier.get(one, 0)
    wanted["runs"] = sorted((one, count) for one, count in expected.items() if count)
    return differences(state, wanted) + [f"the reader saw {wrong}" for wrong in dict.fromkeys(reader.wrong)]


def _between(before: list[Any], after: list[Any]) -> Iterator[list[Any]]:
    """Aliases that are moved one after the other: the first ones moved, the rest not yet."""
    changed = [one for one in after if one not in before]
    for alias in changed:
        yield sorted([one for one in before if one[:2] != alias[:2]] + [alias])


def _has_runs(bench: Bench) -> bool:
    return bool(query(bench.company, "select 1 from sqlite_master where name = 'runs'"))


def compared(
    bench: Bench, count: int, seed: int, *, as_ofs: Sequence[str], only: str = "*", pause: float = 0.1
) -> Iterator[tuple[Kill, list[str]]]:
    """Each kill, and what differed after it. The reader rests for `pause` seconds between two rounds."""
    rerun = bench.worker()
    found = undisturbed(bench, rerun, steps(as_ofs))
    reader = Reader(bench, pause)
    for kill in drawn(found, count, seed, only):
        yield kill, tried(bench, reader, found, kill, bench.worker(), rerun)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--only", default="*", help="a pattern of step and point, such as 'train* mlflow*'")
    options = parser.parse_args()
    spark = session("kills", conf={"spark.master": "local[1]", "spark.driver.memory": "1g"}, lean=True)
    bench = Bench(spark, bench_folder(options.folder))
    found = compared(bench, options.count, options.seed, as_ofs=AS_OFS, only=options.only)
    return report(bench, found, "equal")


if __name__ == "__main__":
    sys.exit(main())
