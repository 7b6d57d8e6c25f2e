"""What the place of a file says of its rows: the folders `name=value` that it lies in, and its own name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Final
from urllib.parse import unquote

from pyspark.sql import DataFrame
from pyspark.sql.types import AtomicType, StructField

from churn.sources.readers.files import FILE, SPECIAL, address_parts
from churn.storage import literal, quoted

_IS_FOLDER: Final = "is_folder"
_ADDRESS: Final = "_address"
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
_NEEDS_DECODING: Final = re.compile(r"[^\w/.:=,-]")


def with_file_columns(frame: DataFrame, files: Sequence[str], path: str) -> DataFrame:
    """Adds a column for each folder `name=value` of the files, and `FILE`, to a frame that Spark's reader has made.

    A folder counts if it lies below the path of the input, or is a part of it that is a pattern. Its value is text, as
    it is written but for percent-escapes, or null for `__HIVE_DEFAULT_PARTITION__`; of two folders of one name, the
    inner one's. Where the files have a column of that name themselves, this keeps its type and its values, and the
    folder's only fill its gaps: a value may be cut or rounded to make a name of it. `FILE` is a local path, or the
    whole address of any other file.
    """
    is_plain = not any(map(_NEEDS_DECODING.search, files))
    return _with_columns(frame, _folder_names(files, path), path, is_plain=is_plain)


def with_streamed_file_columns(frame: DataFrame, fields: Iterable[StructField], folder: str) -> DataFrame:
    """The same for a stream of a folder, of which no file is known yet: the columns of `fields` that are folders."""
    names = {field.name: {field.name} for field in fields if is_folder(field)}
    return _with_columns(frame, names, folder, is_plain=False)


def is_folder(field: StructField) -> bool:
    """Whether `with_file_columns` made the column, of a folder alone."""
    return bool(field.metadata.get(_IS_FOLDER))


def _with_columns(frame: DataFrame, names: Mapping[str, Iterable[str]], path: str, *, is_plain: bool) -> DataFrame:
    own = {field.name.lower(): field for field in frame.schema if field.name.lower() != FILE}
    address = _file("_address" if is_plain else _decoded("_address"))
    located = frame.select("*", frame.metadataColumn("_metadata")["file_path"].alias(_ADDRESS)).selectExpr(
        *(quoted(field.name) for field in own.values()), f"{address} AS {FILE}"
    )
    values = {name: _folder_value(spellings, path, is_plain=is_plain) for name, spellings in names.items()}
    if not values:
        return located
    filled = {}
    for name, value in values.items():
        kind = own[name.lower()].dataType if name.lower() in own else None
        if isinstance(kind, AtomicType):
            filled[name.lower()] = f"coalesce({quoted(name)}, try_cast({value} AS {kind.simpleString()}))"
    added = [name for name in values if name.lower() not in own]
    placed = located.selectExpr(
        *(f"{filled.get(key, quoted(field.name))} AS {quoted(field.name)}" for key, field in own.items()),
        *(f"{values[name]} AS {quoted(name)}" for name in added),
        FILE,
    )
    return reduce(lambda one, name: one.withMetadata(name, {_IS_FOLDER: True}), added, placed)


def _folder_names(files: Iterable[str], path: str) -> dict[str, set[str]]:
    """The names of the folders `name=value`, each with how it is spelled; names that differ by case are one."""
    root = _root(path)
    names: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    for folder in dict.fromkeys(file.rsplit("/", 1)[0] for file in files):
        place = "/" + "/".join(address_parts(folder)[1]) + "/"
        if place.startswith(root):
            for part in place[len(root) :].split("/"):
                spelling, equals, _ = part.partition("=")
                if spelling and equals:
                    name = first.setdefault(unquote(spelling).lower(), unquote(spelling))
                    names.setdefault(name, set()).add(spelling)
    return names


def _root(path: str) -> str:
    """The folders of a path that are no pattern, with a slash at the end."""
    parts = address_parts(path)[1]
    fixed = next((number for number, part in enumerate(parts) if SPECIAL.search(part)), len(parts))
    return "/" + "".join(f"{part}/" for part in parts[:fixed] if part)


def _file(address: str) -> str:
    """SQL: a local path without its scheme."""
    return (
        f"CASE WHEN startswith(_address, 'file:///') THEN substring({address}, 8)"
        f" WHEN startswith(_address, 'file:/') THEN substring({address}, 6) ELSE {address} END"
    )


def _folder_value(spellings: Iterable[str], path: str, *, is_plain: bool) -> str:
    """SQL: the value of a folder of `FILE`; null where there is none."""
    names = "|".join(map(re.escape, sorted(spellings)))
    folder = f"(?s)^(?:[A-Za-z][A-Za-z0-9+.-]*:(?://[^/]*)?)?{re.escape(_root(path))}(?:.*/)?(?:{names})=([^/]*)/"
    value = f"regexp_extract({FILE}, {literal(folder)}, 1)"
    # A percent sign that escapes nothing is one, as in a folder that no program has named.
    escaped = value if is_plain else _decoded(f"regexp_replace({value}, '%(?![0-9A-Fa-f]{{2}})', '%25')")
    return f"nullif(nullif({escaped}, ''), '{_NO_VALUE}')"


def _decoded(text: str) -> str:
    """SQL: text without its percent-escapes; `url_decode` takes a plus sign for a blank."""
    return f"url_decode(replace({text}, '+', '%2B'))"
