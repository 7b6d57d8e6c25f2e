"""What all customers of the simulated company share: calendar, regions, seasons, hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.simulation.draw import Draws, value_at

SECONDS_PER_DAY: Final = 86_400
DAYS_PER_MONTH: Final = 365.25 / 12
NEVER: Final = 1e6
"""The day of an event that does not happen."""
RUN_UP: Final = 240
"""Days before the period from which on troubles and frauds are drawn, so that its first day has their effects."""
RUN_OUT: Final = 63
"""Days after the period until which departures are drawn: customers change for weeks before they leave."""

REGIONS: Final = (("north", 0.22), ("south", 0.19), ("east", 0.14), ("west", 0.17), ("coast", 0.16), ("hills", 0.12))
SEGMENTS: Final = (("private", 0.72), ("family", 0.18), ("business", 0.10))
PLANS: Final = (("basic", 0.5), ("plus", 0.35), ("premium", 0.15))

MONTHS: Final = (0.90, 0.86, 0.94, 0.97, 1.0, 0.98, 0.93, 0.91, 1.0, 1.03, 1.16, 1.28)
SHOPPING_WEEK: Final = (0.90, 0.88, 0.92, 0.97, 1.15, 1.28, 0.90)
CALLING_WEEK: Final = (1.40, 1.20, 1.12, 1.06, 1.00, 0.45, 0.20)
SHOPPING_HOURS: Final = (0, 6, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 17)
SHOPPING_EVENING: Final = (18, 18, 18, 19, 19, 19, 20, 20, 20, 21, 21, 22, 23)
SHOPPING_NIGHT: Final = (1, 3, 5)
CALLING_HOURS: Final = (7, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 12, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 19, 20)
OFFICE_HOURS: Final = tuple(range(8, 18))
ANY_HOUR: Final = SHOPPING_HOURS + SHOPPING_EVENING + SHOPPING_NIGHT


@dataclass(frozen=True)
class World:
    """The size, the seed and the period of one simulation. Times are days since `start`, as doubles."""

    customers: int
    draws: Draws
    start: date
    end: date
    transactions_per_month: float

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    @property
    def months(self) -> int:
        return round(self.days / DAYS_PER_MONTH)

    @property
    def calendar_months(self) -> int:
        """The calendar months that the period overlaps."""
        last = self.end - timedelta(days=1)
        return (last.year - self.start.year) * 12 + last.month - self.start.month + 1

    @property
    def merchants(self) -> int:
        return max(80, self.customers // 10)

    def any_day(self, u: Column) -> Column:
        """A time from RUN_UP before the period until RUN_OUT after it, for a uniform `u` from 0 to 1."""
        return u * (self.days + RUN_UP + RUN_OUT) - RUN_UP

    def any_day_chance(self, chance: float) -> float:
        """The chance of an event at `any_day`, from the chance that it happens in the period."""
        return min(chance * (self.days + RUN_UP + RUN_OUT) / self.days, 1.0)

    def whole_days(self, opened: Column, closed: Column, before: int) -> tuple[Column, Column]:
        """The first day to simulate, at most `before` days before the period, and the end of the last one.

        Days are whole, as `at_hour` draws the hour afterwards; rows outside the account's time are dropped then.
        """
        first = F.greatest(F.floor(opened), F.lit(-before)).cast("double")
        return first, F.ceil(F.least(closed, F.lit(float(self.days)))).cast("double")

    def time(self, day: Column) -> Column:
        """The timestamp of a time in days, in whole seconds."""
        midnight = int(datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC).timestamp())
        return F.timestamp_seconds(F.floor(day * SECONDS_PER_DAY) + midnight)

    def date(self, day: Column) -> Column:
        return F.date_add(F.lit(self.start), F.floor(day).cast("int"))

    def activity(self, day: Column, week: Sequence[float]) -> Column:
        """The activity on a day relative to the busiest day of the year, from 0 to 1."""
        weekday = (F.floor(day) + 7 * 5000 + self.start.weekday()) % 7
        peak = max(MONTHS) * max(week)
        return value_at(MONTHS, F.month(self.date(day)) - 1) * value_at(week, weekday) / peak


def at_hour(day: Column, hours: Sequence[int], u: Column) -> Column:
    """A time on that day; the hour is drawn from the list, which may repeat an hour."""
    position = u * len(hours)
    return F.floor(day) + (value_at(hours, F.floor(position)) + position - F.floor(position)) / 24
