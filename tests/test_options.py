"""Exit codes and messages of a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer

from churn import cli, errors
from churn.options import AsOf, exit_code

YEARS = "lies outside of the years 1970 to 2199; want such as 2026-10-01"
MIDNIGHT = "want a midnight UTC; write"
app = typer.Typer()


@app.command()
def step(as_of: AsOf, raises: Annotated[str, typer.Option()] = "", code: Annotated[int, typer.Option()] = 0) -> None:
    if raises:
        raise getattr(errors, raises)(f"as of {as_of}")
    raise typer.Exit(code)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("--as-of 2026-10-01", 0, ""),
        ("--as-of 2026-10-01 --code 7", 7, ""),
        ("--as-of 2026-10-01 --raises ChurnError", 1, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises ConfigError", 2, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises HoldError", 3, "hold: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises NothingToDoError", 4, "nothing to do: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises LimitError", 5, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises NoChampionError", 6, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 2026-10-01 --raises DamageError", 7, "error: as of 2026-10-01 00:00:00\n"),
        ("--as-of 01/10/2026", 2, "error: '01/10/2026' is not a date; want one such as 2026-10-01\n"),
        ("--as-of 2026-10-01T00:00:00", 0, ""),
        ("--as-of 2026-10-01T02:00:00+02:00 --raises ChurnError", 1, "error: as of 2026-10-01 00:00:00\n"),
        (
            "--as-of 2026-01-30T06:00:00Z",
            2,
            f"error: '2026-01-30T06:00:00Z' is 2026-01-30 06:00:00 UTC, {MIDNIGHT} 2026-01-30, or a later date\n",
        ),
        (
            "--as-of 2026-01-30T00:00:00+02:00",
            2,
            f"error: '2026-01-30T00:00:00+02:00' is 2026-01-29 22:00:00 UTC, {MIDNIGHT} 2026-01-29, or a later date\n",
        ),
        (
            "--as-of 9999-01-01",
            2,
            f"error: '9999-01-01' {YEARS}\n",
        ),
        (
            "--as-of 1969-12-31",
            2,
            f"error: '1969-12-31' {YEARS}\n",
        ),
        ("", 2, "error: Missing option '--as-of'; see step --help\n"),
        ("--as-of 2026-10-01 --why", 2, "error: No such option: --why; see step --help\n"),
    ],
)
def test_a_run_ends_with_its_exit_code_and_one_message(
    args: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(app, args.split(), name="step") == code
    assert capsys.readouterr().err == message


def test_what_controls_a_terminal_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A name from data may hold anything; a message shows it."""
    broken = typer.Typer()

    @broken.command()
    def step() -> None:
        raise errors.BadInputError("customer [/x] \x1b[2J$}{$")

    assert exit_code(broken, []) == 2
    assert capsys.readouterr().err == "error: customer [/x] \\x1b[2J$}{$\n"


@pytest.mark.parametrize("place", ["file", "file/below", "loop/below", 300 * "n"])
def test_a_place_that_cannot_be_what_it_is_named_for_is_bad_input(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is a file or lies below one, a link to itself, a name that is too long: a retry finds the same."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert exit_code(cli.app, ["init", str(tmp_path / place)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path / place.partition('/')[0]}"), message
    assert message.endswith("; move what is there, or name another place\n")
    assert exit_code(cli.app, ["validate", "--config", str(tmp_path / place)]) == 2


def test_any_other_error_is_raised() -> None:
    broken = typer.Typer()
    broken.command()(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        exit_code(broken, [])
