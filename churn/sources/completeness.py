"""Until when each source is complete, by what was delivered of it, and when it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
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


Delivery = tuple[datetime | None, datetime | None]
"""The as-of of a batch, and until when its source was complete then; None = it had none, or delivered nothing."""


class Accepted(Mapping[str, DataFrame]):
    """Accepted tables by the name of their contract, with the deliveries of each by the ledger."""

    def __init__(self, tables: Mapping[str, DataFrame], deliveries: Mapping[str, Iterable[Delivery]]) -> None:
        self._tables = dict(tables)
        self.deliveries = dict(deliveries)

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


def complete_until(
    sources: Mapping[str, DataFrame], names: Collection[str], *, by: datetime, delivered_by: datetime | None = None
) -> dict[str, datetime]:
    """Until when, at most until `by`, each of these sources is complete, by what was delivered by `delivered_by`.

    None = by `by`, so that what is delivered later changes nothing. Accepted tables know it from their ledger; of other
    frames it is the midnight after the newest row known before `by`. No source speaks for another. Raises
    BadInputError, naming the source, where no row of one is known by then.
    """
    known: Mapping[str, Iterable[Delivery]] = getattr(sources, "deliveries", {})
    ends = {name: _end(known[name], delivered_by or by) for name in names if name in known}
    for name, (_, newest) in _spans({name: sources[name] for name in names if name not in known}, by).items():
        ends[name] = newest and _midnight_after(newest)
    for name, end in ends.items():
        if end is None:
            raise BadInputError(
                f"no row of {name} is known before {by:%Y-%m-%d %H:%M}; ingest it first, or use a later as-of"
            )
    return {name: min(end, by) for name, end in ends.items() if end}


def _end(deliveries: Iterable[Delivery], by: datetime) -> datetime | None:
    """Until when a source was complete by a time; None = nothing had been delivered.

    Batches follow one another without a gap. The first brings history, which was known when it happened, so that one
    counts at any time, as one without an as-of does.
    """
    delivered = list(deliveries)
    first = min((as_of for as_of, _ in delivered if as_of), default=by)
    return max((end for as_of, end in delivered if end and (not as_of or as_of <= max(first, by))), default=None)


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
    """Of each source, when its first row happened, and the newest, of those that were delivered by a time."""
    if not sources:
        return {}
    ends = [
        rows.selectExpr(f"{literal(name)} AS name", "event_time", "known_time")
        .groupBy("name")
        .agg(
            F.min(F.when(F.col("known_time") < F.lit(by), F.col("event_time"))).alias("first"),
            F.expr(newest_delivered(by)).alias("newest"),
        )
        for name, rows in sources.items()
    ]
    found = {row["name"]: (row["first"], row["newest"]) for row in reduce(DataFrame.unionByName, ends).collect()}
    return {name: found.get(name, (None, None)) for name in sources}


def _midnight_after(timestamp: datetime) -> datetime:
    return datetime(timestamp.year, timestamp.month, timestamp.day) + timedelta(days=1)
