"""The options of jobs and commands, each declared once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from churn.errors import BadInputError


def utc_datetime(text: str) -> datetime:
    """A time in UTC from `2026-10-01` or `2026-10-01T06:00:00Z`, without a zone as Spark's rows have it.

    >>> utc_datetime("2026-10-01")
    datetime.datetime(2026, 10, 1, 0, 0)
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a date; want one such as 2026-10-01 or 2026-10-01T06:00:00Z") from None
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="The company's churn.toml.")]
ModelFile = Annotated[Path, typer.Option("--model", metavar="FILE", help="A file that holds SPEC = ModelSpec(...).")]
AsOf = Annotated[datetime, typer.Option("--as-of", parser=utc_datetime, metavar="DATE", help="UTC: 2026-10-01.")]
AsOfs = Annotated[
    list[datetime], typer.Option("--as-of", parser=utc_datetime, metavar="DATE", help="UTC; may be repeated.")
]
OutFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the metrics, as JSON.")]
SummaryFile = Annotated[Path | None, typer.Option("--summary", hidden=True)]
Master = Annotated[str | None, typer.Option(help="Where Spark runs, as of spark-submit; default: local.")]
Conf = Annotated[list[str] | None, typer.Option("--conf", help="A Spark setting KEY=VALUE; may be repeated.")]
