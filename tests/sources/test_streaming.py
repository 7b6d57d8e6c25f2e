"""What a stream learns from the files that came before it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.errors import BadInputError
from churn.sources import streaming
from churn.sources.streaming import read_stream

CONFIG = """
[sources.calls]
path = "history"
format = "{kind}"
columns = {{ call_id = "id", customer_id = "customer", event_time = "at" }}
stream = {{ path = "arriving" }}
"""


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_stream_reads_the_last_files_alone_for_its_columns(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The first file can be read by nobody: a stream that read it would not start."""
    (tmp_path / "arriving").mkdir()
    (tmp_path / "history").mkdir()
    (tmp_path / f"history/2024-01-01.{kind}").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    for day in (2, 3):
        row = pd.DataFrame({"id": ["1"], "customer": ["a"], "at": [f"2024-01-0{day}"]})
        file = tmp_path / f"history/2024-01-0{day}.{kind}"
        if kind == "csv":
            row.to_csv(file, index=False)
        elif kind == "json":
            row.to_json(file, orient="records", lines=True)
        else:
            row.to_parquet(file)
    (tmp_path / "churn.toml").write_text(CONFIG.format(kind=kind))
    company = load(tmp_path / "churn.toml", env={})

    monkeypatch.setattr(streaming, "SCHEMA_FILES", 2)
    stream = read_stream(spark, company, "calls", "files")
    assert stream is not None
    assert {"call_id", "customer_id", "event_time"} <= set(stream.rows.columns)

    monkeypatch.setattr(streaming, "SCHEMA_FILES", 3)
    with pytest.raises(BadInputError, match="2024-01-01"):
        read_stream(spark, company, "calls", "files")


@pytest.mark.parametrize(
    ("kind", "option"), [("csv", "multiLine"), ("json", "allowComments"), ("parquet", "mergeSchema")]
)
def test_an_option_that_spark_cannot_read_stops_a_stream_before_it_starts(
    spark: SparkSession, tmp_path: Path, kind: str, option: str
) -> None:
    (tmp_path / "arriving").mkdir()
    (tmp_path / "churn.toml").write_text(CONFIG.format(kind=kind) + f'options = {{ {option} = "perhaps" }}\n')
    with pytest.raises(BadInputError, match=f"{option} = 'perhaps' cannot be read: want true or false"):
        read_stream(spark, load(tmp_path / "churn.toml", env={}), "calls", "files")
