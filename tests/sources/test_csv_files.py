"""Separated text as it comes: its encodings, its dialects, and the lines around its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import RawInput, load
from churn.errors import BadInputError, ConfigError
from churn.runtime.session import with_settings
from churn.sources.readers import read
from churn.sources.readers.files import FILE, UNPARSED


def source(path: Path, **settings: Any) -> RawInput:
    return RawInput(name="calls", file=Path("churn.toml"), path=str(path), **settings)


def raw(spark: SparkSession, folder: Path, files: Mapping[str, str | bytes], **settings: Any) -> DataFrame:
    """The raw rows of a folder of these files."""
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(spark, source(folder, **settings))


def table(frame: DataFrame) -> list[tuple[Any, ...]]:
    """The names of the columns, then the rows in order, each with its unparsed line where it has one."""
    names = [name for name in frame.columns if name not in (FILE, UNPARSED)]
    rows = [tuple(row[name] for name in (*names, *([UNPARSED] if row[UNPARSED] else []))) for row in frame.collect()]
    return [tuple(names), *sorted(rows, key=str)]


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "codec", "name"),
    [
        ("windows-1252", "cp1252", "Müller"),
        ("cp1252", "cp1252", "Müller"),
        ("latin-1", "latin-1", "Müller"),
        ("ISO-8859-2", "iso8859-2", "Łódź"),
        ("utf-8-sig", "utf-8-sig", "Łódź"),
        ("utf_16_le", "utf-16-le", "Łódź"),
        ("Shift_JIS", "shift_jis", "田中ソ表"),  # the second byte of the last two is a backslash
        ("cp932", "cp932", "髙橋①"),  # which Shift_JIS and what Java calls cp932 lack
        ("cp949", "cp949", "똠방"),
        ("big5", "big5", "許功蓋"),
        ("gb18030", "gb18030", "张伟"),
        ("iso2022_jp", "iso2022_jp", "田中"),
        ("koi8-r", "koi8-r", "Иван"),
        ("mac_roman", "mac_roman", "Müller"),
        ("x-MacRoman", "mac_roman", "Müller"),
        ("cp037", "cp037", "Müller"),  # a line break is another byte there
    ],
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_an_encoding_by_the_name_of_java_or_python(
    spark: SparkSession, tmp_path: Path, encoding: str, codec: str, name: str, quote: str
) -> None:
    text = f"id,{name}\n1,{quote}{name}{quote}\n2,x\n"
    frame = raw(spark, tmp_path, {"a.csv": text.encode(codec)}, options={"encoding": encoding})
    assert table(frame) == [("id", name), ("1", name), ("2", "x")]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(spark: SparkSession, tmp_path: Path, codec: str) -> None:
    frame = raw(spark, tmp_path, {"a.csv": "id,who\n1,Łódź\n".encode(codec)})
    assert table(frame) == [("id", "who"), ("1", "Łódź")]


def test_an_encoding_where_a_quote_is_not_closed(spark: SparkSession, tmp_path: Path) -> None:
    content = b'id,who\n1,M\xfcller\n2,"J\xe4ger\n3,\x81\n'  # windows-1252 has no 0x81
    frame = raw(spark, tmp_path, {"a.csv": content}, options={"encoding": "windows-1252"})
    assert table(frame) == [
        ("id", "who"),
        ("1", "Müller"),
        ("2", "Jäger", '2,"Jäger'),
        ("3", "\ufffd"),
    ]


# --- dialects ---------------------------------------------------------------------------------------------------------

TWO = [("id", "who", "note"), ("1", "ann", "a"), ("2", "bob", "b")]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("id||who||note\n1||ann||a\n2||bob||b\n", {"sep": "||"}),
        ('"id"||"who"||"note"\n"1"||"ann"||"a"\n2||bob||b\n', {"sep": "||"}),
        ("id\x1fwho\x1fnote\x1e1\x1fann\x1fa\x1e2\x1fbob\x1fb\x1e", {"sep": "\x1f", "lineSep": "\x1e"}),
        ("id,who,note;1,ann,a;2,bob,b", {"lineSep": ";"}),
        ("id,who,note\r1,ann,a\r2,bob,b\r", {}),
        ("id\twho\tnote\n1\tann\ta\n2\tbob\tb\n", {"sep": "\\t"}),
        ("id\x01who\x01note\n1\x01ann\x01a\n2\x01bob\x01b\n", {"sep": "\\u0001"}),
        ("id\x01who\x01note\n1\x01ann\x01a\n2\x01bob\x01b\n", {"sep": "\\001"}),
    ],
)
def test_separators(spark: SparkSession, tmp_path: Path, text: str, options: dict[str, str]) -> None:
    assert table(raw(spark, tmp_path, {"a.csv": text}, options=options)) == TWO


def test_a_separator_and_a_line_break_are_text_inside_quotes(spark: SparkSession, tmp_path: Path) -> None:
    text = '"id||a"||"who"\n"1||2"||ann\n'
    assert table(raw(spark, tmp_path, {"a.csv": text}, options={"sep": "||"})) == [("id||a", "who"), ("1||2", "ann")]
    text = "id\x1fwho\x1e1\x1fann\nlee\x1e"
    options = {"sep": "\x1f", "lineSep": "\x1e"}
    assert table(raw(spark, tmp_path, {"a.csv": text}, options=options)) == [("id", "who"), ("1", "ann\nlee")]


def test_the_header_is_found_where_lines_end_otherwise(spark: SparkSession, tmp_path: Path) -> None:
    text = "Report\x1eid,who,note\x1e1,ann,a\x1e2,bob,b\x1eEnd\x1e"
    frame = raw(spark, tmp_path, {"a.csv": text}, options={"lineSep": "\x1e"}, footer_lines=1)
    assert table(frame) == TWO


# --- lines above the header and below the rows ------------------------------------------------------------------------


def test_lines_at_the_end_are_left_out_of_each_file_once(spark: SparkSession, tmp_path: Path) -> None:
    files = {
        "a b.csv": "id,who\n1,ann\n1,ann\n1,ann\n",  # the last row is the line at the end
        "b.csv": "id,who\n9,zoe\n2,bob\nEnd,2\n",
        "c%20.csv": "id,who\nEnd,2\n1,ann\n2,bob\n9,zoe\n",
    }
    frame = raw(spark, tmp_path, files, footer_lines=1)
    rows = [("1", "ann")] * 3 + [("2", "bob")] * 2 + [("9", "zoe"), ("End", "2")]
    assert table(frame) == [("id", "who"), *rows]


def test_lines_at_the_end_may_have_characters_of_other_line_breaks(spark: SparkSession, tmp_path: Path) -> None:
    frame = raw(spark, tmp_path, {"a.csv": "id,who\n1,ann\n2,bob\nEnd\u2028of\u0085rows,\n"}, footer_lines=1)
    assert table(frame) == [("id", "who"), ("1", "ann"), ("2", "bob")]


def test_a_line_at_the_end_of_a_long_file(spark: SparkSession, tmp_path: Path) -> None:
    rows = [(str(number), "ann") for number in range(20_000)]
    text = "".join(f"{one},{who}\n" for one, who in [("id", "who"), ("7", "End"), *rows, ("7", "End")])
    with with_settings(spark, {"spark.sql.files.maxPartitionBytes": "20000"}):
        frame = raw(spark, tmp_path, {"a.csv": text}, footer_lines=1)
        assert sorted(table(frame)) == sorted([("id", "who"), ("7", "End"), *rows])


@pytest.mark.parametrize("above", ["", "Bank X\n", "Bank X,,\n", "Account report,,\nfrom,2026-01-01,2026-02-01\n,,\n"])
def test_a_header_inside_a_file_is_a_row(spark: SparkSession, tmp_path: Path, above: str) -> None:
    """Which its contract quarantines and counts, with or without lines above the first header."""
    text = f"{above}id,who,note\n1,ann,a\nid,who,note\n2,bob,b\n"
    assert table(raw(spark, tmp_path, {"a.csv": text})) == [*TWO, ("id", "who", "note")]


def test_a_line_above_the_header_may_be_a_row_too(spark: SparkSession, tmp_path: Path) -> None:
    text = "1,ann,a\nid,who,note\n1,ann,a\n2,bob,b\n"
    assert table(raw(spark, tmp_path, {"a.csv": text}, header_line=2)) == TWO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Report,,\n1,ann,a\n2,bob,b\n",
            "a.csv names few of its 3 columns on its first line; set header_line to the line of its header, counted",
        ),
        (
            "<html><table><tr><td>id</td></tr></table></html>",
            "is a page of HTML or XML, such as a server's error",
        ),
        ("<!DOCTYPE html>\n<html>", "a.csv is a page of HTML or XML"),
    ],
)
def test_a_file_without_a_header_is_refused(spark: SparkSession, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        raw(spark, tmp_path, {"a.csv": text})
    assert message in str(caught.value)


def test_a_header_of_tags_is_no_page(spark: SparkSession, tmp_path: Path) -> None:
    assert table(raw(spark, tmp_path, {"a.csv": "<ID>,<WHO>\n1,ann\n"})) == [("<ID>", "<WHO>"), ("1", "ann")]


def test_lines_at_the_end_of_a_file_without_a_header(spark: SparkSession, tmp_path: Path) -> None:
    files = {"a.csv": '1,"ann\n2,bob\nEnd\n'}
    frame = raw(spark, tmp_path, files, options={"header": "false"}, footer_lines=1)
    assert table(frame) == [("_c0", "_c1"), ("1", "ann", '1,"ann'), ("2", "bob")]
    frame = raw(spark, tmp_path, files, options={"header": "false"})
    assert table(frame) == [("_c0", "_c1"), ("1", "ann", '1,"ann'), ("2", "bob"), ("End", None)]


# --- names of options -------------------------------------------------------------------------------------------------


def configured(folder: Path, options: str) -> RawInput:
    (folder / "churn.toml").write_text(f'[sources.calls]\npath = "a.csv"\noptions = {{ {options} }}\n')
    return load(folder / "churn.toml").sources["calls"]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("id;who\n1;ann\n", 'Sep = ";"', [("id", "who"), ("1", "ann")]),
        ("id;who\n1;ann\n", 'DELIMITER = ";"', [("id", "who"), ("1", "ann")]),
        ("1,ann\n", "Header = false", [("_c0", "_c1"), ("1", "ann")]),
        ('id,who\n1,"ann\nlee"\n', "multiline = true", [("id", "who"), ("1", "ann\nlee")]),
        ("id,who\n1,M\u00fcller\n", 'Charset = "UTF-8"', [("id", "who"), ("1", "M\u00fcller")]),
    ],
)
def test_options_have_their_names_in_any_case(
    spark: SparkSession, tmp_path: Path, text: str, options: str, expected: list[tuple[str, ...]]
) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert table(read(spark, configured(tmp_path, options))) == expected


@pytest.mark.parametrize(
    "options", ['sep = ";", Sep = ","', 'sep = ";", delimiter = ";"', 'Charset = "a", encoding = "b"']
)
def test_an_option_in_two_spellings_is_refused(tmp_path: Path, options: str) -> None:
    one, other = (option.split(" = ")[0] for option in options.split(", "))
    with pytest.raises(ConfigError, match=f"has {one} and {other}, which are one option; keep one of them"):
        configured(tmp_path, options)
