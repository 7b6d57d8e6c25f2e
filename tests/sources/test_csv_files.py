"""Separated text as it comes: its encodings, its dialects, and the lines around its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import RawInput
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


def test_an_encoding_where_a_quote_is_not_closed(spark: SparkSession, tmp_path: Path) -> None:
    content = b'id,who\n1,M\xfcller\n2,"J\xe4ger\n3,\x81\n'  # windows-1252 has no 0x81
    frame = raw(spark, tmp_path, {"a.csv": content}, options={"encoding": "windows-1252"})
    assert table(frame) == [
        ("id", "who"),
        ("1", "Müller"),
        ("2", "Jäger", '2,"Jäger'),
        ("3", "\ufffd"),
    ]
