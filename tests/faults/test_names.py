"""Names that a program could take for something else: of rules, of folders, of links."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.errors import BadInputError
from churn.sources.ingest import ingest
from churn.storage import Lake

HEADER = "transaction_id,customer_id,event_time,kind,amount\n"
ROWS = "1,ann,2026-01-01 08:00:00,purchase,9.50\n2,bob,2026-01-01 08:00:00,purchase,0.50\n"


def company(folder: Path, path: str, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "churn.toml").write_text(f'[sources.transactions]\npath = "{path}"\n{more}')
    return folder / "churn.toml"


@pytest.mark.parametrize("rule", ["less.than.one", "`quoted`", "a`b.c"])
def test_a_rule_of_any_name_quarantines(spark: SparkSession, tmp_path: Path, rule: str) -> None:
    """A rule's name is no column's: dots and backticks are part of it."""
    (tmp_path / "tx.csv").write_text(HEADER + ROWS)
    where = company(tmp_path, "tx.csv", f'[sources.transactions.reject]\n"{rule}" = "amount < 1"\n')
    lake = Lake(spark, str(tmp_path / "lake"))

    (row,) = ingest(spark, lake, load(where), batch="b")

    assert (row.accepted, row.quarantined, row.rules) == (1, 1, {rule: 1})
    assert [found["rules"] for found in lake.read("quarantine").collect()] == [[rule]]


@pytest.mark.parametrize("name", ["col:on", "{a,b}", "[x]"])
def test_a_folder_of_any_name_is_read(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """A relative path with a colon is no address, braces and brackets that are there no pattern."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "tx.csv").write_text(HEADER + ROWS)
    for folder, path in ((tmp_path, f"{name}/tx.csv"), (tmp_path / name, "tx.csv")):
        config = load(company(folder, path))
        (row,) = ingest(spark, Lake(spark, config.root), config, batch="b")
        assert (row.rows_in, row.accepted) == (2, 2)


def test_a_folder_that_links_to_itself_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """Its files have no end; each would be read again and again."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "tx.csv").write_text(HEADER + ROWS)
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    config = load(company(tmp_path, "in"))
    with pytest.raises(BadInputError, match=r"in/again is a link to a folder that it is in.*remove the link"):
        ingest(spark, Lake(spark, config.root), config, batch="b")
