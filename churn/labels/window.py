"""When a label speaks, and when it may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.errors import LeakageError


@dataclass(frozen=True)
class LabelWindow:
    """Days from as-of to the window's start (`lead`), its length (`horizon`), and how long it may still change after
    its end (`maturity`)."""

    lead: int
    horizon: int
    maturity: int = 0

    @property
    def reach(self) -> timedelta:
        """From an as-of to the moment its labels are complete; also the least gap between train, calibrate and test."""
        return timedelta(days=self.lead + self.horizon + self.maturity)

    def ripe_at(self, as_of: datetime) -> datetime:
        """The moment from which the labels of `as_of` may be trained on, positives too."""
        return as_of + self.reach

    def start(self, as_of: Column) -> Column:
        return as_of + F.make_dt_interval(F.lit(self.lead))

    def holds(self, moment: Column) -> Column:
        """True where `moment` lies in the label window of the row's as_of."""
        end = F.col("as_of") + F.make_dt_interval(F.lit(self.lead + self.horizon))
        return (moment >= self.start(F.col("as_of"))) & (moment < end)

    def check_ripe(self, as_ofs: list[datetime], known_until: datetime) -> None:
        """Raises LeakageError where a label window is cut by `known_until`: its 0s and 1s are not facts yet."""
        unripe = [as_of for as_of in as_ofs if self.ripe_at(as_of) > known_until]
        if unripe:
            raise LeakageError(
                f"labels of as-of {max(unripe):%Y-%m-%d} are complete on {self.ripe_at(max(unripe)):%Y-%m-%d} (lead "
                f"{self.lead} + horizon {self.horizon} + maturity {self.maturity} days), but rows are known only until "
                f"{known_until:%Y-%m-%d %H:%M}; use as-ofs until {known_until - self.reach:%Y-%m-%d}, or a "
                "shorter horizon"
            )
