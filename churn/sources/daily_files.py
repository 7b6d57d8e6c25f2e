"""A source that comes as a file a day: which files a batch reads."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from pyspark.sql import SparkSession

from churn.config import DAY, Source
from churn.errors import HoldError
from churn.sources.readers import find_files, read
from churn.sources.zones import utc


def of_batch(spark: SparkSession, source: Source, as_of: datetime | None, *, first: bool = False) -> Source:
    """The source with the path that a batch reads: of one that comes daily, the files of its days.

    The first batch reads all days before its as-of; without an as-of it is all days there are. Raises HoldError where
    one of the last `look_back` days has no file, unless it lies before the first file there is.
    """
    if not source.is_daily:
        return source
    if as_of is None:
        return replace(source, path=source.place())
    wanted, available = [str(day) for day in source.days(utc(as_of))], sorted(_available_days(spark, source))
    last = wanted[-1]
    missing = [day for day in wanted if day not in available and (day == last or (available and day > available[0]))]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise HoldError(
            f"{source.name}: {source.place(missing[0])}{more} has not come; nothing was written, try again when it has"
        )
    days = (day for day in available if day <= last and (first or day >= wanted[0]))
    return replace(source, path=source.place(*days))


def newest_rows(spark: SparkSession, source: Source, as_of: datetime) -> int:
    """How many rows the last day of a batch has, of a source that comes daily."""
    return read(spark, of_batch(spark, replace(source, look_back=1), as_of)).count()


def _available_days(spark: SparkSession, source: Source) -> set[str]:
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
    pattern = re.sub(r"\\\{(.*?)\\\}", lambda either: f"(?:{either[1].replace(',', '|')})", pattern)
    return re.compile(pattern.replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "(?=/|$)")
