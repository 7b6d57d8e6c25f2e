"""The raw rows of a source: its files found, their headers read, text kept as text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any, Final

from pyspark.logger import PySparkLogger
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from churn.config import Source
from churn.errors import BadInputError, ChurnError, HoldError
from churn.storage import java_class

UNPARSED: Final = "_unparsed"
"""Column of a raw row: the line that does not fit its header or syntax, where there is one."""
BLANKS: Final = " \t\r\n\u00a0\u2003\u2009\u202f\u3000\ufeff"
"""The characters that are trimmed from text."""


def read(spark: SparkSession, source: Source) -> DataFrame:
    """The raw rows: text as text, with `UNPARSED` where a line of csv or json does not fit its header or syntax."""
    readers = {"csv": _read_csv, "json": _read_json}
    try:
        if source.format in readers:
            return readers[source.format](spark, source)
        reader = spark.read.format(source.format).options(**source.options)
        if source.format == "parquet":
            reader = reader.option("mergeSchema", source.options.get("mergeSchema", "true"))
        if source.format == "jdbc":
            # A column without a zone is local time, as in a file; the driver would call it an instant.
            return reader.option("preferTimestampNTZ", source.options.get("preferTimestampNTZ", "true")).load()
        _existing_files(spark, source)
        return reader.load(source.path)
    except ChurnError:
        raise
    except Exception as error:  # Spark wraps what a driver or a codec throws in many types.
        raise BadInputError(f"{source.section()} cannot be read as {source.format}: {first_line(error)}") from error


@contextmanager
def unlogged() -> Iterator[None]:
    """PySpark does not print the stack trace of an error, which is explained in one line instead."""
    loggers = [PySparkLogger.getLogger(f"{kind}QueryContextLogger") for kind in ("SQL", "DataFrame")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was_disabled in zip(loggers, before, strict=True):
            logger.disabled = was_disabled


def first_line(error: BaseException) -> str:
    """The message of an error without the stack traces that Spark puts behind it."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() or java) if java is not None else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def _read_json(spark: SparkSession, source: Source) -> DataFrame:
    """Every value as text. The first pass finds the names, since a name may first occur in the last row."""
    files = [_escaped(file) for file in _nonempty(spark, source)]
    options = {"primitivesAsString": "true", **source.options, "columnNameOfCorruptRecord": UNPARSED}
    reader = spark.read.options(**options)
    inferred = reader.json(files).schema
    schema = StructType([field for field in inferred if field.name != UNPARSED] + [StructField(UNPARSED, StringType())])
    if schema.names == [UNPARSED]:
        raise BadInputError(
            f"{source.section()} holds no JSON objects; want one object a line, or set multiLine = true"
        )
    return spark.read.options(**options).schema(schema).json(files)


def _read_csv(spark: SparkSession, source: Source) -> DataFrame:
    """Files are grouped by their header, so that columns in another order cannot fill the wrong places."""
    options = {"header": "true", "sep": source.options.get("delimiter", ","), **source.options}
    groups: dict[tuple[str, ...], list[str]] = {}
    for file, line in _nonempty(spark, source).items():
        groups.setdefault(_header(source, file, line, options), []).append(file)
    text = StringType()
    frames = [
        spark.read.options(
            **options,
            mode="PERMISSIVE",
            columnNameOfCorruptRecord=UNPARSED,
            columnPruning="false",
            enforceSchema="true",
        )
        .schema(StructType([StructField(name, text) for name in (*names, UNPARSED)]))
        .csv([_escaped(file) for file in files])
        for names, files in groups.items()
    ]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)


def _header(source: Source, file: str, line: str, options: Mapping[str, str]) -> tuple[str, ...]:
    sep, quote = options["sep"], options.get("quote", '"') or None
    if len(sep) == 1:
        reader = csv.reader(
            [line], delimiter=sep, quotechar=quote, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
        )
        cells = next(reader)
    else:
        cells = line.split(sep)
    if options["header"].lower() != "true":
        return tuple(f"_c{number}" for number in range(len(cells)))
    names = tuple(cell.strip(BLANKS) or f"_c{number}" for number, cell in enumerate(cells))
    lowered = [name.lower() for name in names]
    if twice := [name for name in names if lowered.count(name.lower()) > 1]:
        raise BadInputError(f"{source.section()} {file} has two columns named {twice[0]!r}; rename one in the file")
    return names


def _header_line(spark: SparkSession, conf: Any, file: str, encoding: str) -> str:
    """The first line that is not blank, of a file that may be compressed."""
    path = java_class(spark, "org.apache.hadoop.fs.Path")(file)
    stream = path.getFileSystem(conf).open(path)
    try:
        codec = java_class(spark, "org.apache.hadoop.io.compress.CompressionCodecFactory")(conf).getCodec(path)
        plain = codec.createInputStream(stream) if codec is not None else stream
        decoded = java_class(spark, "java.io.InputStreamReader")(plain, encoding)
        reader = java_class(spark, "java.io.BufferedReader")(decoded)
        while (line := reader.readLine()) is not None:
            if text := str(line).strip(BLANKS):
                return text
        return ""
    finally:
        stream.close()


def _nonempty(spark: SparkSession, source: Source) -> dict[str, str]:
    """The files that hold at least one line, with the first; an empty file among others holds no rows."""
    encoding = source.options.get("encoding", source.options.get("charset", "UTF-8"))
    conf = spark._jsparkSession.sessionState().newHadoopConf()
    files = {name: _header_line(spark, conf, name, encoding) for name, size in _existing_files(spark, source) if size}
    if not any(files.values()):
        raise _absent(source, "is empty: no rows and no header")
    return {name: line for name, line in files.items() if line}


def _escaped(file: str) -> str:
    """The file's name as a pattern that matches it alone: Spark reads every path as a pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", file)


def _existing_files(spark: SparkSession, source: Source) -> list[tuple[str, int]]:
    """The files of the source. Raises BadInputError, or HoldError, where there are none."""
    files = find_files(spark, source)
    if files is None:
        raise _absent(source, "does not exist")
    if not files:
        raise _absent(source, "holds no files")
    return files


def find_files(spark: SparkSession, source: Source) -> list[tuple[str, int]] | None:
    """The files of a path, a folder or a pattern with their sizes, in the order of their names; None where nothing has
    such a name.

    Found by Hadoop's file systems, which alone know the settings of an s3a or hdfs address.
    """
    pattern = java_class(spark, "org.apache.hadoop.fs.Path")(source.path)
    system = pattern.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())

    def walk(status: Any) -> Iterator[tuple[str, int]]:
        hidden = status.getPath().getName().startswith(("_", "."))
        if status.isFile():
            yield from () if hidden else [(status.getPath().toString(), status.getLen())]
        elif not hidden:
            for inner in system.listStatus(status.getPath()):
                yield from walk(inner)

    matches = system.globStatus(pattern)
    return sorted(file for status in matches for file in walk(status)) if matches else None


def _absent(source: Source, problem: str) -> ChurnError:
    """BadInputError, as the path is wrong; HoldError where the source expects rows, which have not come yet."""
    if source.expect:
        return HoldError(
            f"{source.name}: {source.path} {problem}; rows are expected there, so try again when it has come"
        )
    return BadInputError(f"{source.section()} path {source.path} {problem}; fix the path, or drop the section")
