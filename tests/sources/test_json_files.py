"""JSON as it comes: its forms, its keys, its numbers; every element of a file is one raw row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from churn.config import RawInput, load
from churn.errors import BadInputError, ChurnError, ConfigError
from churn.sources.mapping import RULES, map_source
from churn.sources.readers import read
from churn.sources.readers.files import FILE, UNPARSED
from churn.sources.readers.json_documents import CONTENT, has_lines, path_steps, split
from churn.sources.readers.json_files import Keys, json_keys, json_rows, json_texts, text_records
from churn.sources.streaming import read_stream


def source(path: Path, **settings: Any) -> RawInput:
    return RawInput(name="calls", file=Path("churn.toml"), format="json", path=str(path), **settings)


def table(frame: DataFrame) -> dict[str, Any]:
    """The names of the columns, and the rows in any order; structs and lists as JSON has them."""
    names = [name for name in frame.columns if name != FILE]
    rows = [tuple(json.loads(json.dumps(row[name], default=str)) for name in names) for row in frame.collect()]
    return {"names": tuple(names), "rows": sorted(rows, key=str)}


def read_text(spark: SparkSession, folder: Path, text: str, **settings: Any) -> dict[str, Any]:
    (folder / "calls.json").write_text(text, encoding="utf-8", newline="")
    return table(read(spark, source(folder / "calls.json", **settings)))


# --- forms ------------------------------------------------------------------------------------------------------------

ONE, TWO = '{"id": 1, "who": {"name": "Zoë"}, "fee": 0.10}', '{"id": 2, "fee": 1E3}'
PRETTY_ONE, PRETTY_TWO = (text.replace(", ", ",\n  ").replace("{", "{\n  ", 1) for text in (ONE, TWO))


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("lines.json", f"{ONE}\n{TWO}\n".encode(), {}),
        ("blank_lines.json", f"\ufeff{ONE}\r\n \t\r\n\r\n{TWO}\r\n".encode(), {}),
        ("long_line.json", f'{{"pad": "{"x" * 70_000}"}}\n{ONE}\n{TWO}'.encode(), {}),
        ("list_on_a_line.json", f"[{ONE},{TWO}]".encode(), {}),
        ("a_line_an_element.json", f"[\n{ONE},\n{TWO}\n]\n".encode(), {}),
        ("pretty_list.json", f"\ufeff[\n  {PRETTY_ONE},\n  {PRETTY_TWO}\n]".encode(), {}),
        ("one_after_another.json", f"{PRETTY_ONE}\n{PRETTY_TWO}\n".encode(), {}),
        ("without_line_breaks.json", (ONE + TWO).encode(), {}),
        ("commas.json", f"{ONE},\n{TWO},\n".encode(), {}),
        ("a_list_a_line.json", f"[{ONE}]\n[{TWO}]\n".encode(), {}),
        ("lists_in_a_list.json", f"[[{ONE}],[],[{TWO}]]".encode(), {}),
        ("lines.json.gz", gzip.compress(f"{ONE}\n{TWO}\n".encode(), mtime=0), {}),
        ("list.json.gz", gzip.compress(f"[{ONE},{TWO}]".encode(), mtime=0), {}),
        ("utf16.json", f"{ONE}\r\n{TWO}\r\n".encode("utf-16"), {}),
        ("utf16_without_mark.json", f"[{ONE},{TWO}]".encode("utf-16-be"), {}),
        ("windows.json", f"{ONE}\n{TWO}\n".encode("cp1252"), {"encoding": "windows-1252"}),
        ("macintosh.json", f"{ONE}\n{TWO}\n".encode("mac_roman"), {"encoding": "x-MacRoman"}),
    ],
)
def test_forms(spark: SparkSession, tmp_path: Path, name: str, content: bytes, options: dict[str, str]) -> None:
    (tmp_path / name).write_bytes(content)
    frame = read(spark, source(tmp_path, options=options))
    rows = sorted(
        (row["id"], row["who"] and row["who"]["name"], row["fee"], row[UNPARSED], row[FILE].rpartition("/")[2])
        for row in frame.where("id IS NOT NULL").collect()
    )
    assert rows == [("1", "Zoë", "0.10", None, name), ("2", None, "1E3", None, name)]
    assert frame.count() == 2 + (name == "long_line.json")


def test_a_single_pretty_object_is_one_row(spark: SparkSession, tmp_path: Path) -> None:
    assert read_text(spark, tmp_path, PRETTY_TWO) == {"names": ("fee", "id", UNPARSED), "rows": [("1E3", "2", None)]}


def test_files_of_several_forms_are_read_together(spark: SparkSession, tmp_path: Path) -> None:
    """An empty file and an empty list hold no rows, an empty object is one."""
    folder = tmp_path / "dt=2024-07-01"
    folder.mkdir()
    (folder / "1.json").write_text('{"id": 1, "dt": "written"}\n{"id": 2}\n')
    (folder / "2.json").write_text('[{"id": 3}]')
    (tmp_path / "3.json").write_text("[]")
    (tmp_path / "4.json").touch()
    (tmp_path / "5.json").write_text("{}")
    assert table(read(spark, source(tmp_path))) == {
        "names": ("dt", "id", UNPARSED),
        "rows": [
            ("2024-07-01", "2", None),  # the folder's, where the record has no such key
            ("2024-07-01", "3", None),
            ("written", "1", None),
            (None, None, None),
        ],
    }


@pytest.mark.parametrize(("text", "rows"), [("[]", []), (" [ ] \n", []), ("{}\n{}", [(None,), (None,)])])
def test_no_keys_at_all(spark: SparkSession, tmp_path: Path, text: str, rows: list[tuple[None]]) -> None:
    assert read_text(spark, tmp_path, text) == {"names": (UNPARSED,), "rows": rows}


# --- rows inside responses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "rows"),
    [
        ("conversations[*]", '{"total": 2, "conversations": [{"id": 1}, {"id": 2}]}', [("1", None), ("2", None)]),
        ("conversations", '{\n "conversations": [\n  {\n   "id": 1\n  }\n ],\n "total": 1\n}', [("1", None)]),
        ("$.data.items[*]", '{"data": {"items": [{"id": 1}]}, "items": [{"id": 9}]}', [("1", None)]),
        ("Data.Items[*]", '{"data": {"ITEMS": [{"id": 1}]}}', [("1", None)]),
        ("data", '{"data": {"id": 1}}', [("1", None)]),
        ("`a.b`[*].c", '{"a.b": [{"c": {"id": 1}}, {"c": {"id": 2}}]}', [("1", None), ("2", None)]),
        # a list of responses, one of which has no rows
        (
            "pages[*].conversations[*]",
            '{"pages": [{"conversations": [{"id": 1}, {"id": 2}]}, {"conversations": null}, {"conversations": []}]}',
            [("1", None), ("2", None)],
        ),
        # a response a line; the last is cut off inside its second row
        (
            "d.i[*]",
            '{"d": {"i": [{"id": 1}]}}\n{"d": {"i": [{"id": 2}, {"id": 3}]}}\n{"d": {"i": [{"id": 4}, {"id": 5',
            [("1", None), ("2", None), ("3", None), ("4", None), (None, '{"id": 5')],
        ),
        # cut off between two rows, and after the last one
        ("c[*]", '{"c": [{"id": 1},', [("1", None), (None, '{"c": [{"id": 1},')]),
        ("c[*]", '{"c": [{"id": 1}], "tot', [("1", None), (None, '"tot')]),
        # elements that are no objects; a page of an error
        (
            "pages[*].c[*]",
            '{"pages": [{"c": [{"id": 1}, 7, "x", null]}, {"error": "quota"}, {"c": true}, 5]}',
            [
                ("1", None),
                (None, '"x"'),
                (None, "5"),
                (None, "7"),
                (None, "null"),
                (None, "true"),
                (None, '{"error": "quota"}'),
            ],
        ),
        # a broken row costs itself alone, where rows begin on lines of their own
        (
            "c[*]",
            '{"c": [\n  {"id": 1},\n  {"id": "a"b"},\n  {"id": 3}\n]}',
            [("1", None), ("3", None), (None, '{"id": "a"b"}')],
        ),
    ],
)
def test_rows_inside_a_response(
    spark: SparkSession, tmp_path: Path, path: str, text: str, rows: list[tuple[str | None, ...]]
) -> None:
    found = read_text(spark, tmp_path, text, rows=path)
    assert found == {"names": ("id", UNPARSED), "rows": sorted(rows, key=str)}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "conversation[*]",
            "names nothing: where it ends there are the keys conversations, totalHits; did you mean 'conversations'?",
        ),
        (
            "conversations[*].legs",
            "names nothing: where it ends there are the keys id, talk",
        ),
    ],
)
def test_a_path_that_names_nothing(spark: SparkSession, tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(BadInputError) as error:
        read_text(spark, tmp_path, '{"conversations": [{"id": 1, "talk": 2}], "totalHits": 1}', rows=path)
    assert str(error.value) == f"churn.toml: [inputs.calls] rows = {path!r} {message}"


@pytest.mark.parametrize("path", ["", "data[0]", "data..items", "data[*", "[*]", "."])
def test_what_is_no_path(spark: SparkSession, tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_text(spark, tmp_path, "{}", rows=path)
    assert str(error.value) == (
        f'churn.toml: [inputs.calls] rows is {path!r}, want the keys that lead to the rows, such as "data.items[*]"'
    )


# --- records ----------------------------------------------------------------------------------------------------------


def test_every_line_is_one_row_and_what_is_no_object_is_unparsed(spark: SparkSession, tmp_path: Path) -> None:
    lost = [
        '{"id": 1}{"id": 2}',  # Spark's own reader drops the second
        '{"id": 3} and more',
        '{"id": 4},{"id": 5}',
        '[{"id": 6}]',
        "7",
        '"8"',
        "null",
        "[]",
        '{"id": 9',
        '{"id": "a"b"}',
        "{'id': 10}",
        '{"id": 011}',
        '{"id": 1-2}',
        '{"id": "\x01\x02"}',
        '{"id": 12, "id": 13}',
        '{"id": 14, "in": {"x": 1, "x": 2}}',
        '{"id": {"x": ' + "[" * 120 + "]" * 120 + "}}",
        '{"id": ' + "[" * 1200 + "]" * 1200 + "}",
    ]
    sound = ['{"id": "s1"}', '{"id": "s2", "in": {"x": 1}}', "{}"]
    assert read_text(spark, tmp_path, "\n".join([*sound, *lost])) == {
        "names": ("id", "in", UNPARSED),
        "rows": sorted(
            [("s1", None, None), ("s2", ["1"], None), (None, None, None), *((None, None, line) for line in lost)],
            key=str,
        ),
    }


def test_a_list_costs_its_broken_elements_alone(spark: SparkSession, tmp_path: Path) -> None:
    text = '[\n {\n  "id": 1\n },\n 5,\n [],\n {\n  "id": "a"b"\n },\n {\n  "id": 3\n },\n {\n  "id": 4,\n  "in": {'
    assert read_text(spark, tmp_path, text) == {
        "names": ("id", UNPARSED),
        "rows": [
            ("1", None),
            ("3", None),
            (None, "5"),
            (None, '{\n  "id": "a"b"\n }'),
            (None, '{\n  "id": 4,\n  "in": {'),
        ],
    }


def test_bytes_that_are_no_utf8_cost_their_record(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_bytes(b'{"id": 1, "who": "Zo\xeb"}\n{"id": 2, "who": "Zo\xc3\xab"}\n')
    (tmp_path / "list.json").write_bytes(b'[{"id": 3, "who": "Zo\xeb"},{"id": 4, "who": "Zo\xc3\xab"}]')
    assert table(read(spark, source(tmp_path))) == {
        "names": ("id", "who", UNPARSED),
        "rows": [
            ("2", "Zoë", None),
            ("4", "Zoë", None),
            (None, None, '{"id": 1, "who": "Zo\ufffd"}'),
            (None, None, '{"id": 3, "who": "Zo\ufffd"}'),
        ],
    }


def test_long_records(spark: SparkSession, tmp_path: Path) -> None:
    """Long text, many escapes, many numbers and a deep list overflow no stack, in a line or in a list."""
    deep = json.loads("[" * 90 + "]" * 90)
    record = json.dumps({"id": 1, "note": '"\\\n' * 100_000, "in": deep, "n": [1.5] * 10_000})
    longer = json.dumps({"id": 2, "note": "x" * 21_000_000})  # than Spark's parser takes by default
    (tmp_path / "lines.json").write_text(f"{record}\n{record[:-1]}\n{longer}\n")
    (tmp_path / "list.json").write_text(f"[{record}]")
    found = read(spark, source(tmp_path)).selectExpr(
        "id", "length(note) AS note", "size(n) AS n", f"length({UNPARSED}) AS unparsed"
    )
    assert sorted(map(tuple, found.collect()), key=str) == [
        ("1", 300_000, 10_000, None),
        ("1", 300_000, 10_000, None),
        ("2", 21_000_000, None, None),
        (None, None, None, len(record) - 1),
    ]


# --- values -----------------------------------------------------------------------------------------------------------

VALUES = {
    "12345678901234567890123": "12345678901234567890123",
    "0.10": "0.10",
    "-0.0": "-0.0",
    "1E3": "1E3",
    "1.5e-7": "1.5e-7",
    "12345678901234567890.123456789012345678901": "12345678901234567890.123456789012345678901",
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "true": "true",
    "null": None,
    '""': "",
    '"0.10"': "0.10",
    '" a 1.50 \\"2.50\\" \\u00e9\\/\\\\ "': ' a 1.50 "2.50" é/\\ ',
    '"\\ud83e\\udd89 🦉"': "🦉 🦉",
    "\"it's 5 o'clock\"": "it's 5 o'clock",
}


@pytest.mark.parametrize("form", ["lines", "list", "compressed list"])
def test_values_are_the_text_that_was_written(spark: SparkSession, tmp_path: Path, form: str) -> None:
    records = [f'{{"id": {number}, "v": {value}, "in": [{value}]}}' for number, value in enumerate(VALUES, 10)]
    text = "\n".join(records) if form == "lines" else f"[{','.join(records)}]"
    if form == "compressed list":
        (tmp_path / "calls.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        (tmp_path / "calls.json").write_text(text, encoding="utf-8")
    assert table(read(spark, source(tmp_path))) == {
        "names": ("id", "in", "v", UNPARSED),
        "rows": [(str(number), [value], value, None) for number, value in enumerate(VALUES.values(), 10)],
    }


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_that_differ_by_case_are_one_column(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(
        '{"CallId": 1, "legs": [{"Agent": "ann", "Skill": {"Name": "x"}}]}\n'
        '{"CALLID": 2, "legs": [{"agent": "bob", "skill": {"name": "y"}}, null]}\n'
        # both in one record: the one that is not null, or that is equal
        '{"CallId": null, "callid": 3, "legs": [{"agent": "cy", "Agent": "cy"}]}\n'
        # two values, of which one would be lost
        '{"CallId": 4, "callid": 5}\n'
        '{"CallId": 6, "legs": [{"agent": "dee", "Agent": "eve"}]}\n'
    )
    (tmp_path / "2.json").write_text('[{"callid": 7}]')
    assert table(read(spark, source(tmp_path))) == {
        "names": ("CALLID", "legs", UNPARSED),
        "rows": [
            ("1", [["ann", ["x"]]], None),
            ("2", [["bob", ["y"]], None], None),
            ("3", [["cy", None]], None),
            ("7", None, None),
            (None, None, '{"CallId": 4, "callid": 5}'),
            (None, None, '{"CallId": 6, "legs": [{"agent": "dee", "Agent": "eve"}]}'),
        ],
    }


def test_names_are_resolved_in_any_case(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_text('{"CallId": 1, "In": {"Name": "a"}}\n{"callid": 2, "in": {"name": "b"}}\n')
    rows = read(spark, source(tmp_path)).selectExpr("callID", "IN.NAME").collect()
    assert sorted(map(tuple, rows)) == [("1", "a"), ("2", "b")]


def test_odd_names(spark: SparkSession, tmp_path: Path) -> None:
    text = '{"a.b": 1, "c`d": 2, "e f": {"g.h": 3.50}, "it\'s": 4, "é": 5, "_file": 7, "_UNPARSED": 8}'
    assert read_text(spark, tmp_path, text) == {
        "names": ("a.b", "c`d", "e f", "it's", "é", UNPARSED),
        "rows": [("1", "2", ["3.50"], "4", "5", None)],
    }


def test_a_key_that_is_an_object_one_day_and_text_the_next(spark: SparkSession, tmp_path: Path) -> None:
    """Its column is JSON text, with every number as it was written; plain values are as ever."""
    (tmp_path / "1.json").write_text('{"id": 1, "customer": {"name": "ann 1.50", "fees": [0.10, -12e3, true, null]}}')
    (tmp_path / "2.json").write_text('{"id": 2, "customer": "bob"}\n{"id": 3, "customer": 0.10}\n{"id": 4}\n')
    assert table(read(spark, source(tmp_path))) == {
        "names": ("customer", "id", UNPARSED),
        "rows": [
            ("0.10", "3", None),
            ("bob", "2", None),
            ('{"name":"ann 1.50","fees":[0.10,-12e3,true,null]}', "1", None),
            (None, "4", None),
        ],
    }


TYPED = """{"id": 1, "customer": {"name": "ann", "n": 1.50}, "items": [{"sku": "a", "qty": 2}], "fee": "9.50"}
{"id": 2, "Customer": "bob", "items": [], "fee": 12345678901234567.25, "ok": true}
{"id": 3, "items": "none"}
{"id": 4, "items": [{"sku": "b", "qty": "two"}]}
{"id": 5, "fee": "free"}
"""


def test_declared_types(spark: SparkSession, tmp_path: Path) -> None:
    """A value that does not have its type costs its row; a name that does not occur is a column of nulls."""
    types = {
        "customer": "string",
        "items": "array<struct<sku: string, qty: int>>",
        "fee": "decimal(20,2)",
        "ok": "boolean",
        "late": "map<string, double>",
    }
    frame = read_typed(spark, tmp_path, types)
    assert frame.select("items", "fee", "ok", "late").schema.simpleString() == (
        "struct<items:array<struct<sku:string,qty:int>>,fee:decimal(20,2),ok:boolean,late:map<string,double>>"
    )
    lines = TYPED.splitlines()
    assert table(frame) == {
        "names": ("Customer", "fee", "id", "items", "ok", "late", UNPARSED),
        "rows": [
            ("bob", "12345678901234567.25", "2", [], True, None, None),
            ('{"name":"ann","n":1.50}', "9.50", "1", [["a", 2]], None, None, None),
            (None, None, None, None, None, None, lines[2]),
            (None, None, None, None, None, None, lines[3]),
            (None, None, None, None, None, None, lines[4]),
        ],
    }


def read_typed(spark: SparkSession, folder: Path, types: Mapping[str, str]) -> DataFrame:
    (folder / "calls.json").write_text(TYPED)
    return read(spark, source(folder, types=types))


@pytest.mark.parametrize(
    ("ddl", "message"),
    [
        ("strng", "is 'strng', which is no type of Spark; want one such as \"string\""),
        ("struct<a:int", "is 'struct<a:int', which is no type of Spark; want one"),
        ("", "is '', which is no type of Spark; want one"),
        ("string, other string", "is 'string, other string', want one type"),
        ("array<timestamp>", "but timestamp is not read here; write string, and cast it in the expression"),
        ("map<int, string>", "but map<int,string> is not read here"),
    ],
)
def test_what_is_no_type(spark: SparkSession, tmp_path: Path, ddl: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_typed(spark, tmp_path, {"customer": ddl})
    assert str(error.value).startswith("churn.toml: [inputs.calls.types] customer is ")
    assert message in str(error.value)


def test_options_of_the_parser(spark: SparkSession, tmp_path: Path) -> None:
    options = {"allowSingleQuotes": "true", "allowUnquotedFieldNames": "true", "multiLine": "true"}
    assert read_text(spark, tmp_path, "{'id': 0.10, who2: 'it is 5'}\n", options=options) == {
        "names": ("id", "who2", UNPARSED),
        "rows": [("0.10", "it is 5", None)],
    }


# --- what is no JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"id,who\n1,ann\n", {}, 'calls.json holds no JSON objects, but separated text: set format = "csv"; want an'),
        (b"nothing\n", {}, "calls.json holds no JSON objects, but other text; want an object a line, or a list of"),
        (b"<html>\n{\n</html>", {}, "calls.json is no JSON, but a page of HTML or XML, such as a server's error"),
        (gzip.compress(b"{}", mtime=0), {}, "calls.json is a gzip file without .gz at the end of its name, want JSON"),
        (b"PAR1\0\0\0\0", {}, "calls.json is a parquet file, want JSON; unpack it or export it as JSON, or set format"),
        (
            b"{id: 1}\n{id: 2}\n",
            {},
            "calls.json holds no JSON objects: Expecting property name enclosed in double quotes",
        ),
        (b"[1, 2]", {}, "calls.json holds no JSON objects, but other values"),
        (
            b'{"who": "Zo\xeb"}',
            {},
            'calls.json holds no JSON in UTF-8; set encoding, such as "windows-1252", under options',
        ),
        (
            b"{}",
            {"encoding": "latin-7x"},
            "churn.toml: [inputs.calls.options] encoding is 'latin-7x', which is unknown",
        ),
        (b" \n\xef\xbb\xbf\n", {}, "calls.json is empty: no rows and no header"),
    ],
)
def test_what_is_no_json(
    spark: SparkSession, tmp_path: Path, content: bytes, options: dict[str, str], message: str
) -> None:
    (tmp_path / "calls.json").write_bytes(content)
    with pytest.raises(ChurnError) as error:
        read(spark, source(tmp_path / "calls.json", options=options))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


# --- calls of several participants ------------------------------------------------------------------------------------


def participant(purpose: str, **values: object) -> dict[str, object]:
    metrics = [{"name": name, "value": value} for name, value in values.items()]
    return {"purpose": purpose, "sessions": [{"mediaType": "voice", "metrics": metrics}]}


CONVERSATIONS = [
    {
        "conversationId": "k-1",
        "conversationStart": "2024-03-01T09:00:00.250Z",
        "conversationEnd": "2024-03-01T09:06:00.000Z",
        "account": "A-1",
        "participants": [
            participant("customer"),
            participant("acd", tAcd=31000),
            participant("agent", tTalkComplete=200000, tHeldComplete=10000, nTransferred=1),
            participant("agent", tTalkComplete=90000),
        ],
    },
    {
        "conversationId": "k-2",
        "conversationStart": "2024-03-01T23:58:30.000Z",
        "conversationEnd": "2024-03-02T00:03:00.000Z",
        "account": "A-2",
        # a session without metrics
        "participants": [participant("agent", tTalkComplete=250000), {"purpose": "agent", "sessions": [{}]}],
    },
    {
        "conversationId": "k-3",
        "conversationStart": "2024-03-02T09:00:00.000Z",
        "conversationEnd": "2024-03-02T09:01:00.000Z",
        "account": "A-1",
        "participants": [participant("customer"), participant("acd", tAbandon=60000)],
    },
]
METRICS = "flatten(flatten(transform({of}, p -> transform(p.sessions, s -> coalesce(s.metrics, array())))))"
SUM = "aggregate(filter({metrics}, m -> m.name = '{name}'), 0L, (total, m) -> total + cast(m.value as bigint))"
AGENTS = METRICS.format(of="filter(participants, p -> p.purpose = 'agent')")
EVERYONE = METRICS.format(of="participants")
CALLS = f"""
[sources.calls]
format = "json"
path = "{{path}}"
{{rows}}
[sources.calls.columns]
call_id = "conversationId"
customer_id = "account"
event_time = "conversationStart"
known_time = "conversationEnd"
talk_seconds = "{SUM.format(metrics=AGENTS, name="tTalkComplete")} div 1000"
wait_seconds = "{SUM.format(metrics=EVERYONE, name="tAcd")} div 1000"
transfers = "{SUM.format(metrics=AGENTS, name="nTransferred")}"
abandoned = "exists({EVERYONE}, m -> m.name = 'tAbandon')"
"""


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (json.dumps(CONVERSATIONS, indent=1), ""),
        ("\n".join(map(json.dumps, CONVERSATIONS)), ""),
        (json.dumps({"conversations": CONVERSATIONS, "totalHits": 3}, indent=1), 'rows = "conversations[*]"'),
    ],
)
def test_calls_of_several_participants(spark: SparkSession, tmp_path: Path, text: str, rows: str) -> None:
    (tmp_path / "calls.json").write_text(text)
    (tmp_path / "churn.toml").write_text(CALLS.format(path="calls.json", rows=rows))
    calls = map_source(spark, load(tmp_path / "churn.toml", env={}).sources["calls"]).rows
    columns = ("call_id", "customer_id", "event_time", "talk_seconds", "wait_seconds", "transfers", "abandoned", RULES)
    assert sorted(map(tuple, calls.select(*columns).collect())) == [
        ("k-1", "A-1", datetime(2024, 3, 1, 9, 0, 0, 250_000), 290, 31, 1, False, []),
        ("k-2", "A-2", datetime(2024, 3, 1, 23, 58, 30), 250, 0, 0, False, []),
        ("k-3", "A-1", datetime(2024, 3, 2, 9), 0, 0, 0, True, []),
    ]


# --- as they arrive ---------------------------------------------------------------------------------------------------


def test_files_that_arrive(spark: SparkSession, tmp_path: Path) -> None:
    """Files of a stream are read as the others are, in each of their forms."""
    arriving = tmp_path / "arriving"
    arriving.mkdir()
    (tmp_path / "calls.json").write_text('{"id": 0, "who": {"name": "a"}, "At": ""}\n{"id": 0, "at": ""}\n')
    (arriving / "1.json").write_text('{"id": 0.10, "who": {"name": "ann"}, "at": "2024-01-01"}\n{"id": 2}{"id": 3}\n')
    (arriving / "2.json").write_text('[{"id": 4, "id": 5},\n{"id": 6, "who": {"name": "cy"}, "At": "2024-01-02"}]')
    (arriving / "3.json").write_text('{"id": 7, "who": "bob", "at": "2024-01-03"}')
    (tmp_path / "churn.toml").write_text(
        '[sources.calls]\nformat = "json"\npath = "calls.json"\n[sources.calls.stream]\npath = "arriving"\n'
        '[sources.calls.columns]\ncall_id = "id"\ncustomer_id = "who.name"\nevent_time = "at"\n'
    )
    stream = read_stream(spark, load(tmp_path / "churn.toml", env={}), "calls", "files")
    assert stream is not None
    query = (
        stream.rows.select("call_id", "customer_id", "event_time", RULES)
        .writeStream.format("memory")
        .queryName("arrived")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    assert sorted(map(tuple, spark.table("arrived").collect()), key=str) == [
        ("0.10", "ann", datetime(2024, 1, 1), []),
        ("2", None, None, ["customer_id_missing", "event_time_missing"]),
        ("3", None, None, ["customer_id_missing", "event_time_missing"]),
        ("6", "cy", datetime(2024, 1, 2), []),
        (None, None, None, ["malformed_row"]),
        (None, None, None, ["malformed_row"]),
    ]


def test_messages_that_arrive(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_text('{"id": 0, "fee": 1, "callId": ""}\n{"callid": ""}\n')
    settings = source(tmp_path / "calls.json")
    keys = Keys(json_keys(spark, json_texts(spark, settings), settings).schema)
    messages = [
        '{"id": 1, "fee": 0.10, "callid": "a", "new": 1}',
        '{"id": 2, "id": 3}',
        '{"id": 4}{"id": 5}',
        "",
        "[]",
    ]
    values = ", ".join([*(f"'{message}'" for message in messages), "cast(null AS string)"])
    frame = spark.range(1).selectExpr(f"explode(array({values})) AS {CONTENT}")
    assert table(json_rows(text_records(frame, settings), settings, keys)) == {
        "names": ("callId", "fee", "id", UNPARSED),
        "rows": [
            ("a", "0.10", "1", None),
            (None, None, None, ""),
            (None, None, None, ""),
            (None, None, None, "[]"),
            (None, None, None, messages[1]),
            (None, None, None, messages[2]),
        ],
    }


# --- documents, without Spark -----------------------------------------------------------------------------------------

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(), VALUE, max_size=3), max_size=4)


@given(objects=OBJECTS, indent=st.none() | st.integers(0, 3), cut=st.integers(0, 500))
def test_any_list_is_its_elements_and_cut_off_it_is_those_before(
    objects: list[dict[str, Any]], indent: int | None, cut: int
) -> None:
    text = json.dumps(objects, indent=indent)
    whole = list(split(text.encode(), "utf-8"))
    assert [(json.loads(element), is_record) for element, is_record in whole] == [(one, True) for one in objects]
    begun = list(split(text[:cut].encode(), "utf-8"))
    sound = [json.loads(element) for element, is_record in begun if is_record]
    assert sound == objects[: len(sound)]
    assert len(begun) - len(sound) == (0 < cut < len(text))


@pytest.mark.parametrize(
    ("head", "is_whole", "expected"),
    [
        ('{"a": 1}', True, True),
        ('{"a": 1}\n{"a": 2', False, True),
        ('{"a": "' + "x" * 100, False, True),  # one line longer than what is read of it
        ('{"a": 1, "b\n{"a": 2}\n{"a": 3}\n', True, True),  # the first line is the broken one
        ('5\n{"a": 1}\n', True, True),
        ('{"a":\n1}', True, False),
        ('{"a": [\n{"b": 1},\n{"b": 2}\n', False, False),
        ('{"a": 1}{"a": 2}\n', True, False),
        ('[{"a": 1}]\n[{"a": 2}]\n', True, False),
    ],
)
def test_lines_are_found(head: str, is_whole: bool, expected: bool) -> None:
    assert has_lines(head, is_whole=is_whole) is expected


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)),
        ("a[*]", ("a",)),
        ("$.a[*].b c[*][*]", ("a", "b c")),
        ("[*].a", ("a",)),
        ("`a.b[0]`.`c``d`", ("a.b[0]", "c`d")),
        ("a.", None),
        ("a b[1]", None),
    ],
)
def test_paths(path: str, steps: tuple[str, ...] | None) -> None:
    assert path_steps(path) == steps
