"""Map a foreign source to the columns of its contract, row for row, without losing or inventing any."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    MapType,
    NullType,
    NumericType,
    StringType,
    StructType,
    TimestampType,
    VariantType,
)

from churn.config import Config, Source
from churn.errors import ConfigError, nearest
from churn.sources import CONTRACTS
from churn.sources.blanks import BLANKS
from churn.sources.contract import Contract, Field
from churn.sources.currencies import WITHOUT_RATE, with_one_currency
from churn.sources.daily_files import HISTORY, of_batch
from churn.sources.expressions import check_expression, check_frame
from churn.sources.functions import expanded, read_by
from churn.sources.readers import read
from churn.sources.readers.declared_types import hint
from churn.sources.readers.files import FILE, UNPARSED
from churn.sources.readers.parquet_files import unreadable_columns
from churn.sources.spark_errors import SPARK_ERRORS, first_line, unlogged
from churn.sources.staging import PARTIAL, Staged, check_inputs, stage
from churn.sources.tried import cannot_fail, failed_rule, failed_rules, tried, value_of
from churn.sources.versions import CONFLICT
from churn.sources.zones import LOCAL, Reading, date_reading, time_reading, utc, with_times
from churn.storage import literal, quoted

MALFORMED: Final = "malformed_row"
IN_FUTURE: Final = "in_future"
"""The rule of rows that lie more than a year after the as-of, or in a stream ahead of their micro-batch."""
RULES: Final = "_rules"
"""Column of `Mapped.rows`: the names of the rules a row breaks; empty = none."""
RAW: Final = "_raw"
"""Column of `Mapped.rows`: the row as it was read, as JSON; null where no rule is broken, unless `raw`."""

_ALL_PARTITIONS: Final = 2**31 - 1
_ROW = "_row"
_BROKEN = "_broken"
# Text of ASCII alone that neither begins nor ends with a blank needs no trimming, which is slow.
_TRIMMED = (
    "CASE WHEN octet_length({0}) = length({0}) AND {0} >= '!' AND right({0}, 1) >= '!' THEN {0}"
    f" ELSE coalesce(btrim({{0}}, '{BLANKS}'), '') END"
)
_UNDECODED = "\ufffd"
_LATEST = timedelta(days=366)
_ANNOUNCED_BEFORE = "INTERVAL 1461 DAYS"
_DELIMITERS = (";", "\t", "|", ",", "\x01", "^", "~")
_SHOWN = 300
_SCIENTIFIC = r"^[+-]?\d([.,]\d+[eE][+-]?\d{1,3}|[eE]\+\d{2,3})$"
_DOUBTS = ("undecodable", "in_scientific_notation", "is_json")
"""Ways in which text that can be stored may still be wrong."""
_JSON = r"(?s)^(\{(?![\w-]+\}$).*\}|\[.*\])$"
"""An object or an array; one word in braces is an id, as some systems write it."""


@dataclass(frozen=True)
class Mapped:
    """A source with its contract's columns, `_rules` and `_raw`; one row for every row read."""

    contract: Contract
    source: Source
    rows: DataFrame
    has_known_time: bool
    """Whether known time is mapped; otherwise it is the event time, or the as-of of a later batch that brought it."""
    staged: Staged | None = None
    """The query, and the counts of its inputs, where the rows are those of one."""


def bound(config: Config) -> Mapping[str, tuple[Contract, Source]]:
    """Each source of the configuration with its contract, every name in it checked; nothing is read."""
    for source in config.sources.values():
        if source.name not in CONTRACTS:
            raise ConfigError(f"{source.section()} is not a contract{nearest(source.name, CONTRACTS)}")
        contract = CONTRACTS[source.name]
        known = [field.name for field in contract.columns]
        for column in source.columns:
            if column not in known:
                raise ConfigError(
                    f"{source.section('columns')} {column} is no column of {contract.name}{nearest(column, known)}"
                )
        unlimited = [name for name in source.maximum if not isinstance(_type_of(contract, name), NumericType)]
        if unlimited:
            numeric = [field.name for field in contract.columns if isinstance(field.data_type, NumericType)]
            raise ConfigError(
                f"{source.section('maximum')} {unlimited[0]} is no number of {contract.name}"
                f"{nearest(unlimited[0], numeric)}"
            )
        doubts = [f"{field.name}_{doubt}" for field in contract.columns for doubt in _DOUBTS]
        if unknown := [name for name in source.accept if name not in doubts]:
            raise ConfigError(
                f"{source.section()} accept {unknown[0]!r} is no rule of doubt{nearest(unknown[0], doubts)}"
            )
        rules = {*contract.rules(), *_mapping_rules(contract), *map(failed_rule, source.own_rules)}
        if taken := sorted(rules & source.own_rules):
            raise ConfigError(f"{source.section('reject')} {taken[0]} is a rule of the contract; choose another name")
    check_inputs(config)
    return {name: (CONTRACTS[name], source) for name, source in config.sources.items()}


def map_source(
    spark: SparkSession,
    source: Source,
    *,
    as_of: datetime | None = None,
    late: datetime | None = None,
    raw: bool = False,
) -> Mapped:
    """Read one source and map it; with `raw`, rows that break no rule have their raw row too.

    Text is trimmed and empty text is null. A time without an offset is local time of the source's zone: one that the
    clock repeats in autumn is the later instant, so that nothing is seen before it happened; one that it skips in
    spring breaks a rule. A date is its first instant. Where known time is not mapped, what happened before `late` is
    known from as-of on, which brought it. Raises ConfigError for an expression that does not fit the raw
    columns, BadInputError for a source that cannot be read, HoldError if rows are expected of it.
    """
    now, latest = (None, None) if as_of is None else (literal(utc(as_of)), literal(utc(as_of) + _LATEST))
    rates, source = rates_of(spark, source, as_of), of_batch(spark, source, as_of)
    staged = None if source.query is None else stage(spark, source)
    rows = read(spark, source) if staged is None else staged.rows
    since = None if late is None else literal(utc(late))
    found = mapped(rows, source, now=now, latest=latest, late=since, raw=raw, rates=rates)
    return found if staged is None else _with_left_out(found, staged)


def _with_left_out(found: Mapped, staged: Staged) -> Mapped:
    """The rows of a query beside those of its inputs that it does not see, each with the rules it breaks."""
    if staged.left_out is None:
        return replace(found, staged=staged)
    rules = f"if(size(rules) = 0, array('{MALFORMED}'), rules) AS {RULES}"
    left_out = staged.left_out.selectExpr(rules, f"raw AS {RAW}")
    return replace(found, staged=staged, rows=found.rows.unionByName(left_out, allowMissingColumns=True))


def rates_of(spark: SparkSession, source: Source, as_of: datetime | None = None) -> DataFrame | None:
    """The sound rows of the rates that convert the amounts of a source; None where there are none."""
    names = [field.name for field in CONTRACTS[source.name].columns]
    is_converted = source.name != "rates" and source.currency is not None and "currency" in names
    if not is_converted or not isinstance(source.rates, Source):
        return None
    rates = of_batch(spark, source.rates, as_of, since=HISTORY)  # those of all days that a batch may convert
    return map_source(spark, rates, as_of=as_of).rows.where(F.size(RULES) == 0)


def mapped(
    frame: DataFrame,
    source: Source,
    *,
    now: str | None = None,
    latest: str | None = None,
    late: str | None = None,
    raw: bool = False,
    rates: DataFrame | None = None,
) -> Mapped:
    """Raw rows, as `read` has them, with the columns of the source's contract.

    `now`, `latest` and `late` are SQL expressions: what is announced, or happened before `late`, is known at `now`,
    unless the source says when; what happens after `latest` is in_future. Amounts in other currencies than the
    company's are converted by `rates`. All selections are SQL text, one call into the JVM for a list; as columns they
    would be thousands of calls.
    """
    contract = CONTRACTS[source.name]
    expressions = _expressions(contract, source, frame)
    values, kinds = _values(frame, source, contract, expressions)
    readings = {
        field.name: _reading(field, source, kinds, expressions.get(field.name, "")) for field in contract.columns
    }
    has_known_time = "known_time" in expressions
    if not has_known_time:
        del readings["known_time"]
    failures = {rule: failed for reading in readings.values() for rule, failed in reading.failures.items()}
    unread = {rule: failed for rule, failed in failures.items() if rule not in source.accept}
    failed_of = failed_rules(source.reject)
    typed = values.selectExpr(
        *(f"{reading.value} AS {name}" for name, reading in readings.items()),
        *(f"{failed} AS {_flag(rule)}" for rule, failed in unread.items()),
        *(f"{_reject(name)} IS TRUE AS {_flag(name)}" for name in source.reject),
        *(f"{_reject_failed(name)} AS {_flag(failed)}" for name, failed in failed_of.items()),
        _ROW,
        UNPARSED,
    )
    if not has_known_time:
        known = f"least(event_time, {now})" if contract.announced and now else "event_time"
        if now and late:
            known = f"if(event_time < {late}, {now}, {known})"
        typed = typed.selectExpr("*", f"{known} AS known_time")
    typed = _with_defaults(typed, contract, source, expressions)
    in_currency = []
    if source.currency is not None and {"amount", "currency"} <= set(contract.schema.names):
        typed = with_one_currency(typed, source.currency, rates, _flag(WITHOUT_RATE))
        in_currency = [WITHOUT_RATE]

    rules = _contract_rules(contract, source, latest)
    if not has_known_time:
        del rules["known_time_missing"]  # a known time that is not mapped has no rule of its own
    for rule in rules:
        reading = readings.get(rule.removesuffix("_missing"))
        # What could not be read is not also missing.
        rules[rule] += "".join(
            f" AND NOT {_flag(name)}" for name in (reading.failures if reading else ()) if name in unread
        )
    broken = [*unread, *in_currency, *rules, *source.reject, *failed_of.values()]
    any_broken = " OR ".join([f"{UNPARSED} IS NOT NULL", *map(_flag, broken)])
    # Flags are columns of their own, so that each is computed once.
    flagged = typed.selectExpr("*", *(f"{is_broken} AS {_flag(rule)}" for rule, is_broken in rules.items()))
    tested = flagged.selectExpr("*", f"{any_broken} AS {_BROKEN}")
    # The list and the JSON are made for broken rows only: nearly all rows end at the first test.
    names = ", ".join(f"if({_flag(rule)}, {literal(rule)}, null)" for rule in broken)
    file = f", {_ROW}.{FILE} AS {FILE}" if FILE in frame.columns else ""
    raw_row = (
        f"if({UNPARSED} IS NOT NULL, to_json(struct({UNPARSED} AS line{file})),"
        f" to_json({_ROW}, map('ignoreNullFields', 'false')))"
    )
    rows = tested.selectExpr(
        *contract.schema.names,
        f"CASE WHEN NOT {_BROKEN} THEN cast(array() AS array<string>)"
        f" WHEN {UNPARSED} IS NOT NULL THEN array('{MALFORMED}')"
        f" ELSE split(concat_ws('\n', {names}), '\n') END AS {RULES}",
        f"{raw_row if raw else f'if({_BROKEN}, {raw_row}, null)'} AS {RAW}",
    )
    return Mapped(contract, source, rows, has_known_time)


def _with_defaults(typed: DataFrame, contract: Contract, source: Source, expressions: Mapping[str, str]) -> DataFrame:
    """The rows with the defaults of columns that are not mapped, or null."""
    names = typed.columns
    for name, default in contract.defaults.items():
        value = f"coalesce({name}, {default(source)})" if name in expressions else default(source)
        typed = typed.selectExpr(*(f"{value} AS {name}" if column == name else quoted(column) for column in names))
    return typed


def _values(
    frame: DataFrame, source: Source, contract: Contract, expressions: Mapping[str, str]
) -> tuple[DataFrame, Mapping[str, DataType]]:
    """The value of each expression, text trimmed and '' where there is none, and the type of each column.

    Columns: `_value_*`, the owner's rules, whether those that may raise an error do, the raw row, the line where it
    could not be parsed, and what the local times of a zone need.
    """
    selected, kinds = _select_expressions(frame, source, expressions)
    trimmed = (
        f"{_TRIMMED.format(_value(name))} AS {_value(name)}" if isinstance(kind, StringType) else _value(name)
        for name, kind in kinds.items()
    )
    values = selected.selectExpr(*trimmed, *map(quoted, selected.columns[len(expressions) :]))
    times = [field.name for field in contract.columns if isinstance(field.data_type, TimestampType | DateType)]
    local_times = {name: (_value(name), kinds[name]) for name in times if isinstance(kinds.get(name), LOCAL)}
    # Spark generates one method for all columns up to here, and another for what follows: of both together the JVM
    # compiles none, and reading a row takes five times as long. A coalesce to no fewer partitions divides them.
    return with_times(values, source, local_times).coalesce(_ALL_PARTITIONS), kinds


# --- expressions ------------------------------------------------------------------------------------------------------


def _expressions(contract: Contract, source: Source, frame: DataFrame) -> dict[str, str]:
    """The expression of each column: the one configured, else the raw column of that name, if there is one."""
    names = [name for name in frame.columns if name != UNPARSED]
    for name, reason in unreadable_columns(frame).items():
        if name in contract.schema.names and name not in source.columns:
            raise ConfigError(
                f"{source.section('columns')} {name} would be the column of that name, which Spark cannot read:"
                f' {reason}. Write {name} = "an expression over other columns", or {name} = "null" to do without it'
            )
    same_name = {field.name: f"`{field.name}`" for field in contract.columns if field.name in names}
    chosen = {**same_name, **{name: column.sql for name, column in source.columns.items()}}
    filled = {"known_time", *contract.defaults}
    needed = [field.name for field in contract.columns if field.required and field.name not in filled]
    if unmapped := [name for name in needed if name not in chosen]:
        raise ConfigError(
            f'{source.section("columns")} lacks {", ".join(unmapped)}; add {unmapped[0]} = "an expression over: '
            f'{", ".join(_of_input(names))}"{_delimiter_hint(source, names)}'
        )
    return {field.name: chosen[field.name] for field in contract.columns if field.name in chosen}


def _select_expressions(
    frame: DataFrame, source: Source, expressions: Mapping[str, str]
) -> tuple[DataFrame, Mapping[str, DataType]]:
    """Every expression beside the raw row, and the types of the columns. An error that one raises on a row makes its
    value null there.

    Raises one ConfigError with every expression that does not fit the raw columns.
    """
    names = [name for name in frame.columns if name != UNPARSED]
    texts = {_text(name, place): text for name, sql in expressions.items() for place, text in enumerate(read_by(sql))}
    spark = frame.sparkSession
    if any(check_expression(spark, text, names) for text in (*expressions.values(), *source.reject.values())):
        _check_expressions(frame, source, expressions, names)
    try:
        with unlogged():
            selected = frame.select(
                *(tried(frame, sql).alias(_value(name)) for name, sql in expressions.items()),
                *(tried(frame, rule).alias(f"_reject_{name}") for name, rule in source.reject.items()),
                *(tried(frame, text).alias(name) for name, text in texts.items()),
                F.struct(*map(quoted, names)).alias(_ROW),
                F.expr(UNPARSED if UNPARSED in frame.columns else "cast(null AS string)").alias(UNPARSED),
            )
            values = selected.selectExpr(
                *(f"{value_of(sql, _value(name))} AS {_value(name)}" for name, sql in expressions.items()),
                *(f"{value_of(rule, _reject(name))} AS {_reject(name)}" for name, rule in source.reject.items()),
                *(
                    f"{_value(name)} IS NULL AS {_failed(name)}"
                    for name, sql in expressions.items()
                    if not cannot_fail(sql)
                ),
                *(f"{_reject(name)} IS NULL AS {_reject_failed(name)}" for name in failed_rules(source.reject)),
                *(f"cast({value_of(text, name)} AS string) AS {name}" for name, text in texts.items()),
                _ROW,
                UNPARSED,
            )
            kinds = [field.dataType for field in values.schema]
            is_sound = _is_row_by_row(selected, frame) and all(
                isinstance(kind, BooleanType) for kind in kinds[len(expressions) :][: len(source.reject)]
            )
    except SPARK_ERRORS as error:
        _check_expressions(frame, source, expressions, names)
        raise error
    if not is_sound or check_frame(selected):
        _check_expressions(frame, source, expressions, names)
    return values, dict(zip(expressions, kinds, strict=False))


def _is_row_by_row(selected: DataFrame, frame: DataFrame) -> bool:
    """Whether a selection beside the raw columns of a frame makes one row of each row, the same every time.

    An aggregate fails beside raw columns; a generator or a window would multiply or mix rows.
    """
    plans = [one._jdf.queryExecution().analyzed() for one in (selected, frame)]
    mixing = [len(re.findall(r"^[\s:+|-]*(?:Generate|Window|Aggregate)\b", str(plan), re.MULTILINE)) for plan in plans]
    return mixing[0] == mixing[1] and bool(plans[0].deterministic())


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
    """Why an expression does not fit, with its setting; None = it does."""
    problem = _why_not(frame, names, expression, is_rule)
    if problem and expression.strip() in names:
        problem = (
            f"is the name of a column with signs or blanks, which stands in backticks: {quoted(expression.strip())}"
        )
    return problem and f"{place} = {expression!r} {problem}"


def _why_not(frame: DataFrame, names: list[str], expression: str, is_rule: bool) -> str | None:
    if refused := check_expression(frame.sparkSession, expression, names):
        return refused
    try:
        selected = frame.select("*", F.expr(expanded(expression)).alias("_value"))
        kind = selected.schema["_value"].dataType
        is_row_by_row = _is_row_by_row(selected, frame)
    except SPARK_ERRORS as error:
        unreadable = {
            name: reason
            for name, reason in unreadable_columns(frame).items()
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", expression, re.IGNORECASE)
        }
        named = "; ".join(f"names {name!r}, which Spark cannot read: {reason}" for name, reason in unreadable.items())
        return named or _reason(error, names)
    if reasons := check_frame(selected):
        return reasons[0]
    if not is_row_by_row:
        return "is not made of one row alone; compute it in the source, or drop it"
    if is_rule and not isinstance(kind, BooleanType):
        return f"is {kind.simpleString()}, want boolean: a condition such as \"outcome = 'TEST'\""
    return None


def _reason(error: Exception, names: list[str]) -> str:
    if not isinstance(error, PySparkException):
        return f"is not a Spark SQL expression over the source: {first_line(error)[:_SHOWN]}"
    condition, details = error.getCondition() or "", error.getMessageParameters() or {}
    if condition.startswith("UNRESOLVED_COLUMN"):
        near = [name for name in re.findall("`([^`]+)`", details.get("proposal", "")) if name in _of_input(names)]
        name = details.get("objectName", "").strip("`")
        if twice := [one for one in names if re.fullmatch(rf"{re.escape(name)} \(\d+\)", one, re.IGNORECASE)]:
            return f"names {name!r}, which the header has {len(twice)} times; write `{twice[0]}` or `{twice[1]}`"
        shown = ", ".join(near[:3]) or ", ".join(_of_input(names)) or "nothing, as no row of it can be read"
        declared = hint(name) if len(_of_input(names)) > 1 else ""  # one column alone is read by a wrong separator
        return f"names {name!r}, which the source does not have; near it: {shown}{declared}"
    if condition == "PARSE_SYNTAX_ERROR":
        wrong = details.get("error", "its end")
        in_backticks = "; a name with signs or blanks stands in backticks, also behind a point: `a b`.`$c`"
        return f"is not Spark SQL: syntax error at {wrong}{in_backticks}"
    first = str(error).strip().splitlines()[0]
    return f"is not a Spark SQL expression over the source: {first.split(' SQLSTATE')[0]}{_cast_hint(details)}"


def _cast_hint(details: Mapping[str, str]) -> str:
    """The cast to write where a function wants a number of text, as which cells of csv and json are read."""
    is_text = details.get("inputType") == '"STRING"'
    wanted = re.search("INTEGRAL|INT|NUMERIC|DOUBLE|DECIMAL", details.get("requiredType", ""))
    if not is_text or not wanted:
        return ""
    kind = "bigint" if wanted[0].startswith("INT") else "decimal(38, 6)"
    return f" write try_cast({details.get('inputSql', '').strip(chr(34))} as {kind})"


def _of_input(names: list[str]) -> list[str]:
    """The columns that the input itself has."""
    return [name for name in names if name != FILE]


def _delimiter_hint(source: Source, names: list[str]) -> str:
    """A guess where a whole header was read as one column."""
    names = _of_input(names)
    if source.format != "csv" or len(names) != 1:
        return ""
    configured = source.options.get("sep", source.options.get("delimiter", ","))
    guess = max(_DELIMITERS, key=names[0].count)
    is_guessed = guess != configured and guess in names[0]
    shown = f"sep = {json.dumps(guess)}" if is_guessed else "sep to what stands between its cells"
    return f"; the file was read as one column, {names[0]!r}: set {shown} under [sources.{source.name}.options]"


# --- types ------------------------------------------------------------------------------------------------------------


def _value(column: str) -> str:
    return f"_value_{column}"


def _failed(column: str) -> str:
    """Whether an expression raised an error."""
    return f"_failed_{column}"


def _text(column: str, place: int) -> str:
    """The text that an expression reads by a function of this project."""
    return f"_text_{column}_{place}"


def _reject(rule: str) -> str:
    return quoted(f"_reject_{rule}")


def _reject_failed(rule: str) -> str:
    return quoted(f"_failed_rule_{rule}")


def _flag(rule: str) -> str:
    return quoted(f"_flag_{rule}")


def _mapping_rules(contract: Contract) -> list[str]:
    """The rules that reading may add to the contract's own."""
    failures = ("unreadable", "clock_gap", *_DOUBTS)
    return [
        MALFORMED,
        IN_FUTURE,
        WITHOUT_RATE,
        CONFLICT,
        PARTIAL,
        *(f"{field.name}_{failure}" for field in contract.columns for failure in failures),
    ]


def _type_of(contract: Contract, column: str) -> DataType | None:
    return next((field.data_type for field in contract.columns if field.name == column), None)


def _contract_rules(contract: Contract, source: Source, latest: str | None) -> dict[str, str]:
    rules = contract.rules(source.maximum)
    if latest is not None:
        event = f"event_time - {_ANNOUNCED_BEFORE}" if contract.announced else "event_time"
        rules[IN_FUTURE] = f"coalesce(greatest({event}, known_time) > {latest}, false)"
    return rules


def _reading(field: Field, source: Source, kinds: Mapping[str, DataType], sql: str) -> Reading:
    """How a column is read. Where its expression, `sql`, reads texts by functions of this project, a null of it is a
    failure unless one of them is blank; an error that it raises is one."""
    if field.name not in kinds:
        return Reading(f"cast(null AS {field.type})", {})
    reading = _reading_of_value(field, source, kinds[field.name], _value(field.name))
    failed = [] if cannot_fail(sql) else [_failed(field.name)]
    if texts := len(read_by(sql)):
        has_texts = (f"NOT {_is_null(_TRIMMED.format(_text(field.name, place)), source)}" for place in range(texts))
        failed.append(f"({_value(field.name)} IS NULL AND coalesce({' AND '.join(has_texts)}, false))")
    if not failed:
        return reading
    rule = f"{field.name}_unreadable"
    own = [f"({reading.failures[rule]})"] if rule in reading.failures else []
    return replace(reading, failures={**reading.failures, rule: " OR ".join([*failed, *own])})


def _reading_of_value(field: Field, source: Source, kind: DataType, value: str) -> Reading:
    if isinstance(field.data_type, TimestampType):
        return time_reading(field.name, source, value, kind, at_end=field.name == "known_time")
    if isinstance(field.data_type, DateType):
        return date_reading(field.name, source, value, kind)
    if isinstance(field.data_type, StringType):
        return _text_reading(field, source, value, kind)
    if not isinstance(kind, StringType | NumericType | BooleanType | NullType):
        column = source.columns[field.name].sql if field.name in source.columns else field.name
        raise ConfigError(
            f"{source.section('columns')} {field.name} = {column!r} is {kind.simpleString()}, want {field.type}"
            + (f"; write cast({column} as string) if its bytes are text" if isinstance(kind, BinaryType) else "")
        )
    if isinstance(kind, FloatType | DoubleType):
        value = f"nanvl({value}, null)"
    read = f"try_cast({value} AS {field.type})"
    if isinstance(field.data_type, IntegralType) and isinstance(kind, FloatType | DoubleType | DecimalType):
        read = f"if({read} = {value}, {read}, null)"
    is_value = f"{value} IS NOT NULL"
    if isinstance(kind, StringType):
        is_value = f"NOT {_is_null(value, source)}"
    return Reading(read, {f"{field.name}_unreadable": f"{is_value} AND {read} IS NULL"})


def _text_reading(field: Field, source: Source, value: str, kind: DataType) -> Reading:
    """Text as it is; of an id also what a spreadsheet or a program without text ids makes of it.

    Raises ConfigError where text cannot stand for the column, with the cast to write.
    """
    if not isinstance(kind, StringType):
        _check_text(field, source, kind)
        return Reading(f"cast({value} AS string)", {})
    failures = {f"{field.name}_undecodable": f"(contains({value}, '{_UNDECODED}') OR contains({value}, '\\0'))"}
    text = f"upper({value})" if field.upper else value
    if not field.is_id:
        return Reading(f"if({value} = '', null, {text})", failures)
    # Nearly all ids pass the cheap tests, and never meet a regular expression.
    failures[f"{field.name}_in_scientific_notation"] = (
        f"((contains({value}, '.') OR contains({value}, ',') OR contains({value}, '+'))"
        f" AND rlike({value}, {literal(_SCIENTIFIC)}))"
    )
    failures[f"{field.name}_is_json"] = (
        f"((startswith({value}, '[') OR startswith({value}, '{{')) AND rlike({value}, {literal(_JSON)}))"
    )
    return Reading(f"if({_is_null(value, source)}, null, {text})", failures)


def _check_text(field: Field, source: Source, kind: DataType) -> None:
    column = source.columns[field.name].sql if field.name in source.columns else quoted(field.name)
    number = isinstance(kind, FloatType | DoubleType) or (isinstance(kind, DecimalType) and kind.scale > 0)
    if isinstance(kind, BinaryType):
        advice = f"write cast({column} as string) if its bytes are text, else hex({column})"
    elif isinstance(kind, ArrayType | MapType | StructType | VariantType):
        value = f"{column}.{quoted(kind.names[0])}" if isinstance(kind, StructType) and kind.names else f"{column}[0]"
        advice = f"name one value of it, such as {value}, or write to_json({column})"
    elif field.is_id and number:
        advice = f"write cast(cast({column} as decimal(38, 0)) as string)"
    elif field.is_id and not isinstance(kind, IntegralType | DecimalType):
        advice = f"write cast({column} as string) if that is the id"
    else:
        return
    raise ConfigError(
        f"{source.section('columns')} {field.name} = {column!r} is {kind.simpleString()}, want text; {advice}"
    )


def _is_null(value: str, source: Source) -> str:
    """SQL: whether text is empty, or a word for no value."""
    longest = max(map(len, source.nulls), default=0)
    listed = ", ".join(literal(word.lower()) for word in source.nulls)
    return f"({value} = ''" + (
        f" OR (length({value}) <= {longest} AND lower({value}) IN ({listed})))" if listed else ")"
    )
