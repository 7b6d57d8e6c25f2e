"""The `churn` command: it runs the jobs and prints their results; what they do is in the library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from churn.errors import BadInputError, printable
from churn.options import (
    AsOf,
    AsOfs,
    ConfigFile,
    Master,
    ModelFile,
    OptionalAsOf,
    OutFile,
    SparkSettings,
    exit_code,
    utc_midnight,
)
from churn.runtime.files import require_place

if TYPE_CHECKING:
    from churn.config import Config
    from churn.model_spec import ModelSpec

app = typer.Typer(add_completion=False, help="Churn, fraud and sales models on Spark, from calls and transactions.")
out = Console(markup=False)  # a name in square brackets is a name

LOCAL = "local[*]"
CHURN_MODEL = Path("models/churn.py")
SMALL = 20_000
"""Up to so many simulated customers the settings for small data are faster."""
STEPS = ("ingest", "build_features", "train", "evaluate", "score")
SLOW_IMPORTS = ("churn.training.fit", "churn.registry.tracking", "churn.reporting.model_report")
"""What the steps after ingest import, some seconds together."""


def _run(job: str, *args: str, master: str, conf: Mapping[str, str]) -> None:
    """Run a script of jobs/; an exit code other than 0 becomes that of this command.

    On a local master it runs in this process, in the running Spark session; else by spark-submit.
    """
    from churn.runtime.processes import run as run_group
    from churn.runtime.session import environment, is_local, submit

    script = _jobs() / f"{job}.py"
    if is_local(master):
        code = run_path(str(script))["main"](args)
    else:
        code = run_group(submit(script, args, master=master, conf=conf), env=os.environ | environment(master))
    if code:
        raise typer.Exit(code)


def _session_for_jobs(config: Config, master: str, conf: Mapping[str, str]) -> AbstractContextManager[object]:
    """On a local master, one Spark session for all jobs that are run inside."""
    from churn.runtime.session import is_local, scoped_session

    if not is_local(master):
        return nullcontext()
    return scoped_session("churn", conf={**config.spark, **conf, "spark.master": master}, lean=config.is_small)


@contextmanager
def _importing_ahead(master: str) -> Iterator[None]:
    """On a local master, import what later steps need while the first waits for Spark.

    The block's end waits for it, as Python cannot exit in the midst of an import.
    """
    from churn.runtime.session import is_local

    with ThreadPoolExecutor(1) as thread:
        if is_local(master):
            thread.map(import_module, SLOW_IMPORTS)
        yield


def _run_job(
    job: str,
    config: Path,
    *args: str,
    model: Path | None = None,
    master: str,
    conf: Sequence[str] | None,
) -> None:
    """Run one script of jobs/ by itself, after what configures it has been checked."""
    from churn.job_runner import load_company, load_model_spec

    company, settings = load_company(config), _spark_settings(conf)
    of_model: tuple[str, ...] = ()
    if model:
        load_model_spec(model, company)
        of_model = ("--model", str(model))
    with _session_for_jobs(company, master, settings):
        _run(job, "--config", str(config), *of_model, *args, master=master, conf=settings)


def _out(file: Path) -> tuple[str, str]:
    require_place(file)
    return "--out", str(file.absolute())


def _spark_settings(conf: Sequence[str] | None) -> dict[str, str]:
    """Raises BadInputError where one is not KEY=VALUE."""
    pairs = [text.partition("=") for text in conf or ()]
    for key, equals, _ in pairs:
        if not equals:
            raise BadInputError(f"--conf {key!r} is not a setting; want KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _jobs() -> Path:
    """The folder jobs/ of this checkout, or of the current folder."""
    for folder in (Path(__file__).parents[1] / "jobs", Path.cwd() / "jobs"):
        if folder.is_dir():
            return folder
    raise BadInputError("no folder jobs/ beside the library or in this folder; run churn in a checkout of the project")


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write it; created if it is missing.")]) -> None:
    """Write a commented churn.toml to start from."""
    target = folder / "churn.toml"
    if target.exists():
        raise BadInputError(f"{target} is there already; edit it, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text((files("churn") / "templates" / "churn.toml").read_text("utf-8"), "utf-8")
    out.print(f"{target}: map your sources in it, then try: churn validate --config {target}")


@app.command()
def features(as_json: Annotated[bool, typer.Option("--json", help="As JSON, one object per feature.")] = False) -> None:
    """List the catalogue of features: columns, unit, sources, fill, description."""
    from churn.features import catalogue

    rows = catalogue()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("feature", "columns", "unit", "source", "fill", "doc", show_lines=False)
    for row in rows:
        name = f"{row['name']} (after intent)" if row["after_intent"] else row["name"]
        fill = "null" if row["fill"] is None else str(row["fill"])
        table.add_row(name, ", ".join(row["columns"]), row["unit"], ", ".join(row["sources"]), fill, row["doc"])
    out.print(table)


@app.command()
def simulate(
    customers: Annotated[int, typer.Option(metavar="N", help="How many customers.")],
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same bytes.")],
    out_dir: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder to write.")],
    start: Annotated[str, typer.Option(metavar="DATE", help="The first day.")] = "2024-10-01",
    end: Annotated[str, typer.Option(metavar="DATE", help="The day after the last.")] = "2026-10-01",
    transactions_per_month: Annotated[float, typer.Option(metavar="X", help="Mean of an open account.")] = 4.0,
    format_: Annotated[Literal["csv", "csv.gz", "parquet"], typer.Option("--format", help="Of the files.")] = "csv",
    layout: Annotated[Literal["single", "daily"], typer.Option(help="daily: a file per day of arrival.")] = "single",
) -> None:
    """Simulate a company with ground truth: customers, calls, transactions, closures, frauds, contacts."""
    from churn import simulation
    from churn.runtime.session import scoped_session

    first, after_last = utc_midnight(start).date(), utc_midnight(end).date()
    with scoped_session("churn simulate", lean=customers <= SMALL) as spark:
        rows_by_source = simulation.simulate(
            spark,
            customers=customers,
            seed=seed,
            out=out_dir,
            start=first,
            end=after_last,
            transactions_per_month=transactions_per_month,
            format=format_,
            layout=layout,
        )
    table = Table("source", "rows")
    for source, rows in rows_by_source.items():
        table.add_row(source, f"{rows:,}")
    out.print(table)
    out.print(f"{out_dir}: {customers:,} customers")


@app.command()
def validate(config: ConfigFile, as_of: OptionalAsOf = None) -> None:
    """Read every source and report what ingest would accept and reject; write nothing."""
    from churn.job_runner import load_company
    from churn.runtime.session import scoped_session
    from churn.sources import ingest

    company = load_company(config)
    with scoped_session("churn validate", conf=company.spark, lean=company.is_small) as spark:
        reports = ingest.validate(spark, company, as_of=as_of)
    table = Table("source", "rows in", "accepted", "duplicate", "quarantined", "from", "to")
    for report in reports:
        row = report.row
        span = [f"{end:%Y-%m-%d %H:%M}" if end else "" for end in (row.first_event, row.last_event)]
        counts = (row.rows_in, row.accepted, row.duplicate, row.quarantined)
        table.add_row(row.source, *(f"{count:,}" for count in counts), *span)
    out.print(table)
    for report in reports:
        for one in report.row.inputs:
            out.print(f"{report.row.source}: {one}", highlight=False)
        for rule, count in sorted(report.row.rules.items(), key=lambda item: -item[1]):
            out.print(f"{report.row.source}: {rule}: {count:,} rows", style="bold")
            for example in report.examples.get(rule, ()):
                out.print(
                    f"    {printable(str(example), lines=False)}", highlight=False, overflow="ellipsis", no_wrap=True
                )
        for note in report.notes:
            out.print(note, highlight=False)
    problems = [report.problem for report in reports if report.problem]
    if problems:
        raise BadInputError("; ".join(problems))


@app.command()
def run(
    config: ConfigFile,
    as_of: AsOf,
    model: ModelFile = CHURN_MODEL,
    master: Master = LOCAL,
    conf: SparkSettings = None,
) -> None:
    """Run the chain: ingest, build features, train, evaluate, score; then print a summary.

    On a local master all steps share one Spark session; on a cluster each is a spark-submit.
    """
    from churn.job_runner import load_company, load_model_spec

    company, settings = load_company(config), _spark_settings(conf)
    spec = load_model_spec(model, company)
    with TemporaryDirectory() as scratch, _importing_ahead(master), _session_for_jobs(company, master, settings):
        summary = Path(scratch) / "summary.json"
        common = ("--config", str(config), "--as-of", as_of.isoformat(), "--summary", str(summary))
        for number, job in enumerate(STEPS, start=1):
            out.rule(f"{number}/{len(STEPS)} {job.replace('_', ' ')}", align="left")
            of_model = () if job == "ingest" else ("--model", str(model))
            # A first look at a company: its scores say that they are a challenger's where there is no champion yet.
            more = ("--challenger",) if job == "score" else ()
            _run(job, *common, *of_model, *more, master=master, conf=settings)
        out.rule("summary", align="left")
        _print_summary(json.loads(summary.read_text("utf-8")), company, spec)


def _print_summary(results: dict[str, Any], company: Config, spec: ModelSpec) -> None:
    from churn.evaluation.alert_metrics import CARD_PRECISION, CARDS
    from churn.evaluation.by_date import BASELINE
    from churn.registry.tracking import masked

    vocabulary, dates = spec.vocabulary, results["test"]
    rows = Table("source", "rows in", "accepted", "duplicate", "quarantined", title="rows", title_justify="left")
    for row in results["ledger"]:
        rows.add_row(row["source"], *(f"{row[name]:,}" for name in ("rows_in", "accepted", "duplicate", "quarantined")))
    has_cards = all(CARD_PRECISION in metrics for metrics in dates.values())
    evaluated = Table(
        Column("test date", no_wrap=True),
        vocabulary.entities,
        vocabulary.positives,
        "AUC",
        "baseline",
        "average precision",
        f"card precision at {CARDS}" if has_cards else "lift, top 10 %",
        title="evaluation",
        title_justify="left",
    )
    for date, metrics in dates.items():
        figures = (metrics["auc"], metrics[BASELINE]["auc"], metrics["average_precision"])
        counts = (f"{metrics['n']:,}", f"{metrics['positives']:,}")
        top_metric = f"{metrics[CARD_PRECISION]:.3f}" if has_cards else f"{metrics['lift']['0.1']:.2f}"
        evaluated.add_row(date, *counts, *(f"{figure:.3f}" for figure in figures), top_metric)
    top = Table("rank", vocabulary.entity, "score", title=vocabulary.likeliest, title_justify="left")
    for rank, entity, score in results["top"]:
        top.add_row(str(rank), printable(str(entity), lines=False), f"{score:.3f}")
    for table in (rows, evaluated, top):
        out.print(table)
    written = {
        "report": results["report"],
        "scores": results["scores"],
        "scored by": results["scored_by"],
        "MLflow store": masked(company.tracking_uri),
    }
    for name, location in written.items():
        out.print(f"{name}: {location}", soft_wrap=True, highlight=False)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="The registered model: churn, fraud.")],
    config: ConfigFile,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, recorded in MLflow.")] = "by hand",
) -> None:
    """Make the previous champion champion again; the version it replaces is never promoted again."""
    from churn.config import load
    from churn.registry import promotion, tracking
    from churn.registry.model_registry import ModelRegistry

    company = load(config)
    registry = ModelRegistry(company.tracking_uri, model)
    registry.version(tracking.CHAMPION)
    with tracking.tracked_run(company, "rollback", model) as tracked:
        replaced, restored = promotion.rollback(registry, why)
        tracked.params({"from_version": replaced, "to_version": restored, "why": why})
    out.print(f"{model}: version {restored} is the champion again; version {replaced} went: {why}", soft_wrap=True)


@app.command()
def repair(
    table: Annotated[str, typer.Argument(help="The damaged table, as a message names it.")],
    config: ConfigFile,
) -> None:
    """Take a table back to its newest sound version; what was written since is to be run again."""
    from churn import repair as repairing
    from churn.job_runner import Job

    with Job("repair", config) as job:
        done = repairing.repair(job.lake, table)
        path = job.lake.path(table)
    files = ", ".join(done.files)
    out.print(f"{path} is at version {done.version}; set aside in _delta_log/_damaged: {files}", soft_wrap=True)
    if done.version < done.before:
        out.print(f"run the jobs again that wrote versions {done.version + 1} to {done.before}", soft_wrap=True)


@app.command()
def backtest(
    config: ConfigFile,
    as_of: AsOfs,
    out_file: OutFile,
    model: ModelFile = CHURN_MODEL,
    master: Master = LOCAL,
    conf: SparkSettings = None,
) -> None:
    """At each origin: train on what was known by then, score its cohort, evaluate by what happened afterwards."""
    origins = [part for date in as_of for part in ("--as-of", date.isoformat())]
    _run_job("backtest", config, *_out(out_file), *origins, model=model, master=master, conf=conf)


@app.command()
def uplift(config: ConfigFile, out_file: OutFile, master: Master = LOCAL, conf: SparkSettings = None) -> None:
    """Learn whom past campaigns moved, and measure it: uplift at each share, the Qini coefficient, each effect."""
    _run_job("uplift", config, *_out(out_file), master=master, conf=conf)


@app.command()
def value(
    config: ConfigFile,
    as_of: AsOf,
    out_file: OutFile,
    horizon: Annotated[int | None, typer.Option(metavar="DAYS", min=1, help="Of the value; else [value].")] = None,
    master: Master = LOCAL,
    conf: SparkSettings = None,
) -> None:
    """Predict each customer's margin over the next year, and compare it with what happened since the as-of."""
    days = ("--horizon", str(horizon)) if horizon else ()
    _run_job("value", config, "--as-of", as_of.isoformat(), *_out(out_file), *days, master=master, conf=conf)


@app.command()
def maintain(config: ConfigFile, as_of: AsOf, master: Master = LOCAL, conf: SparkSettings = None) -> None:
    """Delete features and scores that are too old, compact the tables, and forget their old versions."""
    _run_job("maintain", config, "--as-of", as_of.isoformat(), master=master, conf=conf)


@app.command()
def plan(
    config: ConfigFile,
    as_of: AsOf,
    out_file: OutFile,
    model: ModelFile = CHURN_MODEL,
    master: Master = LOCAL,
    conf: SparkSettings = None,
) -> None:
    """Plan whom to contact with which offer, from an as-of's scores and values: a table, a CSV and a page."""
    when = ("--as-of", as_of.isoformat())
    _run_job("plan_campaign", config, *when, *_out(out_file), model=model, master=master, conf=conf)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def airflow(
    command: typer.Context,
    config: ConfigFile,
    models: Annotated[Path, typer.Option(metavar="FOLDER", help="That of churn.py, fraud.py and sales.py.")] = Path(
        "models"
    ),
    home: Annotated[Path, typer.Option(metavar="FOLDER", help="AIRFLOW_HOME.")] = Path(".airflow"),
    port: Annotated[int, typer.Option(metavar="N", help="Of the web UI and the API, on loopback.")] = 8080,
    master: Master = LOCAL,
    conf: SparkSettings = None,
) -> None:
    """Start Airflow with the DAGs, on loopback; or run one of its commands, such as: dags trigger churn_ingest."""
    from churn.runtime.local_airflow import airflow_environment, run_airflow

    settings = _spark_settings(conf)
    env = airflow_environment(home.absolute(), config=config, models=models, master=master, conf=settings, port=port)
    raise typer.Exit(run_airflow(env, command.args))


def main() -> int:
    return exit_code(app, sys.argv[1:] or ["--help"], name="churn")


if __name__ == "__main__":
    sys.exit(main())
