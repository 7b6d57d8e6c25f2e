from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import Column, Source
from churn.errors import ConfigError
from churn.sources.mapping import RULES, map_source
from churn.storage import Lake

CALL = {"call_id": "id", "customer_id": "who", "event_time": "at"}


def calls(path: object, *, columns: Mapping[str, str] = CALL, **settings: object) -> Source:
    expressions = {name: Column(sql=sql) for name, sql in columns.items()}
    whole = {"format": "csv", "columns": expressions, "path": str(path), **settings}
    return Source(name="calls", file=Path("churn.toml"), **whole)  # type: ignore[arg-type]


def mapped(spark: SparkSession, source: Source, *columns: str) -> list[tuple[object, ...]]:
    return sorted((tuple(row) for row in map_source(spark, source).rows.select(*columns).collect()), key=str)


@pytest.mark.parametrize(
    ("at", "instant", "rules"),
    [
        # Berlin is an hour ahead of UTC in winter, two in summer.
        ("2024-01-15 12:00:00", datetime(2024, 1, 15, 11), []),
        ("2024-07-15T12:00:00.25", datetime(2024, 7, 15, 10, 0, 0, 250000), []),
        # an offset of its own wins over the zone
        ("2024-01-15T12:00:00Z", datetime(2024, 1, 15, 12), []),
        ("2024-01-15 12:00:00+05:30", datetime(2024, 1, 15, 6, 30), []),
        # a date is its first instant
        ("2024-01-15", datetime(2024, 1, 14, 23), []),
        # 02:30 did not happen on this day; 03:00 did
        ("2024-03-31 02:30:00", None, ["event_time_clock_gap"]),
        ("2024-03-31 03:00:00", datetime(2024, 3, 31, 1), []),
        # 02:30 happened twice, at 00:30 and 01:30 UTC: the later; 01:59 and 03:00 once
        ("2024-10-27 02:30:00", datetime(2024, 10, 27, 1, 30), []),
        ("2024-10-27 01:59:59", datetime(2024, 10, 26, 23, 59, 59), []),
        ("2024-10-27 03:00:00", datetime(2024, 10, 27, 2), []),
        ("15.01.2024", None, ["event_time_unreadable"]),
        # a plain number, a month and a time of day are no dates, and some years can be read nowhere later
        ("45505", None, ["event_time_unreadable"]),
        ("2024", None, ["event_time_unreadable"]),
        ("2024-01", None, ["event_time_unreadable"]),
        ("12:30:00", None, ["event_time_unreadable"]),
        ("T12:30:00", None, ["event_time_unreadable"]),
        ("20240-01-05", None, ["event_time_unreadable"]),
        ("+20240-01-05 10:00:00", None, ["event_time_unreadable"]),
        ("9999-12-31", None, ["event_time_unreadable"]),
        ("9999-12-31 23:59:59Z", None, ["event_time_unreadable"]),
        ("0000-00-00 00:00:00", None, ["event_time_unreadable"]),
        ("0001-01-01T00:00:00Z", None, ["event_time_unreadable"]),
        ("294247-01-10 04:00:54Z", None, ["event_time_unreadable"]),
        # the abbreviations that Berlin uses; others may mean several zones, or none
        ("2024-07-15 12:00:00 CEST", datetime(2024, 7, 15, 10), []),
        ("2024-07-15 12:00:00 CET", datetime(2024, 7, 15, 11), []),
        ("2024-07-15 12:00:00 cet", datetime(2024, 7, 15, 11), []),
        ("2024-07-15 12:00:00 BST", None, ["event_time_unreadable"]),
        ("2024-07-15 12:00:00 IST", None, ["event_time_unreadable"]),
        ("2024-07-15 12:00:00 PST", None, ["event_time_unreadable"]),
        ("2024-07-15 12:00:00 UTC", datetime(2024, 7, 15, 12), []),
        ("2024-07-15 12:00:00 GMT", datetime(2024, 7, 15, 12), []),
        ("2024-07-15 12:00:00 America/New_York", datetime(2024, 7, 15, 16), []),
        ("2024-07-15 12:00 PM", None, ["event_time_unreadable"]),
        ("2024-01-32 12:00:00Z", None, ["event_time_unreadable"]),
        ("", None, ["event_time_missing"]),
    ],
)
def test_times(zoned: Mapping[str, tuple[object, object]], at: str, instant: datetime | None, rules: list[str]) -> None:
    assert zoned[at] == (instant, rules)


@pytest.fixture(scope="module")
def zoned(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[object, object]]:
    """Every time of the table above, read as Berlin's in one go."""
    [times] = [mark.args[1] for mark in test_times.pytestmark]  # type: ignore[attr-defined]
    path = tmp_path_factory.mktemp("times") / "calls.csv"
    path.write_text("id,who,at\n" + "".join(f"{row[0] or 'empty'},a,{row[0]}\n" for row in times))
    rows = mapped(spark, calls(path, zone="Europe/Berlin"), "call_id", "event_time", RULES)
    return {"" if row[0] == "empty" else str(row[0]): row[1:] for row in rows}  # type: ignore[misc]


def test_a_date_is_its_first_instant_where_the_clock_skips_midnight(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("id,who,at\n1,a,2018-11-04\n2,a,2018-11-04 00:30:00\n")
    rows = mapped(
        spark, calls(tmp_path / "calls.csv", zone="America/Sao_Paulo"), "call_id", "event_time", "known_time", RULES
    )
    assert rows == [
        ("1", datetime(2018, 11, 4, 3), datetime(2018, 11, 4, 3), []),
        ("2", None, None, ["event_time_clock_gap"]),
    ]


def test_files_with_other_headers_fill_the_right_columns(spark: SparkSession, tmp_path: Path) -> None:
    """In one folder: another order, a column less, a BOM, an odd name, a compressed, an empty and a hidden file."""
    (tmp_path / "1.csv").write_text("id,who,at,wait_seconds\n1,ann,2024-01-01,5\n")
    (tmp_path / "2.csv").write_text("\ufeffwait_seconds,at,who,id\n6,2024-01-02,bob,2\n", encoding="utf-8")
    (tmp_path / "3 [new] {x}.csv.gz").write_bytes(gzip.compress(b"at,id,who\n2024-01-03,3,cy\n", mtime=0))
    (tmp_path / "4.csv").touch()
    (tmp_path / "_SUCCESS").touch()

    rows = mapped(spark, calls(tmp_path), "call_id", "customer_id", "event_time", "wait_seconds", RULES)

    assert rows == [
        ("1", "ann", datetime(2024, 1, 1), 5, []),
        ("2", "bob", datetime(2024, 1, 2), 6, []),
        ("3", "cy", datetime(2024, 1, 3), None, []),
    ]
    assert mapped(spark, calls(tmp_path / "[12].csv"), "call_id") == [("1",), ("2",)]


def test_options_of_the_file_are_those_of_sparks_reader(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.write_bytes("id;who;at\n1;'zoë; the 2nd';2024-01-01\n".encode("latin-1"))
    options = {"sep": ";", "quote": "'", "encoding": "ISO-8859-1"}
    assert mapped(spark, calls(path, options=options), "call_id", "customer_id") == [("1", "zoë; the 2nd")]

    path.write_text("1,ann,2024-01-01\n")
    columns = {"call_id": "_c0", "customer_id": "_c1", "event_time": "_c2"}
    bare = calls(path, columns=columns, options={"header": "false"})
    assert mapped(spark, bare, "call_id", "customer_id") == [("1", "ann")]


def test_expressions_types_and_text(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(
        "call id,who,at,secs,ok,csat\n"
        # blanks around text go, empty text is null, the rest of Unicode stays
        '" 1\t",\u00a0zoë 🦉\u3000,2024-01-01,61, TRUE ,\n'
        # what has no width neither is part of an id nor makes one
        '"\u200e2\u200b","\u2007\ufeff1-\u2060",2024-01-01,60,\u00a0true,\u200b\n'
        "3\f,4\v,2024-01-01,62,true,\n",
        encoding="utf-8",
    )
    columns = {
        "call_id": "`call id`",
        "customer_id": "who",
        "event_time": "at",
        "known_time": "timestampadd(SECOND, secs, cast(at as timestamp_ntz))",
        "talk_seconds": "secs / 2",  # 30.5 is no whole number of seconds, and is not made one
        "wait_seconds": "secs * 2.0",
        "resolved": "ok",
        "queue": "'sales'",
    }
    names = ("call_id", "customer_id", "known_time", "talk_seconds", "wait_seconds", "resolved", "queue", "csat", RULES)

    rows = mapped(spark, calls(tmp_path / "calls.csv", columns=columns, zone="Europe/Berlin"), *names)

    known = datetime(2023, 12, 31, 23, 1, 1)
    assert rows == [
        ("1", "zoë 🦉", known, None, 122, True, "sales", None, ["talk_seconds_unreadable"]),
        ("2", "1-", datetime(2023, 12, 31, 23, 1), 30, 120, True, "sales", None, []),
        ("3", "4", datetime(2023, 12, 31, 23, 1, 2), 31, 124, True, "sales", None, []),
    ]


def test_json_is_text_too_and_a_broken_line_is_a_row(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_text(
        '{"id": 1, "who": {"name": "ann"}, "at": "2024-01-01 08:00:00Z"}\n{"id": 2, "who\n'
        '{"at": "2024-01-02", "id": "3", "late": 1}\n'
    )
    source = calls(tmp_path / "calls.json", format="json", columns={**CALL, "customer_id": "who.name"})

    file = f'"_file":"{tmp_path}/calls.json"'
    assert mapped(spark, source, "call_id", "customer_id", RULES, "_raw") == [
        ("1", "ann", [], None),
        ("3", None, ["customer_id_missing"], f'{{"at":"2024-01-02","id":"3","late":"1","who":null,{file}}}'),
        (None, None, ["malformed_row"], f'{{"line":"{{\\"id\\": 2, \\"who",{file}}}'),
    ]


@pytest.mark.parametrize(
    ("customer_id", "message"),
    [
        ("Customer ID", "is the name of a column with signs or blanks, which stands in backticks: `Customer ID`"),
        ("order-id", "is the name of a column with signs or blanks, which stands in backticks: `order-id`"),
        ("Amount (EUR)", "is the name of a column with signs or blanks, which stands in backticks: `Amount (EUR)`"),
        ("Customer Nr", "has a value and a name for it, 'Nr'; leave the name out"),
    ],
)
def test_a_name_with_blanks_is_no_other_column(
    spark: SparkSession, tmp_path: Path, customer_id: str, message: str
) -> None:
    (tmp_path / "calls.csv").write_text("id,Customer,Customer ID,order-id,Amount (EUR),at\n1,Smith,77,5,9,2024-01-01\n")
    with pytest.raises(ConfigError) as raised:
        mapped(spark, calls(tmp_path / "calls.csv", columns={**CALL, "customer_id": customer_id}))
    assert f"[sources.calls.columns] customer_id = {customer_id!r} {message}" in str(raised.value)


def test_what_a_function_cannot_read_is_unreadable(spark: SparkSession, tmp_path: Path) -> None:
    """Also in a column that may be null; a blank is null, and so is what a condition makes null."""
    (tmp_path / "calls.csv").write_text(
        "id,who,at,talk,wait,hold\n"
        "1,ann,45505.5,0:10,1m,x\n"
        "2,ann,45505.5,1h30,,n/a\n"  # no duration; a blank; a word for nothing
        "3,ann,45505.5,,'1,234,\n"
        "4,ann,soon,-, ,\n"
    )
    columns = {
        "call_id": "id",
        "customer_id": "who",
        "event_time": "serial_day(at)",
        "talk_seconds": "duration_seconds(case when talk <> 'none' then talk end)",
        "wait_seconds": "abs(duration_seconds(wait)) * 2",
        "hold_seconds": "coalesce(duration_seconds(hold), 5)",
    }
    source = calls(tmp_path / "calls.csv", columns=columns, zone="Europe/Berlin")
    names = ("call_id", "event_time", "talk_seconds", "wait_seconds", "hold_seconds", RULES)
    noon = datetime(2024, 8, 1, 10)
    assert mapped(spark, source, *names) == [
        ("1", noon, 10, 120, 5, []),
        ("2", noon, None, None, 5, ["talk_seconds_unreadable"]),
        ("3", noon, None, None, 234, ["wait_seconds_unreadable"]),
        ("4", None, None, None, 5, ["event_time_unreadable"]),
    ]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "delta"])
def test_an_error_that_an_expression_raises_costs_its_row(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    """Also where expressions have a part in common, which Spark computes once for all of them."""
    rows = [
        ("1", "1767276309", "10"),
        ("2", "soon", "10"),
        ("3", "1767276309", "10 s"),
        ("4", "1767276309", None),
        ("5", "99999999999999999", "600"),
    ]
    frame = spark.createDataFrame(rows, "id string, at string, talk string")
    (frame.write.option("header", "true") if kind == "csv" else frame.write).format(kind).save(str(tmp_path / "calls"))
    columns = {
        "call_id": "id",
        "customer_id": "id",
        "event_time": "timestamp_seconds(cast(at as bigint))",
        "known_time": "timestamp_seconds(cast(at as bigint) + 60) -- a minute later",
        "talk_seconds": "cast(talk as int) * 2",
    }
    reject = {"too_long": "cast(talk as int) * 2 > 1000"}
    source = calls(tmp_path / "calls", columns=columns, reject=reject, format=kind)
    first, then = datetime(2026, 1, 1, 14, 5, 9), datetime(2026, 1, 1, 14, 6, 9)
    assert mapped(spark, source, "call_id", "event_time", "known_time", "talk_seconds", RULES) == [
        ("1", first, then, 20, []),
        ("2", None, None, 20, ["event_time_unreadable", "known_time_unreadable"]),
        ("3", first, then, None, ["talk_seconds_unreadable", "too_long_failed"]),
        ("4", first, then, None, []),
        ("5", None, None, 1200, ["event_time_unreadable", "known_time_unreadable", "too_long"]),
    ]


@pytest.mark.parametrize(
    "event_time",
    [
        "from_unixtime(cast(at as bigint))",
        "date_format(timestamp_seconds(cast(at as bigint)), 'yyyy-MM-dd HH:mm:ss')",
        "cast(timestamp_millis(cast(at as bigint)) as timestamp_ntz)",
    ],
)
def test_seconds_since_1970_are_no_local_time(spark: SparkSession, tmp_path: Path, event_time: str) -> None:
    """Spark writes them in the session's zone, UTC, and the source's zone would shift them once more."""
    (tmp_path / "calls.csv").write_text("id,who,at\n1,ann,1767276309\n")
    columns = {**CALL, "event_time": event_time}
    with pytest.raises(ConfigError, match=r"since 1970, to which zone 'Europe/Paris' cannot apply; write the instant"):
        mapped(spark, calls(tmp_path / "calls.csv", columns=columns, zone="Europe/Paris"))
    local = {**CALL, "event_time": f"from_utc_timestamp({event_time}, 'Europe/Paris')"}
    with pytest.raises(ConfigError, match="is a TIMESTAMP"):
        mapped(spark, calls(tmp_path / "calls.csv", columns=local, zone="Europe/Paris"))


def test_text_of_bytes_needs_a_cast(spark: SparkSession, tmp_path: Path) -> None:
    rows = spark.createDataFrame([(b"1", b"ann", b"2024-01-01", b"7")], "id binary, who binary, at binary, talk binary")
    rows.write.parquet(str(tmp_path / "calls"))
    columns = {name: f"cast({sql} as string)" for name, sql in {**CALL, "talk_seconds": "talk"}.items()}
    source = calls(tmp_path / "calls", columns=columns, format="parquet")
    assert mapped(spark, source, "call_id", "customer_id", "event_time", "talk_seconds") == [
        ("1", "ann", datetime(2024, 1, 1), 7)
    ]
    for name, column in {**CALL, "talk_seconds": "talk"}.items():
        with pytest.raises(ConfigError, match=rf"write cast\(`?{column}`? as string\) if its bytes are text"):
            mapped(spark, calls(tmp_path / "calls", columns={**columns, name: column}, format="parquet"))


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_typed_sources_keep_their_types(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    row = (
        1,
        "ann",
        datetime(2024, 7, 1, 12, tzinfo=UTC),
        datetime(2024, 7, 1, 14, 5),
        date(2024, 8, 1),
        Decimal("9.5"),
    )
    schema = "id bigint, who string, at timestamp, loaded timestamp_ntz, ends date, fee decimal(6,2)"
    df = spark.createDataFrame([row], schema)
    df.write.format(kind).save(str(tmp_path / "customers"))
    source = Source(
        name="customers",
        file=Path("churn.toml"),
        format=kind,
        path=str(tmp_path / "customers"),
        zone="Europe/Berlin",
        columns={
            "customer_id": Column(sql="id"),
            "event_time": Column(sql="at"),  # an instant: the zone does not touch it
            "known_time": Column(sql="loaded"),  # without a zone: Berlin's
            "contract_ends_on": Column(sql="ends"),
            "opened_at": Column(sql="ends"),
            "monthly_fee": Column(sql="fee"),
        },
    )

    names = ("customer_id", "event_time", "known_time", "contract_ends_on", "opened_at", "monthly_fee", RULES)
    assert mapped(spark, source, *names) == [
        (
            "1",
            datetime(2024, 7, 1, 12),
            datetime(2024, 7, 1, 12, 5),
            date(2024, 8, 1),
            datetime(2024, 7, 31, 22),
            Decimal("9.5000"),
            [],
        )
    ]


def test_a_table_of_the_lake_can_be_a_source(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    lake.replace(spark.createDataFrame([("1", "ann", "2024-01-01")], "id string, who string, at string"), "raw", {})
    assert mapped(spark, calls(lake.path("raw"), format="delta"), "call_id") == [("1",)]
