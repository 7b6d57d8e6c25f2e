"""Until when each source is complete, by what was delivered of it, and when it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, time, timedelta
from functools import reduce
from typing import Final
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.config import Source
from churn.errors import BadInputError
from churn.sources.zones import utc
from churn.storage import literal

ACTIVITY: Final = ("calls", "transactions")
"""Sources of which every company that has them has rows nearly every day: silence means that a feed has ended."""
ALWAYS: Final = datetime(9999, 1, 1)
"""The `by` of everything that has been delivered, whenever that was."""


class Accepted(Mapping[str, DataFrame]):
    """Accepted tables by the name of their contract; `complete_until` is, by the ledger, the end of what was delivered
    of each."""

    def __init__(self, tables: Mapping[str, DataFrame], complete_until: Mapping[str, datetime]) -> None:
        self._tables = dict(tables)
        self.complete_until = dict(complete_until)

    def __getitem__(self, name: str) -> DataFrame:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def newest_delivered(now: datetime | None) -> str:
    """SQL, an aggregate over rows of a source: the time of the newest that can have been delivered by `now`.

    A row that is announced counts when it became known, and one that is known only later, so one dated in the future,
    does not count at all. Without `now` all rows count.
    """
    newest = "least(event_time, known_time)"
    return f"max({newest if now is None else f'if(known_time < {literal(utc(now))}, {newest}, null)'})"


def delivered_until(source: Source, as_of: datetime | None, newest: datetime | None) -> datetime | None:
    """Until when a batch of a source is complete, in UTC; None where nothing was delivered.

    Of a source that comes daily it is the end of the last day, in the source's zone, with or without rows. Of any other
    it is the midnight after its newest row, by `newest_delivered`: an as-of alone does not show that its feed goes on.
    """
    if source.is_daily and as_of is not None:
        return min(next_begin(source, as_of), utc(as_of))
    if newest is None:
        return None
    end = utc(_midnight_after(newest))
    return end if as_of is None else min(end, utc(as_of))


def next_begin(source: Source, as_of: datetime) -> datetime:
    """When that begins, in UTC, which the batch after the one of an as-of is for: of a source that comes daily it is
    the as-of's day, in the source's zone."""
    if not source.is_daily:
        return utc(as_of)
    return utc(datetime.combine(utc(as_of).date(), time(), ZoneInfo(source.zone_of("event_time"))))


def complete_until(sources: Mapping[str, DataFrame], names: Collection[str], *, by: datetime) -> dict[str, datetime]:
    """Until when each of these sources is complete, by what was delivered by a time.

    Accepted tables know it from their ledger; of other frames it is the midnight after the newest row. No source speaks
    for another. Raises BadInputError, naming the source, where no row of one is known by then.
    """
    known: Mapping[str, datetime] = getattr(sources, "complete_until", {})
    ends = {name: min(known[name], by) for name in names if name in known}
    for name, (_, newest) in _spans({name: sources[name] for name in names if name not in known}, by).items():
        if newest is None:
            raise BadInputError(
                f"no row of {name} is known before {by:%Y-%m-%d %H:%M}; ingest it first, or use a later as-of"
            )
        ends[name] = min(_midnight_after(newest), by)
    return ends


def begin(sources: Mapping[str, DataFrame], *, by: datetime) -> datetime:
    """When the first row of activity happened; activity is calls and transactions, or all there is.

    Raises BadInputError where nothing is known by then.
    """
    activity = {name: rows for name, rows in sources.items() if name in ACTIVITY} or sources
    firsts = [first for first, newest in _spans(activity, by).values() if first and newest]
    if not firsts:
        raise BadInputError(
            f"no row of {' or '.join(sorted(activity)) or 'any source'} is known before {by:%Y-%m-%d %H:%M}; use a"
            " later as-of, or ingest the sources first and see the quarantine table"
        )
    return min(firsts)


def _spans(sources: Mapping[str, DataFrame], by: datetime) -> dict[str, tuple[datetime | None, datetime | None]]:
    """Of each source, when its first row happened, and the newest that was delivered by a time."""
    if not sources:
        return {}
    ends = [
        rows.selectExpr(f"{literal(name)} AS name", "event_time", "known_time")
        .groupBy("name")
        .agg(F.min("event_time").alias("first"), F.expr(newest_delivered(by)).alias("newest"))
        for name, rows in sources.items()
    ]
    found = {row["name"]: (row["first"], row["newest"]) for row in reduce(DataFrame.unionByName, ends).collect()}
    return {name: found.get(name, (None, None)) for name in sources}


def _midnight_after(timestamp: datetime) -> datetime:
    return datetime(timestamp.year, timestamp.month, timestamp.day) + timedelta(days=1)
