"""`jobs/value.py`: what it writes was known at as-of; what is read apart is measured alone."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.jobs.company import content, step, write_shop

AS_OF = "2025-06-01"


def value(folder: Path, *more: str) -> int:
    """The exit code of the job."""
    arguments = ["--config", str(folder / "churn.toml"), "--as-of", AS_OF, "--out", str(folder / "value.json")]
    return int(import_module("jobs.value").main([*arguments, *more]))


def test_corrections_of_later_are_measured_and_never_written(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A first batch, read apart, takes amounts that were corrected later to a hundred times as much for known."""
    folder = write_shop(tmp_path, customers=12, days=200)
    assert value(folder) == 0  # before anything is ingested
    assert "no values are written, as no table is accepted; run jobs/ingest.py first" in capsys.readouterr().out
    assert not (folder / "lake" / "values").exists()
    realised = json.loads((folder / "value.json").read_text())["margin"]["realised"]

    assert step("ingest", folder, AS_OF) == value(folder, "--no-ingest") == 0
    before = content(spark, folder, "values")
    header, *rows = (folder / "transactions.csv").read_text().splitlines()
    corrected = [f"{row.replace('.', '')}.0" for row in rows]  # 12.34 -> 1234.0
    (folder / "transactions.csv").write_text("\n".join([header, *corrected]))
    assert value(folder) == 0
    assert content(spark, folder, "values") == before
    assert len(before) == 12
    assert json.loads((folder / "value.json").read_text())["margin"]["realised"] == pytest.approx(100 * realised)
