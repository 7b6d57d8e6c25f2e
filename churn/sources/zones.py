"""Times as SQL text: instants as they are, local times and dates by the zone of their source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql.types import DataType, DateType, StringType, TimestampNTZType, TimestampType

from churn.config import Source
from churn.errors import ConfigError
from churn.storage import literal

LOCAL: Final = StringType | TimestampNTZType | DateType
"""Types of columns whose times are local."""

_HAS_OFFSET = r":\d{1,2}(\.\d*)?\s*[^\d.:\s]"


@dataclass(frozen=True)
class Reading:
    """How one column is read, in SQL: its value, and the ways reading it can fail (rule name -> true where it did)."""

    value: str
    failures: Mapping[str, str]


def utc(timestamp: datetime) -> datetime:
    """The timestamp with its zone, UTC unless it has another."""
    return timestamp.replace(tzinfo=timestamp.tzinfo or UTC).astimezone(UTC)


def with_instants(frame: DataFrame, zone: str, values: Mapping[str, str]) -> DataFrame:
    """Adds the first and the second instant that each local time may mean: `values` has the column of each name.

    The second is read with the zone's offset of a day later; the two differ only around a change of the clock.
    """
    of_zone, day = literal(zone), "INTERVAL 1 DAY"
    return frame.selectExpr("*", *(f"{_wall(value)} AS _wall_{name}" for name, value in values.items())).selectExpr(
        "*",
        *(f"to_utc_timestamp(_wall_{name}, {of_zone}) AS _first_{name}" for name in values),
        *(f"to_utc_timestamp(_wall_{name} + {day}, {of_zone}) - {day} AS _second_{name}" for name in values),
    )


def _wall(value: str) -> str:
    """Local time as a clock on the wall shows it, taken for UTC."""
    return f"cast(try_cast({value} AS timestamp_ntz) AS timestamp)"


def time_reading(name: str, source: Source, value: str, kind: DataType) -> Reading:
    """How the time `name` is read from its column `value`; of a zone other than UTC, `with_instants` comes first.

    A local time that the clock repeats in autumn is the later instant; one that it skips in spring fails. Raises
    ConfigError where the column has no local time.
    """
    place = source.section("columns")
    if isinstance(kind, TimestampType):
        expression = source.columns.get(name, name)
        if source.zone != "UTC" and not re.fullmatch(r"`[^`]+`|[\w.]+", expression):
            raise ConfigError(
                f"{place} {name} = {expression!r} is a TIMESTAMP, an instant already, so zone {source.zone!r} cannot"
                f" apply; for local time write cast({expression} as timestamp_ntz), for instants set zone = 'UTC'"
            )
        return Reading(value, {})
    if not isinstance(kind, LOCAL):
        raise ConfigError(
            f"{place} {name} is {kind.simpleString()}, want a time; for seconds since 1970 write"
            " timestamp_seconds(...), for milliseconds timestamp_millis(...)"
        )
    wall = read = _wall(value)
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
        return Reading(read, {f"{name}_clock_gap": f"({in_gap}) IS TRUE"} if in_gap else {})
    has_offset, instant = f"rlike({value}, {literal(_HAS_OFFSET)})", f"try_cast({value} AS timestamp)"
    failures = {f"{name}_clock_gap": f"(NOT {has_offset} AND {in_gap}) IS TRUE"} if in_gap else {}
    failures[f"{name}_unreadable"] = f"{value} != '' AND if({has_offset}, {instant}, {wall}) IS NULL"
    return Reading(f"if({has_offset}, {instant}, {read})", failures)
