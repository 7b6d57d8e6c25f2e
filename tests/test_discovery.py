"""Declarations are found file by file; a file that declares nothing, or a name that is taken, is one clear error."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pyspark import cloudpickle

from churn.discovery import Registry, load_file, load_folder
from churn.errors import BadInputError, ConfigError
from churn.labels import LABELS
from churn.loading import load_catalog
from churn.model_spec import Label
from churn.sources import CONTRACTS
from churn.sources.contract import Contract

VISITS = """
from churn import Contract, Field

VISITS = Contract("visits", "", "one visit", ("visit_id",), "", "", (Field("shop", "string", ""),))
"""
LABEL = """
from __future__ import annotations

from typing import Literal

from churn import Label, Vocabulary


class Base(Label):
    entity = "customer"
    vocabulary = None

    @property
    def outcome(self) -> str:
        return "leaves"


class Leaves(Base):
    name = "leaves"
    sources = ("visits",)

    by: Literal["phone", "letter"] = "phone"

    def compute(self, rows, sources, window):
        return rows
"""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def contracts(folder: Path, files: Mapping[str, str]) -> Registry[Contract]:
    """What the files of a folder declare."""
    registry: Registry[Contract] = Registry("source", lambda value: isinstance(value, Contract))
    for module in load_folder(write(folder, files)):
        registry.register(module)
    return registry


def test_a_file_that_declares_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"visits\.py declares no source; see docs/add-a-source\.md"):
        contracts(tmp_path, {"visits.py": "VISITS = 1"})
    write(tmp_path, {"catalog/features/visits.py": "from churn import windowed"})
    with pytest.raises(ConfigError, match=r"visits\.py declares no feature; see docs/add-a-feature\.md"):
        load_catalog(tmp_path / "catalog")


def test_two_of_one_name(tmp_path: Path) -> None:
    message = r"two sources are named 'visits', in .*/a\.py and in .*/b\.py; rename one"
    with pytest.raises(ConfigError, match=message):
        contracts(tmp_path, {"a.py": VISITS, "b.py": VISITS})
    write(tmp_path, {"catalog/sources/calls.py": VISITS.replace('"visits"', '"calls"')})
    message = r"two sources are named 'calls', in .*churn/sources/catalog/calls\.py and in .*/sources/calls\.py; rename"
    with pytest.raises(ConfigError, match=message):
        load_catalog(tmp_path / "catalog")


def test_what_a_file_imports_is_not_its_declaration(tmp_path: Path) -> None:
    before = dict(CONTRACTS), dict(LABELS)
    write(tmp_path, {"sources/shops.py": "from churn.sources.catalog.calls import CALLS"})
    with pytest.raises(ConfigError, match=r"shops\.py declares no source"):
        load_catalog(tmp_path)
    write(tmp_path, {"labels/closed.py": "from churn import Closure, Label"})
    (tmp_path / "sources/shops.py").unlink()
    with pytest.raises(ConfigError, match=r"closed\.py declares no label"):
        load_catalog(tmp_path)
    assert (dict(CONTRACTS), dict(LABELS)) == before


def test_a_folder_that_is_loaded_twice_is_run_once(tmp_path: Path) -> None:
    folder = write(tmp_path, {"visits.py": VISITS, "_notes.txt": "no Python"})
    registry = contracts(folder, {})
    declared = registry["visits"]
    for module in load_folder(folder):
        registry.register(module)
    assert list(registry) == ["visits"]
    assert registry["visits"] is declared
    assert load_folder(tmp_path / "none") == []


def test_a_label_of_a_file_has_checked_settings_and_travels_to_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: Registry[type[Label]] = Registry(
        "label", lambda value: isinstance(value, type) and issubclass(value, Label)
    )
    # a name of Python's own, too
    [module] = load_folder(write(tmp_path, {"statistics.py": LABEL}))
    registry.register(module)
    assert list(registry) == ["leaves"]  # its base is none
    label = registry["leaves"](by="letter")  # type: ignore[call-arg]
    assert label.model_dump() == {"by": "letter"}
    pickled = cloudpickle.dumps(label)
    monkeypatch.delitem(sys.modules, module.__name__)  # as in a worker of Spark's, which cannot import it
    assert cloudpickle.loads(pickled).model_dump() == {"by": "letter"}


def test_a_name_that_is_not_declared_has_the_nearest() -> None:
    with pytest.raises(ConfigError, match=re.escape("churn.toml: [x]: no label 'closures'; did you mean 'closure'?")):
        LABELS.named("closures", "churn.toml: [x]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"visits\.py cannot be run: ZeroDivisionError: division by zero"),
        ("from churn.errors import ConfigError\nraise ConfigError('a setting')", "^a setting$"),
    ],
)
def test_a_file_that_cannot_be_run(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, {"visits.py": text}) / "visits.py"
    with pytest.raises(BadInputError, match=message):
        load_file(file, "visits_of_test")
    file.write_text("DONE = 1")  # mended, it runs
    assert load_file(file, "visits_of_test").DONE == 1
