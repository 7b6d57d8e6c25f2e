"""The recipes of docs/add-a-source.md: the files and settings of each give the rows that it shows."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import load
from churn.sources.ingest import ingest
from churn.storage import Lake

PAGE = Path(__file__).parents[2] / "docs" / "add-a-source.md"
_BLOCK = re.compile(r"^```(\w+)[ ]?([\w./=-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipes() -> dict[str, list[tuple[str, str, str]]]:
    """By heading, the blocks of each recipe that shows rows: (language, name, text)."""
    sections = re.split(r"^### (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    found = {name: _BLOCK.findall(text) for name, text in zip(sections[::2], sections[1::2], strict=True)}
    return {name: blocks for name, blocks in found.items() if any(block[0] == "text" for block in blocks)}


def test_most_symptoms_have_a_recipe_that_runs() -> None:
    assert len(recipes()) > 10


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_gives_the_rows_that_it_shows(spark: SparkSession, tmp_path: Path, name: str) -> None:
    blocks = recipes()[name]
    for language, file, text in blocks:
        if language in ("csv", "json"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text, encoding="utf-8")
    [toml] = [text for language, _, text in blocks if language == "toml"]
    (tmp_path / "churn.toml").write_text(toml, encoding="utf-8")
    lake = Lake(spark, str(tmp_path / "lake"))
    config = load(tmp_path / "churn.toml", env={})
    is_daily = any(source.is_daily for source in config.sources.values())
    ingest(spark, lake, config, batch="b", as_of=datetime(2026, 10, 1) if is_daily else None)

    for language, table, text in blocks:
        if language == "text":
            header, *rows = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines()]
            stored = lake.read(table).select(*(F.col(column).cast("string") for column in header)).collect()
            assert sorted(list(row) for row in stored) == sorted(rows)
