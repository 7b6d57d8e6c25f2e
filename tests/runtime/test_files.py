"""Where results are written: whether they could be is known before the work begins."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from churn.errors import BadInputError
from churn.runtime.files import require_place
from tests.jobs.company import AS_OF, churn, write_shop


def in_a_missing_folder(folder: Path) -> Path:
    return folder / "missing" / "out.json"


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "out.json"


def a_folder(folder: Path) -> Path:
    return folder


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (in_a_missing_folder, r"no folder .*missing to write out\.json in; create it, or name another"),
        (below_a_file, r"no folder .*file to write out\.json in; create it, or name another"),
        (a_folder, r"is a folder; name a file to write"),
        (a_pipe, r"pipe is not a file; name a file to write"),
    ],
)
def test_a_place_that_is_none_for_a_file_is_refused(
    tmp_path: Path, place: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        require_place(place(tmp_path))


def test_a_folder_that_this_user_cannot_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_place(tmp_path / "out.json")
    monkeypatch.setattr(os, "access", lambda place, how: not how & os.W_OK)  # as root may write anywhere
    with pytest.raises(BadInputError, match=r"the folder .* cannot be written to by this user; give permission, or"):
        require_place(tmp_path / "out.json")


@pytest.mark.parametrize("job", ["backtest", "plan_campaign", "uplift", "value"])
def test_a_job_refuses_its_out_before_it_begins(tmp_path: Path, job: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No table has been written, and no run begun."""
    shop = write_shop(tmp_path / "shop", customers=1)
    (shop / "out").mkdir()
    of_model = () if job in ("uplift", "value") else ("--model", str(shop / "model.py"))
    when = () if job == "uplift" else ("--as-of", AS_OF)
    there = sorted(shop.iterdir())
    args = ["--config", str(shop / "churn.toml"), "--out", str(shop / "out"), *of_model, *when]
    assert import_module(f"jobs.{job}").main(args) == 2
    assert capsys.readouterr().err == f"error: {shop / 'out'} is a folder; name a file to write\n"
    assert churn(job.removesuffix("_campaign"), *args).exit_code == 2
    assert sorted(shop.iterdir()) == there
