"""Exit codes and messages of a command line."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer

from churn.errors import ChurnError, ConfigError, HoldError, LimitError, NothingToDoError
from churn.options import AsOf, exit_code

ERRORS = {error.__name__: error for error in (ChurnError, ConfigError, HoldError, LimitError, NothingToDoError)}
DATES = "want one such as 2026-10-01 or 2026-10-01T06:00:00Z"
app = typer.Typer()


@app.command()
def step(as_of: AsOf, raises: Annotated[str, typer.Option()] = "", code: Annotated[int, typer.Option()] = 0) -> None:
    if raises:
        raise ERRORS[raises](f"as of {as_of}")
    raise typer.Exit(code)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("--as-of 2026-10-01", 0, ""),
        ("--as-of 2026-10-01 --code 7", 7, ""),
        ("--as-of 2026-10-01 --raises ChurnError", 1, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises LimitError", 1, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises ConfigError", 2, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises HoldError", 3, "hold: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises NothingToDoError", 4, "nothing to do: as of 2026-10-01 00:00:00\n"),
        ("--as-of 01/10/2026", 2, f"error: '01/10/2026' is not a date; {DATES}\n"),
        ("", 2, "error: Missing option '--as-of'; see step --help\n"),
        ("--as-of 2026-10-01 --why", 2, "error: No such option: --why; see step --help\n"),
    ],
)
def test_a_run_ends_with_its_exit_code_and_one_message(
    args: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(app, args.split(), name="step") == code
    assert capsys.readouterr().err == message


def test_any_other_error_is_raised() -> None:
    broken = typer.Typer()
    broken.command()(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        exit_code(broken, [])
