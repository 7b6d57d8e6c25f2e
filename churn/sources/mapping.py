"""Map a foreign source to the columns of its contract, row for row, without losing or inventing any."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    StringType,
    TimestampType,
)

from churn.config import Config, Source
from churn.errors import ConfigError, nearest
from churn.sources import CONTRACTS
from churn.sources.contract import Contract, Field
from churn.sources.daily_files import of_batch
from churn.sources.readers import BLANKS, UNPARSED, read, unlogged
from churn.sources.versions import CONFLICT
from churn.sources.zones import LOCAL, Reading, time_reading, utc, with_instants
from churn.storage import literal

MALFORMED: Final = "malformed_row"
RULES: Final = "_rules"
"""Column of `Mapped.rows`: the names of the rules a row breaks; empty = none."""
RAW: Final = "_raw"
"""Column of `Mapped.rows`: the row as it was read, as JSON; null where no rule is broken, unless `raw`."""

_ROW = "_row"
_BROKEN = "_broken"
_TRIMMED = f"coalesce(btrim({{0}}, '{BLANKS}'), '')"
_UNDECODED = "\ufffd"
_LATEST = timedelta(days=366)
_DELIMITERS = (";", "\t", "|", ",")
_READS_CLOCK = re.compile(r"\bcurrent_(date|timestamp|time)\b|\blocaltimestamp\b|\b(now|curdate)\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Mapped:
    """A source with its contract's columns, `_rules` and `_raw`; one row for every row read."""

    contract: Contract
    source: Source
    rows: DataFrame
    has_known_time: bool
    """Whether known time is mapped; otherwise it is the event time."""


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
        rules = {*contract.rules(), *_mapping_rules(contract)}
        if taken := sorted(rules & set(source.reject)):
            raise ConfigError(f"{source.section('reject')} {taken[0]} is a rule of the contract; choose another name")
    return {name: (CONTRACTS[name], source) for name, source in config.sources.items()}


def map_source(spark: SparkSession, source: Source, *, as_of: datetime | None = None, raw: bool = False) -> Mapped:
    """Read one source and map it; with `raw`, rows that break no rule have their raw row too.

    Text is trimmed and empty text is null. A time without an offset is local time of the source's zone: one that the
    clock repeats in autumn is the later instant, so that nothing is seen before it happened; one that it skips in
    spring breaks a rule. A date is its first instant. Raises ConfigError for an expression that does not fit the raw
    columns, BadInputError for a source that cannot be read, HoldError if rows are expected of it.
    """
    latest = None if as_of is None else literal(utc(as_of) + _LATEST)
    return mapped(read(spark, of_batch(spark, source, as_of)), source, latest=latest, raw=raw)


def mapped(frame: DataFrame, source: Source, *, latest: str | None = None, raw: bool = False) -> Mapped:
    """Raw rows, as `read` has them, with the columns of the source's contract.

    `latest` is a SQL expression: what happens after it is in_future. All selections are SQL text, one call into the JVM
    for a list; as columns they would be thousands of calls.
    """
    contract = CONTRACTS[source.name]
    expressions = _expressions(contract, source, [name for name in frame.columns if name != UNPARSED])
    values, kinds = _values(frame, source, contract, expressions)
    readings = {field.name: _reading(field, source, kinds) for field in contract.columns}
    has_known_time = "known_time" in expressions
    if not has_known_time:
        del readings["known_time"]
    unread = {rule: failed for reading in readings.values() for rule, failed in reading.failures.items()}
    typed = values.selectExpr(
        *(f"{reading.value} AS {name}" for name, reading in readings.items()),
        *(f"{failed} AS {_flag(rule)}" for rule, failed in unread.items()),
        *(f"{_reject(name)} IS TRUE AS {_flag(name)}" for name in source.reject),
        _ROW,
        UNPARSED,
    )
    if not has_known_time:
        typed = typed.selectExpr("*", "event_time AS known_time")

    rules = _contract_rules(contract, latest)
    if not has_known_time:
        del rules["known_time_missing"]  # a known time that is not mapped has no rule of its own
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
    names = ", ".join(f"if({_flag(rule)}, {literal(rule)}, null)" for rule in broken)
    raw_row = (
        f"if({UNPARSED} IS NOT NULL, to_json(struct({UNPARSED} AS line)),"
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


def _values(
    frame: DataFrame, source: Source, contract: Contract, expressions: Mapping[str, str]
) -> tuple[DataFrame, Mapping[str, DataType]]:
    """The value of each expression, text trimmed and '' where there is none, and the type of each column.

    Columns: `_value_*`, the owner's rules, the raw row, the line where it could not be parsed, and what the local times
    of a zone need.
    """
    selected, kinds = _select_expressions(frame, source, expressions)
    trimmed = (
        f"{_TRIMMED.format(_value(name))} AS {_value(name)}" if isinstance(kind, StringType) else _value(name)
        for name, kind in kinds.items()
    )
    values = selected.selectExpr(*trimmed, *map(_reject, source.reject), _ROW, UNPARSED)
    times = [field.name for field in contract.columns if isinstance(field.data_type, TimestampType)]
    local_times = {name: _value(name) for name in times if isinstance(kinds.get(name), LOCAL)}
    if source.zone == "UTC" or not local_times:
        return values, kinds
    return with_instants(values, source.zone, local_times), kinds


# --- expressions ------------------------------------------------------------------------------------------------------


def _expressions(contract: Contract, source: Source, names: list[str]) -> dict[str, str]:
    """The expression of each column: the one configured, else the raw column of that name, if there is one."""
    same_name = {field.name: f"`{field.name}`" for field in contract.columns if field.name in names}
    chosen = {**same_name, **source.columns}
    needed = [field.name for field in contract.columns if field.required and field.name != "known_time"]
    if unmapped := [name for name in needed if name not in chosen]:
        raise ConfigError(
            f'{source.section("columns")} lacks {", ".join(unmapped)}; add {unmapped[0]} = "an expression over: '
            f'{", ".join(names)}"{_delimiter_hint(source, names)}'
        )
    return {field.name: chosen[field.name] for field in contract.columns if field.name in chosen}


def _select_expressions(
    frame: DataFrame, source: Source, expressions: Mapping[str, str]
) -> tuple[DataFrame, Mapping[str, DataType]]:
    """Every expression beside the raw row, and the types of the columns.

    Raises one ConfigError with every expression that does not fit the raw columns.
    """
    names = [name for name in frame.columns if name != UNPARSED]
    try:
        with unlogged():
            selected = frame.select(
                *(F.expr(expression).alias(_value(name)) for name, expression in expressions.items()),
                *(F.expr(rule).alias(f"_reject_{name}") for name, rule in source.reject.items()),
                F.struct(*(f"`{name}`" for name in names)).alias(_ROW),
                F.expr(UNPARSED if UNPARSED in frame.columns else "cast(null AS string)").alias(UNPARSED),
            )
            kinds = [field.dataType for field in selected.schema]
            is_sound = _is_row_by_row(selected) and all(
                isinstance(kind, BooleanType) for kind in kinds[len(expressions) : -2]
            )
    except PySparkException as error:
        _check_expressions(frame, source, expressions, names)
        raise error
    if not is_sound or any(map(_READS_CLOCK.search, (*expressions.values(), *source.reject.values()))):
        _check_expressions(frame, source, expressions, names)
    return selected, dict(zip(expressions, kinds, strict=False))


def _is_row_by_row(frame: DataFrame) -> bool:
    """Whether a selection beside raw columns makes one row of each row, the same every time.

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
    setting = f"{place} = {expression!r}"
    if _READS_CLOCK.search(expression):
        return f"{setting} reads the clock, so a rerun would differ; use a column instead"
    try:
        selected = frame.select("*", F.expr(expression).alias("_value"))
        kind = selected.schema["_value"].dataType
        is_row_by_row = _is_row_by_row(selected)
    except PySparkException as error:
        return f"{setting} {_reason(error, names)}"
    if not is_row_by_row:
        return f"{setting} is not made of one row alone; compute it in the source, or drop it"
    if is_rule and not isinstance(kind, BooleanType):
        return f"{setting} is {kind.simpleString()}, want boolean: a condition such as \"outcome = 'TEST'\""
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
    configured = source.options.get("sep", source.options.get("delimiter", ","))
    guess = max(_DELIMITERS, key=names[0].count)
    if guess == configured or guess not in names[0]:
        return ""
    shown = guess.replace("\t", "\\t")
    return f'; the file was read as one column, {names[0]!r}: set sep = "{shown}" under [sources.{source.name}.options]'


# --- types ------------------------------------------------------------------------------------------------------------


def _value(column: str) -> str:
    return f"_value_{column}"


def _reject(rule: str) -> str:
    return f"`_reject_{rule}`"


def _flag(rule: str) -> str:
    return f"`_flag_{rule}`"


def _mapping_rules(contract: Contract) -> list[str]:
    """The rules that reading may add to the contract's own."""
    failures = ("unreadable", "clock_gap", "undecodable")
    return [
        MALFORMED,
        "in_future",
        CONFLICT,
        *(f"{field.name}_{failure}" for field in contract.columns for failure in failures),
    ]


def _contract_rules(contract: Contract, latest: str | None) -> dict[str, str]:
    rules = contract.rules()
    if latest is not None:
        rules["in_future"] = f"coalesce(greatest(event_time, known_time) > {latest}, false)"
    return rules


def _reading(field: Field, source: Source, kinds: Mapping[str, DataType]) -> Reading:
    if field.name not in kinds:
        return Reading(f"cast(null AS {field.type})", {})
    kind, value = kinds[field.name], _value(field.name)
    if isinstance(field.data_type, TimestampType):
        return time_reading(field.name, source, value, kind)
    if isinstance(field.data_type, StringType):
        if not isinstance(kind, StringType):
            return Reading(f"cast({value} AS string)", {})
        undecoded = {f"{field.name}_undecodable": f"contains({value}, '{_UNDECODED}')"}
        return Reading(f"if({value} = '', null, {value})", undecoded)
    read = f"try_cast({value} AS {field.type})"
    if isinstance(field.data_type, IntegerType) and isinstance(kind, FloatType | DoubleType | DecimalType):
        read = f"if({read} = {value}, {read}, null)"
    return Reading(read, {f"{field.name}_unreadable": f"{_has_value(value, kind)} AND {read} IS NULL"})


def _has_value(value: str, kind: DataType) -> str:
    return f"{value} != ''" if isinstance(kind, StringType) else f"{value} IS NOT NULL"
