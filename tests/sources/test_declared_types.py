"""Columns under `types`: in every batch, whether its files have them or not, and of the type that is said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import Config, RawInput, load
from churn.errors import ConfigError
from churn.sources.ingest import ingest
from churn.sources.readers import read
from churn.sources.readers.files import FILE, UNPARSED
from churn.sources.streaming import read_stream
from churn.storage import Lake

RENAMED = """
[sources.calls]
format = "{kind}"
path = "d/${{day}}.{kind}"
types = {{ who = "string", refund = "boolean" }}
[sources.calls.columns]
call_id = "id"
customer_id = "coalesce(customer, who)"
event_time = "at"
resolved = "refund"
"""
DAYS: tuple[Mapping[str, str], ...] = (
    {"id": "1", "who": "ann", "at": "2026-01-01 08:00:00"},
    {"id": "2", "customer": "bob", "at": "2026-01-02 08:00:00"},
)


def write(folder: Path, kind: str, name: str, row: Mapping[str, Any]) -> None:
    file = folder / f"{name}.{kind}"
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "csv":
        file.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    elif kind == "json":
        file.write_text("{" + ", ".join(f'"{key}": "{value}"' for key, value in row.items()) + "}\n")
    else:
        pq.write_table(pa.Table.from_pylist([row]), file)


def company(folder: Path, text: str) -> Config:
    (folder / "churn.toml").write_text(text)
    return load(folder / "churn.toml", env={})


def table(frame: DataFrame) -> dict[str, list[Any]]:
    """The values of each column, in the order of the first."""
    rows = sorted((tuple(row) for row in frame.drop(FILE).collect()), key=lambda row: str(row[0]))
    return {name: [row[at] for row in rows] for at, name in enumerate(name for name in frame.columns if name != FILE)}


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_batch_whose_files_lack_a_declared_column_has_it_as_null(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    """The second batch reads the day on which `who` is `customer`; no day has `refund`."""
    config = company(tmp_path, RENAMED.format(kind=kind))
    for day, row in enumerate(DAYS, 1):
        write(tmp_path, kind, f"d/2026-01-0{day}", row)
    lake = Lake(spark, config.root)
    text = (tmp_path / "churn.toml").read_text()
    first = company(tmp_path, text.replace('"coalesce(customer, who)"', '"who"'))
    ingest(spark, lake, first, batch="1", as_of=datetime(2026, 1, 2))
    config = company(tmp_path, text)
    ingest(spark, lake, config, batch="2", as_of=datetime(2026, 1, 3))
    calls = lake.read("calls").select("call_id", "customer_id", "resolved")
    assert sorted(tuple(row) for row in calls.collect()) == [("1", "ann", None), ("2", "bob", None)]


def test_a_cell_of_csv_that_is_not_of_its_type_costs_its_row(spark: SparkSession, tmp_path: Path) -> None:
    text = "id,fee,ok,Note\n1, 9.50 ,true,a\n2,free,false,b\n3,,,\n4,1.5,maybe,c\n5,2,false,d,e\n"
    (tmp_path / "x.csv").write_text(text)
    types = {"FEE": "decimal(10,2)", "ok": "boolean", "note": "string", "late": "int"}
    frame = read(spark, RawInput(name="calls", path=f"{tmp_path}/x.csv", types=types))
    assert frame.select("fee", "ok", "Note", "late").schema.simpleString() == (
        "struct<fee:decimal(10,2),ok:boolean,Note:string,late:int>"
    )
    found = table(frame)
    assert found[UNPARSED] == [
        None,
        '{"id":"2","fee":"free","ok":"false","Note":"b"}',
        None,
        '{"id":"4","fee":"1.5","ok":"maybe","Note":"c"}',
        "5,2,false,d,e",
    ]
    assert [str(fee) for fee in found["fee"][:3:2]] == ["9.50", "None"]
    assert (found["ok"][0], found["ok"][2], found["Note"][0], found["late"]) == (True, None, "a", [None] * 5)


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        (pa.array(["7", " 8 ", "x", "", None]), "int", [7, 8, "x", None, None]),
        (pa.array([7.0, 8.5, float("nan"), 1e300]), "int", [7, "8.5", None, "1.0E300"]),
        (pa.array([7, 300, None]), "tinyint", [7, "300", None]),
        (pa.array([0.1, 2.0]), "string", ["0.1", "2"]),
        (pa.array([True, None]), "string", ["true", None]),
        (pa.array([[1]]), "array<bigint>", [[1]]),
        (pa.array([date(2026, 1, 1)]), "date", [date(2026, 1, 1)]),
    ],
)
def test_values_of_parquet_in_their_declared_type(
    spark: SparkSession, tmp_path: Path, values: pa.Array, declared: str, expected: list[object]
) -> None:
    """A value that cannot be of the type, or would be rounded, is the row's JSON in its place here."""
    pq.write_table(pa.table({"id": list(range(len(values))), "x": values}), tmp_path / "x.parquet")
    source = RawInput(name="calls", format="parquet", path=f"{tmp_path}/x.parquet", types={"x": declared, "y": "date"})
    frame = read(spark, source)
    found = table(frame)
    unparsed = found.get(UNPARSED, [None] * len(values))
    shown = [
        value if line is None else str(line).split('"x":')[1].strip('"}')
        for value, line in zip(found["x"], unparsed, strict=True)
    ]
    assert (shown, found["y"]) == (expected, [None] * len(values))


@pytest.mark.parametrize(
    ("kind", "types", "message"),
    [
        ("parquet", {"at": "timestamp"}, "at is timestamp, but the source has it as string; write string, and cast it"),
        ("parquet", {"id": "array<int>"}, "id is array<int>, but the source has it as string; write string, and cast"),
        ("csv", {"at": "timestamp"}, "at is 'timestamp', but timestamp is not read here; write string, and cast it"),
        ("csv", {"x": "strng"}, "x is 'strng', which is no type of Spark; want one such as \"string\""),
        ("csv", {"_file": "string"}, "_file is 'string', but that column is not of the source; drop it"),
    ],
)
def test_what_cannot_be_declared(
    spark: SparkSession, tmp_path: Path, kind: str, types: Mapping[str, str], message: str
) -> None:
    write(tmp_path, kind, "x", DAYS[0])
    source = RawInput(name="calls", file=Path("churn.toml"), format=kind, path=f"{tmp_path}/x.{kind}", types=types)
    with pytest.raises(ConfigError) as error:
        read(spark, source)
    assert str(error.value).startswith(f"churn.toml: [inputs.calls.types] {message}")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_stream_has_the_declared_columns(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    config = company(tmp_path, RENAMED.format(kind=kind) + "[sources.calls.stream]\npath = 'in'\n")
    write(tmp_path, kind, "d/2026-01-02", DAYS[1])
    write(tmp_path, kind, "in/x", {**DAYS[1], "id": "3"})
    mapped = read_stream(spark, config, "calls", "files")
    assert mapped is not None
    query = mapped.rows.writeStream.format("memory").queryName("declared").trigger(availableNow=True).start()
    query.awaitTermination()
    rows = spark.table("declared").select("call_id", "customer_id", "resolved").collect()
    assert [tuple(row) for row in rows] == [("3", "bob", None)]


def test_a_query_sees_the_declared_columns_of_its_inputs(spark: SparkSession, tmp_path: Path) -> None:
    text = """
[inputs.legs]
path = "d/*.csv"
types = { who = "string" }
[sources.calls]
query = "select id as call_id, coalesce(customer, who) as customer_id, at as event_time from legs"
"""
    write(tmp_path, "csv", "d/x", DAYS[1])
    config = company(tmp_path, text.replace('types = { who = "string" }', ""))
    lake = Lake(spark, config.root)
    with pytest.raises(
        ConfigError, match=r"if files of other days have it, declare it: types = \{ who = \"string\" \}"
    ):
        ingest(spark, lake, config, batch="b")
    [row] = ingest(spark, lake, company(tmp_path, text), batch="b")
    assert (row.accepted, row.quarantined) == (1, 0)
