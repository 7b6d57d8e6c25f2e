"""What every script in jobs/ shares: its session, and the exit code that says how it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import click
import typer
from pyspark.sql import SparkSession

from churn.config import Config, load
from churn.dataset.examples import check_sources
from churn.errors import BadInputError, ChurnError
from churn.loading import load_catalog, load_spec, with_settings
from churn.model_spec import ModelSpec, Sources
from churn.runtime.processes import guard
from churn.runtime.session import session, stop
from churn.sources.accepted import accepted
from churn.storage import Lake


def settings(config: Path, model: Path) -> tuple[Config, ModelSpec]:
    """churn.toml and the model with its settings, all checked without Spark; the company's catalogue is loaded."""
    loaded = company(config)
    spec = load_spec(model)
    return loaded, with_settings(spec, loaded.models.get(spec.name, {}), file=loaded.path)


def company(config: Path) -> Config:
    """churn.toml, and the company's own catalogue loaded."""
    loaded = load(config)
    if loaded.catalog:
        load_catalog(loaded.catalog)
    return loaded


@dataclass
class Job:
    """A job under way; Spark starts when it is first needed. A session that was there before is left as it was."""

    name: str
    config_file: Path
    model_file: Path | None = None
    summary: Path | None = None
    _is_shared: bool = field(default=False, init=False)

    def __enter__(self) -> Job:
        self._is_shared = SparkSession.getActiveSession() is not None
        return self

    def __exit__(self, *_: object) -> None:
        if "spark" in self.__dict__ and not self._is_shared:
            stop(self.spark)

    @cached_property
    def config(self) -> Config:
        return company(self.config_file)

    @cached_property
    def spec(self) -> ModelSpec:
        assert self.model_file
        spec = load_spec(self.model_file)
        return with_settings(spec, self.config.models.get(spec.name, {}), file=self.config.path)

    @cached_property
    def spark(self) -> SparkSession:
        return session(f"churn {self.name}", conf=self.config.spark, lean=self.config.is_small)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.spark, self.config.root)

    @cached_property
    def sources(self) -> Sources:
        """The accepted tables. Raises BadInputError where the model's label or cohort needs one that is missing."""
        found = accepted(self.lake)
        check_sources(self.spec, found)
        return found

    def summarise(self, **found: object) -> None:
        """Add what was found to the summary that `churn run` prints in the end."""
        if self.summary:
            before = json.loads(self.summary.read_text("utf-8")) if self.summary.exists() else {}
            self.summary.write_text(json.dumps(before | found, default=str), "utf-8")

    def write_report(self, name: str, html: str) -> str:
        """A report beside churn.toml, in `reports`; its path."""
        file = self.config.path.parent / "reports" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(html, "utf-8")
        return str(file)


def require_folder(file: Path) -> None:
    """Raises BadInputError where a file could not be written in the end."""
    folder = file.absolute().parent
    if not folder.is_dir():
        raise BadInputError(f"no folder {folder} to write {file.name} in; create it, or name another")


def job_main(step: Callable[..., None]) -> Callable[[Sequence[str] | None], int]:
    """The `main` of a script in jobs/: from the options that its step declares to an exit code.

    0 done, 1 failed, 2 bad input or configuration, 3 hold, 4 nothing to do. An explained error prints one message.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=sys.modules[step.__module__].__doc__)(step)
    command = typer.main.get_command(app)

    def main(argv: Sequence[str] | None = None) -> int:
        with guard():
            try:
                code = command.main(list(sys.argv[1:] if argv is None else argv), standalone_mode=False)
            except ChurnError as error:
                print(f"{error.word}: {error}", file=sys.stderr, flush=True)
                return error.exit_code
            except click.ClickException as error:
                error.show()
                return error.exit_code
        return int(code or 0)

    return main


def progress(text: str) -> None:
    """A line of progress on the terminal."""
    print(text, flush=True)
