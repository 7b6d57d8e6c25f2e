"""Bad input of every kind: one clear message and exit code 2 (3 for a hold), or quarantine under a named rule."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.errors import ChurnError
from churn.sources.ingest import ingest, validate
from churn.sources.mapping import RAW, RULES, map_source
from churn.storage import Lake

HEADER = "id,customer,made_at,loaded_at,kind,amount,status\n"
SOUND = "1,ann,2026-01-01 08:00:00,2026-01-01,purchase,9.50,approved\n"
SOURCE = """
[sources.transactions]
path = "tx.csv"
zone = "Europe/Berlin"
[sources.transactions.columns]
transaction_id = "id"
customer_id = "customer"
event_time = "made_at"
amount = "amount"
"""


def no_file(_: Path) -> None: ...


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "tx.csv").write_text(content, encoding="utf-8") and None


def data(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)

    return write


def damaged_page(folder: Path) -> None:
    names = HEADER.strip().split(",")
    file = folder / "tx.parquet"
    pq.write_table(pa.table({name: [f"{name}{n}" for n in range(5_000)] for name in names}), file)
    content = bytearray(file.read_bytes())
    content[200:9_000] = b"\xff" * 8_800
    file.write_bytes(content)


def changed(old: str, new: str) -> str:
    assert old in SOURCE
    return SOURCE.replace(old, new)


# name: (the files, churn.toml, the exit code, what the message says)
REFUSED: Mapping[str, tuple[Callable[[Path], None], str, int, str]] = {
    "missing file": (no_file, SOURCE, 2, "tx.csv does not exist; fix the path, or drop the section"),
    "missing file that is expected": (
        no_file,
        SOURCE + "[sources.transactions.expect]\nrows = 1\n",
        3,
        "tx.csv does not exist; rows are expected there, so try again when it has come",
    ),
    "empty file": (text(""), SOURCE, 2, "tx.csv is empty: no rows and no header; fix the path"),
    "blank lines only": (text("\n \n"), SOURCE, 2, "tx.csv is empty: no rows and no header"),
    "options that Spark cannot read": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', 'options = { multiLine = 0, maxColumns = "many", inputBufferSize = "1k" }'),
        2,
        (
            "churn.toml: [sources.transactions.options] multiLine = '0' cannot be read: want true or false; maxColumns"
            " = 'many' cannot be read: maxColumns should be an integer. Found many; inputBufferSize = '1k' cannot be"
            " read: want a number; correct it, or drop it"
        ),
    ),
    "an option of JSON that Spark cannot read": (
        data("tx.json", b'{"id": "1"}'),
        changed("tx.csv", "tx.json").replace(
            'zone = "Europe/Berlin"', 'format = "json"\noptions = { allowComments = "perhaps" }'
        ),
        2,
        "[sources.transactions.options] allowComments = 'perhaps' cannot be read: want true or false; correct it",
    ),
    "an option of parquet that Spark cannot read": (
        data("tx.parquet", b""),
        changed("tx.csv", "tx.parquet").replace(
            'zone = "Europe/Berlin"', 'format = "parquet"\noptions = { mergeSchema = "perhaps" }'
        ),
        2,
        "[sources.transactions.options] mergeSchema = 'perhaps' cannot be read: want true or false; correct it",
    ),
    "empty folder": (
        lambda folder: (folder / "tx").mkdir(),
        changed("tx.csv", "tx"),
        2,
        "tx holds no files; fix the path, or drop the section",
    ),
    "wrong delimiter": (
        text((HEADER + SOUND).replace(",", ";")),
        SOURCE,
        2,
        (
            "the file was read as one column, 'id;customer;made_at;loaded_at;kind;amount;status': set sep = \";\""
            " under [sources.transactions.options]"
        ),
    ),
    "renamed column": (
        text((HEADER + SOUND).replace("made_at", "made_on")),
        SOURCE,
        2,
        (
            "churn.toml: [sources.transactions.columns] event_time = 'made_at' names 'made_at', which the source does"
            " not have; near it: made_on, loaded_at, amount"
        ),
    ),
    "two columns of one name": (
        text((HEADER + SOUND).replace("loaded_at", "Made_At")),
        SOURCE,
        2,
        (
            "[sources.transactions.columns] event_time = 'made_at' names 'made_at', which the header has 2 times; write"
            " `made_at (1)` or `Made_At (2)`"
        ),
    ),
    "SQL with a syntax error": (
        text(HEADER + SOUND),
        changed('"amount"', '"amount +* 2"'),
        2,
        "[sources.transactions.columns] amount = 'amount +* 2' is not Spark SQL: syntax error at",
    ),
    "SQL with an unknown function": (
        text(HEADER + SOUND),
        changed('"amount"', '"to_money(amount)"'),
        2,
        "[sources.transactions.columns] amount = 'to_money(amount)' calls to_money(), which is neither a function",
    ),
    "an aggregate in place of a column": (
        text(HEADER + SOUND),
        changed('"amount"', '"sum(amount)"'),
        2,
        "amount = 'sum(amount)' calls sum(), which needs several rows; write it in the query of the source",
    ),
    "an expression that multiplies rows": (
        text(HEADER + SOUND),
        changed('"amount"', "\"explode(split(amount, '.'))\""),
        2,
        "calls explode(), which makes several rows of one; write it in the query of the source",
    ),
    "an expression that reads the clock": (
        text(HEADER + SOUND),
        changed('"made_at"', '"current_timestamp()"'),
        2,
        "event_time = 'current_timestamp()' calls current_timestamp(), which reads the clock, so a rerun would differ",
    ),
    "an expression that draws": (
        text(HEADER + SOUND),
        changed('"amount"', '"rand()"'),
        2,
        "calls rand(), which draws a random value",
    ),
    "an expression that fails on a row": (
        text(HEADER + SOUND.replace("9.50", "9,50").replace("9,50", "free")),
        changed('"amount"', '"cast(amount as double)"'),
        2,
        "amount_unreadable 1 times (by 'cast(amount as double)'), such as ",
    ),
    "a rule that is no condition": (
        text(HEADER + SOUND),
        SOURCE + "[sources.transactions.reject]\ntest = \"customer || 'x'\"\n",
        2,
        "[sources.transactions.reject] test = \"customer || 'x'\" is string, want boolean",
    ),
    "a rule with the name of the contract's": (
        text(HEADER + SOUND),
        SOURCE + "[sources.transactions.reject]\namount_too_small = \"amount = '0'\"\n",
        2,
        "[sources.transactions.reject] amount_too_small is a rule of the contract; choose another name",
    ),
    "a required column that nothing maps": (
        text((HEADER + SOUND).replace("kind", "sort")),
        SOURCE,
        2,
        (
            '[sources.transactions.columns] lacks kind; add kind = "an expression over: id, customer, made_at,'
            ' loaded_at, sort, amount, status"'
        ),
    ),
    "unknown source": (
        text(HEADER + SOUND),
        SOURCE.replace("transactions", "transaction"),
        2,
        "churn.toml: [sources.transaction] is not a contract; did you mean 'transactions'?",
    ),
    "unknown column of the contract": (
        text(HEADER + SOUND),
        changed("customer_id", "costumer_id"),
        2,
        (
            "churn.toml: [sources.transactions.columns] costumer_id is no column of transactions; did you mean"
            " 'customer_id'?"
        ),
    ),
    "unknown configuration key": (
        text(HEADER + SOUND),
        changed("zone", "time_zone"),
        2,
        "churn.toml line 4: [sources.transactions] has no setting 'time_zone'; did you mean 'zone'?",
    ),
    "no sources": (no_file, "", 2, "churn.toml: no sources; add one, such as [sources.transactions]"),
    "a number for a time": (
        text(HEADER + SOUND),
        changed('"made_at"', '"cast(id as bigint)"'),
        2,
        "event_time is bigint, want a time; a plain number is no date: for seconds since 1970 write",
    ),
    "a zone for what is an instant already": (
        text(HEADER + SOUND),
        changed('"made_at"', "\"try_to_timestamp(made_at, 'd/M/yyyy')\""),
        2,
        "is a TIMESTAMP, an instant already, so zone 'Europe/Berlin' cannot apply; for local time write cast(",
    ),
    "a folder that is no Delta table": (
        data("tx/part.csv", b"id\n1\n"),
        changed('path = "tx.csv"', 'path = "tx"\nformat = "delta"'),
        2,
        "churn.toml: [sources.transactions] cannot be read as delta",
    ),
    "a text for a parquet file": (
        data("tx.csv", b"id,customer\n1,ann\n"),
        changed('path = "tx.csv"', 'path = "tx.csv"\nformat = "parquet"'),
        2,
        "churn.toml: [sources.transactions] cannot be read as parquet",
    ),
    "a parquet file with a damaged page": (
        damaged_page,
        changed('path = "tx.csv"', 'path = "tx*.parquet"\nformat = "parquet"'),
        2,
        "/tx.parquet: ",
    ),
    "a parquet file with a damaged page in an input": (
        damaged_page,
        changed(
            'path = "tx.csv"',
            'query = "select * from raw"\n[inputs.raw]\npath = "tx.parquet"\nformat = "parquet"',
        ),
        2,
        "churn.toml: [inputs.raw] cannot be read as parquet: ",
    ),
    "json that is none": (
        data("tx.csv", b"id,customer\n1,ann\n"),
        changed('path = "tx.csv"', 'path = "tx.csv"\nformat = "json"'),
        2,
        "JSON",
    ),
    "json of which no row can be read": (
        data("tx.json", b'{"id": 1, "id": 2}\n'),
        changed('path = "tx.csv"', 'path = "tx.json"\nformat = "json"') + "kind = \"'purchase'\"\n",
        2,
        "names 'made_at', which the source does not have; near it: nothing, as no row of it can be read",
    ),
    "a database that does not answer": (
        no_file,
        changed(
            'path = "tx.csv"',
            'format = "jdbc"\noptions = { url = "jdbc:none://127.0.0.1:1/shop", dbtable = "tx", password = "secret" }',
        ),
        2,
        (
            'churn.toml: [sources.transactions] cannot be read as jdbc: No suitable driver; set "spark.jars" ='
            ' "/path/to/driver.jar" under [spark], and driver = "its.class.Name" among the options; or mend url'
        ),
    ),
    "a file cut short in its compression": (
        data("tx.csv.gz", gzip.compress(b"id,customer\n" * 100_000, 0, mtime=0)[:-70_000]),
        changed("tx.csv", "tx.csv.gz"),
        2,
        "",
    ),
    "a zip file": (
        data("tx.csv", b"PK\x03\x04" + bytes(30)),
        SOURCE,
        2,
        "tx.csv is a zip file, or a workbook of Excel",
    ),
    "a gzip file under another name": (
        data("tx.csv", gzip.compress((HEADER + SOUND).encode())),
        SOURCE,
        2,
        "tx.csv is a gzip file without .gz at the end of its name",
    ),
    "a PDF": (data("tx.csv", b"%PDF-1.7\n..."), SOURCE, 2, "tx.csv is a PDF file, want text"),
    "an old workbook": (
        data("tx.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(9)),
        SOURCE,
        2,
        "tx.csv is an old workbook of Excel, want text",
    ),
    "a database file": (
        data("tx.csv", b"SQLite format 3\x00" + bytes(9)),
        SOURCE,
        2,
        "is a SQLite database, want text",
    ),
    "a parquet file for a text": (data("tx.csv", b"PAR1" + bytes(9)), SOURCE, 2, "tx.csv is a parquet file, want text"),
    "UTF-16 without its mark": (
        data("tx.csv", (HEADER + SOUND).encode("utf-16-le")),
        SOURCE,
        2,
        'tx.csv looks like UTF-16; set encoding = "UTF-16LE" under options',
    ),
    "UTF-16 of the other order without its mark": (
        data("tx.csv", (HEADER + SOUND).encode("utf-16-be")),
        SOURCE,
        2,
        'set encoding = "UTF-16BE" under options',
    ),
    "cells that are padded with zeros": (
        data("tx.csv", (HEADER + SOUND).replace(",", "\0" * 9 + ",").encode()),
        SOURCE,
        2,
        "tx.csv holds 108 bytes of zero in its first ",
    ),
    "a header in another encoding": (
        data("tx.csv", (HEADER.replace("customer", "Kundé") + SOUND).encode("latin-1")),
        SOURCE,
        2,
        'set encoding, such as "windows-1252", under [sources.transactions.options]',
    ),
    "an encoding that does not exist": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', 'zone = "Europe/Berlin"\noptions = { encoding = "UFT-8" }'),
        2,
        "[sources.transactions.options] encoding is 'UFT-8', which is unknown; want one such as \"windows-1252\"",
    ),
    "a line break in the header": (
        text(HEADER.replace("made_at", '"made\nat"') + SOUND),
        SOURCE,
        2,
        "tx.csv has a line break in its header; set multiLine = true under [sources.transactions.options]",
    ),
    "line breaks in cells": (
        text(HEADER + SOUND + SOUND.replace("ann", '"ann\nlee"')),
        SOURCE,
        2,
        "1 lines open a quote that ends on another line; set multiLine = true under",
    ),
    "JSON for a text": (
        data("tx.csv", b' {"id": 1, "customer": "ann"}\n'),
        SOURCE,
        2,
        'tx.csv begins as JSON, want separated text; set format = "json" if its rows are objects',
    ),
    "a separator that is a backslash": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', "zone = 'Europe/Berlin'\noptions = { sep = '\\' }"),
        2,
        "[sources.transactions.options] sep is '\\\\', want a character that is no backslash, or several;",
    ),
    "an unknown separator of rows without a header": (
        text(SOUND.replace(",", "#")),
        changed('zone = "Europe/Berlin"', "options = { header = false }").replace('"made_at"', '"_c2"'),
        2,
        (
            "the file was read as one column, '_c0': set sep to what stands between its cells under"
            " [sources.transactions.options]"
        ),
    ),
    "a file that is still being written": (
        lambda folder: data("in/a.csv", (HEADER + SOUND).encode())(folder) or data("in/b.csv.tmp", b"id")(folder),
        changed("tx.csv", "in"),
        2,
        (
            "/in/b.csv.tmp has the name of a file that is still being written; try again when it is whole, or leave"
            ' such files out by a pattern, such as path = "folder/*.csv", or read them by one that ends in .tmp'
        ),
    ),
    "a file without a header among others": (
        lambda folder: data("in/a.csv", (HEADER + SOUND).encode())(folder) or data("in/b.csv", SOUND.encode())(folder),
        changed("tx.csv", "in"),
        2,
        "/in/b.csv has no header, or is another kind of file: its first line has none of the names that other files",
    ),
    "a file system that is not there": (
        no_file,
        changed("tx.csv", "s3a://bucket/tx.csv"),
        2,
        'S3AFileSystem not found; set "spark.jars" = "/path/to/jars of that file system" under [spark], such as',
    ),
    "names of rows without one in the header": (
        text(HEADER + "".join(f"{n},{n}{SOUND}".replace("\n", ",x\n") for n in range(3))),
        SOURCE,
        2,
        (
            "; where each line has a cell more than the header, such as the name of a row, set header = false among the"
            " options and map _c0, _c1, ...; nothing was written"
        ),
    ),
    "a rule that fails on a row": (
        text(HEADER + SOUND),
        SOURCE + '[sources.transactions.reject]\ntest = "cast(status as int) = 0"\n',
        2,
        "test_failed 1 times (by 'cast(status as int) = 0'), such as ",
    ),
    "a number of text": (
        text(HEADER + SOUND),
        changed('"made_at"', '"timestamp_millis(id)"'),
        2,
        'requires the "INTEGRAL" type, however "id" has the type "STRING". write try_cast(id as bigint)',
    ),
    "a name with a sign": (
        text(HEADER + SOUND),
        changed('"made_at"', '"id.$date"'),
        2,
        "syntax error at '$'; a name with signs or blanks stands in backticks, also behind a point: `a b`.`$c`",
    ),
    "a number that is no time": (
        text(HEADER + SOUND.replace("1,", "99999999999999999,", 1)),
        changed('zone = "Europe/Berlin"', "").replace('"made_at"', '"timestamp_seconds(try_cast(id as bigint))"'),
        2,
        "event_time_unreadable 1 times (by 'timestamp_seconds(try_cast(id as bigint))'), such as ",
    ),
    "an expression that reads nothing": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', "").replace('"made_at"', "\"try_to_timestamp(made_at, 'dd/MM/yyyy')\""),
        2,
        "event_time_missing 1 times (null by \"try_to_timestamp(made_at, 'dd/MM/yyyy')\"), such as ",
    ),
    "a header's line that the file does not have": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', 'zone = "Europe/Berlin"\nheader_line = 9'),
        2,
        "tx.csv has no header on line 9",
    ),
    "a file of a header alone, which lacks a column": (
        text("id,customer\n"),
        SOURCE,
        2,
        'lacks kind; add kind = "an expression over: id, customer"',
    ),
    "SQL that reads a file": (
        text(HEADER + SOUND),
        changed('"amount"', '"(select max(value) from text.`/etc/passwd`)"'),
        2,
        "[sources.transactions.columns] amount",
    ),
    "SQL that reads the clock in another spelling": (
        text(HEADER + SOUND),
        changed('event_time = "made_at"', 'event_time = "string(NOW/**/())"'),
        2,
        "reads the clock",
    ),
    "SQL that makes a time of a word": (
        text(HEADER + SOUND),
        changed('event_time = "made_at"', "event_time = \"timestamp 'now'\""),
        2,
        "[sources.transactions.columns] event_time",
    ),
    "SQL that draws": (text(HEADER + SOUND), changed('"amount"', '"amount * rand()"'), 2, "amount * rand()"),
    "SQL that asks who runs it": (text(HEADER + SOUND), changed('"customer"', '"current_user"'), 2, "current_user"),
    "SQL that calls Java": (
        text(HEADER + SOUND),
        changed('"customer"', "\"reflect('java.lang.System', 'getenv', 'HOME')\""),
        2,
        "reflect",
    ),
    "SQL that stops a batch": (
        text(HEADER + SOUND),
        changed('"customer"', "\"raise_error('no')\""),
        2,
        "raise_error",
    ),
    "a pattern of another language": (
        text(HEADER + SOUND),
        changed('event_time = "made_at"', "event_time = \"try_to_timestamp(made_at, 'YYYY-MM-DD')\""),
        2,
        "yyyy-MM-dd",
    ),
    "a pattern of Python's": (
        text(HEADER + SOUND),
        changed('event_time = "made_at"', "event_time = \"try_to_timestamp(made_at, '%Y-%m-%d')\""),
        2,
        "yyyy-MM-dd",
    ),
    "an id that is a number with a fraction": (
        text(HEADER + SOUND),
        changed('customer_id = "customer"', 'customer_id = "cast(id as double)"'),
        2,
        "is double, want text; write cast(cast(cast(id as double) as decimal(38, 0)) as string)",
    ),
    "an id that is an array": (
        text(HEADER + SOUND),
        changed('customer_id = "customer"', 'customer_id = "split(customer, 0)"'),
        2,
        "customer_id = 'split(customer, 0)' is array<string>, want text",
    ),
    "an id that is a time": (
        text(HEADER + SOUND),
        changed('customer_id = "customer"', 'customer_id = "cast(made_at as timestamp)"'),
        2,
        "is timestamp, want text",
    ),
    "two currencies": (
        text(
            HEADER.strip() + ",currency\n" + SOUND.strip() + ",EUR\n" + SOUND.strip().replace("1,", "2,", 1) + ",usd\n"
        ),
        SOURCE,
        2,
        "amounts are in EUR, USD, which cannot be added up",
    ),
    "a limit for a column that is no number": (
        text(HEADER + SOUND),
        SOURCE + "[sources.transactions.maximum]\nstatus = 3\n",
        2,
        "status is no number of transactions",
    ),
    "a rule of doubt that does not exist": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', 'zone = "Europe/Berlin"\naccept = ["customer_id_is_jsn"]'),
        2,
        "accept 'customer_id_is_jsn' is no rule of doubt; did you mean 'customer_id_is_json'",
    ),
    "a query beside a path": (
        text(HEADER + SOUND),
        changed('zone = "Europe/Berlin"', 'query = "select 1"'),
        2,
        "path stands beside a query, which reads [inputs.NAME]",
    ),
    "a zone of a column that does not exist": (
        text(HEADER + SOUND),
        changed('event_time = "made_at"', 'event_time = { sql = "made_at", zone = "Europe/Berln" }'),
        2,
        "did you mean 'Europe/Berlin'",
    ),
    "nearly every row broken": (
        text(HEADER + SOUND.replace("9.50", "free") * 3),
        SOURCE,
        2,
        "transactions: 3 of 3 rows break the contract, more than max_quarantined = 0.5: amount_unreadable 3 times",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(spark: SparkSession, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    prepare, toml, exit_code, message = REFUSED[kind]
    prepare(tmp_path)
    (tmp_path / "churn.toml").write_text(toml, encoding="utf-8")

    with pytest.raises(ChurnError) as error:
        ingest(spark, Lake(spark, str(tmp_path / "lake")), load(tmp_path / "churn.toml", env={}), batch="b")

    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert error.value.exit_code == exit_code
    assert not (tmp_path / "lake").exists()
    assert '"stacktrace"' not in capfd.readouterr().err


# name: (the row, the rules it breaks); the id is the kind's place in the table
QUARANTINED: Mapping[str, tuple[str, list[str]]] = {
    "sound": ("{},ann,2026-01-01 08:00:00,2026-01-01 08:00:00,purchase,9.50,approved", []),
    "ids with blanks and unicode": ("{}, Zoë Ångström 🦉 ,2026-01-01,2026-01-01,purchase,1,", []),
    "too few cells": ("{},ann,2026-01-01", ["amount_missing", "kind_missing", "known_time_missing"]),
    "too many cells: an amount with a decimal comma": (
        "{},ann,2026-01-01,2026-01-01,purchase,9,50,approved",
        ["malformed_row"],
    ),
    "an open quote": ('{},"ann,2026-01-01,2026-01-01,purchase,9.50,approved', ["malformed_row"]),
    "a quoted amount with a decimal comma": (
        '{},ann,2026-01-01,2026-01-01,purchase,"9,50",approved',
        ["amount_unreadable"],
    ),
    "an amount with its currency": ("{},ann,2026-01-01,2026-01-01,purchase,9.50 EUR,", ["amount_unreadable"]),
    "an amount that does not fit": ("{},ann,2026-01-01,2026-01-01,purchase,1e30,", ["amount_unreadable"]),
    "no amount": ("{},ann,2026-01-01,2026-01-01,purchase,,", ["amount_missing"]),
    "a negative amount": ("{},ann,2026-01-01,2026-01-01,refund,-9.50,", ["amount_too_small"]),
    "an unknown kind": ("{},ann,2026-01-01,2026-01-01,Purchase,9.50,", ["kind_unknown"]),
    "an unknown status": ("{},ann,2026-01-01,2026-01-01,purchase,9.50,maybe", ["status_unknown"]),
    "no customer": ("{},,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_missing"]),
    "a customer of blanks": ("{},  \u00a0,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_missing"]),
    "text in another encoding": ("{},Zo\ufffd,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_undecodable"]),
    "an unparseable date": ("{},ann,1/2/2026,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "a date that does not exist": ("{},ann,2026-02-30,2026-03-01,purchase,9.50,", ["event_time_unreadable"]),
    "no time": ("{},ann,,2026-01-01,purchase,9.50,", ["event_time_missing"]),
    "no known time": ("{},ann,2026-01-01,,purchase,9.50,", ["known_time_missing"]),
    "a time that the clock skipped": (
        "{},ann,2026-03-29 02:30:00,2026-03-30,purchase,9.50,",
        ["event_time_clock_gap"],
    ),
    "a time that the clock repeated": ("{},ann,2025-10-26 02:30:00,2025-10-27,purchase,9.50,", []),
    "known before it happened": (
        "{},ann,2026-01-02 09:00:00,2026-01-02 08:59:59,purchase,9.50,",
        ["known_before_event"],
    ),
    "before 1900": ("{},ann,1026-01-02,2026-01-01,purchase,9.50,", ["before_1900"]),
    "in 2099": ("{},ann,2099-01-01,2099-01-01,purchase,9.50,", ["in_future"]),
    "a year of five digits": ("{},ann,20240-01-05,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "a plain number for a time": ("{},ann,45505,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "a year alone": ("{},ann,2026,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "a month alone": ("{},ann,2026-01,2026-02-01,purchase,9.50,", ["event_time_unreadable"]),
    "a time of day alone": ("{},ann,08:00:00,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "the end of time": ("{},ann,9999-12-31,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "a date of zeros": ("{},ann,0000-00-00 00:00:00,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "the first day of all": ("{},ann,0001-01-01,2026-01-01,purchase,9.50,", ["event_time_unreadable"]),
    "a zone that may mean several": (
        "{},ann,2026-01-01 08:00:00 IST,2026-01-02,purchase,9.50,",
        ["event_time_unreadable"],
    ),
    "a zone that the source's zone uses": ("{},ann,2026-01-01 08:00:00 CET,2026-01-02,purchase,9.50,", []),
    "an offset that does not exist": (
        "{},ann,2026-01-01 08:00:00+25:00,2026-01-02,purchase,9.50,",
        ["event_time_unreadable"],
    ),
    "a word for no time": ("{},ann,unknown,2026-01-02,purchase,9.50,", ["event_time_unreadable"]),
    "a known day": ("{},ann,2026-01-02 23:59:59,2026-01-02,purchase,9.50,", []),
    "an id that a spreadsheet rounded": (
        "{},4.4790E+11,2026-01-01,2026-01-01,purchase,9.50,",
        ["customer_id_in_scientific_notation"],
    ),
    "an id that a program rounded": (
        "{},1.2345678E7,2026-01-01,2026-01-01,purchase,9.50,",
        ["customer_id_in_scientific_notation"],
    ),
    "an id that a spreadsheet rounded, with a decimal comma": (
        '{},"4,4790E+11",2026-01-01,2026-01-01,purchase,9.50,',
        ["customer_id_in_scientific_notation"],
    ),
    "an id in braces": (
        "{},{{6F9619FF-8B86-D011-B42D-00CF4FC964FF}},2026-01-01,2026-01-01,purchase,9.50,",
        [],
    ),
    "an id that only looks like a number": ("{},12E45,2026-01-01,2026-01-01,purchase,9.50,", []),
    "an object for an id": (
        '{},"{{""id"": 7}}",2026-01-01,2026-01-01,purchase,9.50,',
        ["customer_id_is_json"],
    ),
    "an array for an id": ('{},"[1, 2]",2026-01-01,2026-01-01,purchase,9.50,', ["customer_id_is_json"]),
    "a word for no customer": ("{},NULL,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_missing"]),
    "a sign for no customer": ("{},\\N,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_missing"]),
    "an error of a spreadsheet for a customer": (
        "{},#REF!,2026-01-01,2026-01-01,purchase,9.50,",
        ["customer_id_missing"],
    ),
    "a byte of zero": ("{},a\0nn,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_undecodable"]),
    "a dash for a customer": ("{},-,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_missing"]),
    "not available, in any case": ("{},n/A,2026-01-01,2026-01-01,purchase,9.50,", ["customer_id_missing"]),
    "a word for no amount": ("{},ann,2026-01-01,2026-01-01,purchase,N/A,", ["amount_missing"]),
    "an amount that is not a number": ("{},ann,2026-01-01,2026-01-01,purchase,NaN,", ["amount_missing"]),
    "an infinite amount": ("{},ann,2026-01-01,2026-01-01,purchase,Infinity,", ["amount_unreadable"]),
    "a hexadecimal amount": ("{},ann,2026-01-01,2026-01-01,purchase,0x1F,", ["amount_unreadable"]),
    "an amount in brackets": ("{},ann,2026-01-01,2026-01-01,refund,(9.50),", ["amount_unreadable"]),
    "an amount with its sign behind": ("{},ann,2026-01-01,2026-01-01,refund,9.50-,", ["amount_unreadable"]),
    "an amount with a blank inside": ("{},ann,2026-01-01,2026-01-01,purchase,1 000,", ["amount_unreadable"]),
    "an amount with two points": ("{},ann,2026-01-01,2026-01-01,purchase,1.000.00,", ["amount_unreadable"]),
    "a trailing separator": ("{},ann,2026-01-01,2026-01-01,purchase,9.50,approved,", []),
    "many trailing separators": ("{},ann,2026-01-01,2026-01-01,purchase,9.50,approved,,, ,", []),
    "a last cell that is left out": ("{},ann,2026-01-01,2026-01-01,purchase,9.50", []),
    "a backslash before a quote": ('{},"ann \\",2026-01-01,2026-01-01,purchase,9.50,', []),
    "doubled quotes": ('{},"ann ""lee""",2026-01-01,2026-01-01,purchase,9.50,', []),
    "a quote inside a cell": ('{},ann 5" lee,2026-01-01,2026-01-01,purchase,9.50,', []),
    "several at once": (
        "{},,2026-01-03,2026-01-01,gift,x,",
        ["amount_unreadable", "customer_id_missing", "kind_unknown"],
    ),
}
QUARANTINED["several at once"][1].append("known_before_event")


@pytest.fixture(scope="module")
def quarantined(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[list[str], str]]:
    """All rows of the table above, read in one go: the rules that each breaks, and the raw row that is kept."""
    folder = tmp_path_factory.mktemp("rows")
    lines = [row.format(number) for number, (row, _) in enumerate(QUARANTINED.values())]
    (folder / "tx.csv").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    (folder / "churn.toml").write_text(SOURCE + 'known_time = "loaded_at"\n')
    source = load(folder / "churn.toml").sources["transactions"]
    rows = map_source(spark, source, as_of=datetime(2026, 6, 1)).rows.select("transaction_id", RULES, RAW).collect()
    assert len(rows) == len(QUARANTINED)
    kinds = list(QUARANTINED)
    return {kinds[int(row["transaction_id"])]: (row[RULES], row[RAW]) for row in rows}


@pytest.mark.parametrize("kind", QUARANTINED)
def test_quarantined(quarantined: Mapping[str, tuple[list[str], str]], kind: str) -> None:
    rules, raw = quarantined[kind]
    assert sorted(rules) == sorted(QUARANTINED[kind][1])
    assert (raw is None) == (not rules)


def test_ids_of_different_rows_that_are_null_or_twice(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "tx.csv").write_text(
        HEADER
        + SOUND
        + SOUND  # twice the same
        + SOUND.replace("1,ann", ",ann")  # no id
        + SOUND.replace("1,ann", "2,ann")
        + SOUND.replace("1,ann", "2,bob")  # one id, two customers
    )
    (tmp_path / "churn.toml").write_text(SOURCE)

    [report] = validate(spark, load(tmp_path / "churn.toml"))

    row = report.row
    assert (row.rows_in, row.accepted, row.duplicate, row.quarantined) == (5, 1, 1, 3)
    assert row.rules == {"conflicting_id": 2, "transaction_id_missing": 1}


def test_a_date_that_no_timestamp_can_be_costs_its_row(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "tx.csv").write_text(HEADER + SOUND + SOUND.replace("1,", "2147483647,", 1))
    sql = "\"date_add(date '2026-01-01', cast(id as int))\""
    (tmp_path / "churn.toml").write_text(changed('"made_at"', sql))
    source = load(tmp_path / "churn.toml").sources["transactions"]

    rows = map_source(spark, source).rows.select("transaction_id", RULES).collect()

    assert {row["transaction_id"]: row[RULES] for row in rows} == {"1": [], "2147483647": ["event_time_unreadable"]}


def test_a_header_without_rows_is_a_batch_without_rows(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "tx.csv").write_text(HEADER)
    (tmp_path / "churn.toml").write_text(SOURCE)

    [report] = validate(spark, load(tmp_path / "churn.toml"))

    assert (report.row.rows_in, report.row.first_event, report.problem) == (0, None, None)
