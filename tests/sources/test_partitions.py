"""Files by whatever name, and folders `name=value` as columns, of every format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import DAY, RawInput, Source, load
from churn.errors import BadInputError
from churn.sources.daily_files import of_batch
from churn.sources.mapping import RULES
from churn.sources.readers import read
from churn.sources.readers.files import FILE, UNPARSED, find_files
from churn.sources.streaming import read_stream

FORMATS = ("csv", "json", "parquet")


def write(path: Path, row: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
        case ".json":
            path.write_text(json.dumps(row) + "\n")
        case _:
            pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)


def raw(spark: SparkSession, path: Path | str, kind: str, **settings: Any) -> DataFrame:
    source = RawInput(name="calls", file=Path("churn.toml"), format=kind, path=str(path), **settings)
    return read(spark, source).drop(UNPARSED)


def rows(frame: DataFrame) -> list[tuple[Any, ...]]:
    return sorted(map(tuple, frame.collect()), key=str)


@pytest.mark.parametrize("kind", FORMATS)
def test_folders_are_columns_of_text(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    places = [
        # a value keeps its zeros
        "branch=007/dt=2024-07-01/1",
        # Hive and Spark escape a colon, a slash and a percent sign
        "branch=a%3Ab%2Fc 50%25/dt=__HIVE_DEFAULT_PARTITION__/2",
        # pyarrow escapes a blank and letters too; a plus sign is one
        "branch=S%C3%A3o%20Paulo+1/dt=/3",
        # a percent sign that escapes nothing; a folder that names no column
        "branch=50%/today/dt=x=y/4",
        "branch=7/branch=8/branch=9/5",
    ]
    for place in places:
        write(tmp_path / f"{place}.{kind}", {"id": place[-1]})

    frame = raw(spark, tmp_path, kind)

    assert frame.columns == ["id", "branch", "dt", FILE]
    assert rows(frame) == [
        ("1", "007", "2024-07-01", f"{tmp_path}/{places[0]}.{kind}"),
        ("2", "a:b/c 50%", None, f"{tmp_path}/{places[1]}.{kind}"),
        ("3", "São Paulo+1", None, f"{tmp_path}/{places[2]}.{kind}"),
        ("4", "50%", "x=y", f"{tmp_path}/{places[3]}.{kind}"),
        ("5", "9", None, f"{tmp_path}/{places[4]}.{kind}"),
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_column_of_the_files_comes_before_the_folder(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    write(tmp_path / f"Branch=007/1.{kind}", {"id": "1", "branch": "7"})
    write(tmp_path / f"Branch=008/2.{kind}", {"id": "2", "branch": ""})
    write(tmp_path / f"Branch=009/3.{kind}", {"id": "3"})
    frame = raw(spark, tmp_path, kind)
    # A blank cell of csv is no value; in the other formats it is one, empty text.
    assert rows(frame.select("id", "branch")) == [("1", "7"), ("2", "008" if kind == "csv" else ""), ("3", "009")]
    assert sorted(frame.columns) == [FILE, "branch", "id"]


def test_a_folder_fills_the_gaps_of_a_typed_column(spark: SparkSession, tmp_path: Path) -> None:
    for day, values in (("2024-07-01", [1, None]), ("x", [None])):
        (tmp_path / f"n={day[-2:]}").mkdir()
        pq.write_table(pa.table({"n": pa.array(values, pa.int32())}), tmp_path / f"n={day[-2:]}" / "1.parquet")
    frame = raw(spark, tmp_path, "parquet").drop(FILE)
    assert frame.schema["n"].dataType.simpleString() == "int"
    assert rows(frame) == [(1,), (1,), (None,)]


@pytest.mark.parametrize("kind", FORMATS)
def test_only_folders_below_the_path_count(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "env=prod"
    write(folder / f"dt=1/part=2/x.{kind}", {"id": "1"})

    def columns(path: Path) -> list[str]:
        return raw(spark, path, kind).columns

    assert columns(folder) == ["id", "dt", "part", FILE]
    assert columns(folder / "dt=1") == ["id", "part", FILE]
    assert columns(folder / f"dt=1/part=2/x.{kind}") == ["id", FILE]
    # what is a pattern is not known before the files are
    assert columns(folder / f"dt=*/part=2/x.{kind}") == ["id", "dt", "part", FILE]
    assert columns(folder / f"dt=1/part=[0-9]/*.{kind}") == ["id", "part", FILE]
    assert columns(tmp_path / f"env={{prod,test}}/dt=1/part=2/x.{kind}") == ["id", "env", "dt", "part", FILE]

    for place in ("in/env=test/x", "in/y"):
        write(folder / f"{place}.{kind}", {"id": place[-1]})
    assert rows(raw(spark, folder / "in", kind).drop(FILE)) == [("x", "test"), ("y", None)]


@pytest.mark.parametrize("kind", FORMATS)
def test_no_option_makes_numbers_of_folders(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    write(tmp_path / f"branch=007/x.{kind}", {"id": "1"})
    frame = raw(spark, tmp_path, kind, options={"basePath": str(tmp_path)})
    assert rows(frame.drop(FILE)) == [("1", "007")]


@pytest.mark.parametrize("look_back", [1, 2])
def test_the_day_of_a_path_is_a_column_of_one_day_as_of_several(
    spark: SparkSession, tmp_path: Path, look_back: int
) -> None:
    for day in (1, 2):
        write(tmp_path / f"dt=2024-07-0{day}/calls/x.csv", {"id": str(day)})
    source = Source(
        name="calls",
        file=Path("churn.toml"),
        format="csv",
        path=f"{tmp_path}/dt={DAY}/calls/x.csv",
        look_back=look_back,
    )
    frame = read(spark, of_batch(spark, source, datetime(2024, 7, 3))).select("id", "dt")
    assert rows(frame) == [("1", "2024-07-01"), ("2", "2024-07-02")][-look_back:]


STREAMED = """
[sources.calls]
path = "history"
format = "{kind}"
columns = {{ call_id = "id", customer_id = "branch", event_time = "at", queue = "_file" }}
stream = {{ path = "arriving" }}
"""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("place", ["branch=0042/", ""])
def test_folders_are_columns_of_a_stream(spark: SparkSession, tmp_path: Path, kind: str, place: str) -> None:
    write(tmp_path / f"history/branch=007/x.{kind}", {"id": "1", "at": "2024-07-01"})
    file = tmp_path / f"arriving/{place}x y.{kind}"
    write(file, {"id": "2", "at": "2024-07-02"})
    (tmp_path / "churn.toml").write_text(STREAMED.format(kind=kind))

    stream = read_stream(spark, load(tmp_path / "churn.toml"), "calls", "files")

    assert stream is not None
    found = stream.rows.select("call_id", "customer_id", "queue", RULES)
    query = found.writeStream.format("memory").queryName("streamed").trigger(availableNow=True).start()
    query.awaitTermination()
    expected = ("0042", []) if place else (None, ["customer_id_missing"])
    assert rows(spark.table("streamed")) == [("2", expected[0], str(file), expected[1])]


# --- names ------------------------------------------------------------------------------------------------------------

NAMES = (
    "10:05:00 s3:x",
    " blanks ",
    "[a]",
    "[a",
    "{a,b}",
    "{a",
    "50%",
    "a%20b",
    "a%3Ab",
    "back\\slash",
    "[a]\\{b}:c",
    "a,b;c&d",
    'it\'s "x"',
    "#1",
    "what?",
    "st*r",
    "é ü 日本",
    "a+b",
    "tab\tline\nend",
    "^`|$~!@()",
    "k=v:w",
)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_may_have_any_name(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    """In a folder, alone, and below a folder of that name."""
    for number, name in enumerate(NAMES):
        write(tmp_path / "files" / f"{name}.{kind}", {"id": f"{number:02}"})
        write(tmp_path / "folders" / name / f"x.{kind}", {"id": f"{number:02}"})
    numbers = [f"{number:02}" for number in range(len(NAMES))]

    files, folders = (raw(spark, tmp_path / place, kind).select("id", FILE) for place in ("files", "folders"))

    assert rows(files) == [
        (number, f"{tmp_path}/files/{name}.{kind}") for number, name in zip(numbers, NAMES, strict=True)
    ]
    assert rows(folders) == [
        (number, f"{tmp_path}/folders/{name}/x.{kind}") for number, name in zip(numbers, NAMES, strict=True)
    ]
    for number, name in zip(numbers, NAMES, strict=True):
        alone = RawInput(name="calls", path=f"{tmp_path}/files/{name}.{kind}", format=kind)
        assert find_files(spark, alone) == [(f"file:{alone.path}", os.stat(alone.path).st_size)], number  # noqa: PTH116


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["10:05 [a]", "[a]\\{b}:c"])
def test_a_file_of_any_name_is_read_alone(spark: SparkSession, tmp_path: Path, kind: str, name: str) -> None:
    write(tmp_path / name / f"{name}.{kind}", {"id": "1"})
    write(tmp_path / name / f"other.{kind}", {"id": "2"})
    assert rows(raw(spark, tmp_path / name / f"{name}.{kind}", kind).select("id")) == [("1",)]


@pytest.mark.parametrize("kind", FORMATS)
def test_values_of_folders_may_have_any_character(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    for number, name in enumerate(NAMES[:-1]):
        write(tmp_path / f"v={name}" / f"x.{kind}", {"id": f"{number:02}"})
    plain = [name.replace("%20", " ").replace("%3A", ":") for name in NAMES[:-1]]
    assert rows(raw(spark, tmp_path, kind).select("id", "v")) == [
        (f"{number:02}", name) for number, name in enumerate(plain)
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["[a].csv", "a.csv", "b:1.csv", "{a,b}.csv"]),
        # a name that is there comes before its meaning as a pattern
        ("[a].csv", ["[a].csv"]),
        ("{a,b}.csv", ["{a,b}.csv"]),
        ("[ab].csv", ["a.csv"]),
        ("[!a]*.csv", ["[a].csv", "b:1.csv", "{a,b}.csv"]),
        ("{a,b:?}.csv", ["a.csv", "b:1.csv"]),
        ("\\[a\\].csv", ["[a].csv"]),
        ("{a,c d}*", ["a.csv"]),
        ("new [1]/*.csv", ["new [1]/x:y.csv"]),
        ("n?w*/*", ["new [1]/x:y.csv"]),
        # no folder matches this as a pattern
        ("n* [1]/*", ["new [1]/x:y.csv"]),
        ("{new [1]/x:y,a}.csv", ["a.csv", "new [1]/x:y.csv"]),
        ("[x-a]*", None),
        ("nothing*", None),
    ],
)
def test_patterns(spark: SparkSession, tmp_path: Path, pattern: str, expected: list[str] | None) -> None:
    for name in ("[a].csv", "a.csv", "b:1.csv", "{a,b}.csv", "new [1]/x:y.csv", "_x.csv", ".x.csv"):
        write(tmp_path / name, {"id": "1"})
    found = find_files(spark, RawInput(name="calls", path=f"{tmp_path}/{pattern}"))
    assert found == (expected and [(f"file:{tmp_path}/{name}", 5) for name in expected])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"calls [new] {DAY}.csv", f"calls [new] {DAY}.csv"),
        (f"{{x}} 10:05 {DAY}.csv", f"{{x}} 10:05 {DAY}.csv"),
        (f"[ab] {DAY}/*.csv", f"[ab] {DAY}/x:y.csv"),
        (f"[ab]\\[1\\] {{c,d}}/{DAY}.csv", f"b[1] c/{DAY}.csv"),
    ],
)
def test_any_name_may_have_the_day(spark: SparkSession, tmp_path: Path, path: str, name: str) -> None:
    for day in ("2024-07-01", "2024-07-02"):
        write(tmp_path / name.replace(DAY, day), {"id": day})
    source = Source(name="calls", file=Path("churn.toml"), format="csv", path=f"{tmp_path}/{path}", look_back=2)
    frames = (read(spark, of_batch(spark, source, as_of)) for as_of in (datetime(2024, 7, 3), None))
    assert [rows(frame.select("id")) for frame in frames] == [[("2024-07-01",), ("2024-07-02",)]] * 2


def test_hidden_names(spark: SparkSession, tmp_path: Path) -> None:
    """Spark leaves them out, but for folders that name a column or are named in the path."""
    for name in ("_x.csv", ".x.csv", "_tmp/x.csv", "a.csv", "_dt=1/b.csv"):
        write(tmp_path / name, {"id": name[-5]})
    assert rows(raw(spark, tmp_path, "csv").drop(FILE)) == [("a", None), ("b", "1")]
    assert rows(raw(spark, tmp_path / "_tmp", "csv").drop(FILE)) == [("x",)]
    for name in ("_x.csv", ".x.csv"):
        with pytest.raises(BadInputError, match=r'any that begins with "_" or "\."; rename the file'):
            raw(spark, tmp_path / name, "csv")


def test_a_name_that_java_cannot_decode_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """Java passes over such a file without a word."""
    latin = os.fsencode(tmp_path) + "/café.csv".encode("latin-1")
    Path(os.fsdecode(latin)).write_text("id\n1\n")
    write(tmp_path / "a.csv", {"id": "1"})
    for path in (tmp_path, tmp_path / "*.csv", tmp_path / "c*"):
        with pytest.raises(BadInputError) as caught:
            raw(spark, path, "csv")
        assert str(caught.value) == (
            f"churn.toml: [inputs.calls] path {path}: the name b'caf\\xe9.csv' is no text in UTF-8, in which Java reads"
            " the names of files; rename it, or start with LC_ALL=C.UTF-8"
        )
    assert rows(raw(spark, tmp_path / "a*", "csv").select("id")) == [("1",)]
