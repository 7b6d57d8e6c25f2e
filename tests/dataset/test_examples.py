"""The as-ofs of a run: what it may learn from, what it is judged by, and when it is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.errors import BadInputError, LeakageError
from churn.testing import frame
from churn.training.algorithms import Logistic
from churn.dataset.calendar import backtest_calendar, calendar
from churn.model_spec import ModelSpec

SPEC = ModelSpec(
    name="churn",
    candidates={"logistic": Logistic()},
    label="inactivity",
    cohort="active",
    lead=0,
    horizon=30,
    history=60,
    test_dates=1,
)


@pytest.fixture(scope="module")
def purchases(spark: SparkSession) -> dict[str, DataFrame]:
    """One purchase a day in 2025."""
    days = [datetime(2025, 1, 1, 12) + timedelta(days=day) for day in range(365)]
    columns = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
    return {"transactions": frame(spark, [("c1", day, day, None) for day in days], columns)}


def test_a_run_is_judged_by_the_newest_ripe_as_of_and_learns_from_those_ripe_by_then(
    purchases: dict[str, DataFrame],
) -> None:
    dates = calendar(SPEC, purchases, datetime(2025, 7, 1))
    assert dates.test == (datetime(2025, 6, 1),)  # its labels end on the as-of
    assert dates.learn[-1] == datetime(2025, 5, 2)  # 30 days before the test
    assert dates.learn[0] == datetime(2025, 3, 3)  # 60 days after the first row
    assert dates.score == datetime(2025, 7, 1)


@pytest.mark.parametrize(
    ("as_of", "error", "message"),
    [
        (datetime(2026, 1, 1), LeakageError, "complete on 2026-01-31"),  # the data end inside its labels
        (datetime(2024, 6, 1), BadInputError, "known before 2024-06-01"),  # nothing is known yet
        (datetime(2025, 2, 15), BadInputError, "no as-of to learn from"),  # too little history
    ],
)
def test_a_stand_that_cannot_be_judged_is_refused(
    purchases: dict[str, DataFrame], as_of: datetime, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        backtest_calendar(SPEC, purchases, as_of)


def test_a_run_far_after_the_last_row_is_refused(purchases: dict[str, DataFrame]) -> None:
    with pytest.raises(BadInputError, match="days after the last row known"):
        calendar(SPEC, purchases, datetime(2027, 1, 1))
