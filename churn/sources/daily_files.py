"""A source that comes as a file a day: which files a batch reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from pyspark.sql import SparkSession

from churn.config import DAY, RawInput, Source
from churn.errors import HoldError
from churn.sources.readers import read
from churn.sources.readers.files import find_files
from churn.sources.staging import query_rows
from churn.sources.zones import utc

HISTORY: Final = date.min
"""The day since which a first batch reads: all days there are."""


def of_batch(spark: SparkSession, source: Source, as_of: datetime | None, *, since: date | None = None) -> Source:
    """The source with the paths that a batch reads: of one that comes daily, the files of its days.

    Those are the last `look_back` days, and every day from `since` on, which is where the batch before it ended, or
    `HISTORY`; without an as-of it is all days there are. Each input of a query is read like this. Raises HoldError
    where one of these days has no file, unless it is looked back for and lies before the first file there is; a history
    may have gaps.
    """
    if not source.is_daily:
        return source
    inputs = {
        name: replace(one, path=_batch_path(spark, one, f"{source.name}: input {name}", as_of, since))
        for name, one in source.inputs.items()
    }
    return replace(source, path=_batch_path(spark, source, source.name, as_of, since), inputs=inputs)


def fewest_rows(spark: SparkSession, source: Source, days: Sequence[date]) -> tuple[int, date]:
    """The day with the fewest rows of a source that comes daily, and how many these are."""
    counts = []
    for day in days:
        inputs = {name: replace(one, path=_path_of(one, str(day))) for name, one in source.inputs.items()}
        of_day = replace(source, path=_path_of(source, str(day)), inputs=inputs)
        counts.append(((query_rows if of_day.query else read)(spark, of_day).count(), day))
    return min(counts)


def first_instant(source: Source, as_of: datetime, since: date | None = None) -> datetime | None:
    """When the first day begins that a batch reads of a query's inputs; null where none of them comes daily."""
    days = [day for one in source.inputs.values() if one.is_daily for day in one.days(utc(as_of), since)]
    return datetime.combine(min(days), time(), ZoneInfo(source.zone_of("event_time"))) if days else None


def _batch_path(
    spark: SparkSession, place: RawInput, title: str, as_of: datetime | None, since: date | None
) -> str | None:
    if DAY not in (place.path or ""):
        return place.path
    if as_of is None:
        return place.place()
    is_history = since == HISTORY
    wanted = [str(day) for day in place.days(utc(as_of), None if is_history else since)]
    available, last = sorted(_available_days(spark, place)), wanted[-1]
    needed_from = min([last, *available[:1], *([str(since)] if since and not is_history else [])])
    missing = [day for day in wanted if day not in available and day >= needed_from]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise HoldError(
            f"{title}: {place.place(missing[0])}{more} has not come; nothing was written, try again when it has"
        )
    return _path_of(place, *(day for day in available if day <= last and (is_history or day >= wanted[0])))


def _path_of(place: RawInput, *days: str) -> str | None:
    """The path of these days: a pattern also where it is one, so that a folder dt=${day} is a column in any case."""
    return place.path and place.path.replace(DAY, f"{{{','.join(days)}}}")


def _available_days(spark: SparkSession, source: RawInput) -> set[str]:
    """The days, as in a file's name, of which there is a file that is not empty."""
    day_in_name = _day_in_name(source.path or "")
    files = find_files(spark, replace(source, path=source.place())) or ()
    return {match[1] for name, size in files if size and (match := day_in_name.search(name))}


def _day_in_name(path: str) -> re.Pattern[str]:
    """A pattern that finds the day in the name of a file, by the path with `${day}` that leads to it.

    >>> _day_in_name("in*/${day}/{a,b}").search("file:/in1/2026-10-01/b/2020-02-02.csv")[1]
    '2026-10-01'
    """
    pattern = re.escape(re.sub(r"^[A-Za-z][\w+.-]*:(//)?", "", path).rstrip("/"))
    pattern = pattern.replace(re.escape(DAY), r"(\d{4}-\d\d-\d\d)", 1).replace(re.escape(DAY), r"\d{4}-\d\d-\d\d")
    # Braces, brackets and backslashes may be a part of the name.
    pattern = re.sub(r"\\\{(.*?)\\\}", lambda either: f"(?:{either[1].replace(',', '|')}|{either[0]})", pattern)
    pattern = re.sub(r"\\\[.+?\\\]", lambda one: f"(?:{one[0]}|[^/])", pattern)
    pattern = pattern.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.compile(re.sub(r"\\\\", r"\\\\?", pattern) + "(?=/|$)")
