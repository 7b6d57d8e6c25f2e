"""Times as SQL text: instants as they are, local times and dates by the zone of their column."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame
from pyspark.sql.types import BinaryType, DataType, DateType, StringType, TimestampNTZType, TimestampType

from churn.config import Source
from churn.errors import ConfigError
from churn.storage import literal

LOCAL: Final = StringType | TimestampNTZType | DateType
"""Types of columns whose times are local."""

_OF_EPOCH = re.compile(r"(?i)\b(from_unixtime|timestamp_(seconds|millis|micros))\s*\(")
_TO_ZONE = re.compile(r"(?i)\b(from_utc_timestamp|convert_timezone)\s*\(")
_ABBREVIATION = r"[0-9 ]([A-Za-z]{2,5})$"
_UNIVERSAL = ("UTC", "GMT", "UT")
_FIRST, _END = "TIMESTAMP '0001-01-02 00:00:00Z'", "TIMESTAMP '9999-12-31 00:00:00Z'"
"""What lies outside can be read nowhere later: Python and Arrow have no such dates in every zone."""
_DAY = "INTERVAL 1 DAY"


@dataclass(frozen=True)
class Reading:
    """How one column is read, in SQL: its value, and the ways reading it can fail (rule name -> true where it did)."""

    value: str
    failures: Mapping[str, str]


def utc(timestamp: datetime) -> datetime:
    """The timestamp with its zone, UTC unless it has another."""
    return timestamp.replace(tzinfo=timestamp.tzinfo or UTC).astimezone(UTC)


def is_date(text: str) -> str:
    """SQL: whether text begins with a whole date, year-month-day with a year of four digits.

    Spark alone would take a plain number for a year, and a time of day for one of today.
    """
    return f"(instr({text}, '-') = 5 AND locate('-', {text}, 6) IN (7, 8))"


def with_times(frame: DataFrame, source: Source, values: Mapping[str, tuple[str, DataType]]) -> DataFrame:
    """Adds what each local time or date may mean, each computed once for a row: `values` has the column of each name,
    and its type.

    `_time_*` is local time as a clock on the wall shows it, taken for UTC; of text with an offset, which `_offset_*`
    says, it is the instant. Of a zone other than UTC, `_first_*` and `_second_*` are the instants that local time may
    mean: the second is read with the zone's offset of a day later; the two differ only around a change of the clock.
    """
    if not values:
        return frame
    zones = {name: literal(zone) for name in values if (zone := source.zone_of(name)) != "UTC"}
    read = [f"{_read(*values[name], source.zone_of(name))} AS _read_{name}" for name in values]
    offsets = [
        f"{_has_offset(value)} AS _offset_{name}"
        for name, (value, kind) in values.items()
        if isinstance(kind, StringType)
    ]
    frame = frame.selectExpr("*", *offsets, *read)
    frame = frame.selectExpr("*", *(f"{_in_range(f'_read_{name}')} AS _time_{name}" for name in values))
    return frame.selectExpr(
        "*",
        *(f"to_utc_timestamp(_time_{name}, {zone}) AS _first_{name}" for name, zone in zones.items()),
        *(
            f"to_utc_timestamp(_time_{name} + {_DAY}, {zone}) - {_DAY} AS _second_{name}"
            for name, zone in zones.items()
        ),
    )


def _read(value: str, kind: DataType, zone: str) -> str:
    """SQL: a local time taken for UTC, or the instant where text has an offset; null where there is none."""
    if isinstance(kind, DateType):  # that of a number too large may be no timestamp
        return f"if({value} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31', cast({value} AS timestamp), null)"
    if not isinstance(kind, StringType):
        return f"cast({value} AS timestamp)"
    return f"if({is_date(value)}, try_cast({_with_offset(value, zone)} AS timestamp), null)"


def _has_offset(text: str) -> str:
    """SQL: whether text has a time of day and anything behind it; cheaper than a regular expression."""
    return (
        f"(contains({text}, ':') AND (substr({text}, -1) >= 'A' OR contains({text}, '+')"
        f" OR locate('-', {text}, 9) > 0))"
    )


def _in_range(instant: str) -> str:
    return f"if({instant} >= {_FIRST} AND {instant} < {_END}, {instant}, null)"


def time_reading(name: str, source: Source, value: str, kind: DataType, *, at_end: bool = False) -> Reading:
    """How the time `name` is read from its column `value`; `with_times` comes first.

    A local time that the clock repeats in autumn is the later instant; one that it skips in spring fails. A date is its
    first instant, or with `at_end` its end. Text may end in an offset, in a region such as Europe/Paris, or in an
    abbreviation that the column's zone uses; any other abbreviation fails, as many mean several zones. Raises
    ConfigError where the column has no local time.
    """
    zone = source.zone_of(name)
    if isinstance(kind, TimestampType):
        _check_instant(name, source, zone)
        read = _in_range(value)
        return Reading(read, {f"{name}_unreadable": f"{value} IS NOT NULL AND {read} IS NULL"})
    _check_local(name, source, kind, zone)
    if not isinstance(kind, LOCAL):
        raise ConfigError(
            f"{source.section('columns')} {name} is {kind.simpleString()}, want a time; a plain number is no date: for"
            " seconds since 1970 write timestamp_seconds(...), for milliseconds timestamp_millis(...), for days since"
            " 1899-12-30 serial_day(...)"
        )
    time = read = f"_time_{name}"
    in_gap = ""
    has_time = "false" if isinstance(kind, DateType) else f"contains(cast({value} AS string), ':')"
    if zone != "UTC":
        first, second = f"_first_{name}", f"_second_{name}"
        is_repeated = f"{second} > {first} AND from_utc_timestamp({second}, {literal(zone)}) = {time}"
        in_gap = f"from_utc_timestamp({first}, {literal(zone)}) != {time}"
        if not isinstance(kind, TimestampNTZType):
            in_gap += f" AND {has_time}"  # A date is its first instant, also where the clock skips midnight.
        read = f"CASE WHEN {is_repeated} THEN {second} WHEN NOT ({in_gap}) THEN {first} END"
    if at_end and not isinstance(kind, TimestampNTZType):
        end = f"{time} + {_DAY}"
        end = end if zone == "UTC" else f"to_utc_timestamp({end}, {literal(zone)})"
        read = f"if({has_time}, {read}, {end})"
    has_offset = f"_offset_{name}" if isinstance(kind, StringType) else "false"
    is_value = f"{value} != ''" if isinstance(kind, StringType) else f"{value} IS NOT NULL"
    failures = {f"{name}_clock_gap": f"(NOT {has_offset} AND {in_gap}) IS TRUE"} if in_gap else {}
    failures[f"{name}_unreadable"] = f"{is_value} AND {time} IS NULL"
    return Reading(read if read == time else f"if({has_offset}, {time}, {read})", failures)


def instant_in(value: str, zone: str) -> str:
    """SQL: the instant of a local time of a zone, by the rules of `time_reading`; null where it cannot be read, or the
    clock skips it."""
    place, text = literal(zone), f"btrim(cast({value} AS string))"
    first = f"to_utc_timestamp(w, {place})"
    second = f"to_utc_timestamp(w + {_DAY}, {place}) - {_DAY}"
    local = (
        f"CASE WHEN {second} > {first} AND from_utc_timestamp({second}, {place}) = w THEN {second}"
        f" WHEN from_utc_timestamp({first}, {place}) = w OR NOT contains(t, ':') THEN {first} END"
    )
    read = _read("t", StringType(), zone)
    instant = f"transform(array({_in_range('w')}), w -> if({_has_offset('t')}, w, {local}))[0]"
    return f"transform(array({text}), t -> transform(array({read}), w -> {instant})[0])[0]"


def date_reading(name: str, source: Source, value: str, kind: DataType) -> Reading:
    """How the date `name` is read: of an instant, the date that the column's zone had then.

    Raises ConfigError where the column has no date.
    """
    if isinstance(kind, TimestampType):
        local = f"from_utc_timestamp({value}, {literal(source.zone_of(name))})"
    elif isinstance(kind, LOCAL):
        _check_local(name, source, kind, source.zone_of(name))
        local = f"_time_{name}"
    else:
        _check_local(name, source, kind, source.zone_of(name))
        raise ConfigError(
            f"{source.section('columns')} {name} is {kind.simpleString()}, want a date; a plain number is no date: for"
            " days since 1899-12-30 write serial_day(...)"
        )
    read = f"cast({local} AS date)"
    has_value = f"{value} != ''" if isinstance(kind, StringType) else f"{value} IS NOT NULL"
    return Reading(read, {f"{name}_unreadable": f"{has_value} AND {read} IS NULL"})


def _check_instant(name: str, source: Source, zone: str) -> None:
    expression = source.columns[name].sql if name in source.columns else name
    if zone != "UTC" and (source.query or not re.fullmatch(r"`[^`]+`|[\w.]+", expression)):
        raise ConfigError(
            f"{source.section('columns')} {name} = {expression!r} is a TIMESTAMP, an instant already, so zone {zone!r}"
            f" cannot apply; for local time write cast({expression} as timestamp_ntz), for instants"
            f' {name} = {{ sql = "...", zone = "UTC" }}'
        )


def _check_local(name: str, source: Source, kind: DataType, zone: str) -> None:
    """Raises ConfigError for bytes, and where an instant has lost its zone on the way to a local time."""
    expression = source.columns[name].sql if name in source.columns else name
    if isinstance(kind, BinaryType):
        raise ConfigError(
            f"{source.section('columns')} {name} = {expression!r} is binary, want a time; write"
            f" cast({expression} as string) if its bytes are text"
        )
    if zone != "UTC" and _OF_EPOCH.search(expression) and not _TO_ZONE.search(expression):
        raise ConfigError(
            f"{source.section('columns')} {name} = {expression!r} makes text, or a time without a zone, of seconds"
            f" since 1970, to which zone {zone!r} cannot apply; write the instant alone, as"
            f' {name} = {{ sql = "timestamp_seconds(...)", zone = "UTC" }}'
        )


def _with_offset(value: str, zone: str) -> str:
    """SQL: text whose zone Spark reads as it is meant: an abbreviation becomes the offset that the column's zone has
    under it, or text that is no time. Nothing but UTC, GMT and Z is the same everywhere."""
    name = f"upper(regexp_extract({value}, {literal(_ABBREVIATION)}, 1))"
    before = f"regexp_replace({value}, '\\\\s*[A-Za-z]+$', '')"
    offsets = "".join(f" WHEN {literal(short)} THEN {before} || {literal(offset)}" for short, offset in _offsets(zone))
    universal = ", ".join(map(literal, _UNIVERSAL))
    return (
        f"CASE WHEN substr({value}, -1) < 'A' OR substr({value}, -1) IN ('Z', 'z') THEN {value}"
        f" ELSE CASE {name} WHEN '' THEN {value}{offsets} ELSE if({name} IN ({universal}), {value}, null) END END"
    )


@cache
def _offsets(zone: str) -> tuple[tuple[str, str], ...]:
    """The abbreviations that a zone has used since 2000 for one offset each, in upper case, with that offset."""
    place = ZoneInfo(zone)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for days in range(0, 366 * 38, 7):
        instant = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=days)
        local = instant.astimezone(place)
        found[local.strftime("%Z").upper()].add(_offset(local))
    return tuple(
        (short, offset)
        for short, offsets in sorted(found.items())
        if short.isalpha() and len(offsets) == 1
        for offset in offsets
    )


def _offset(local: datetime) -> str:
    text = local.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"
