"""Read JSON as it comes: lines, lists, objects one after another, rows inside responses; every value as text.

Spark's own reader takes the first value of a line or a file and leaves out the rest, rounds numbers where it does not
read bytes, and refuses names that differ by case alone. So records are read as texts, and parsed by `from_json` with
their numbers in quotes.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from churn.config import RawInput
from churn.errors import BadInputError, ConfigError
from churn.runtime.session import with_settings
from churn.sources.blanks import BLANKS
from churn.sources.readers.declared_types import declared_types
from churn.sources.readers.encodings import python_codec, unknown_encoding
from churn.sources.readers.files import FILE, UNPARSED, File, absent, binary_kind, file_reader, read_heads
from churn.sources.readers.json_documents import (
    CONTENT,
    IS_RECORD,
    TEXT,
    encoding_of,
    has_lines,
    path_steps,
    split_documents,
)
from churn.sources.readers.partitions import with_file_columns
from churn.storage import java_class, literal, quoted, sql_type
from churn.validation import close_to

_STRING: Final = r""""[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^'\\]*+(?:\\.[^'\\]*+)*+'"""
_PLAIN_NUMBER: Final = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_NUMBER: Final = rf"(?<![\w$.+-])(?:{_PLAIN_NUMBER}|NaN|[+-]?(?:INF|Infinity))(?![\w.+-])"
_NAME: Final = r"[A-Za-z_$][\w$]*+"
# All quantifiers are possessive: the others recurse in Java, and a long record would overflow its stack.
_UP_TO_A_NUMBER: Final = rf"""(?s)((?:[^"'\w$+-]++|(?!NaN|INF|Infinity){_NAME}|{_STRING})*+)(?:({_NUMBER})|(.)|\z)"""
_UP_TO_A_VALUE: Final = (
    rf"""(?s)((?:[^"'\w$+-]++|(?!true\b|false\b|NaN|INF|Infinity){_NAME}|(?:{_STRING})\s*+:)*+)"""
    rf"""(?:{_STRING}|true|false|{_NUMBER}|.|\z)"""
)
_CORRUPT: Final = "\x01"
"""The column of Spark's parser for what it cannot read. Keys have no such character."""
_OPEN, _CLOSE = "\x01", "\x02"
"""Around a number until it is in quotes. JSON has no such characters."""
_MARK: Final = "\\u0001"
_MARKED: Final = r'"\\u0001([^"]*)"'
"""The first character of a number in quotes, as JSON writes it, where a list or an object may be kept as text."""

_LIMITS: Final = {"maxNestingDepth": "100", "maxStringLen": str((1 << 31) - 1)}
"""Of Spark's parser: a type of some hundred levels overflows the stack of the driver, and the job never ends."""
_LARGEST: Final = (1 << 31) - 1
_EXACT_NAMES: Final = {"spark.sql.caseSensitive": "true"}
_ROWS, _IN_QUOTES, _PARSED, _MIXED, _IS_SOUND = "_rows", "_in_quotes", "_parsed", "_mixed", "_is_sound"


@dataclass(frozen=True)
class Keys:
    """The keys of records in each spelling. The type of a value is boolean where it is plain in all records, text where
    it is plain in some."""

    schema: StructType
    may_repeat: bool = True
    """Whether an object may have a key twice."""


@dataclass(frozen=True)
class _Column:
    """A column of raw rows: the spellings of its key, and the type of its values; a boolean stands for plain ones that
    stay text, text for those that may be lists or objects too."""

    spellings: tuple[str, ...]
    kind: DataType
    is_declared: bool = False
    """Whether the type is the one under `types`, and is meant as it is."""

    @property
    def name(self) -> str:
        return self.spellings[0]

    @property
    def is_mixed(self) -> bool:
        return isinstance(self.kind, StringType)


def read_json(spark: SparkSession, source: RawInput) -> DataFrame:
    """Every value as text, in columns that a first pass finds, since a name may first occur in the last record.

    A value is JSON text where it is a list or an object in some records and none in others. Names that differ by case
    alone are one column: the first that is not null, in the order of the names. `UNPARSED` is the text of a record that
    is no JSON object, has a key twice, two values under names that differ by case, or none of the type that `types`
    says. Raises BadInputError for files that are no JSON, ConfigError for a wrong `rows` or `types`.
    """
    texts = json_texts(spark, source)
    return json_rows(texts, source, json_keys(spark, texts, source))


# --- records ----------------------------------------------------------------------------------------------------------


def json_texts(spark: SparkSession, source: RawInput) -> DataFrame:
    """The records of the files as `TEXT`. Raises BadInputError for a file that is no JSON."""
    files = [file for file in read_heads(spark, source) if file.head.strip(b"\0\xff\xfe\xef\xbb\xbf \t\r\n")]
    if not files:
        raise absent(source, "is empty: no rows and no header")
    in_lines = {file.name: _has_lines(source, file) for file in files}
    frames = []
    for is_lines in set(in_lines.values()):
        names = [name for name, one in in_lines.items() if one == is_lines]
        options = {name: source.options[name] for name in ("lineSep",) if name in source.options and is_lines}
        reader = file_reader(spark, names).options(**options)
        text = reader.text(names, wholetext=not is_lines)
        frame = with_file_columns(text.selectExpr(f"value AS {CONTENT}"), names, source.path or "")
        records = text_records(frame, source).where(f"{TEXT} != ''") if is_lines else document_records(frame, source)
        frames.append(records)
    return reduce(DataFrame.unionByName, frames)


def text_records(frame: DataFrame, source: RawInput) -> DataFrame:
    """The records of texts that hold one each, or a response each, in the column `CONTENT`."""
    if source.rows is not None:
        return document_records(frame, source)
    passed = [quoted(name) for name in frame.columns if name != CONTENT]
    text = f"coalesce(trim(LEADING '{BLANKS}' FROM {CONTENT}), '') AS {TEXT}"
    return frame.selectExpr(text, f"is_valid_utf8({CONTENT}) IS TRUE AS {IS_RECORD}", *passed)


def document_records(frame: DataFrame, source: RawInput) -> DataFrame:
    """The records of whole documents in the column `CONTENT`."""
    passed = [quoted(name) for name in frame.columns if name != CONTENT]
    content = frame.selectExpr(f"cast({CONTENT} AS binary) AS {CONTENT}", *passed)
    schema = StructType(
        [StructField(TEXT, StringType()), StructField(IS_RECORD, BooleanType()), *content.schema.fields[1:]]
    )
    return content.mapInArrow(partial(split_documents, named=_named_encoding(source), steps=_steps(source)), schema)


def _has_lines(source: RawInput, file: File) -> bool:
    """Whether a file is read line by line. Raises BadInputError where it is no JSON."""
    place = f"{source.section()} {file.name}"
    if kind := binary_kind(file):
        raise BadInputError(f"{place} is {kind}, want JSON; unpack it or export it as JSON, or set format")
    encoding = encoding_of(file.head, _named_encoding(source))
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(file.head).strip(BLANKS)
    if text.startswith("<"):
        raise BadInputError(f"{place} is no JSON, but a page of HTML or XML, such as a server's error; get it again")
    if not any(line.lstrip(BLANKS).startswith(("{", "[")) for line in text.splitlines()):
        hint = 'separated text: set format = "csv"' if any(map(text.count, ",;\t|")) else "other text"
        raise BadInputError(f"{place} holds no JSON objects, but {hint}; want an object a line, or a list of objects")
    if encoding == "utf-8-sig" and has_lines(text, is_whole=file.is_whole):
        return True
    if file.size > _LARGEST:
        raise BadInputError(
            f"{place} is one document of {file.size / 1e9:.1f} GB, want 2.1 or less; split it, or write one object a"
            " line as UTF-8 (jq -c '.[]')"
        )
    return False


def _steps(source: RawInput) -> tuple[str, ...]:
    if source.rows is None:
        return ()
    if not (steps := path_steps(source.rows)):
        raise ConfigError(
            f'{source.section()} rows is {source.rows!r}, want the keys that lead to the rows, such as "data.items[*]"'
        )
    return steps


def _named_encoding(source: RawInput) -> str | None:
    named = source.options.get("encoding", source.options.get("charset"))
    if named is None:
        return None
    if (codec := python_codec(named)) is None:
        raise unknown_encoding(source, named)
    return codec


# --- keys -------------------------------------------------------------------------------------------------------------


def json_keys(spark: SparkSession, texts: DataFrame, source: RawInput) -> Keys:
    """The keys of all records. Raises BadInputError where no record is an object."""
    # With one value for all, most records are the same text.
    bare = f"regexp_replace({TEXT}, {literal(_UP_TO_A_VALUE)}, '$1true') AS {TEXT}"
    distinct = texts.where(IS_RECORD).selectExpr(bare).distinct()
    distinct = distinct.selectExpr(f"regexp_replace({TEXT}, '(true)+$', '') AS {TEXT}")
    # Of two equal keys the reader would make two columns.
    is_usable = "true" if _is_lenient(source) else f"try_parse_json({TEXT}) IS NOT NULL"
    checked = distinct.selectExpr(TEXT, f"{is_usable} AS {_IS_SOUND}").persist()
    try:
        usable = checked.where(_IS_SOUND).select(TEXT)
        with with_settings(spark, _EXACT_NAMES):
            encoded = getattr(usable._jdf, "as")(java_class(spark, "org.apache.spark.sql.Encoders").STRING())
            inferred = spark.read.options(**_parser_options(source))._jreader.json(encoded).schema()
        repeated = checked.where(f"NOT {_IS_SOUND} AND json_array_length(concat('[', {TEXT}, ']')) = 1")
        may_repeat = not repeated.isEmpty()
    finally:
        checked.unpersist()
    fields = StructType.fromJson(json.loads(inferred.json())).fields
    schema = StructType([field for field in fields if field.name.lower() not in (_CORRUPT, UNPARSED, FILE)])
    if not schema.fields:
        _check_records(texts, source)
    return Keys(schema, may_repeat)


def _check_records(texts: DataFrame, source: RawInput) -> None:
    """Raise BadInputError where there are records, and the first is no object: why it is none."""
    for text, is_record, file in texts.select(TEXT, IS_RECORD, FILE).limit(1).collect():
        place = f"{source.section()} {file}"
        try:
            value = json.loads(text, parse_int=str)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", type(error).__name__)
            at = f" at character {error.pos + 1} of a record" if isinstance(error, json.JSONDecodeError) else ""
            raise BadInputError(f"{place} holds no JSON objects: {reason}{at}") from None
        if "\ufffd" in text and not is_record:
            raise BadInputError(f'{place} holds no JSON in UTF-8; set encoding, such as "windows-1252", under options')
        if source.rows is not None and isinstance(value, dict) and not is_record:
            near = next(filter(None, (close_to(step, value) for step in _steps(source))), "")
            raise BadInputError(
                f"{source.section()} rows = {source.rows!r} names nothing: where it ends there are the keys"
                f" {', '.join(sorted(value)) or 'of an empty object'}{near}"
            )
        if not isinstance(value, dict):
            raise BadInputError(f"{place} holds no JSON objects, but other values")


def _columns(keys: StructType, types: Mapping[str, DataType]) -> list[_Column]:
    """The columns of the keys, and of declared types, whether their keys occur or not."""
    declared = {name.lower(): (name, kind) for name, kind in types.items()}
    columns = [
        _Column(spellings, kind)
        if (name := spellings[0].lower()) not in declared
        else _Column(tuple(dict.fromkeys((*spellings, declared[name][0]))), declared[name][1], is_declared=True)
        for spellings, kind in _by_name(keys)
    ]
    found = {column.name.lower() for column in columns}
    absent_ones = [_Column((name,), kind, True) for lowered, (name, kind) in declared.items() if lowered not in found]
    return [*columns, *absent_ones]


def _by_name(keys: StructType) -> list[tuple[tuple[str, ...], DataType]]:
    """The spellings of each name, and the type of their values taken together."""
    groups: dict[str, list[StructField]] = {}
    for field in keys:
        groups.setdefault(field.name.lower(), []).append(field)
    return [
        (tuple(field.name for field in fields), reduce(_together, (field.dataType for field in fields)))
        for fields in groups.values()
    ]


def _together(one: DataType, other: DataType) -> DataType:
    """The type of values of either type."""
    if isinstance(one, StructType) and isinstance(other, StructType):
        kinds = {field.name: field.dataType for field in one}
        for field in other:
            kinds[field.name] = _together(kinds.get(field.name, field.dataType), field.dataType)
        return StructType([StructField(name, kind) for name, kind in kinds.items()])
    if isinstance(one, ArrayType) and isinstance(other, ArrayType):
        return ArrayType(_together(one.elementType, other.elementType))
    return one if one == other else StringType()


# --- rows -------------------------------------------------------------------------------------------------------------


def json_rows(texts: DataFrame, source: RawInput, keys: Keys) -> DataFrame:
    """The records parsed, as `read_json` has them, with the other columns of the texts: the folders of their files,
    which fill the gaps of keys with their names."""
    columns = _columns(keys.schema, declared_types(source))
    names = {column.name.lower() for column in columns}
    folders = {name.lower(): quoted(name) for name in texts.columns if name not in (TEXT, IS_RECORD)}
    in_quotes = f"regexp_replace({TEXT}, {literal(_UP_TO_A_NUMBER)}, '$1{_OPEN}$2{_CLOSE}$3')"
    with with_settings(texts.sparkSession, _EXACT_NAMES):
        parsed = texts.selectExpr("*", f"replace({in_quotes}, '{_OPEN}{_CLOSE}', '') AS {_IN_QUOTES}").select(
            "*",
            _parse(source, columns, '"').alias(_PARSED),
            _parse(source, [column for column in columns if column.is_mixed], f'"{_MARK}').alias(_MIXED),
        )
        is_sound = " AND ".join(_conditions(columns, may_repeat=keys.may_repeat and not _is_lenient(source)))
        return parsed.selectExpr("*", f"coalesce({is_sound}, false) AS {_IS_SOUND}").selectExpr(
            *(f"{_value(column, folders.get(column.name.lower()))} AS {quoted(column.name)}" for column in columns),
            f"if({_IS_SOUND}, null, btrim(make_valid_utf8({TEXT}), '{BLANKS}')) AS {UNPARSED}",
            *(folder for name, folder in folders.items() if name not in names),
        )


def _parse(source: RawInput, columns: Sequence[_Column], before_number: str) -> Column:
    """The records with these columns. In a list, so that another value after the first is an error."""
    text = f"replace(replace({_IN_QUOTES}, '{_OPEN}', {literal(before_number)}), '{_CLOSE}', '\"')"
    kinds = [StructField(name, _as_text(column.kind)) for column in columns for name in column.spellings]
    schema = StructType([StructField(_ROWS, ArrayType(StructType(kinds))), StructField(_CORRUPT, StringType())])
    return F.from_json(F.expr(f"""concat('{{"{_ROWS}":[', {text}, ']}}')"""), schema, _parser_options(source))


def _conditions(columns: Sequence[_Column], *, may_repeat: bool) -> Iterator[str]:
    """SQL: what must be true of a record for its values to be those that are written."""
    yield IS_RECORD
    yield f"NOT (contains({TEXT}, '{_OPEN}') OR contains({TEXT}, '{_CLOSE}'))"
    yield f"{_PARSED}.{quoted(_CORRUPT)} IS NULL"
    yield f"size({_PARSED}.{_ROWS}) = 1"
    yield f"{_row(_PARSED)} IS NOT NULL"
    if may_repeat:
        # Of two equal keys `from_json` takes the last.
        text = f"replace(replace({_IN_QUOTES}, '{_OPEN}', '\"'), '{_CLOSE}', '\"')"
        yield f"try_parse_json({text}) IS NOT NULL"
    for column in columns:
        values = _fields(_row(_PARSED), column.spellings)
        for wrong in (
            *_differing(values, column.kind),
            *(_misfits(_first(values), column.kind) if column.is_declared else ()),
        ):
            yield f"NOT coalesce({wrong}, false)"


def _row(parsed: str) -> str:
    return f"get({parsed}.{_ROWS}, 0)"


def _value(column: _Column, folder: str | None) -> str:
    """SQL: the value of a column in a sound record."""
    if column.is_mixed:
        text = _first(_fields(_row(_MIXED), column.spellings))
        value = f"replace(regexp_replace({text}, {literal(_MARKED)}, '$1'), '{_OPEN}', '')"
    else:
        value = _one_spelling(_first(_fields(_row(_PARSED), column.spellings)), column.kind)
    if column.is_declared:
        value = f"try_cast({value} AS {sql_type(column.kind)})"
    elif folder is not None and isinstance(column.kind, BooleanType | StringType):
        value = f"coalesce({value}, {folder})"
    return f"if({_IS_SOUND}, {value}, null)"


def _first(values: Sequence[str]) -> str:
    return f"coalesce({', '.join(values)})" if len(values) > 1 else values[0]


def _fields(value: str, names: Sequence[str]) -> list[str]:
    return [f"{value}.{quoted(name)}" for name in names]


def _one_spelling(value: str, kind: DataType, depth: int = 0) -> str:
    """SQL: a value with one name where names inside it differ by case alone."""
    if not list(_differing([value], kind)):
        return value
    if isinstance(kind, ArrayType):
        element = f"e{depth}"
        return f"transform({value}, {element} -> {_one_spelling(element, kind.elementType, depth + 1)})"
    assert isinstance(kind, StructType)
    parts = (
        f"{literal(names[0])}, {_one_spelling(_first(_fields(value, names)), inner, depth)}"
        for names, inner in _by_name(kind)
    )
    return f"if({value} IS NULL, null, named_struct({', '.join(parts)}))"


def _differing(values: Sequence[str], kind: DataType, depth: int = 0) -> Iterator[str]:
    """SQL: each way in which values under names that differ by case alone, or names inside them, may differ."""
    if len(values) > 1:
        yield f"size(array_distinct(array_compact(array({', '.join(values)})))) > 1"
    if isinstance(kind, ArrayType):
        element = f"e{depth}"
        for wrong in _differing([element], kind.elementType, depth + 1):
            yield f"exists({_first(values)}, {element} -> coalesce({wrong}, false))"
    elif isinstance(kind, StructType):
        for names, inner in _by_name(kind):
            yield from _differing(_fields(_first(values), names), inner, depth)


def _misfits(value: str, kind: DataType, depth: int = 0) -> Iterator[str]:
    """SQL: each way in which a value may not have the type that is declared."""
    element = f"e{depth}"
    if isinstance(kind, StructType):
        for field in kind:
            yield from _misfits(f"{value}.{quoted(field.name)}", field.dataType, depth)
    elif isinstance(kind, ArrayType | MapType):
        inner, values = (
            (kind.elementType, value) if isinstance(kind, ArrayType) else (kind.valueType, f"map_values({value})")
        )
        for wrong in _misfits(element, inner, depth + 1):
            yield f"exists({values}, {element} -> coalesce({wrong}, false))"
    elif not isinstance(kind, StringType):
        yield f"{value} != '' AND try_cast({value} AS {kind.simpleString()}) IS NULL"


def _as_text(kind: DataType) -> DataType:
    """The type with text for every plain value, and every spelling of a name with the type of all."""
    if isinstance(kind, StructType):
        return StructType([StructField(name, _as_text(inner)) for names, inner in _by_name(kind) for name in names])
    if isinstance(kind, ArrayType):
        return ArrayType(_as_text(kind.elementType))
    return MapType(StringType(), _as_text(kind.valueType)) if isinstance(kind, MapType) else StringType()


def _is_lenient(source: RawInput) -> bool:
    """Whether options allow what is no JSON, such as comments."""
    return any(name.lower().startswith("allow") for name in source.options)


def _parser_options(source: RawInput) -> dict[str, str]:
    """The options of Spark's parser, without those that mean files."""
    files = ("encoding", "charset", "linesep", "multiline", "samplingratio")
    fixed = ("mode", "primitivesasstring", "columnnameofcorruptrecord")
    meant = {name: value for name, value in source.options.items() if name.lower() not in (*files, *fixed)}
    return {**_LIMITS, **meant, "columnNameOfCorruptRecord": _CORRUPT}
