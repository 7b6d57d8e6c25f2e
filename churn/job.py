"""What every script in jobs/ shares: its arguments, its session, and the exit code that says how it ended."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pyspark.sql import SparkSession

from churn.config import Config, load
from churn.errors import BadInputError, ChurnError
from churn.lifetime import guard
from churn.session import session, stop
from churn.storage import Lake
from churn.training.data import Sources, accepted, check_sources
from churn.training.spec import ModelSpec, load_spec


@dataclass(frozen=True)
class Job:
    """A job's arguments, read; Spark starts when it is first needed."""

    name: str
    args: argparse.Namespace

    @cached_property
    def config(self) -> Config:
        return load(self.args.config)

    @cached_property
    def spec(self) -> ModelSpec:
        spec = load_spec(self.args.model)
        return spec.override(self.config.models.get(spec.name, {}), where=self.config.path.name)

    @cached_property
    def spark(self) -> SparkSession:
        return session(f"churn {self.name}", conf=self.config.spark, lean=self.config.is_small)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.spark, self.config.root)

    @cached_property
    def sources(self) -> Sources:
        """The accepted tables. Raises BadInputError where the model's label or cohort needs one that is not there."""
        found = accepted(self.lake)
        check_sources(self.spec, found)
        return found

    def note(self, **found: object) -> None:
        """Add what was found to the summary that `churn run` prints in the end."""
        if self.args.summary:
            file = Path(self.args.summary)
            before = json.loads(file.read_text("utf-8")) if file.exists() else {}
            file.write_text(json.dumps(before | found, default=str), "utf-8")

    def write_report(self, name: str, html: str) -> str:
        """A report beside churn.toml, in `reports`; its place."""
        place = self.config.path.parent / "reports" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(html, "utf-8")
        return str(place)

    @staticmethod
    def require_folder(file: str) -> None:
        """Raises BadInputError where a file could not be written in the end."""
        folder = Path(file).absolute().parent
        if not folder.is_dir():
            raise BadInputError(f"no folder {folder} to write {Path(file).name} in; make it, or name another")


def moment(text: str) -> datetime:
    """A UTC moment from `2026-10-01` or `2026-10-01T06:00:00Z`, without a zone as Spark's rows have it.

    >>> moment("2026-10-01")
    datetime.datetime(2026, 10, 1, 0, 0)
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a date; want one such as 2026-10-01 or 2026-10-01T06:00:00Z") from None
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


def parser(description: str, *, model: bool = True, as_of: bool = True) -> argparse.ArgumentParser:
    """The arguments that most jobs take."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--config", required=True, metavar="FILE", help="the company's churn.toml")
    arguments.add_argument("--summary", metavar="FILE", help=argparse.SUPPRESS)
    if model:
        arguments.add_argument("--model", required=True, metavar="FILE", help="a model, such as models/churn.py")
    if as_of:
        arguments.add_argument("--as-of", required=True, metavar="DATE", help="the moment to speak for, UTC")
    return arguments


def run(step: Callable[[Job], None], arguments: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Do one step: 0 done, 1 failed, 2 bad input or configuration, 3 hold, 4 nothing to do.

    An explained error prints one message. A session that was there before is used, and left as it was.
    """
    with guard():
        is_shared = SparkSession.getActiveSession() is not None
        job = Job(name=step.__module__ if step.__module__ != "__main__" else _script(), args=arguments.parse_args(argv))
        try:
            step(job)
        except ChurnError as error:
            print(f"{error.word}: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        finally:
            if "spark" in job.__dict__ and not is_shared:
                stop(job.spark)
    return 0


def _script() -> str:
    return sys.argv[0].rpartition("/")[2].removesuffix(".py")


def say(text: str) -> None:
    """A line of progress on the terminal."""
    print(text, flush=True)
