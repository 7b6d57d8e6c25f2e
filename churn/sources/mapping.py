"""Read a foreign source and say it in its contract's words, row for row, without losing or inventing any."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, Final

from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from churn.config import DAY, Config, Source
from churn.errors import BadInputError, ChurnError, ConfigError, HoldError, nearest
from churn.sources import CONTRACTS
from churn.sources.contract import Contract, Field
from churn.storage import java, literal

MALFORMED: Final = "malformed_row"
RULES: Final = "_rules"
"""Column of `Mapped.rows`: the names of the rules a row breaks; empty = none."""
RAW: Final = "_raw"
"""Column of `Mapped.rows`: the row as it came, as JSON; null where no rule is broken, unless all are asked for."""
UNPARSED: Final = "_unparsed"
"""Column of a raw row: the line that does not fit its header or syntax, where there is one."""

_WHOLE = "_whole"
_BROKEN = "_broken"
_SPACE = " \t\r\n\u00a0\u2003\u2009\u202f\u3000\ufeff"
_TRIMMED = f"coalesce(btrim({{0}}, '{_SPACE}'), '')"
_UNDECODED = "\ufffd"
_LATEST = timedelta(days=366)
_DELIMITERS = (";", "\t", "|", ",")
_HAS_OFFSET = r":\d{1,2}(\.\d*)?\s*[^\d.:\s]"
_READS_CLOCK = re.compile(r"\bcurrent_(date|timestamp|time)\b|\blocaltimestamp\b|\b(now|curdate)\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Mapped:
    """A source in its contract's words: the contract's columns, `_rules` and `_raw`, one row for every row read."""

    contract: Contract
    source: Source
    rows: DataFrame
    known_is_told: bool
    """Whether the source says when it knew a row; otherwise known time is event time."""


def bound(config: Config) -> Mapping[str, tuple[Contract, Source]]:
    """Each source of the configuration with its contract, every name in it checked; nothing is read."""
    for source in config.sources.values():
        if source.name not in CONTRACTS:
            place = f"{source.file.name}: [sources.{source.name}]"
            raise ConfigError(f"{place} is not a contract{nearest(source.name, CONTRACTS)}")
        contract = CONTRACTS[source.name]
        known = [field.name for field in contract.columns]
        for column in source.columns:
            if column not in known:
                place = source.section("columns")
                raise ConfigError(f"{place} {column} is no column of {contract.name}{nearest(column, known)}")
        rules = {*contract.rules(), *_mapping_rules(contract)}
        if taken := sorted(rules & set(source.reject)):
            raise ConfigError(f"{source.section('reject')} {taken[0]} is a rule of the contract; choose another name")
    return {name: (CONTRACTS[name], source) for name, source in config.sources.items()}


def map_source(spark: SparkSession, source: Source, *, as_of: datetime | None = None, raw: bool = False) -> Mapped:
    """Read one source and map it; `raw` keeps the raw row of sound rows too.

    Text is trimmed and empty text is null. A time without an offset is local time of the source's zone: one that the
    clock repeats in autumn is the later instant, so that nothing is seen before it happened; one that it skips in
    spring breaks a rule. A date is its first instant. Raises ConfigError for a mapping that the columns do not bear,
    BadInputError for a place that cannot be read, HoldError if that place is expected to fill.
    """
    latest = None if as_of is None else literal(utc(as_of) + _LATEST)
    return mapped(read(spark, of_batch(spark, source, as_of)), source, latest=latest, raw=raw)


def mapped(frame: DataFrame, source: Source, *, latest: str | None = None, raw: bool = False) -> Mapped:
    """Raw rows, as `read` has them, in the words of the source's contract.

    `latest` is a SQL expression: what happens after it is in_future. What is selected here is SQL text too, one call
    into the JVM for a list: as columns it was thousands of them.
    """
    contract = CONTRACTS[source.name]
    expressions = _expressions(contract, source, [name for name in frame.columns if name != UNPARSED])
    given, kinds = _given(frame, source, contract, expressions)
    readings = {field.name: _reading(field, source, kinds) for field in contract.columns}
    known_is_told = "known_time" in expressions
    if not known_is_told:
        del readings["known_time"]
    unread = {rule: failed for reading in readings.values() for rule, failed in reading.failures.items()}
    typed = given.selectExpr(
        *(f"{reading.value} AS {name}" for name, reading in readings.items()),
        *(f"{failed} AS {_flag(rule)}" for rule, failed in unread.items()),
        *(f"{_reject(name)} IS TRUE AS {_flag(name)}" for name in source.reject),
        _WHOLE,
        UNPARSED,
    )
    if not known_is_told:
        typed = typed.selectExpr("*", "event_time AS known_time")

    rules = _contract_rules(contract, latest)
    if not known_is_told:
        del rules["known_time_missing"]  # a known time that is not told has no rule of its own
    for rule in rules:
        reading = readings.get(rule.removesuffix("_missing"))
        # What could not be read is not also missing.
        rules[rule] += "".join(f" AND NOT {_flag(name)}" for name in (reading.failures if reading else ()))
    broken = [*unread, *rules, *source.reject]
    any_broken = " OR ".join([f"{UNPARSED} IS NOT NULL", *map(_flag, broken)])
    # Flags are columns of their own, so that each is computed once; the code that Spark generates for a row has to
    # stay below 8,000 bytes, or the JVM never compiles it.
    flagged = typed.selectExpr("*", *(f"{is_broken} AS {_flag(rule)}" for rule, is_broken in rules.items()))
    tested = flagged.selectExpr("*", f"{any_broken} AS {_BROKEN}")
    # The list and the JSON are made for broken rows only: nearly all rows end at the first test.
    listed = ", ".join(f"if({_flag(rule)}, {literal(rule)}, null)" for rule in broken)
    whole = (
        f"if({UNPARSED} IS NOT NULL, to_json(struct({UNPARSED} AS line)),"
        f" to_json({_WHOLE}, map('ignoreNullFields', 'false')))"
    )
    rows = tested.selectExpr(
        *contract.schema.names,
        f"CASE WHEN NOT {_BROKEN} THEN cast(array() AS array<string>)"
        f" WHEN {UNPARSED} IS NOT NULL THEN array('{MALFORMED}')"
        f" ELSE split(concat_ws('\n', {listed}), '\n') END AS {RULES}",
        f"{whole if raw else f'if({_BROKEN}, {whole}, null)'} AS {RAW}",
    )
    return Mapped(contract, source, rows, known_is_told)


def _given(
    frame: DataFrame, source: Source, contract: Contract, expressions: Mapping[str, str]
) -> tuple[DataFrame, Mapping[str, DataType]]:
    """What the source says, its text trimmed and '' where it says nothing, and the type of each column.

    Columns: `_said_*`, the owner's rules, the whole row, the line where it is not whole, and what the local times of
    a zone need.
    """
    found, kinds = _found_columns(frame, source, expressions)
    rest = [*map(_reject, source.reject), _WHOLE, UNPARSED]
    said = {
        name: f"{_TRIMMED.format(_said(name))} AS {_said(name)}" if isinstance(kind, StringType) else _said(name)
        for name, kind in kinds.items()
    }
    given = found.selectExpr(*said.values(), *rest)
    times = [field.name for field in contract.columns if isinstance(field.data_type, TimestampType)]
    walls = [name for name in times if isinstance(kinds.get(name), StringType | TimestampNTZType | DateType)]
    if source.zone == "UTC" or not walls:
        return given, kinds
    # The first and the second instant that a local time may mean. The second is read with the zone's offset of a day
    # later; the two differ only around a change of the clock.
    zone, day = literal(source.zone), "INTERVAL 1 DAY"
    return given.selectExpr("*", *(f"{_wall(name)} AS _wall_{name}" for name in walls)).selectExpr(
        "*",
        *(f"to_utc_timestamp(_wall_{name}, {zone}) AS _first_{name}" for name in walls),
        *(f"to_utc_timestamp(_wall_{name} + {day}, {zone}) - {day} AS _second_{name}" for name in walls),
    ), kinds


# --- expressions ------------------------------------------------------------------------------------------------------


def _expressions(contract: Contract, source: Source, names: list[str]) -> dict[str, str]:
    """The expression of each column: the one given, else the raw column of that name, if there is one."""
    same_name = {field.name: f"`{field.name}`" for field in contract.columns if field.name in names}
    chosen = {**same_name, **source.columns}
    needed = [field.name for field in contract.columns if field.required and field.name != "known_time"]
    if unmapped := [name for name in needed if name not in chosen]:
        raise ConfigError(
            f'{source.section("columns")} lacks {", ".join(unmapped)}; add {unmapped[0]} = "an expression over: '
            f'{", ".join(names)}"{_delimiter_hint(source, names)}'
        )
    return {field.name: chosen[field.name] for field in contract.columns if field.name in chosen}


def _found_columns(
    frame: DataFrame, source: Source, expressions: Mapping[str, str]
) -> tuple[DataFrame, Mapping[str, DataType]]:
    """Every expression beside the raw row, and the types of the columns.

    Raises one ConfigError with every expression that the raw columns do not bear.
    """
    names = [name for name in frame.columns if name != UNPARSED]
    try:
        with unlogged():
            found = frame.select(
                *(F.expr(expression).alias(_said(name)) for name, expression in expressions.items()),
                *(F.expr(rule).alias(f"_reject_{name}") for name, rule in source.reject.items()),
                F.struct(*(f"`{name}`" for name in names)).alias(_WHOLE),
                F.expr(UNPARSED if UNPARSED in frame.columns else "cast(null AS string)").alias(UNPARSED),
            )
            kinds = [field.dataType for field in found.schema]
            is_sound = _is_of_one_row(found) and all(
                isinstance(kind, BooleanType) for kind in kinds[len(expressions) : -2]
            )
    except PySparkException as error:
        _check_expressions(frame, source, expressions, names)
        raise error
    if not is_sound or any(map(_READS_CLOCK.search, (*expressions.values(), *source.reject.values()))):
        _check_expressions(frame, source, expressions, names)
    return found, dict(zip(expressions, kinds, strict=False))


def _is_of_one_row(frame: DataFrame) -> bool:
    """Whether a selection beside raw columns makes a row of each row, the same every time.

    An aggregate fails beside raw columns; a generator or a window would multiply or mix rows.
    """
    plan = frame._jdf.queryExecution().analyzed()
    mixes = re.search(r"^[\s:+|-]*(Generate|Window|Aggregate)\b", plan.toString(), re.MULTILINE)
    return not mixes and plan.deterministic()


def _check_expressions(frame: DataFrame, source: Source, expressions: Mapping[str, str], names: list[str]) -> None:
    """Try each expression by itself, and raise one ConfigError with every one that fails."""
    with unlogged():
        problems = [
            problem
            for part, rules in (("columns", expressions), ("reject", source.reject))
            for name, expression in rules.items()
            if (
                problem := _problem(
                    frame, names, f"[sources.{source.name}.{part}] {name}", expression, part == "reject"
                )
            )
        ]
    if problems:
        raise ConfigError(f"{source.file.name}: {'; '.join(problems)}{_delimiter_hint(source, names)}")


def _problem(frame: DataFrame, names: list[str], place: str, expression: str, is_rule: bool) -> str | None:
    said = f"{place} = {expression!r}"
    if _READS_CLOCK.search(expression):
        return f"{said} reads the clock, so a rerun would differ; use a column instead"
    try:
        found = frame.select("*", F.expr(expression).alias("_it"))
        kind = found.schema["_it"].dataType
        is_of_one_row = _is_of_one_row(found)
    except PySparkException as error:
        return f"{said} {_reason(error, names)}"
    if not is_of_one_row:
        return f"{said} is not made of one row alone; say it in the source, or drop it"
    if is_rule and not isinstance(kind, BooleanType):
        return f"{said} is {kind.simpleString()}, want boolean: a condition such as \"outcome = 'TEST'\""
    return None


def _reason(error: PySparkException, names: list[str]) -> str:
    condition, details = error.getCondition() or "", error.getMessageParameters() or {}
    if condition.startswith("UNRESOLVED_COLUMN"):
        near = [name for name in re.findall("`([^`]+)`", details.get("proposal", "")) if name in names]
        return f"names {details.get('objectName', '').strip('`')!r}, which the source does not have; near it: " + (
            ", ".join(near[:3]) or ", ".join(names)
        )
    if condition == "PARSE_SYNTAX_ERROR":
        return f"is not Spark SQL: syntax error at {details.get('error', 'its end')}"
    first = str(error).strip().splitlines()[0]
    return f"is not a Spark SQL expression over the source: {first.split(' SQLSTATE')[0]}"


def _delimiter_hint(source: Source, names: list[str]) -> str:
    """A guess where a whole header was read as one column."""
    if source.format != "csv" or len(names) > 1:
        return ""
    now = source.options.get("sep", source.options.get("delimiter", ","))
    guess = max(_DELIMITERS, key=names[0].count)
    if guess == now or guess not in names[0]:
        return ""
    shown = guess.replace("\t", "\\t")
    return f'; the file was read as one column, {names[0]!r}: set sep = "{shown}" under [sources.{source.name}.options]'


# --- types ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """How one column is read, in SQL: its value, and the ways reading it can fail (rule name -> true where it did)."""

    value: str
    failures: Mapping[str, str]


def _said(column: str) -> str:
    return f"_said_{column}"


def _reject(rule: str) -> str:
    return f"`_reject_{rule}`"


def _flag(rule: str) -> str:
    return f"`_flag_{rule}`"


def _mapping_rules(contract: Contract) -> list[str]:
    """The rules that reading may add to the contract's own."""
    ways = ("unreadable", "clock_gap", "undecodable")
    return [
        MALFORMED,
        "in_future",
        "conflicting_id",
        *(f"{field.name}_{way}" for field in contract.columns for way in ways),
    ]


def _contract_rules(contract: Contract, latest: str | None) -> dict[str, str]:
    rules = contract.rules()
    if latest is not None:
        rules["in_future"] = f"coalesce(greatest(event_time, known_time) > {latest}, false)"
    return rules


def _reading(field: Field, source: Source, kinds: Mapping[str, DataType]) -> _Reading:
    if field.name not in kinds:
        return _Reading(f"cast(null AS {field.type})", {})
    kind, value = kinds[field.name], _said(field.name)
    if isinstance(field.data_type, TimestampType):
        return _time(field, source, value, kind)
    if isinstance(field.data_type, StringType):
        if not isinstance(kind, StringType):
            return _Reading(f"cast({value} AS string)", {})
        undecoded = {f"{field.name}_undecodable": f"contains({value}, '{_UNDECODED}')"}
        return _Reading(f"if({value} = '', null, {value})", undecoded)
    read = f"try_cast({value} AS {field.type})"
    if isinstance(field.data_type, IntegerType) and isinstance(kind, FloatType | DoubleType | DecimalType):
        read = f"if({read} = {value}, {read}, null)"
    return _Reading(read, {f"{field.name}_unreadable": f"{_is_said(value, kind)} AND {read} IS NULL"})


def _is_said(value: str, kind: DataType) -> str:
    return f"{value} != ''" if isinstance(kind, StringType) else f"{value} IS NOT NULL"


def _wall(name: str) -> str:
    """The time that the clock on the wall showed, as if in UTC."""
    return f"cast(try_cast({_said(name)} AS timestamp_ntz) AS timestamp)"


def _time(field: Field, source: Source, value: str, kind: DataType) -> _Reading:
    """An instant as it is; local time and dates by the source's zone."""
    name, place = field.name, source.section("columns")
    if isinstance(kind, TimestampType):
        expression = source.columns.get(name, name)
        if source.zone != "UTC" and not re.fullmatch(r"`[^`]+`|[\w.]+", expression):
            raise ConfigError(
                f"{place} {name} = {expression!r} is a TIMESTAMP, an instant already, so zone {source.zone!r} cannot"
                f" apply; for local time write cast({expression} as timestamp_ntz), for instants set zone = 'UTC'"
            )
        return _Reading(value, {})
    if not isinstance(kind, StringType | TimestampNTZType | DateType):
        raise ConfigError(
            f"{place} {name} is {kind.simpleString()}, want a time; for seconds since 1970 write"
            " timestamp_seconds(...), for milliseconds timestamp_millis(...)"
        )
    wall = read = _wall(name)
    in_gap = ""
    if source.zone != "UTC":
        wall = f"_wall_{name}"
        first, second, zone = f"_first_{name}", f"_second_{name}", literal(source.zone)
        is_repeated = f"{second} > {first} AND from_utc_timestamp({second}, {zone}) = {wall}"
        in_gap = f"from_utc_timestamp({first}, {zone}) != {wall}"
        if not isinstance(kind, TimestampNTZType):
            # A date is its first instant, also where the clock skips midnight.
            in_gap += f" AND contains(cast({value} AS string), ':')"
        read = f"CASE WHEN {is_repeated} THEN {second} WHEN NOT ({in_gap}) THEN {first} END"
    if not isinstance(kind, StringType):
        return _Reading(read, {f"{name}_clock_gap": f"({in_gap}) IS TRUE"} if in_gap else {})
    has_offset, instant = f"rlike({value}, {literal(_HAS_OFFSET)})", f"try_cast({value} AS timestamp)"
    failures = {f"{name}_clock_gap": f"(NOT {has_offset} AND {in_gap}) IS TRUE"} if in_gap else {}
    failures[f"{name}_unreadable"] = f"{value} != '' AND if({has_offset}, {instant}, {wall}) IS NULL"
    return _Reading(f"if({has_offset}, {instant}, {read})", failures)


def utc(moment: datetime) -> datetime:
    """The moment with its zone, UTC unless it says another."""
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


# --- reading ----------------------------------------------------------------------------------------------------------


def of_batch(spark: SparkSession, source: Source, as_of: datetime | None, *, first: bool = False) -> Source:
    """The source with the path that a batch reads: of one that comes daily, the files of its days.

    The first batch reads all days before its as-of; without an as-of it is all days there are. Raises HoldError where
    one of the last `look_back` days has no file, unless it lies before the first file there is.
    """
    if not source.is_daily:
        return source
    if as_of is None:
        return replace(source, path=source.place())
    days, there = [str(day) for day in source.days(utc(as_of))], sorted(_days_there(spark, source))
    missing = [day for day in days if day not in there and (day == days[-1] or (there and day > there[0]))]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise HoldError(
            f"{source.name}: {source.place(missing[0])}{more} has not come; nothing was written, try again when it has"
        )
    return replace(source, path=source.place(*(day for day in there if day <= days[-1] and (first or day >= days[0]))))


def newest_rows(spark: SparkSession, source: Source, as_of: datetime) -> int:
    """How many rows the last day of a batch has, of a source that comes daily."""
    return read(spark, of_batch(spark, replace(source, look_back=1), as_of)).count()


def _days_there(spark: SparkSession, source: Source) -> set[str]:
    """The days of which there is a file that holds something, as in its name."""
    said = _day_in(source.path or "")
    found = _found(spark, replace(source, path=source.place())) or ()
    return {match[1] for name, size in found if size and (match := said.search(name))}


def _day_in(path: str) -> re.Pattern[str]:
    """What finds the day in the name of a file that a path with `${day}` leads to.

    >>> _day_in("in*/${day}/{a,b}").search("file:/in1/2026-10-01/b/2020-02-02.csv")[1]
    '2026-10-01'
    """
    pattern = re.escape(re.sub(r"^[A-Za-z][\w+.-]*:(//)?", "", path).rstrip("/"))
    pattern = pattern.replace(re.escape(DAY), r"(\d{4}-\d\d-\d\d)", 1).replace(re.escape(DAY), r"\d{4}-\d\d-\d\d")
    pattern = re.sub(r"\\\{(.*?)\\\}", lambda either: f"(?:{either[1].replace(',', '|')})", pattern)
    return re.compile(pattern.replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "(?=/|$)")


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
        _files(spark, source)
        return reader.load(source.path)
    except ChurnError:
        raise
    except Exception as error:  # Spark wraps what a driver or a codec throws in many types.
        raise BadInputError(f"{source.section()} cannot be read as {source.format}: {first_line(error)}") from error


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep PySpark from printing the stack trace of an error that is to be explained in one line."""
    loggers = [PySparkLogger.getLogger(f"{kind}QueryContextLogger") for kind in ("SQL", "DataFrame")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


def first_line(error: BaseException) -> str:
    """What went wrong, without the stack traces that Spark puts behind it."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() or java) if java is not None else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def _read_json(spark: SparkSession, source: Source) -> DataFrame:
    """Every value as text; the first pass finds the names, since a name may first occur in the last row."""
    files = [_literal(file) for file in _nonempty(spark, source)]
    options = {"primitivesAsString": "true", **source.options, "columnNameOfCorruptRecord": UNPARSED}
    reader = spark.read.options(**options)
    found = reader.json(files).schema
    schema = StructType([field for field in found if field.name != UNPARSED] + [StructField(UNPARSED, StringType())])
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
        .csv([_literal(file) for file in files])
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
    names = tuple(cell.strip(_SPACE) or f"_c{number}" for number, cell in enumerate(cells))
    lowered = [name.lower() for name in names]
    if twice := [name for name in names if lowered.count(name.lower()) > 1]:
        raise BadInputError(f"{source.section()} {file} has two columns named {twice[0]!r}; rename one in the file")
    return names


def _first_line(spark: SparkSession, conf: Any, file: str, encoding: str) -> str:
    """The first line that is not blank, of a file that may be compressed."""
    path = java(spark, "org.apache.hadoop.fs.Path")(file)
    stream = path.getFileSystem(conf).open(path)
    try:
        codec = java(spark, "org.apache.hadoop.io.compress.CompressionCodecFactory")(conf).getCodec(path)
        plain = codec.createInputStream(stream) if codec is not None else stream
        decoded = java(spark, "java.io.InputStreamReader")(plain, encoding)
        reader = java(spark, "java.io.BufferedReader")(decoded)
        while (line := reader.readLine()) is not None:
            if text := str(line).strip(_SPACE):
                return text
        return ""
    finally:
        stream.close()


def _nonempty(spark: SparkSession, source: Source) -> dict[str, str]:
    """The files that hold at least one line, with their first; an empty one among others holds no rows."""
    encoding = source.options.get("encoding", source.options.get("charset", "UTF-8"))
    conf = spark._jsparkSession.sessionState().newHadoopConf()
    files = {name: _first_line(spark, conf, name, encoding) for name, size in _files(spark, source) if size}
    if not any(files.values()):
        raise _absent(source, "is empty: no rows and no header")
    return {name: line for name, line in files.items() if line}


def _literal(file: str) -> str:
    """The file's name as a pattern that only it fits: Spark reads every path as a pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", file)


def _files(spark: SparkSession, source: Source) -> list[tuple[str, int]]:
    """The files of a path, a folder or a pattern with their sizes, in the order of their names."""
    files = _found(spark, source)
    if files is None:
        raise _absent(source, "does not exist")
    if not files:
        raise _absent(source, "holds no files")
    return files


def _found(spark: SparkSession, source: Source) -> list[tuple[str, int]] | None:
    """The same, or null where nothing has such a name."""
    place = java(spark, "org.apache.hadoop.fs.Path")(source.path)
    system = place.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())

    def walk(status: Any) -> Iterator[tuple[str, int]]:
        hidden = status.getPath().getName().startswith(("_", "."))
        if status.isFile():
            yield from () if hidden else [(status.getPath().toString(), status.getLen())]
        elif not hidden:
            for inner in system.listStatus(status.getPath()):
                yield from walk(inner)

    found = system.globStatus(place)
    return sorted(file for status in found for file in walk(status)) if found else None


def _absent(source: Source, problem: str) -> ChurnError:
    """A mistake of whoever wrote the path, unless the source is declared to fill: then it is not there yet."""
    if source.expect:
        return HoldError(
            f"{source.name}: {source.path} {problem}; rows are expected there, so try again when it has come"
        )
    return BadInputError(f"{source.section()} path {source.path} {problem}; fix the path, or drop the section")
