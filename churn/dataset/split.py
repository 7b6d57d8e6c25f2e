"""Train, calibrate, test: in that order in time, with a gap. Grain: as-ofs, never rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from churn.errors import BadInputError, LeakageError
from churn.model_spec import LabelWindow


def schedule(newest: datetime, *, since: datetime, every: int, history: int, most: int) -> list[datetime]:
    """As-ofs `every` days apart, back from `newest`, while `history` days precede them; at most `most`, in order.

    >>> [d.day for d in schedule(datetime(2026, 1, 31), since=datetime(2026, 1, 1), every=10, history=5, most=9)]
    [11, 21, 31]
    """
    earliest = since + timedelta(days=history)
    steps = max(0, (newest - earliest) // timedelta(days=every) + 1)
    return [newest - timedelta(days=every * step) for step in range(min(steps, most))][::-1]


MOST_FOLDS = 3
"""Folds that a calibrate slice is divided into; one that has fewer as-ofs has a fold for each."""


@dataclass(frozen=True)
class Fold:
    """As-ofs to fit candidates on, and later ones to try them on."""

    train: tuple[datetime, ...]
    later: tuple[datetime, ...]


@dataclass(frozen=True)
class Split:
    """As-ofs of each slice. Models are fitted on `train`, chosen and calibrated on `calibrate`, evaluated on `test`.

    `matured` are all whose labels were complete before the first test: train, calibrate, and those between. `train` are
    those that were complete before the first of `calibrate`; before a later one there were more, see `folds`.
    """

    train: tuple[datetime, ...]
    calibrate: tuple[datetime, ...]
    test: tuple[datetime, ...]
    matured: tuple[datetime, ...]
    window: LabelWindow

    def __post_init__(self) -> None:
        for earlier_name, later_name in (("train", "calibrate"), ("calibrate", "test"), ("matured", "test")):
            earlier, later = getattr(self, earlier_name), getattr(self, later_name)
            if earlier and later:
                self._check_gap(earlier_name, max(earlier), later_name, min(later))

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The calibrate slice in its order in time, each part with all as-ofs whose labels were complete by then."""
        count = min(MOST_FOLDS, len(self.calibrate))
        ends = [len(self.calibrate) * number // count for number in range(count + 1)]
        parts = [self.calibrate[start:end] for start, end in pairwise(ends)]
        return tuple(
            Fold(tuple(one for one in self.matured if self.window.matured_at(one) <= later[0]), later)
            for later in parts
        )

    @property
    def learnt_until(self) -> datetime:
        """Until when a model of this split has learnt: when the newest of its labels was complete."""
        return self.window.matured_at(max(self.matured))

    def _check_gap(self, earlier_name: str, earlier: datetime, later_name: str, later: datetime) -> None:
        if self.window.matured_at(earlier) > later:
            raise LeakageError(
                f"{earlier_name} as-of {earlier:%Y-%m-%d} has labels until {self.window.matured_at(earlier):%Y-%m-%d}, "
                f"after {later_name} as-of {later:%Y-%m-%d}: what it learns had not happened yet; leave a gap of at "
                f"least {self.window.matures_after.days} days (lead + horizon + maturity) between them"
            )


def split_in_time(
    as_ofs: Sequence[datetime], *, test: Sequence[datetime], window: LabelWindow, calibrate: int
) -> Split:
    """Of the as-ofs matured by the first of `test`, the last `calibrate` to calibrate, and those matured by these to
    train.

    Raises BadInputError where none is left to train on.
    """
    matured = tuple(sorted({a for a in as_ofs if window.matured_at(a) <= min(test)}))
    # Fewer as-ofs to calibrate on are better than none to train on.
    for count in range(min(calibrate, len(matured)), 0, -1):
        later = matured[-count:]
        train = tuple(a for a in matured if window.matured_at(a) <= later[0])
        if train:
            return Split(train=train, calibrate=later, test=tuple(sorted(test)), matured=matured, window=window)
    raise BadInputError(
        f"{len(matured)} as-ofs ({_range(matured)}) have complete labels by {min(test):%Y-%m-%d}, and none of them can "
        f"be trained on: training and calibration need as-ofs {window.matures_after.days} days apart (lead + horizon + "
        "maturity); bring earlier data, or set a shorter horizon or history in [model.<name>]"
    )


def _range(as_ofs: Sequence[datetime]) -> str:
    return f"{as_ofs[0]:%Y-%m-%d} to {as_ofs[-1]:%Y-%m-%d}" if as_ofs else "none"
