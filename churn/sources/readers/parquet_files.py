"""Read files of parquet, whose columns and types may differ from file to file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    IntegralType,
    LongType,
    MapType,
    NullType,
    NumericType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from churn.config import RawInput
from churn.errors import BadInputError
from churn.sources.readers.files import (
    FILE,
    UNPARSED,
    absent,
    existing_files,
    file_reader,
    hadoop_conf,
    plain_name,
)
from churn.sources.readers.partitions import with_file_columns
from churn.sources.spark_errors import first_line
from churn.storage import java_class, literal, quoted, sql_type

_NANOSECONDS: Final = "nanoseconds"
"""In the metadata of a field of whole numbers: the type of the timestamps that they are."""
_UNREADABLE: Final = "unreadable"
_SPARK_SCHEMA: Final = "org.apache.spark.sql.parquet.row.metadata"
_CONVERTER: Final = "org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter"
# What Spark can neither cast nor write as JSON: its raw row could not be quarantined.
_NOT_AS_JSON: Final = re.compile(
    r'"(type|elementType|keyType|valueType)":"(time\(|geometry|geography|void)|"keyType":(\{|"binary")'
)
_THREADS: Final = 8
_SHORT: Final = 120
"""The most characters of a type in a message."""

_DIGITS: Final[Mapping[type[DataType], int]] = {ByteType: 3, ShortType: 5, IntegerType: 10, LongType: 19}
_PRECISION: Final = 38
_AS_TEXT: Final = (NumericType, BooleanType, BinaryType, DateType, TimestampType, TimestampNTZType)
_LOCAL_TIMES: Final = {DateType(), TimestampNTZType()}


@dataclass(frozen=True)
class _Group:
    """Files with one schema."""

    files: tuple[str, ...]
    columns: tuple[StructField, ...]
    """How each column is read."""
    unreadable: Mapping[str, str]
    """The columns that Spark cannot read, and why."""


def read_parquet(spark: SparkSession, source: RawInput) -> DataFrame:
    """The columns of all files, null where a file lacks one, in a type that holds the values of each.

    Names that differ by case are one column. Numbers widen to long, double or decimal; beside text they become plain
    text, without exponent and zeros at their end. A date beside local time is its first instant. Timestamps in
    nanoseconds are cut to microseconds. A column that is null in all files is text. What Spark cannot read, or has no
    common type, is left out, see `unreadable_columns`. Raises BadInputError for a file that is no complete parquet.
    """
    files = [name for name, size in existing_files(spark, source) if size]
    if not files:
        raise absent(source, "is empty: no rows and no header")
    groups = _groups(spark, source, files)
    columns, unreadable = _merged(groups)
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unreadable.items()) or "the files have none"
        raise BadInputError(f"{source.section()} has no column that can be read: {reasons}")
    frames = [_read(spark, source, files, group, columns) for group in groups]
    frame = reduce(DataFrame.union, frames)
    return frame.withMetadata(FILE, {_UNREADABLE: unreadable}) if unreadable else frame


def unreadable_columns(frame: DataFrame) -> Mapping[str, str]:
    """The columns of the files that `read` left out, each with the reason: "it is int64 ..."."""
    found = next((field.metadata for field in frame.schema if field.name == FILE), {})
    return dict(found.get(_UNREADABLE, {}))


def _read(
    spark: SparkSession, source: RawInput, files: Sequence[str], group: _Group, columns: Mapping[str, StructField]
) -> DataFrame:
    own = {field.name.lower(): field for field in group.columns if not isinstance(field.dataType, NullType)}
    wanted = {key: own[key] for key in columns if key in own}
    reader = file_reader(spark, group.files).options(**source.options).schema(StructType([*wanted.values()]))
    values = (
        _converted(quoted(wanted[key].name), wanted[key], field.dataType)
        if key in wanted
        else f"cast(null AS {sql_type(field.dataType)})"
        for key, field in columns.items()
    )
    named = (f"{value} AS {quoted(field.name)}" for value, field in zip(values, columns.values(), strict=True))
    return with_file_columns(reader.parquet(*group.files).selectExpr(*named), files, source.path or "")


# --- footers ----------------------------------------------------------------------------------------------------------


def _groups(spark: SparkSession, source: RawInput, files: Sequence[str]) -> list[_Group]:
    """The files by their schema."""
    read_footer = _footer_reader(spark, source, files)
    with ThreadPoolExecutor(_THREADS) as pool:
        footers = list(pool.map(read_footer, files))
    by_schema: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for file, (schema, text, of_spark) in zip(files, footers, strict=True):
        by_schema.setdefault((text, of_spark), []).append((file, schema))
    converter = java_class(spark, _CONVERTER)(spark._jsparkSession.sessionState().conf())
    message = java_class(spark, "org.apache.parquet.schema.MessageType")

    def convert(one: Any) -> StructField | None:
        try:
            text = converter.convert(message("root", one)).json()
        except (Py4JError, PySparkException):
            return None
        return None if _NOT_AS_JSON.search(text) else _fields(text)[0]

    groups = []
    for (_, of_spark), same in by_schema.items():
        file, schema = same[0]
        columns, unreadable = _columns(convert, schema.getFields(), _intervals(of_spark), plain_name(file))
        groups.append(_Group(tuple(file for file, _ in same), tuple(columns), unreadable))
    return groups


def _footer_reader(
    spark: SparkSession, source: RawInput, files: Sequence[str]
) -> Callable[[str], tuple[Any, str, str]]:
    """A function that reads the schema of a file: as an object, as text, and Spark's own where Spark has written it.

    It raises BadInputError for what is no parquet, or is not complete.
    """
    conf = hadoop_conf(spark, files)
    path, input_file, parquet_reader, read_options = (
        java_class(spark, name)
        for name in (
            "org.apache.hadoop.fs.Path",
            "org.apache.parquet.hadoop.util.HadoopInputFile",
            "org.apache.parquet.hadoop.ParquetFileReader",
            "org.apache.parquet.HadoopReadOptions",
        )
    )
    options = read_options.builder(conf).build()

    def footer(file: str) -> tuple[Any, str, str]:
        try:
            reader = parquet_reader.open(input_file.fromPath(path(file), conf), options)
            try:
                metadata = reader.getFileMetaData()
                schema = metadata.getSchema()
                if codec := _missing_codec(spark, reader.getRowGroups()):
                    raise BadInputError(
                        f"{source.section()} {plain_name(file)} is compressed by {codec}, which Spark lacks; write it"
                        " with zstd, snappy or gzip"
                    )
                return schema, schema.toString(), metadata.getKeyValueMetaData().get(_SPARK_SCHEMA) or ""
            finally:
                reader.close()
        except (Py4JError, PySparkException) as error:
            reason = first_line(error)
            raise BadInputError(
                f"{source.section()} cannot be read as parquet: {reason if file in reason else f'{file}: {reason}'}; it"
                " is of another format, or is cut off: set format, move it away, or fetch it again"
            ) from None

    return footer


def _missing_codec(spark: SparkSession, row_groups: Any) -> str | None:
    """The codec of the first column that has values, where its class is not there."""
    if row_groups.isEmpty() or row_groups.get(0).getColumns().isEmpty():
        return None
    codec = row_groups.get(0).getColumns().get(0).getCodec()
    name = codec.getHadoopCompressionCodecClassName()
    loader = java_class(spark, "java.lang.Thread").currentThread().getContextClassLoader()
    path = str(name).replace(".", "/") + ".class"
    return codec.name().lower() if name and loader.getResource(path) is None else None


def _columns(
    convert: Callable[[Any], StructField | None], fields: Any, intervals: Mapping[str, StructField], file: str
) -> tuple[list[StructField], dict[str, str]]:
    """How each field of a Java list of parquet types is read, and why others are not."""
    columns, unreadable = [], {}
    names = [fields.get(position).getName() for position in range(fields.size())]
    times = Counter(map(str.lower, names))
    for position, name in enumerate(names):
        one = fields.subList(position, position + 1)
        kind = one.get(0)
        annotation = str(kind.getLogicalTypeAnnotation() or "")
        if times[name.lower()] > 1:
            spellings = ", ".join(other for other in names if other.lower() == name.lower())
            unreadable[name] = f"it is there more than once in {file}, as {spellings}; give each another name"
        elif name in intervals:
            columns.append(intervals[name])
        elif annotation == "UNKNOWN":
            columns.append(StructField(name, NullType()))
        elif nanoseconds := re.fullmatch(r"TIMESTAMP\(NANOS,(true|false)\)", annotation):
            instants = "timestamp" if nanoseconds[1] == "true" else "timestamp_ntz"
            columns.append(StructField(name, LongType(), metadata={_NANOSECONDS: instants}))
        elif (field := convert(one)) is not None:
            columns.append(field)
        else:
            inner: list[StructField] = []
            if not kind.isPrimitive() and not annotation:
                inner, lost = _columns(convert, kind.asGroupType().getFields(), {}, file)
                inner = [field for field in inner if not isinstance(field.dataType, NullType)]
                unreadable |= {f"{name}.{other}": reason for other, reason in lost.items()}
            if inner:
                columns.append(StructField(name, StructType(inner)))
            else:
                shown = " ".join(kind.toString().split()).replace(f" {name}", "", 1)
                shown = re.sub("^(optional|required) ", "", shown)
                unreadable[name] = f"it is {_short(shown)} in {file}; write it as text or as a number"
    return columns, unreadable


def _fields(schema: str) -> list[StructField]:
    """The fields of a schema as JSON; every value may be null."""
    nullable = re.sub(r'"(nullable|containsNull|valueContainsNull)":false', r'"\1":true', schema)
    return StructType.fromJson(json.loads(nullable)).fields


def _intervals(of_spark: str) -> dict[str, StructField]:
    """The columns that are intervals by Spark's own schema; by parquet's they are numbers."""
    fields = json.loads(of_spark)["fields"] if of_spark else []
    named = [field for field in fields if str(field["type"]).startswith("interval ")]
    return {field.name: field for field in _fields(json.dumps({"type": "struct", "fields": named}))}


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


# --- one type for all files -------------------------------------------------------------------------------------------


def _merged(groups: Sequence[_Group]) -> tuple[dict[str, StructField], dict[str, str]]:
    """The columns of all files, by their names in lower case, and those that have none, each with the reason."""
    unreadable = {name: reason for group in reversed(groups) for name, reason in group.unreadable.items()}
    lost = {FILE, UNPARSED, *map(str.lower, unreadable)}
    names: dict[str, str] = {}
    seen: dict[str, dict[str, tuple[DataType, str]]] = {}
    for group in groups:
        for field in group.columns:
            key, kind = field.name.lower(), _meaning(field)
            if key not in lost:
                names.setdefault(key, field.name)
                seen.setdefault(key, {}).setdefault(kind.json(), (kind, plain_name(group.files[0])))
    columns = {}
    for key, name in names.items():
        kinds = [*seen[key].values()]
        common = _common([kind for kind, _ in kinds])
        if common is not None:
            columns[key] = StructField(name, StringType() if isinstance(common, NullType) else common)
            continue
        pairs = [(one, other) for at, one in enumerate(kinds) for other in kinds[at + 1 :]]
        differing = next((pair for pair in pairs if _common([kind for kind, _ in pair]) is None), pairs[0])
        shown = " and ".join(f"{_short(kind.simpleString())} in {file}" for kind, file in differing)
        unreadable[name] = (
            f"it is {shown}, types that have none in common; write one of them, or read the files as two inputs"
        )
    return columns, unreadable


def _meaning(field: StructField) -> DataType:
    """The type of a field's values, which may be read in another one."""
    kind = field.dataType
    if _NANOSECONDS in field.metadata:
        return TimestampType() if field.metadata[_NANOSECONDS] == "timestamp" else TimestampNTZType()
    if isinstance(kind, StructType):
        return StructType([StructField(inner.name, _meaning(inner)) for inner in kind])
    return kind


def _common(kinds: Sequence[DataType]) -> DataType | None:
    """The type that holds the values of all; None = there is none."""
    text_first = sorted(kinds, key=lambda kind: not isinstance(kind, StringType))
    common: DataType | None = text_first[0]
    for kind in text_first[1:]:
        common = None if common is None else _wider(common, kind)
    return common


def _wider(one: DataType, other: DataType) -> DataType | None:
    if one == other or isinstance(other, NullType):
        return one
    if isinstance(one, NullType):
        return other
    if isinstance(one, StringType) or isinstance(other, StringType):
        return StringType() if isinstance(other if isinstance(one, StringType) else one, _AS_TEXT) else None
    if isinstance(one, NumericType) and isinstance(other, NumericType):
        return _wider_number(one, other)
    if {one, other} == _LOCAL_TIMES:
        return TimestampNTZType()
    return _wider_nested(one, other)


def _wider_nested(one: DataType, other: DataType) -> DataType | None:
    if isinstance(one, StructType) and isinstance(other, StructType):
        return _wider_struct(one, other)
    if isinstance(one, ArrayType) and isinstance(other, ArrayType):
        element = _wider(one.elementType, other.elementType)
        return None if element is None else ArrayType(element)
    if isinstance(one, MapType) and isinstance(other, MapType):
        key, value = _wider(one.keyType, other.keyType), _wider(one.valueType, other.valueType)
        return None if key is None or value is None else MapType(key, value)
    return None


def _wider_struct(one: StructType, other: StructType) -> DataType | None:
    fields = {field.name.lower(): field for field in one}
    for field in other:
        first = fields.setdefault(field.name.lower(), field)
        kind = _wider(first.dataType, field.dataType)
        if kind is None:
            return None
        fields[field.name.lower()] = StructField(first.name, kind)
    return StructType([*fields.values()])


def _wider_number(one: NumericType, other: NumericType) -> NumericType:
    """Double where it holds every value of both; else decimal, as ids of more than 15 digits would be others.

    A decimal keeps the digits before its point first, and six behind it, as Spark's own arithmetic does.
    """
    if isinstance(one, IntegralType) and isinstance(other, IntegralType):
        return max(one, other, key=lambda kind: _DIGITS[type(kind)])
    numbers = {type(one), type(other)}
    if numbers & {FloatType, DoubleType} and not numbers & {LongType, DecimalType}:
        return DoubleType()
    digits, scale = (max(pair) for pair in zip(_digits(one), _digits(other), strict=True))
    if digits + scale > _PRECISION:
        scale = max(_PRECISION - digits, min(scale, 6))
        digits = _PRECISION - scale
    return DecimalType(digits + scale, scale)


def _digits(kind: NumericType) -> tuple[int, int]:
    """The digits before and behind the point."""
    if isinstance(kind, DecimalType):
        return kind.precision - kind.scale, kind.scale
    return (_DIGITS[type(kind)], 0) if type(kind) in _DIGITS else (20, 18)


# --- SQL --------------------------------------------------------------------------------------------------------------


def _converted(value: str, field: StructField, target: DataType, depth: int = 0) -> str:
    """SQL: a value as it is read, in the type of all files."""
    kind = field.dataType
    if _NANOSECONDS in field.metadata:
        kind = _meaning(field)
        # The session's zone is UTC, so that the clock of a local time stays the same.
        value = f"cast(timestamp_micros({value} div 1000 - if({value} % 1000 < 0, 1, 0)) AS {kind.simpleString()})"
    if kind == target:
        return value
    if isinstance(kind, StructType) and isinstance(target, StructType):
        own = {inner.name.lower(): inner for inner in kind}
        values = (
            _converted(f"{value}.{quoted(own[key].name)}", own[key], inner.dataType, depth)
            if (key := inner.name.lower()) in own
            else f"cast(null AS {sql_type(inner.dataType)})"
            for inner in target
        )
        named = ", ".join(f"{literal(inner.name)}, {one}" for inner, one in zip(target, values, strict=True))
        return f"if({value} IS NULL, null, named_struct({named}))"
    one = f"x{depth}"
    if isinstance(kind, ArrayType) and isinstance(target, ArrayType):
        element = _converted(one, StructField("", kind.elementType), target.elementType, depth + 1)
        return f"transform({value}, {one} -> {element})"
    if isinstance(kind, MapType) and isinstance(target, MapType):
        key = _converted(f"{one}.key", StructField("", kind.keyType), target.keyType, depth + 1)
        item = _converted(f"{one}.value", StructField("", kind.valueType), target.valueType, depth + 1)
        entries = f"transform(map_entries({value}), {one} -> named_struct('key', {key}, 'value', {item}))"
        return f"map_from_entries({entries})"
    return as_text(value, kind) if isinstance(target, StringType) else f"try_cast({value} AS {target.simpleString()})"


def as_text(value: str, kind: DataType) -> str:
    """SQL: a value as text, in the form that a file of text would have it in."""
    if isinstance(kind, FloatType | DoubleType):
        exact = _without_zeros(f"try_cast({value} AS decimal(38, 18))")
        return f"coalesce({exact}, cast(nanvl({value}, null) AS string))"
    if isinstance(kind, DecimalType) and kind.scale > 0:
        return _without_zeros(value)
    # An instant says so, or it would be read as local time.
    return f"concat(cast({value} AS string), 'Z')" if isinstance(kind, TimestampType) else f"cast({value} AS string)"


def _without_zeros(decimal: str) -> str:
    return f"trim(TRAILING '.' FROM trim(TRAILING '0' FROM cast({decimal} AS string)))"
