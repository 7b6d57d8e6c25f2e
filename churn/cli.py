"""The `churn` command. It starts jobs and prints what came of them; what they do is in the library."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from importlib.resources import files
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from churn.errors import BadInputError, ChurnError
from churn.options import AsOf, AsOfs, Conf, ConfigFile, Master, ModelFile, OutFile, utc_datetime

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from churn.config import Config
    from churn.model_spec import ModelSpec

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
out, err = Console(), Console(stderr=True, soft_wrap=True)

SMALL = 20_000
"""Customers of a simulation below which a fast start is worth more than fast code."""
STEPS = ("ingest", "build_features", "train", "evaluate", "score")


def explained(command: Callable[..., None]) -> Callable[..., None]:
    """An error that the library can explain becomes one message and its exit code."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ChurnError as error:
            err.print(f"[bold red]{error.word}:[/] ", end="")
            err.print(str(error), markup=False, highlight=False)
            raise typer.Exit(error.exit_code) from None

    return guarded


def _run(job: str, *args: str, master: str, conf: Mapping[str, str]) -> None:
    """Run a script of jobs/; its exit code, if not 0, becomes this command's.

    On a local master it runs in this process, in the Spark session that is there; else by spark-submit.
    """
    from churn.runtime.session import environment, is_local, submit

    script = _jobs() / f"{job}.py"
    if is_local(master):
        code = run_path(str(script))["main"](args)
    else:
        from churn.runtime.processes import run as run_group

        code = run_group(submit(script, args, master=master, conf=conf), env=os.environ | environment(master))
    if code:
        raise typer.Exit(code)


@contextmanager
def _session(app_name: str, *, conf: Mapping[str, str] | None = None, lean: bool) -> Iterator[SparkSession]:
    """A Spark session that ends with the command; one that is there already is used, and stays."""
    from pyspark.sql import SparkSession

    from churn.runtime.processes import guard
    from churn.runtime.session import session, stop

    with guard():
        is_shared = SparkSession.getActiveSession() is not None
        spark = session(app_name, conf=conf or {}, lean=lean)
        try:
            yield spark
        finally:
            if not is_shared:
                stop(spark)


def _for_jobs(config: Config, master: str, conf: Mapping[str, str]) -> AbstractContextManager[object]:
    """On a local master, one Spark session for all jobs that are run inside."""
    from churn.runtime.session import is_local

    if not is_local(master):
        return nullcontext()
    return _session("churn", conf={**config.spark, **conf, "spark.master": master}, lean=config.is_small)


def _settings(conf: Sequence[str] | None) -> dict[str, str]:
    return dict(_setting(text) for text in conf or ())


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise BadInputError(f"--conf {text!r} is not a setting; want KEY=VALUE")
    return key, value


def _jobs() -> Path:
    """The folder of jobs: of this checkout, or of the current folder."""
    for place in (Path(__file__).parents[1] / "jobs", Path.cwd() / "jobs"):
        if place.is_dir():
            return place
    raise BadInputError("no folder jobs/ beside the library or in this folder; run churn in a checkout of the project")


@app.command()
@explained
def init(folder: Annotated[Path, typer.Argument(help="Where to put it; made if it is not there.")]) -> None:
    """Write a commented churn.toml to start from."""
    target = folder / "churn.toml"
    if target.exists():
        raise BadInputError(f"{target} is there already; edit it, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text((files("churn") / "templates" / "churn.toml").read_text("utf-8"), "utf-8")
    out.print(f"{target}: map your sources in it, then try: churn validate --config {target}")


@app.command()
@explained
def features(as_json: Annotated[bool, typer.Option("--json", help="As JSON, one object a feature.")] = False) -> None:
    """The catalogue of features: columns, unit, source, windows, fill, after-intent mark, doc."""
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
@explained
def simulate(
    customers: Annotated[int, typer.Option(help="How many customers.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    start: Annotated[str, typer.Option(help="The first day.")] = "2024-10-01",
    end: Annotated[str, typer.Option(help="The day after the last.")] = "2026-10-01",
    transactions_per_month: Annotated[float, typer.Option(help="The mean of an open account.")] = 4.0,
    format_: Annotated[Literal["csv", "csv.gz", "parquet"], typer.Option("--format")] = "csv",
    layout: Annotated[Literal["single", "daily"], typer.Option(help="Daily: a file a day of arrival.")] = "single",
) -> None:
    """Make a company with ground truth: customers, calls, transactions, closures, frauds, contacts."""
    from churn.simulation import simulate as make

    first, after_last = utc_datetime(start).date(), utc_datetime(end).date()
    with _session("churn simulate", lean=customers <= SMALL) as spark:
        made = make(
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
    for source, rows in made.items():
        table.add_row(source, f"{rows:,}")
    out.print(table)
    out.print(f"{out_dir}: {customers:,} customers")


@app.command()
@explained
def validate(
    config: ConfigFile,
    as_of: Annotated[str | None, typer.Option(help="Rows more than a year after it are called in_future.")] = None,
) -> None:
    """Read every source through its mapping and say what ingest would do; nothing is written."""
    from churn.job_runner import company
    from churn.sources.ingest import validate as check

    settings = company(config)
    with _session("churn validate", conf=settings.spark, lean=settings.is_small) as spark:
        reports = check(spark, settings, as_of=utc_datetime(as_of) if as_of else None)
    table = Table("source", "rows in", "accepted", "duplicate", "quarantined", "from", "to")
    for report in reports:
        row = report.row
        span = [f"{end:%Y-%m-%d %H:%M}" if end else "" for end in (row.first_event, row.last_event)]
        counts = (row.rows_in, row.accepted, row.duplicate, row.quarantined)
        table.add_row(row.source, *(f"{count:,}" for count in counts), *span)
    out.print(table)
    for report in reports:
        for rule, count in sorted(report.row.rules.items(), key=lambda item: -item[1]):
            out.print(f"{report.row.source}: {rule}: {count:,} rows", style="bold", markup=False)
            for example in report.examples.get(rule, ()):
                out.print(f"    {example}", markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
    problems = [report.problem for report in reports if report.problem]
    if problems:
        raise BadInputError("; ".join(problems))


@app.command()
@explained
def run(
    config: ConfigFile,
    as_of: AsOf,
    model: ModelFile = Path("models/churn.py"),
    master: Master = None,
    conf: Conf = None,
) -> None:
    """The chain: ingest, features, train, evaluate, score; then a summary. On a cluster each step is a spark-submit."""
    from churn.job_runner import settings

    company, spec = settings(config, model)
    where, given = master or "local[*]", _settings(conf)
    with TemporaryDirectory() as scratch, _for_jobs(company, where, given):
        summary = Path(scratch) / "summary.json"
        common = ("--config", str(config), "--as-of", as_of.isoformat(), "--summary", str(summary))
        for number, job in enumerate(STEPS, start=1):
            out.rule(f"{number}/{len(STEPS)} {job.replace('_', ' ')}", align="left")
            of_model = () if job == "ingest" else ("--model", str(model))
            _run(job, *common, *of_model, master=where, conf=given)
        out.rule("summary", align="left")
        _print_summary(json.loads(summary.read_text("utf-8")), company, spec)


def _print_summary(found: dict[str, Any], company: Config, spec: ModelSpec) -> None:
    from churn.evaluation.alert_metrics import CARD_PRECISION, CARDS
    from churn.evaluation.by_date import BASELINE

    vocabulary, dates = spec.vocabulary, found["test"]
    rows = Table("source", "rows in", "accepted", "duplicate", "quarantined", title="rows", title_justify="left")
    for row in found["ledger"]:
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
        worth = f"{metrics[CARD_PRECISION]:.3f}" if has_cards else f"{metrics['lift']['0.1']:.2f}"
        evaluated.add_row(date, *counts, *(f"{figure:.3f}" for figure in figures), worth)
    top = Table("rank", vocabulary.entity, "score", title=vocabulary.likeliest, title_justify="left")
    for rank, entity, score in found["top"]:
        top.add_row(str(rank), entity, f"{score:.3f}")
    for table in (rows, evaluated, top):
        out.print(table)
    places = {"report": found["report"], "scores": found["scores"], "MLflow store": company.tracking_uri}
    for name, place in places.items():
        out.print(f"{name}: {place}", soft_wrap=True, highlight=False)


@app.command()
@explained
def rollback(
    model: Annotated[str, typer.Argument(help="The registered model: churn, fraud.")],
    config: ConfigFile,
    why: Annotated[str, typer.Option(help="The reason, to stay with the version that goes.")] = "by hand",
) -> None:
    """Put the champion before this one back into use; the one that goes is never promoted again."""
    from churn.config import load
    from churn.registry import tracking
    from churn.registry.model_registry import ModelRegistry
    from churn.registry.promotion import rollback as go_back

    settings = load(config)
    registry = ModelRegistry(settings.tracking_uri, model)
    registry.version(tracking.CHAMPION)
    with tracking.tracked_run(settings, "rollback", model) as tracked:
        gone, back = go_back(registry, why)
        tracked.params({"from_version": gone, "to_version": back, "why": why})
    out.print(f"{model}: version {back} is the champion again; version {gone} went: {why}", soft_wrap=True)


@app.command()
@explained
def backtest(
    config: ConfigFile,
    as_of: AsOfs,
    out_file: OutFile,
    model: ModelFile = Path("models/churn.py"),
    master: Master = None,
    conf: Conf = None,
) -> None:
    """At each origin: learn from what was known by then, score its cohort, evaluate by what happened after."""
    from churn.job_runner import settings

    company, _ = settings(config, model)
    where, given = master or "local[*]", _settings(conf)
    dates = [part for date in as_of for part in ("--as-of", date.isoformat())]
    files_ = ("--config", str(config), "--model", str(model), "--out", str(out_file.absolute()))
    with _for_jobs(company, where, given):
        _run("backtest", *files_, *dates, master=where, conf=given)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@explained
def airflow(
    command: typer.Context,
    config: ConfigFile,
    models: Annotated[Path, typer.Option(help="The folder of churn.py and fraud.py.")] = Path("models"),
    home: Annotated[Path, typer.Option(help="Where Airflow keeps its own.")] = Path(".airflow"),
    port: Annotated[int, typer.Option(help="Of the pages and the API, on loopback.")] = 8080,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """Airflow with the DAGs, on loopback; or one of its commands, such as: dags trigger churn_ingest."""
    from churn.runtime.local_airflow import airflow as run_airflow
    from churn.runtime.local_airflow import prepare

    where = master or "local[*]"
    env = prepare(home.absolute(), config=config, models=models, master=where, conf=_settings(conf), port=port)
    raise typer.Exit(run_airflow(env, command.args))


def main() -> None:
    app(prog_name="churn")


if __name__ == "__main__":
    main()
