"""Command lines: the options of jobs and commands, each declared once, and the exit code of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from churn.errors import BadInputError, ChurnError, printable
from churn.runtime.faults import explained
from churn.runtime.processes import guard

FIRST_YEAR, LAST_YEAR = 1970, 2199
"""An as-of lies in these years: windows and horizons before and after it are times that Spark and pandas can hold."""

# typer exports BadParameter alone of the errors that it raises for a wrong or missing option; this is their base class.
_UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])


def utc_midnight(text: str) -> datetime:
    """A midnight in UTC from `2026-10-01` or `2026-10-01T00:00:00Z`, without a zone as Spark's rows have it.

    Raises BadInputError where the text is no date, or another time: runs, days and their files are named by the date.

    >>> utc_midnight("2026-10-01")
    datetime.datetime(2026, 10, 1, 0, 0)
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a date; want one such as 2026-10-01") from None
    if not FIRST_YEAR <= parsed.year <= LAST_YEAR:
        raise BadInputError(f"{text!r} lies outside of the years {FIRST_YEAR} to {LAST_YEAR}; want such as 2026-10-01")
    instant = parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
    if instant.time() != time():
        raise BadInputError(
            f"{text!r} is {instant:%Y-%m-%d %H:%M:%S} UTC, want a midnight UTC; "
            f"write {instant:%Y-%m-%d}, or a later date"
        )
    return instant


def _as_of(text: str) -> Any:
    return typer.Option("--as-of", parser=utc_midnight, metavar="DATE", help=text)


ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="The company's churn.toml.")]
ModelFile = Annotated[Path, typer.Option("--model", metavar="FILE", help="A file that holds SPEC = ModelSpec(...).")]
AsOf = Annotated[datetime, _as_of("The date to run as of, at midnight UTC, such as 2026-10-01.")]
AsOfs = Annotated[list[datetime], _as_of("An origin, a midnight UTC, such as 2026-10-01; may be repeated.")]
OptionalAsOf = Annotated[datetime | None, _as_of("Rows of more than a year after it count as in_future.")]
OutFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the metrics, as JSON.")]
InputsOf = Annotated[
    str | None,
    typer.Option(
        "--inputs-of", metavar="RUN_ID", help="Do this run of MLflow again, on the tables it read; nothing is recorded."
    ),
]
Challenger = Annotated[
    bool,
    typer.Option("--challenger", help="While there is no champion, score by the challenger."),
]
SummaryFile = Annotated[Path | None, typer.Option("--summary", hidden=True)]
Master = Annotated[str, typer.Option("--master", metavar="URL", help="Where Spark runs, as for spark-submit.")]
SparkSettings = Annotated[
    list[str] | None, typer.Option("--conf", metavar="KEY=VALUE", help="A Spark setting; may be repeated.")
]


def exit_code(app: typer.Typer, argv: Sequence[str], *, name: str | None = None) -> int:
    """Run a command line: 0 done, 1 failed; the other exit codes are in churn.errors.

    An error that this library explains, or a wrong option, is one message on standard error. SIGTERM raises
    SystemExit(143).
    """
    with guard():
        try:
            command = typer.main.get_command(app)
            return int(command.main(list(argv), prog_name=name, standalone_mode=False) or 0)
        except ChurnError as error:
            return _ended(error)
        except _UsageError as error:
            path = error.ctx.command_path if error.ctx else name
            _print_error("error", f"{error.format_message().rstrip('.')}; see {path} --help")
            return error.exit_code
        except Exception as error:
            if (known := explained(error)) is None:
                raise
            return _ended(known)


def _ended(error: ChurnError) -> int:
    _print_error(error.label, str(error))
    return error.exit_code


def _print_error(label: str, message: str) -> None:
    typer.secho(f"{label}: ", err=True, nl=False, fg="red", bold=True)
    typer.echo(printable(message), err=True)
