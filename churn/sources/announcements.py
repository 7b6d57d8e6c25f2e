"""Rows that are known before they take effect: as announcements, and those that a later one replaces."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

ANNOUNCED: Final = " announced"
"""Added to the name of a source: its rows as announcements."""
RETRACTED: Final = "retracted"
"""The kind of a closure that will not take place after all."""


def announcements(rows: DataFrame) -> DataFrame:
    """The rows known before they take effect, each valid from when it became known until then.

    `effective_time` is when it takes effect, and `event_time` the microsecond before it became known: who sees a row
    known at as-of that happened before as-of, sees those known and not effective at as-of.
    """
    instant = "INTERVAL 1 MICROSECOND"
    superseded = "superseded_at" if "superseded_at" in rows.columns else "cast(null AS timestamp)"
    times = {
        "event_time": f"known_time - {instant}",
        "superseded_at": f"least({superseded}, event_time + {instant})",
        "effective_time": "event_time",
    }
    unchanged = [f"`{name}`" for name in rows.columns if name not in times]
    early = rows.where("known_time <= event_time")
    return early.selectExpr(*unchanged, *(f"{sql} AS {name}" for name, sql in times.items()))


def with_replaced_closures(closures: DataFrame) -> DataFrame:
    """Closures, each superseded by the customer's next one if that became known before it took effect.

    So a closing date that was moved, or a closure that was retracted, needs no id that tells which one it was.
    """
    following = "RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND UNBOUNDED FOLLOWING"
    next_known = f"min(known_time) OVER (PARTITION BY customer_id ORDER BY known_time {following})"
    rows = closures.selectExpr("*", f"{next_known} AS _next_known")
    superseded = "if(_next_known < event_time, least(superseded_at, _next_known), superseded_at) AS superseded_at"
    return rows.selectExpr(*(superseded if name == "superseded_at" else f"`{name}`" for name in closures.columns))


def is_closing() -> Column:
    """Over closures: whether it takes place; no kind counts as voluntary."""
    return F.coalesce("kind", F.lit("voluntary")) != RETRACTED
