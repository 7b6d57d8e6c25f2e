"""A source that comes as a file a day: which files a batch reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from pyspark.sql import SparkSession

from churn import day_paths
from churn.config import RawInput, Source
from churn.errors import BadInputError, HoldError
from churn.sources.readers import read
from churn.sources.readers.files import find_files
from churn.sources.spark_errors import SPARK_ERRORS
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
        inputs = {name: replace(one, path=_path_of(one, day)) for name, one in source.inputs.items()}
        of_day = replace(source, path=_path_of(source, day), inputs=inputs)
        counts.append(((query_rows if of_day.query else read)(spark, of_day).count(), day))
    return min(counts)


def first_instant(source: Source, as_of: datetime, since: date | None = None) -> datetime | None:
    """When the first day begins that a batch reads of a query's inputs; null where none of them comes daily."""
    days = [day for one in source.inputs.values() if one.is_daily for day in one.days(utc(as_of), since)]
    return datetime.combine(min(days), time(), ZoneInfo(source.zone_of("event_time"))) if days else None


def _batch_path(
    spark: SparkSession, place: RawInput, title: str, as_of: datetime | None, since: date | None
) -> str | None:
    if not day_paths.has_day(place.path):
        return place.path
    if as_of is None:
        return place.place()
    is_history = since == HISTORY
    wanted = place.days(utc(as_of), None if is_history else since)
    available, last = sorted(_available_days(spark, place)), wanted[-1]
    needed_from = min([last, *available[:1], *([since] if since and not is_history else [])])
    if missing := [day for day in wanted if day not in available and day >= needed_from]:
        raise _has_not_come(spark, place, title, missing)
    return _path_of(place, *(day for day in available if day <= last and (is_history or day >= wanted[0])))


def _has_not_come(spark: SparkSession, place: RawInput, title: str, missing: Sequence[date]) -> HoldError:
    """Files of these days are missing; where the first is there in another form, the message says how to write it."""
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    problem = f"{title}: {place.place(missing[0])}{more} has not come"
    if (other := _written_otherwise(spark, place, missing[0])) is None:
        return HoldError(f"{problem}; nothing was written, try again when it has")
    path, file = other
    return HoldError(
        f'{problem}, but {file} is there; nothing was written: if this is the file, write path = "{path}" under'
        f" {place.section()}, else try again when it has come"
    )


def _written_otherwise(spark: SparkSession, place: RawInput, day: date) -> tuple[str, str] | None:
    """Another form of the path by which a file of the day is there, and the file; of several, the one that finds the
    most days."""
    listed: dict[str, list[str]] = {}
    found: dict[str, tuple[int, str]] = {}
    for path in day_paths.other_forms(place.path or ""):
        other = replace(place, path=path)
        if other.place() not in listed:
            listed[other.place()] = []
            with suppress(BadInputError, *SPARK_ERRORS):  # of a folder that only this form leads to
                listed[other.place()] = _files(spark, other)
        days = {of: name for name in listed[other.place()] if (of := day_paths.day_in(path, name))}
        if day in days:
            found[path] = (len(days), days[day])
    if not found:
        return None
    best = max(found, key=lambda path: found[path][0])
    return best, found[best][1].removeprefix("file:")


def _path_of(place: RawInput, *days: date) -> str | None:
    return place.path and day_paths.of_days(place.path, days)


def _available_days(spark: SparkSession, source: RawInput) -> set[date]:
    """The days of which there is a file that is not empty."""
    days = (day_paths.day_in(source.path or "", name) for name in _files(spark, source))
    return {day for day in days if day is not None}


def _files(spark: SparkSession, source: RawInput) -> list[str]:
    """The files of all days that are not empty."""
    return [name for name, size in find_files(spark, replace(source, path=source.place())) or () if size]
