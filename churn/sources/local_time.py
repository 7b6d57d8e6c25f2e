"""Local time, by the zone of a source: columns of contracts, with their defaults as SQL over the times before them."""

from __future__ import annotations

from typing import Final, get_args

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.config import Source, WeekDay
from churn.sources.contract import Field
from churn.storage import literal

_WEEK: Final = get_args(WeekDay)


def utc_offset(source: Source) -> str:
    """How many seconds local time was ahead of UTC."""
    zone = source.zone_of("event_time")
    if zone == "UTC":
        return "0"
    local = f"from_utc_timestamp(event_time, {literal(zone)})"
    return f"cast(unix_seconds({local}) - unix_seconds(event_time) AS int)"


def is_day_off(source: Source) -> str:
    """Whether the local day was one of the weekend, or a holiday."""
    day = "date_from_unix_date(cast(floor((unix_seconds(event_time) + utc_offset) / 86400) AS int))"
    conditions = [f"{day} IN ({', '.join(map(literal, source.holidays))})"] if source.holidays else []
    if source.weekend:
        conditions.append(f"weekday({day}) IN ({', '.join(str(_WEEK.index(name)) for name in source.weekend)})")
    return " OR ".join(conditions) or "false"


UTC_OFFSET: Final = Field(
    "utc_offset",
    "int",
    "How far local time was ahead of UTC. Default: by the zone of the source.",
    "s",
    default=utc_offset,
)
IS_DAY_OFF: Final = Field(
    "is_day_off",
    "boolean",
    "Whether the local day was one of the `weekend`, or one of the `holidays`. Default: by those settings.",
    default=is_day_off,
)


def local_time(event_time: Column, offset: Column) -> Column:
    """What the clock on the wall showed, as if it were UTC; no offset counts as UTC."""
    return F.timestamp_seconds(F.unix_seconds(event_time) + F.coalesce(offset, F.lit(0)))
