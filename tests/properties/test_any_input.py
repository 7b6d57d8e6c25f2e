"""Whatever the bytes, the settings and the SQL: one message or an exact ledger, and nothing half written.

Each of the four tests draws 25 examples, always the same; `CHURN_EXAMPLES=500` draws two thousand in all.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import load
from churn.errors import ChurnError
from churn.sources.ingest import QUARANTINE, ingest
from churn.sources.ledger import LedgerRow
from churn.storage import Lake

TOML = """
[sources.transactions]
path = "tx.csv"
zone = "Europe/Berlin"
max_quarantined = 1.0
[sources.transactions.columns]
transaction_id = "id"
customer_id = "customer"
event_time = "made_at"
kind = "'purchase'"
amount = "amount"
"""
HEADER = b"id,customer,made_at,amount\n"
LINE = b"1,ann,2026-01-01 08:00:00,9.50\n"
FRAGMENTS = [
    *(b",", b";", b"\t", b"|", b'"', b'""', b"\\", b"\n", b"\r\n", b"\r", b" ", b"\xa0", b"\xff", b"\xfe", b"\x00"),
    *(b"\xef\xbb\xbf", "é🦉".encode(), b"NULL", b"-", b"1e5", b"4.4790E+11", b"{", b"]", b"#", b"$", b"%", b"'"),
    *(b"2026-01-01", b"20240-01-05", b"9999-12-31 23:59:59", b"2026-03-29 02:30:00", b"12:30", b"1.234,56", b"-0"),
    *(HEADER, LINE, b"1,ann,2026-01-02,8\n", b"id", b"ann"),
]
UNICODE = st.characters(codec="utf-8")
files = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(lambda parts: HEADER + LINE + b"".join(parts)),
)
TOKENS = [
    *(
        "amount",
        "id",
        "made_at",
        "`",
        "'",
        '"',
        "(",
        ")",
        ",",
        ".",
        "*",
        "+",
        "/",
        "--",
        "/*",
        "*/",
        ";",
        " ",
        "\n",
        "{",
        "}",
    ),
    *(
        "select ",
        " from ",
        " where ",
        " join ",
        " union ",
        " group by ",
        "case when ",
        " then ",
        " end",
        " is null",
        "null",
    ),
    *(
        "cast(",
        " as int)",
        "now()",
        "rand()",
        "explode(",
        "sum(",
        "count(*)",
        "money(",
        "in_zone(",
        "text.`/etc/passwd`",
    ),
    *(
        "lines",
        "1",
        "0",
        "1/0",
        "'x'",
        "date '2026-01-01'",
        "x -> x",
        "array(1, 2)",
        "struct(1)",
        "\\",
        "\x00",
        "é",
        "''",
    ),
]
sql = st.one_of(st.text(UNICODE, max_size=30), st.lists(st.sampled_from(TOKENS), min_size=1, max_size=8).map("".join))
values = st.one_of(
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(UNICODE, max_size=10),
    st.sampled_from(["csv", "json", "parquet", "UTC", "Europe/Berlin", "", "\t", "tx.csv", "${day}", "${X}", "^Total"]),
    st.lists(st.text(UNICODE, max_size=5), max_size=3),
)
SETTINGS = [
    *(
        "format",
        "path",
        "zone",
        "look_back",
        "header_line",
        "footer_lines",
        "footer",
        "rows",
        "nulls",
        "max_quarantined",
    ),
    *("options.sep", "options.quote", "options.escape", "options.multiLine", "options.header", "options.encoding"),
    *("options.lineSep", "options.mode", "options.nullValue", "options.maxColumns", "options.timestampFormat"),
    *("options.comment", "columns.status", "columns.known_time", "reject.odd", "maximum.amount", "accept", "personal"),
    *("expect.rows", "expect.days", "types.customer", "unknown"),
]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def check(spark: SparkSession, place: Path, toml: str, content: bytes) -> None:
    """Ingest once: an explained error that leaves nothing behind, or a ledger to the row."""
    (place / "tx.csv").write_bytes(content)
    (place / "churn.toml").write_text(toml, encoding="utf-8")
    lake = Lake(spark, str(place / "lake"))
    explained: ChurnError | None = None
    ledger: list[LedgerRow] = []
    try:
        ledger = ingest(spark, lake, load(place / "churn.toml", env={}), batch="b", as_of=datetime(2026, 6, 1))
    except ChurnError as error:
        explained = error
    if explained is not None:
        assert explained.exit_code in (2, 3)
        assert str(explained)
        assert not (place / "lake").exists()
    for row in ledger:
        assert row.rows_in == row.accepted + row.duplicate + row.quarantined
        stored = lake.read(QUARANTINE).where(F.col("source") == row.source)
        assert (lake.read(row.source).count(), stored.count()) == (row.accepted, row.quarantined)
        assert stored.where("raw IS NULL OR size(rules) = 0").count() == 0


EXAMPLES = int(os.environ.get("CHURN_EXAMPLES", "25"))
few = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@few
@given(content=files)
def test_any_bytes(spark: SparkSession, content: bytes) -> None:
    with folder() as place:
        check(spark, place, TOML, content)


@few
@given(chosen=st.dictionaries(st.sampled_from(SETTINGS), values, max_size=4))
@example(chosen={"options.multiLine": 0})
def test_any_settings(spark: SparkSession, chosen: dict[str, object]) -> None:
    toml = TOML.replace('path = "tx.csv"\nzone = "Europe/Berlin"\nmax_quarantined = 1.0\n', "{}")
    base = {"path": "tx.csv", "zone": "Europe/Berlin", "max_quarantined": 1.0}
    lines = "".join(
        f"{name} = {json.dumps(value)}\n" for name, value in {**base, **chosen}.items() if "columns" not in name
    )
    more = "".join(
        f"{name[8:]} = {json.dumps(value)}\n" for name, value in chosen.items() if name.startswith("columns.")
    )
    with folder() as place:
        check(spark, place, toml.replace("{}", lines) + more, HEADER + LINE)


@few
@given(text=st.text(UNICODE, max_size=60))
def test_any_toml(spark: SparkSession, text: str) -> None:
    with folder() as place:
        check(spark, place, text.replace("\r", ""), HEADER + LINE)


@few
@given(expression=sql, place_of=st.sampled_from(["amount", "customer_id", "event_time", "reject", "query"]))
def test_any_sql(spark: SparkSession, expression: str, place_of: str) -> None:
    quoted = json.dumps(expression)
    if place_of == "reject":
        toml = f"{TOML}[sources.transactions.reject]\nodd = {quoted}\n"
    elif place_of == "query":
        toml = f'[inputs.lines]\npath = "tx.csv"\n[sources.transactions]\nmax_quarantined = 1.0\nquery = {quoted}\n'
    else:
        lines = [line for line in TOML.splitlines() if not line.startswith(place_of)]
        toml = "\n".join([*lines, f"{place_of} = {quoted}"])
    with folder() as place:
        check(spark, place, toml, HEADER + LINE)
