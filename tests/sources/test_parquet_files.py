"""Parquet as it comes: columns that change their type from file to file, and types that Spark does not read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import RawInput, load
from churn.errors import BadInputError, ConfigError
from churn.sources.mapping import RULES, map_source
from churn.sources.readers.files import FILE
from churn.sources.readers.parquet_files import read_parquet, unreadable_columns

NOON = datetime(2024, 5, 1, 12)
NS, NS_UTC = pa.timestamp("ns"), pa.timestamp("ns", "UTC")
US, US_UTC = pa.timestamp("us"), pa.timestamp("us", "UTC")


def write(path: Path, columns: Mapping[str, pa.Array], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, **options)


def days(folder: Path, *values: pa.Array | None) -> Path:
    """A file of one row for each value of the column `v`, which a file without a value lacks."""
    for number, value in enumerate(values, 1):
        day = {"id": pa.array([number])} | ({} if value is None else {"v": value})
        write(folder / f"day{number}.parquet", day)
    return folder


def raw(spark: SparkSession, path: Path, **settings: Any) -> DataFrame:
    return read_parquet(spark, RawInput(name="calls", file=Path("churn.toml"), format="parquet", path=str(path)))


def values(frame: DataFrame) -> list[Any]:
    return [row["v"] for row in frame.orderBy("id").collect()]


def doubles(*numbers: float | None) -> pa.Array:
    return pa.array(numbers, pa.float64())


@pytest.mark.parametrize(
    ("columns", "kind", "expected"),
    [
        # whole numbers: the longest
        ([pa.array([1], pa.int8()), pa.array([2], pa.int64()), pa.array([3], pa.int16())], "bigint", [1, 2, 3]),
        # a column that a file lacks, or that is null there and has no type
        ([pa.array([1], pa.int32()), None, pa.array([None], pa.null())], "int", [1, None, None]),
        ([pa.array([1], pa.int32()), pa.array([1.5], pa.float32()), doubles(0.1)], "double", [1.0, 1.5, 0.1]),
        # a double has no room for the digits of a long: ids would change
        (
            [pa.array([9_007_199_254_740_993]), doubles(700.0), doubles(float("nan")), doubles(None)],
            "decimal(38,18)",
            [Decimal(9_007_199_254_740_993), Decimal(700), None, None],
        ),
        (
            [pa.array([Decimal("19.99")], pa.decimal128(10, 2)), pa.array([7], pa.int32()), pa.array([8], pa.int64())],
            "decimal(21,2)",
            [Decimal("19.99"), Decimal("7.00"), Decimal("8.00")],
        ),
        (
            [pa.array([Decimal("0.0001")], pa.decimal128(6, 4)), doubles(19.99), doubles(1e9)],
            "decimal(38,18)",
            [Decimal("0.0001"), Decimal("19.99"), Decimal(1_000_000_000)],
        ),
        (
            [pa.array([Decimal(10**30)], pa.decimal128(38, 0)), pa.array([Decimal("0.25")], pa.decimal128(3, 2))],
            "decimal(38,2)",
            [Decimal(10**30), Decimal("0.25")],
        ),
        # beside text a number is the text that it would be in a file of text
        (
            [
                pa.array(["12345678"]),
                doubles(12345678.0),
                pa.array([Decimal("12345678")], pa.decimal128(38, 10)),
                pa.array([12345678], pa.int32()),
                pa.array([12345678.0], pa.float32()),
            ],
            "string",
            ["12345678"] * 5,
        ),
        (
            [
                pa.array(["0012"]),
                doubles(0.1),
                doubles(-1200.0),
                doubles(1.2345678901e17),
                doubles(0.0),
                doubles(1e300),
            ],
            "string",
            ["0012", "0.1", "-1200", "123456789010000000", "0", "1.0E300"],
        ),
        ([doubles(float("nan")), doubles(1e300), pa.array(["x"])], "string", [None, "1.0E300", "x"]),
        ([pa.array([Decimal("100.50")], pa.decimal128(5, 2)), pa.array(["x"])], "string", ["100.5", "x"]),
        ([pa.array([100], pa.int32()), pa.array([True]), pa.array(["x"])], "string", ["100", "true", "x"]),
        ([pa.array([b"x1"]), pa.array(["x2"])], "string", ["x1", "x2"]),
        # a date beside local time is its first instant
        ([pa.array([NOON.date()]), pa.array([NOON], US)], "timestamp_ntz", [datetime(2024, 5, 1), NOON]),
        ([pa.array([NOON], NS), pa.array([NOON], pa.timestamp("ms"))], "timestamp_ntz", [NOON, NOON]),
        ([pa.array([NOON], NS_UTC), pa.array([NOON], US_UTC)], "timestamp", [NOON, NOON]),
        # an instant beside text keeps its zone, or it would be read as local time
        (
            [pa.array([NOON], US_UTC), pa.array([NOON], US), pa.array([NOON.date()]), pa.array(["2024-05-01 12:00"])],
            "string",
            ["2024-05-01 12:00:00Z", "2024-05-01 12:00:00", "2024-05-01", "2024-05-01 12:00"],
        ),
        ([pa.array([None], pa.null()), pa.array([None], pa.null())], "string", [None, None]),
        ([pa.array([[1, 2]], pa.list_(pa.int32())), pa.array([[0.5]])], "array<double>", [[1.0, 2.0], [0.5]]),
        (
            [
                pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
                pa.array([[("b", "x")]], pa.map_(pa.string(), pa.string())),
            ],
            "map<string,string>",
            [{"a": "1"}, {"b": "x"}],
        ),
        (
            [
                pa.array([{"a b": 1, "t": NOON}], pa.struct([("a b", pa.int32()), ("t", NS)])),
                pa.array([{"c": "x", "A b": 2}], pa.struct([("c", pa.string()), ("A b", pa.int64())])),
                pa.array([None], pa.struct([("c", pa.string())])),
                None,
            ],
            "struct<a b:bigint,t:timestamp_ntz,c:string>",
            [(1, NOON, None), (2, None, "x"), None, None],
        ),
    ],
)
def test_a_column_that_changes_its_type(
    spark: SparkSession, tmp_path: Path, columns: Sequence[pa.Array | None], kind: str, expected: list[Any]
) -> None:
    frame = raw(spark, days(tmp_path, *columns))
    assert frame.schema["v"].dataType.simpleString() == kind
    assert values(frame) == expected
    assert unreadable_columns(frame) == {}


def test_names_that_differ_by_case_are_one_column(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"id": pa.array([1]), "Wait s": pa.array([5], pa.int32())})
    write(tmp_path / "2.parquet", {"WAIT S": pa.array([6]), "ID": pa.array([2])})
    frame = raw(spark, tmp_path)
    assert frame.columns == ["id", "Wait s", FILE]
    assert sorted(map(tuple, frame.collect())) == [
        (1, 5, f"{tmp_path}/1.parquet"),
        (2, 6, f"{tmp_path}/2.parquet"),
    ]


def test_files_of_one_schema_are_read_at_once_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    frame = raw(spark, days(tmp_path, *(doubles(number) for number in range(3))))
    plan = frame.drop(FILE)._jdf.queryExecution().optimizedPlan().toString()
    nodes = [line.strip(" +-:").split(" ")[0] for line in plan.strip().splitlines()]
    assert (nodes, "cast" in plan) == (["Project", "Relation"], False)
    assert values(frame) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("one", "other", "types"),
    [
        (pa.array([{"a": 1}]), pa.array([1]), ("struct<a:bigint>", "bigint")),
        (pa.array([NOON], US), pa.array([NOON], US_UTC), ("timestamp_ntz", "timestamp")),
        (pa.array([NOON], NS_UTC), pa.array([NOON], NS), ("timestamp", "timestamp_ntz")),
        # a day has no zone
        (pa.array([NOON.date()]), pa.array([NOON], US_UTC), ("date", "timestamp")),
        (pa.array([True]), pa.array([1], pa.int32()), ("boolean", "int")),
        (pa.array([["a"]]), pa.array(["a"]), ("array<string>", "string")),
        (pa.array([{"a": 1}]), pa.array([{"a": True}]), ("struct<a:bigint>", "struct<a:boolean>")),
    ],
)
def test_types_without_a_common_one_are_left_out_and_named(
    spark: SparkSession, tmp_path: Path, one: pa.Array, other: pa.Array, types: tuple[str, str]
) -> None:
    frame = raw(spark, days(tmp_path, one, one, other))
    assert unreadable_columns(frame) == {
        "v": (
            f"it is {types[0]} in {tmp_path}/day1.parquet and {types[1]} in {tmp_path}/day3.parquet, types that have"
            " none in common; write one of them, or read the files as two inputs"
        )
    }
    assert sorted(row["id"] for row in frame.collect()) == [1, 2, 3]


@pytest.mark.parametrize("vectorized", ["true", "false"])
def test_nanoseconds_are_cut_to_microseconds(spark: SparkSession, tmp_path: Path, vectorized: str) -> None:
    """Downwards, before 1970 too."""
    nanoseconds = pa.array([1_500, -1_500, 1_714_564_800_123_456_789, None], pa.int64())
    write(tmp_path / "1.parquet", {"local": nanoseconds.cast(NS), "instant": nanoseconds.cast(NS_UTC)})
    spark.conf.set("spark.sql.parquet.enableVectorizedReader", vectorized)
    try:
        frame = raw(spark, tmp_path)
        assert [field.dataType.simpleString() for field in frame.schema][:2] == ["timestamp_ntz", "timestamp"]
        expected = [
            datetime(1970, 1, 1, 0, 0, 0, 1),
            datetime(1969, 12, 31, 23, 59, 59, 999_998),
            datetime(2024, 5, 1, 12, 0, 0, 123_456),
            None,
        ]
        assert [tuple(row)[:2] for row in frame.collect()] == [(at, at) for at in expected]
    finally:
        spark.conf.unset("spark.sql.parquet.enableVectorizedReader")


def test_timestamps_of_hive_are_instants(spark: SparkSession, tmp_path: Path) -> None:
    """INT96, whose nanoseconds Spark cuts; 1582 is before its calendars differ from today's."""
    times = pa.array([datetime(2024, 5, 1, 12, 0, 0, 5), datetime(1582, 1, 1)], US)
    write(tmp_path / "1.parquet", {"v": times}, use_deprecated_int96_timestamps=True)
    frame = raw(spark, tmp_path)
    assert frame.schema["v"].dataType.simpleString() == "timestamp"
    assert [row["v"] for row in frame.collect()] == [datetime(2024, 5, 1, 12, 0, 0, 5), datetime(1582, 1, 1)]


UNREADABLE = {
    "tod_ms": (pa.array([time(9)], pa.time32("ms")), "int32 (TIME(MILLIS,false))"),
    "tod_us": (pa.array([time(9)], pa.time64("us")), "int64 (TIME(MICROS,false))"),
    "tod_ns": (pa.array([time(9)], pa.time64("ns")), "int64 (TIME(NANOS,false))"),
    "half": (pa.array([1.5], pa.float16()), "fixed_len_byte_array(2) (FLOAT16)"),
    "uuid": (pa.array([b"0123456789abcdef"], pa.uuid()), "fixed_len_byte_array(16) (UUID)"),
    "wide": (pa.array([Decimal("1.5")], pa.decimal256(60, 2)), "fixed_len_byte_array(26) (DECIMAL(60,2))"),
    "{s}": (pa.array([{"t": time(9)}]), None),
    "times": (
        pa.array([[time(9)]]),
        "group (LIST) { repeated group list { optional int64 element (TIME(MICROS,false)); } }",
    ),
    "by_bytes": (
        pa.array([[(b"1", "a")]], pa.map_(pa.binary(), pa.string())),
        "group (MAP) { repeated group key_value { required binary key; optional binary value (STRING); } }",
    ),
    "long": (
        pa.array([[{"a long name of a field": 1, "t": time(9)}]]),
        (
            "group (LIST) { repeated group list { optional group element {"
            " optional int64 a long name of a field; optional int64 t..."
        ),
    ),
}


def test_what_spark_cannot_read_is_left_out_and_named(spark: SparkSession, tmp_path: Path) -> None:
    columns = {name: column for name, (column, _) in UNREADABLE.items()}
    nested = pa.array([{"t": time(9), "agent": "kim"}])
    write(tmp_path / "1.parquet", {"id": pa.array([1]), **columns, "call": nested, "n": pa.array(["x"])})

    frame = raw(spark, tmp_path / "1.parquet")

    assert [tuple(row) for row in frame.collect()] == [(1, ("kim",), "x", f"{tmp_path}/1.parquet")]
    clause = f"in {tmp_path}/1.parquet; write it as text or as a number"
    unreadable = unreadable_columns(frame)
    for name, (_, kind) in UNREADABLE.items():
        if kind:
            assert unreadable.pop(name) == f"it is {kind} {clause}"
    assert unreadable == {
        "{s}.t": f"it is int64 (TIME(MICROS,false)) {clause}",
        "{s}": f"it is group {{ optional int64 t (TIME(MICROS,false)); }} {clause}",
        "call.t": f"it is int64 (TIME(MICROS,false)) {clause}",
    }


def test_a_column_that_one_file_has_unreadable_is_left_out_of_all(spark: SparkSession, tmp_path: Path) -> None:
    frame = raw(spark, days(tmp_path, pa.array(["9:00"]), pa.array([time(9)])))
    assert frame.columns == ["id", FILE]
    assert f"int64 (TIME(MICROS,false)) in {tmp_path}/day2.parquet" in unreadable_columns(frame)["v"]


def test_rows_of_a_file_without_a_readable_column_are_rows(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"id": pa.array([1])})
    write(tmp_path / "2.parquet", {"tod": pa.array([time(9), time(10)])})
    frame = raw(spark, tmp_path)
    assert sorted(map(tuple, frame.collect()), key=str) == [
        (1, f"{tmp_path}/1.parquet"),
        (None, f"{tmp_path}/2.parquet"),
        (None, f"{tmp_path}/2.parquet"),
    ]


def test_names_that_a_file_has_twice_are_left_out_and_named(spark: SparkSession, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["a"]), pa.array(["b"])], ["id", "Note", "note"])
    pq.write_table(table, tmp_path / "1.parquet")
    frame = raw(spark, tmp_path)
    assert [tuple(row) for row in frame.drop(FILE).collect()] == [(1,)]
    reason = f"it is there more than once in {tmp_path}/1.parquet, as Note, note; give each another name"
    assert unreadable_columns(frame) == {"Note": reason, "note": reason}


def test_every_column_that_is_read_can_be_written_as_json(spark: SparkSession, tmp_path: Path) -> None:
    """As the raw row is, when it is quarantined."""
    spark.sql(
        "SELECT X'ff00' AS bytes, INTERVAL '01:30' HOUR TO MINUTE AS held, parse_json('{\"a\": [1]}') AS any,"
        " map(1, 'x') AS by_number, map(DATE '2024-05-01', 1) AS by_day, st_geomfromwkb("
        "X'0101000000000000000000f03f0000000000000040') AS place, TIMESTAMP '2024-05-01 12:00:00' AS at"
    ).coalesce(1).write.parquet(str(tmp_path / "spark"))
    arrow = {
        "unsigned": pa.array([2**64 - 1], pa.uint64()),
        "took": pa.array([timedelta(seconds=5)], pa.duration("us")),
        "word": pa.array(["a"]).dictionary_encode(),
        "json": pa.array(['{"a":1}'], pa.json_()),
        "list": pa.array([[1]]),
        "nothing": pa.array([None], pa.null()),
    }
    write(tmp_path / "arrow.parquet", arrow)

    of_spark, of_arrow = (raw(spark, tmp_path / name).drop(FILE) for name in ("spark", "arrow.parquet"))

    assert [json.loads(_json(frame)) for frame in (of_spark, of_arrow)] == [
        {
            "bytes": "/wA=",
            "held": "INTERVAL '01:30' HOUR TO MINUTE",
            "any": {"a": [1]},
            "by_number": {"1": "x"},
            "by_day": {"19844": 1},
            "at": "2024-05-01T12:00:00.000Z",
        },
        # a duration of Arrow is a number of parquet
        {"unsigned": 2**64 - 1, "took": 5_000_000, "word": "a", "json": '{"a":1}', "list": [1], "nothing": None},
    ]


def _json(frame: DataFrame) -> str:
    [row] = frame.selectExpr("to_json(struct(*), map('ignoreNullFields', 'false')) AS raw").collect()
    return str(row["raw"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,customer\n1,ann\n", "is not a Parquet file"),
        (b"P", "is not a Parquet file (length is too low: 1)"),
        (None, "is not a Parquet file. Expected magic number at tail"),
    ],
)
def test_a_file_that_is_no_whole_parquet_is_named(
    spark: SparkSession, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    days(tmp_path, pa.array([1]))
    whole = (tmp_path / "day1.parquet").read_bytes()
    (tmp_path / "day2.parquet").write_bytes(whole[:-20] if content is None else content)
    with pytest.raises(BadInputError) as caught:
        raw(spark, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"churn.toml: [inputs.calls] cannot be read as parquet: file:{tmp_path}/day2.parquet ")
    assert reason in message
    assert message.endswith("; it is of another format, or is cut off: set format, move it away, or fetch it again")


def test_a_codec_that_spark_lacks_is_named(spark: SparkSession, tmp_path: Path) -> None:
    days(tmp_path, pa.array([1]))
    write(tmp_path / "day2.parquet", {"id": pa.array([2])}, compression="brotli")
    message = f"{tmp_path}/day2.parquet is compressed by brotli, which Spark lacks; write it with zstd, snappy"
    with pytest.raises(BadInputError, match=re.escape(message)):
        raw(spark, tmp_path)


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4"])
def test_codecs(spark: SparkSession, tmp_path: Path, codec: str) -> None:
    write(tmp_path / "a.parquet", {"id": pa.array([1] * 99), "v": pa.array([7] * 99)}, compression=codec)
    assert values(raw(spark, tmp_path)) == [7] * 99


def test_files_without_any_column_that_can_be_read(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"tod": pa.array([time(9)])})
    with pytest.raises(BadInputError, match=r"\[inputs.calls\] has no column that can be read: tod: it is int64"):
        raw(spark, tmp_path)
    (tmp_path / "1.parquet").write_bytes(b"")
    with pytest.raises(BadInputError, match="is empty: no rows and no header"):
        raw(spark, tmp_path)


# --- by configuration alone -------------------------------------------------------------------------------------------


def mapped(spark: SparkSession, folder: Path, source: str, settings: str, *columns: str) -> list[tuple[Any, ...]]:
    """The mapped rows of `in`, with the rules they break."""
    (folder / "churn.toml").write_text(f'[sources.{source}]\npath = "in"\nformat = "parquet"\n{settings}')
    rows = map_source(spark, load(folder / "churn.toml").sources[source]).rows
    return sorted(map(tuple, rows.select(*columns, RULES).collect()))


def test_ids_of_numbers_and_text_are_the_same_customers(spark: SparkSession, tmp_path: Path) -> None:
    """An export each as text, double and decimal, with nanoseconds in one."""
    numbers = [12345678.0, 700.0, None]
    accounts = {
        "text": pa.array(["12345678", "700", "0700"]),
        "double": pa.array(numbers, pa.float64()),
        "decimal": pa.array([Decimal(12345678), Decimal(700), None], pa.decimal128(38, 10)),
    }
    for hour, (name, accounts_of_file) in enumerate(accounts.items()):
        columns = {
            "tx": pa.array([f"{name}{number}" for number in range(3)]),
            "account": accounts_of_file,
            "at": pa.array([datetime(2024, 2, 1, hour)] * 3, NS if name == "double" else US),
            "amount": pa.array([9.5, 3.25, 1.0]),
        }
        write(tmp_path / "in" / f"{name}.parquet", columns)
    settings = """zone = "Europe/Berlin"
[sources.transactions.columns]
transaction_id = "tx"
customer_id = "account"
event_time = "at"
kind = "'purchase'"
"""
    names = ("transaction_id", "customer_id", "event_time", "amount")
    at = [datetime(2024, 1, 31, 23), datetime(2024, 2, 1, 0), datetime(2024, 2, 1, 1)]
    amounts = [Decimal("9.5"), Decimal("3.25"), Decimal("1")]
    assert mapped(spark, tmp_path, "transactions", settings, *names) == [
        ("decimal0", "12345678", at[2], amounts[0], []),
        ("decimal1", "700", at[2], amounts[1], []),
        ("decimal2", None, at[2], amounts[2], ["customer_id_missing"]),
        ("double0", "12345678", at[1], amounts[0], []),
        ("double1", "700", at[1], amounts[1], []),
        ("double2", None, at[1], amounts[2], ["customer_id_missing"]),
        ("text0", "12345678", at[0], amounts[0], []),
        ("text1", "700", at[0], amounts[1], []),
        # another id: zeros of text are a part of it
        ("text2", "0700", at[0], amounts[2], []),
    ]


CALLS = """[sources.calls.columns]
call_id = "id"
customer_id = "cust"
event_time = "at"
"""


def test_a_duration_that_drifts_from_int_to_double(spark: SparkSession, tmp_path: Path) -> None:
    """As pandas writes a column once a value is missing; NaN is no value."""
    waits = (
        pa.array([5, 6], pa.int32()),
        pa.array([7, None], pa.int64()),
        pa.array([8.0, float("nan")], pa.float64()),
    )
    for day, wait in enumerate(waits, 1):
        columns = {
            "id": pa.array([f"{day}-1", f"{day}-2"]),
            "cust": pa.array(["a", "b"]),
            "at": pa.array([datetime(2024, 6, day, 9)] * 2, US_UTC),
            "wait": wait,
            "talk": pa.array([100, 200]),
        }
        write(tmp_path / "in" / f"2024-06-0{day}.parquet", columns)
    settings = CALLS + 'wait_seconds = "wait"\ntalk_seconds = "talk"\n'
    assert mapped(spark, tmp_path, "calls", settings, "call_id", "wait_seconds", "talk_seconds") == [
        ("1-1", 5, 100, []),
        ("1-2", 6, 200, []),
        ("2-1", 7, 100, []),
        ("2-2", None, 200, []),
        ("3-1", 8, 100, []),
        ("3-2", None, 200, []),
    ]


def test_folders_name_the_branch_and_the_day(spark: SparkSession, tmp_path: Path) -> None:
    for branch, day in (("007", "2024-07-01"), ("0042", "2024-07-02")):
        columns = {"id": pa.array([branch]), "acct": pa.array(["12"]), "amount": pa.array([9.5])}
        write(tmp_path / "in" / f"branch={branch}" / f"dt={day}" / "p.parquet", columns)
    settings = """[sources.transactions.columns]
transaction_id = "id"
customer_id = "branch || '-' || acct"
event_time = "dt"
kind = "'purchase'"
"""
    assert mapped(spark, tmp_path, "transactions", settings, "transaction_id", "customer_id", "event_time") == [
        ("0042", "0042-12", datetime(2024, 7, 2), []),
        ("007", "007-12", datetime(2024, 7, 1), []),
    ]


def test_durations_from_times_and_from_microseconds(spark: SparkSession, tmp_path: Path) -> None:
    """A column of a type that Spark does not read is no hindrance as long as nothing names it."""
    columns = {
        "id": pa.array(["a", "b", "c"]),
        "cust": pa.array(["x", "y", "x"]),
        "at": pa.array([datetime(2024, 4, 1, 9), datetime(2024, 4, 1, 23, 59, 30), datetime(2024, 4, 2, 10)], US),
        "answer": pa.array([datetime(2024, 4, 1, 9, 0, 20), datetime(2024, 4, 1, 23, 59, 50), None], NS),
        "end": pa.array([datetime(2024, 4, 1, 9, 5), datetime(2024, 4, 2, 0, 4), datetime(2024, 4, 2, 10, 1)], US),
        "dur": pa.array([timedelta(seconds=280), timedelta(seconds=250), None], pa.duration("us")),
        "tod": pa.array([time(9), time(23, 59, 30), None], pa.time64("us")),
    }
    write(tmp_path / "in" / "calls.parquet", columns)
    for talk in ("timestampdiff(SECOND, answer, end)", "dur / 1000000"):
        settings = CALLS + f'talk_seconds = "{talk}"\n'
        assert mapped(spark, tmp_path, "calls", settings, "call_id", "talk_seconds") == [
            ("a", 280, []),
            ("b", 250, []),
            ("c", None, []),
        ]


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            f'[sources.calls]\npath = "in"\nformat = "parquet"\n{CALLS}',
            (
                r"wait_seconds would be the column of that name, which Spark cannot read: it is"
                r' int64 \(TIME.*Write wait_seconds = ".*", or wait_seconds = "null" to do without it'
            ),
        ),
        (
            f'[sources.calls]\npath = "in"\nformat = "parquet"\n{CALLS}wait_seconds = "hour(Wait_seconds)"\n',
            r"wait_seconds = 'hour\(Wait_seconds\)' names 'wait_seconds', which Spark cannot read: it is int64 \(TIME",
        ),
        (
            (
                '[inputs.raw]\npath = "in"\nformat = "parquet"\n[sources.calls]\nquery = "select id as call_id,'
                ' r.wait_seconds from raw r"\n'
            ),
            r"query names 'r.wait_seconds', which Spark cannot read: it is int64 \(TIME",
        ),
        (
            (
                '[inputs.raw]\npath = "in"\nformat = "parquet"\nreject = { x = "wait_seconds > 1" }\n[sources.calls]\n'
                'query = "select id as call_id from raw"\n'
            ),
            r"x = 'wait_seconds > 1' names 'wait_seconds', which Spark cannot read: it is int64 \(TIME",
        ),
    ],
)
def test_a_column_that_is_needed_and_cannot_be_read(
    spark: SparkSession, tmp_path: Path, toml: str, message: str
) -> None:
    columns = {"id": ["1"], "cust": ["a"], "at": ["2024-06-01"], "wait_seconds": pa.array([time(0, 1)])}
    write(tmp_path / "in" / "1.parquet", {name: pa.array(column) for name, column in columns.items()})
    (tmp_path / "churn.toml").write_text(toml)
    with pytest.raises(ConfigError, match=message):
        map_source(spark, load(tmp_path / "churn.toml").sources["calls"])
