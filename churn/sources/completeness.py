"""Until when sources are complete, and when they begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.errors import BadInputError


def coverage(sources: Mapping[str, DataFrame], *, known_until: datetime | None = None) -> datetime:
    """The time until which the sources are complete: midnight after the day of their last row.

    A label window that ends later was cut by the end of the data. `known_until` bounds which rows count. A row that is
    announced counts on the day it became known.
    """
    return span(sources, known_until=known_until)[1]


def complete_until(sources: Mapping[str, DataFrame], complete_by: Sequence[str]) -> datetime:
    """The time until which labels are known: the coverage, or midnight after the newest report of `complete_by`."""
    ends = [coverage(sources)]
    for name in complete_by:
        newest = sources[name].agg(F.max("known_time").alias("known_time")).collect()[0]["known_time"]
        ends += [_midnight_after(newest)] if newest else []
    return max(ends)


def span(sources: Mapping[str, DataFrame], *, known_until: datetime | None = None) -> tuple[datetime, datetime]:
    """When the first row of activity happened, and the coverage; activity is calls and transactions, or all there is.

    Raises BadInputError where no row counts.
    """
    activity = {name: rows for name, rows in sources.items() if name in ("calls", "transactions")} or sources
    counts = F.lit(True) if known_until is None else F.greatest("event_time", "known_time") < F.lit(known_until)
    ends = [
        rows.agg(
            F.min("event_time").alias("first"),
            F.max(F.when(counts, F.least("event_time", "known_time"))).alias("last"),
        )
        for rows in activity.values()
    ]
    found = reduce(DataFrame.unionByName, ends).collect()
    firsts, lasts = ([row[edge] for row in found if row[edge]] for edge in ("first", "last"))
    if not lasts:
        raise BadInputError(
            f"no call or transaction is known before {known_until:%Y-%m-%d %H:%M}; use a later as-of"
            if known_until
            else "no call or transaction was accepted; ingest the sources first, then see the quarantine table"
        )
    end = _midnight_after(max(lasts))
    return min(firsts), end if known_until is None else min(end, known_until)


def _midnight_after(timestamp: datetime) -> datetime:
    return datetime(timestamp.year, timestamp.month, timestamp.day) + timedelta(days=1)
