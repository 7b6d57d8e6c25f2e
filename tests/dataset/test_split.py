"""Train, calibrate, test: in that order, with a gap."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from churn.dataset.split import Fold, Split, schedule, split_in_time
from churn.errors import BadInputError, LeakageError
from churn.model_spec import LabelWindow

WINDOW = LabelWindow(lead=0, horizon=30)
DAYS = [datetime(2026, 1, 1) + timedelta(days=30 * month) for month in range(6)]


def test_each_slice_is_matured_before_the_next_begins() -> None:
    split = split_in_time(DAYS, test=[DAYS[5]], window=WINDOW, calibrate=2)
    assert (split.train, split.calibrate, split.matured) == (tuple(DAYS[:3]), tuple(DAYS[3:5]), tuple(DAYS[:5]))


def test_fewer_dates_to_calibrate_on_are_better_than_none_to_train_on() -> None:
    split = split_in_time(DAYS[:4], test=[DAYS[3]], window=WINDOW, calibrate=3)
    assert (split.train, split.calibrate) == ((DAYS[0],), tuple(DAYS[1:3]))


def test_too_little_history_is_refused_with_the_gap_that_is_wanted() -> None:
    with pytest.raises(BadInputError, match=r"1 as-ofs .* 30 days apart"):
        split_in_time(DAYS[:2], test=[DAYS[1]], window=WINDOW, calibrate=1)


def test_slices_without_a_gap_are_a_leak() -> None:
    with pytest.raises(LeakageError, match="leave a gap of at least 30 days"):
        Split(train=(DAYS[0],), calibrate=(DAYS[0] + timedelta(days=29),), test=(), matured=(), window=WINDOW)


def test_schedule_stops_where_history_would_be_too_short() -> None:
    newest = datetime(2026, 6, 1)
    dates = schedule(newest, since=datetime(2026, 1, 1), every=30, history=90, most=9)
    assert dates == [datetime(2026, 4, 2), datetime(2026, 5, 2), newest]
    assert schedule(newest, since=newest, every=30, history=1, most=9) == []


def test_a_fold_trains_on_all_that_is_complete_before_its_later_dates() -> None:
    split = split_in_time(DAYS, test=[DAYS[5]], window=LabelWindow(lead=0, horizon=45), calibrate=2)
    assert split.matured == tuple(DAYS[:4])
    assert split.folds == (Fold(train=(DAYS[0],), later=(DAYS[2],)), Fold(train=tuple(DAYS[:2]), later=(DAYS[3],)))


def test_many_dates_make_three_folds() -> None:
    days = [datetime(2026, 1, 1) + timedelta(days=number) for number in range(40)]
    split = split_in_time(days, test=[days[-1]], window=LabelWindow(lead=0, horizon=1, maturity=7), calibrate=7)
    assert [len(fold.later) for fold in split.folds] == [2, 2, 3]
    assert tuple(day for fold in split.folds for day in fold.later) == split.calibrate
    assert [fold.later[0] - fold.train[-1] for fold in split.folds] == [timedelta(days=8)] * 3
