"""Train, calibrate, test: in that order in time, with a gap. Grain: as-ofs, never rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from churn.errors import BadInputError, LeakageError
from churn.labels.window import LabelWindow


def schedule(newest: datetime, *, since: datetime, every: int, history: int, most: int) -> list[datetime]:
    """As-ofs `every` days apart, back from `newest`, while `history` days of data precede them; at most `most`, in order.

    >>> [d.day for d in schedule(datetime(2026, 1, 31), since=datetime(2026, 1, 1), every=10, history=5, most=9)]
    [11, 21, 31]
    """
    earliest = since + timedelta(days=history)
    steps = max(0, (newest - earliest) // timedelta(days=every) + 1)
    return [newest - timedelta(days=every * step) for step in range(min(steps, most))][::-1]


@dataclass(frozen=True)
class Split:
    """As-ofs of each slice. Models are fitted on `train`, weighed and calibrated on `calibrate`, judged on `test`."""

    train: tuple[datetime, ...]
    calibrate: tuple[datetime, ...]
    test: tuple[datetime, ...]
    window: LabelWindow

    def __post_init__(self) -> None:
        for earlier_name, later_name in (("train", "calibrate"), ("calibrate", "test"), ("train", "test")):
            earlier, later = getattr(self, earlier_name), getattr(self, later_name)
            if earlier and later:
                self._check_gap(earlier_name, max(earlier), later_name, min(later))

    def _check_gap(self, earlier_name: str, earlier: datetime, later_name: str, later: datetime) -> None:
        if self.window.ripe_at(earlier) > later:
            raise LeakageError(
                f"{earlier_name} as-of {earlier:%Y-%m-%d} has labels until {self.window.ripe_at(earlier):%Y-%m-%d}, after "
                f"{later_name} as-of {later:%Y-%m-%d}: what it learns had not happened yet; leave a gap of at least "
                f"{self.window.reach.days} days (lead + horizon + maturity) between them"
            )


def split_in_time(as_ofs: Sequence[datetime], *, window: LabelWindow, calibrate: int, test: int) -> Split:
    """The last `test` as-ofs to test on, the last `calibrate` that were ripe by then, and all that were ripe before those.

    Raises BadInputError where no as-of is left to train on; the message says how much more history is needed.
    """
    ordered = sorted(set(as_ofs))
    tested = tuple(ordered[-test:]) if test else ()
    before = [a for a in ordered if not tested or window.ripe_at(a) <= tested[0]]
    if test and tested:
        before = [a for a in before if a not in tested]
    calibrated = tuple(before[-calibrate:])
    trained = tuple(a for a in before if calibrated and window.ripe_at(a) <= calibrated[0])
    if not trained:
        raise BadInputError(
            f"{len(ordered)} as-ofs ({_range(ordered)}) leave none to train on: {test} to test, {calibrate} to calibrate, and "
            f"{window.reach.days} days between each slice; bring earlier data, or set fewer test_dates, a smaller every, "
            "or a shorter horizon in [model.<name>]"
        )
    return Split(train=trained, calibrate=calibrated, test=tested, window=window)


def _range(as_ofs: Sequence[datetime]) -> str:
    return f"{as_ofs[0]:%Y-%m-%d} to {as_ofs[-1]:%Y-%m-%d}" if as_ofs else "none"


