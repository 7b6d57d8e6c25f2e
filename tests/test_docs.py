"""The pages: their snippets run, their links and names exist, and commands that are written twice are the same."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import churn
from churn.dataset.examples import usable_features
from churn.features import declarations
from churn.labels import LABELS
from churn.loading import with_settings
from churn.model_spec import Label, LabelWindow, ModelSpec
from churn.sources import CONTRACTS
from churn.sources.versions import with_reported_transactions

PROJECT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for folder, pattern in (("", "*.md"), ("churn", "**/*.md"), ("docs", "**/*.md"), ("sample_data", "**/*.md"))
    for page in (PROJECT / folder).glob(pattern)
)
GUIDES = sorted((PROJECT / "docs").glob("add-a-*.md"))
MODELS = sorted((PROJECT / "models").glob("*.py"))
AS_OF = datetime(2026, 10, 1)


# ---------------------------------------------------------------- commands, links, names


def test_make_check_and_the_hooks_run_the_same_commands() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe
    commands = [line.strip().lstrip("@").replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    config = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == commands
    assert {(hook["language"], hook["pass_filenames"], hook["always_run"]) for hook in hooks} == {
        ("system", False, True)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_relative_links_point_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(\s*([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_data_flow_has_the_rooms_in_their_order_and_names_what_exists() -> None:
    text = (PROJECT / "docs" / "data-flow.md").read_text("utf-8")
    rooms = re.findall(r"──> (\w+) +──>", text)
    config = ConfigParser()
    config.read(PROJECT / "setup.cfg", "utf-8")
    layers = re.findall(r"churn\.(\w+)", config["importlinter:contract:rooms"]["layers"])[::-1]
    assert [layer for layer in layers if layer in rooms] == rooms
    assert " -> ".join(rooms) in (PROJECT / "README.md").read_text("utf-8")
    names = re.findall(rf"`((?:{'|'.join(rooms)})\.[\w.]+)`", text)
    assert len(names) > 20
    assert [name for name in names if not _exists(f"churn.{name}")] == []


def _exists(name: str) -> bool:
    """Whether a dotted name is a module, or what one holds."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_the_glossary_is_alphabetical_and_names_a_term_once() -> None:
    text = (PROJECT / "docs" / "glossary.md").read_text("utf-8")
    terms = [re.sub("[^a-z ]", " ", term.lower()) for term in re.findall(r"^- \*\*(.+?)\*\*:", text, re.MULTILINE)]
    assert len(terms) > 90
    assert terms == sorted(set(terms))


# ---------------------------------------------------------------- snippets


@pytest.fixture
def _own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a snippet declares is in no catalogue after the test."""
    monkeypatch.setattr(declarations, "_REGISTRY", dict(declarations._REGISTRY))
    for registry in (CONTRACTS, LABELS):
        for part in ("_declared", "_files"):
            monkeypatch.setattr(registry, part, dict(getattr(registry, part)))


@pytest.mark.usefixtures("_own_catalogue")
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_snippets_of_a_guide_run(
    page: Path, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snippet whose first line names a file (`# catalog/features/visits.py`) is that file; any other one is run.

    All files of a page are loaded together. What they declare is computed on tables without rows.
    """
    monkeypatch.chdir(tmp_path)
    before = {"features": {row["name"] for row in churn.catalogue()}, "labels": set(LABELS)}
    files, notebook = [], []
    for snippet in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if named := re.match(r"# (\S+\.py)\b", snippet):
            files.append(tmp_path / named[1])
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            assert not files[-1].exists(), f"{named[1]} is on the page twice"
            files[-1].write_text(snippet, "utf-8")
        else:
            notebook.append(snippet)
    assert files, "a guide shows at least one file"
    declared = {file for file in files if file.parent.name in {"sources", "features", "labels"}}
    for folder in sorted({file.parents[1] for file in declared}):
        churn.load_catalog(folder)
    for snippet in notebook:
        exec(snippet, {"spark": spark})  # noqa: S102
    specs = [churn.load_spec(file) for file in sorted(set(files) - declared)]
    for spec in specs:
        usable_features(spec, dict.fromkeys(CONTRACTS))
    _check_settings(page, [*_models(), *specs])
    sources = {name: _without_rows(spark, name) for name in CONTRACTS}
    _compute_features([row for row in churn.catalogue() if row["name"] not in before["features"]], sources)
    for name in set(LABELS) - before["labels"]:
        _compute_label(LABELS[name](), sources)


@pytest.mark.parametrize("page", sorted({*PAGES} - {*GUIDES}), ids=lambda page: str(page.relative_to(PROJECT)))
def test_settings_of_models_on_a_page_are_valid(page: Path) -> None:
    _check_settings(page, list(_models()))


def _models() -> Iterator[ModelSpec]:
    return map(churn.load_spec, MODELS)


def _check_settings(page: Path, specs: list[ModelSpec]) -> None:
    """Raises ConfigError for a `[model.*]` table on the page that churn.toml could not have."""
    known: Mapping[str, ModelSpec] = {spec.name: spec for spec in specs}
    for snippet in re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for name, values in tomllib.loads(snippet).get("model", {}).items():
            with_settings(known[name], values, file=Path("churn.toml"))


def _without_rows(spark: SparkSession, source: str) -> DataFrame:
    rows = spark.createDataFrame([], CONTRACTS[source].schema)
    return rows.withColumn("superseded_at", F.lit(None).cast("timestamp"))


def _compute_features(rows: list[dict[str, Any]], sources: dict[str, DataFrame]) -> None:
    of = {entity: [row["name"] for row in rows if row["of"] == entity] for entity in ("customer", "transaction")}
    if of["customer"]:
        computed = churn.customer_features(_spine(sources), sources, of["customer"], as_ofs=[AS_OF])
        assert computed.count() == 0
    if of["transaction"]:
        computed = churn.transaction_features(
            sources["transactions"], with_reported_transactions(sources), of["transaction"]
        )
        assert computed.count() == 0


def _compute_label(label: Label, sources: dict[str, DataFrame]) -> None:
    rows = _spine(sources) if label.entity == "customer" else _day(sources["transactions"])
    labelled = label.compute(rows, {name: sources[name] for name in label.sources}, LabelWindow())
    assert {*rows.columns, "label"} <= set(labelled.columns)
    assert labelled.count() == 0


def _spine(sources: dict[str, DataFrame]) -> DataFrame:
    return sources["transactions"].select("customer_id", F.lit(AS_OF).alias("as_of"))


def _day(transactions: DataFrame) -> DataFrame:
    return transactions.withColumn("as_of", F.date_trunc("day", "event_time"))
