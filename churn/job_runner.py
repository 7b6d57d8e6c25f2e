"""What every script in jobs/ shares: its configuration, its session and tables, and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import typer
from pyspark.sql import SparkSession

from churn.config import Config, load
from churn.dataset.examples import check_sources
from churn.loading import load_catalog, load_spec, with_settings
from churn.model_spec import ModelSpec, Sources
from churn.options import exit_code
from churn.runtime.files import write_whole
from churn.runtime.session import scoped_session
from churn.sources.accepted import accepted, accepted_snapshots, checked_snapshots, sources_of
from churn.sources.ingest import ingest
from churn.sources.spark_errors import unlogged
from churn.storage import Lake, Snapshot


def load_company(file: Path) -> Config:
    """churn.toml, checked; its own catalogue of sources, features and labels is loaded."""
    config = load(file)
    if config.catalog:
        load_catalog(config.catalog)
    return config


def load_model_spec(file: Path, config: Config) -> ModelSpec:
    """The model of a file with the company's settings for it, checked."""
    spec = load_spec(file)
    text = config.path.read_text("utf-8-sig")
    return with_settings(spec, config.models.get(spec.name, {}), file=config.path, text=text)


@dataclass
class Job:
    """A run of a job, as a context manager. Its attributes are loaded at first use: a job without Spark starts none.

    A session that was running before is used, and stays; one that the job starts is stopped at its end.
    """

    name: str
    config_file: Path
    model_file: Path | None = None
    summary: Path | None = None
    versions: Mapping[str, int] | None = None
    """The version of each table to read; None = the newest."""
    _resources: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._resources.__exit__(*exc_info)

    @cached_property
    def config(self) -> Config:
        return load_company(self.config_file)

    @cached_property
    def spec(self) -> ModelSpec:
        assert self.model_file
        return load_model_spec(self.model_file, self.config)

    @cached_property
    def spark(self) -> SparkSession:
        self._resources.enter_context(unlogged())
        session = scoped_session(f"churn {self.name}", conf=self.config.spark, lean=self.config.is_small)
        return self._resources.enter_context(session)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.spark, self.config.root)

    @cached_property
    def snapshots(self) -> Mapping[str, Snapshot]:
        """The accepted tables, each pinned at the version that is logged."""
        if self.versions is None:
            return checked_snapshots(self.lake)
        return accepted_snapshots(self.lake, self.versions)

    @cached_property
    def sources(self) -> Sources:
        """The accepted tables. Raises BadInputError where the model's label or cohort needs one that is missing."""
        return self._checked(sources_of(self.snapshots))

    def _checked(self, tables: Sources) -> Sources:
        if self.model_file:
            check_sources(self.spec, tables)
        return tables

    @contextmanager
    def ingested_apart(self, as_of: datetime) -> Iterator[Sources]:
        """All sources as a first batch would accept them, in a temporary lake: no table of the company's changes."""
        with self.lake.temporary() as lake:
            ingest(self.spark, lake, self.config, batch="apart", as_of=as_of)
            yield self._checked(accepted(lake))

    def summarise(self, **results: object) -> None:
        """Add results to the summary that `churn run` prints at its end."""
        if self.summary:
            before = json.loads(self.summary.read_text("utf-8")) if self.summary.exists() else {}
            self.summary.write_text(json.dumps(before | results, default=str), "utf-8")

    def write_report(self, name: str, html: str) -> str:
        """Write a report into the folder `reports` beside churn.toml, whole or not at all; its path."""
        file = self.config.path.parent / "reports" / name
        file.parent.mkdir(exist_ok=True)
        write_whole(file, html)
        return str(file)


def job_main(step: Callable[..., None]) -> Callable[[Sequence[str] | None], int]:
    """The `main` of a script in jobs/, from the command line that its step declares to an exit code (`exit_code`).

    The module's docstring is its help.
    """
    app = typer.Typer(add_completion=False)
    app.command(help=sys.modules[step.__module__].__doc__)(step)

    def main(argv: Sequence[str] | None = None) -> int:
        return exit_code(app, sys.argv[1:] if argv is None else argv)

    return main


def progress(text: str) -> None:
    """Print a line of progress."""
    print(text, flush=True)
