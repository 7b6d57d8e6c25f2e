"""Train, calibrate, test: in that order, with a gap."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from churn.dataset.split import Split, schedule, split_in_time
from churn.errors import BadInputError, LeakageError
from churn.labels import LabelWindow

WINDOW = LabelWindow(lead=0, horizon=30)
DAYS = [datetime(2026, 1, 1) + timedelta(days=30 * month) for month in range(6)]


def test_each_slice_is_ripe_before_the_next_begins() -> None:
    split = split_in_time(DAYS, test=[DAYS[5]], window=WINDOW, calibrate=2)
    assert (split.train, split.calibrate, split.ripe) == (tuple(DAYS[:3]), tuple(DAYS[3:5]), tuple(DAYS[:5]))


def test_fewer_dates_to_calibrate_on_are_better_than_none_to_train_on() -> None:
    split = split_in_time(DAYS[:4], test=[DAYS[3]], window=WINDOW, calibrate=3)
    assert (split.train, split.calibrate) == ((DAYS[0],), tuple(DAYS[1:3]))


def test_too_little_history_says_how_much_is_wanted() -> None:
    with pytest.raises(BadInputError, match=r"1 as-ofs .* 30 days apart"):
        split_in_time(DAYS[:2], test=[DAYS[1]], window=WINDOW, calibrate=1)


def test_slices_without_a_gap_are_a_leak() -> None:
    with pytest.raises(LeakageError, match="leave a gap of at least 30 days"):
        Split(train=(DAYS[0],), calibrate=(DAYS[0] + timedelta(days=29),), test=(), ripe=(), window=WINDOW)


def test_schedule_stops_where_history_would_be_too_short() -> None:
    newest = datetime(2026, 6, 1)
    dates = schedule(newest, since=datetime(2026, 1, 1), every=30, history=90, most=9)
    assert dates == [datetime(2026, 4, 2), datetime(2026, 5, 2), newest]
    assert schedule(newest, since=newest, every=30, history=1, most=9) == []
