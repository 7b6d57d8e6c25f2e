"""The columns under `types`: there in every batch, whether its files have them or not, and of the type that is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import reduce
from typing import Final

from pyspark.errors import ParseException
from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    MapType,
    NumericType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from churn.config import RawInput
from churn.errors import ConfigError
from churn.sources.blanks import BLANKS
from churn.sources.readers.files import FILE, UNPARSED
from churn.sources.readers.parquet_files import as_text, unreadable_columns
from churn.sources.readers.partitions import is_folder
from churn.sources.spark_errors import unlogged
from churn.storage import quoted, sql_type

_PLAIN: Final = (StringType, BooleanType, NumericType)
_TYPED: Final = (*_PLAIN, DateType, TimestampType, TimestampNTZType, BinaryType)
_OF_TEXT: Final = ("csv", "json")


def declared_types(source: RawInput) -> dict[str, DataType]:
    """The types that are declared, by name. Raises ConfigError for one that is no type, or that text cannot have."""
    return {name: _declared(source, name, ddl) for name, ddl in source.types.items()}


def with_types(frame: DataFrame, source: RawInput) -> DataFrame:
    """The raw rows with the declared columns: null where no file has one, else in the declared type.

    A row with a value that is not of its type, or would be rounded by it, has the row as JSON in `UNPARSED`. NaN and
    blank text are null. Raises ConfigError where values of the files are never converted, such as lists and times.
    """
    declared = {name.lower(): (name, kind) for name, kind in declared_types(source).items()}
    lost = {name.lower(): reason for name, reason in unreadable_columns(frame).items()}
    own = {field.name.lower(): field for field in frame.schema}
    values, misfits = {key: quoted(field.name) for key, field in own.items()}, list[str]()
    for key, (name, kind) in declared.items():
        place = f"{source.section('types')} {name}"
        if key in lost:
            raise ConfigError(f"{place} is a column that Spark cannot read: {lost[key]}")
        if key not in own or sql_type(own[key].dataType) == sql_type(kind):
            continue
        if not _is_converted(own[key].dataType, kind):
            seen = own[key].dataType.simpleString()
            raise ConfigError(
                f"{place} is {kind.simpleString()}, but the source has it as {seen}; write {seen}, and cast it in the"
                " expression"
            )
        values[key], wrong = _converted(values[key], own[key].dataType, kind)
        misfits += wrong
    absent = [(name, kind) for key, (name, kind) in declared.items() if key not in own]
    if not absent and all(value == quoted(own[key].name) for key, value in values.items()):
        return frame
    if misfits:
        unparsed = values.get(UNPARSED, "cast(null AS string)")
        row = ", ".join(quoted(field.name) for field in frame.schema if field.name not in (UNPARSED, FILE))
        values[UNPARSED] = f"coalesce({unparsed}, if({' OR '.join(misfits)}, to_json(struct({row})), null))"
    typed = frame.selectExpr(
        *(f"{value} AS {quoted(own[key].name if key in own else key)}" for key, value in values.items()),
        *(f"cast(null AS {sql_type(kind)}) AS {quoted(name)}" for name, kind in absent),
    )
    folders = [field for key, field in own.items() if key in declared and is_folder(field)]
    return reduce(lambda one, field: one.withMetadata(field.name, field.metadata), folders, typed)


def hint(name: str) -> str:
    """What to write where a batch lacks a column that other files have."""
    key = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name, ensure_ascii=False)
    return f'; if files of other days have it, declare it: types = {{ {key} = "string" }}'


def _is_converted(seen: DataType, wanted: DataType) -> bool:
    return isinstance(seen, _TYPED if isinstance(wanted, StringType) else _PLAIN) and isinstance(wanted, _PLAIN)


def _converted(value: str, seen: DataType, wanted: DataType) -> tuple[str, list[str]]:
    """SQL: a value in another type, and what is true where it cannot have it."""
    if isinstance(wanted, StringType):
        return as_text(value, seen), []
    if isinstance(seen, StringType):
        value = f"nullif(btrim({value}, '{BLANKS}'), '')"
    elif isinstance(seen, FloatType | DoubleType):
        value = f"nanvl({value}, null)"
    converted = f"try_cast({value} AS {wanted.simpleString()})"
    misfits = [f"{value} IS NOT NULL AND {converted} IS NULL"]
    if isinstance(seen, NumericType) and isinstance(wanted, NumericType):
        misfits.append(f"coalesce({converted} != {value}, false)")
    return converted, misfits


def _declared(source: RawInput, name: str, ddl: str) -> DataType:
    setting = f"{source.section('types')} {name} is {ddl!r}"
    example = 'want one such as "string" or "array<struct<id: string, amount: double>>"'
    if name.lower() in (FILE, UNPARSED):
        raise ConfigError(f"{setting}, but that column is not of the source; drop it")
    try:
        with unlogged():
            parsed = DataType.fromDDL(f"{quoted(name)} {ddl}")
    except ParseException:
        raise ConfigError(f"{setting}, which is no type of Spark; {example}") from None
    if not isinstance(parsed, StructType) or len(parsed) != 1:
        raise ConfigError(f"{setting}, want one type; {example}")
    allowed = _PLAIN if source.format in _OF_TEXT else _TYPED
    if wrong := sorted({kind.simpleString() for kind in _leaves(parsed) if not isinstance(kind, allowed)}):
        raise ConfigError(
            f"{setting}, but {wrong[0]} is not read here; write string, and cast it in the expression (times need the"
            " zone of their column)"
        )
    return parsed[0].dataType


def _leaves(kind: DataType) -> Iterator[DataType]:
    if isinstance(kind, StructType):
        for field in kind:
            yield from _leaves(field.dataType)
    elif isinstance(kind, ArrayType):
        yield from _leaves(kind.elementType)
    elif isinstance(kind, MapType) and isinstance(kind.keyType, StringType):
        yield from _leaves(kind.valueType)
    else:
        yield kind
