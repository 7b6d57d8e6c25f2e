"""The first and last days of the period and of an account are simulated like any other day."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.simulation.calls import calls
from churn.simulation.draw import Draws
from churn.simulation.people import people
from churn.simulation.transactions import transactions
from churn.simulation.world import NEVER, World

YEAR = World(6_000, Draws(4), date(2025, 10, 1), date(2026, 10, 1), transactions_per_month=2.5)
"""Few transactions each, so that weeks lie between them."""


@pytest.fixture(scope="module")
def population(spark: SparkSession, compiled: None) -> DataFrame:
    return people(spark, YEAR).persist()


@pytest.fixture(scope="module")
def simulated(population: DataFrame) -> pd.DataFrame:
    """`kind`, `day`, and how many days it was `before` the account closed."""
    columns = ("customer", "kind", "day", (F.col("closed") - F.col("day")).alias("before"))
    return transactions(population, YEAR).where(F.col("day") < YEAR.days).select(*columns).toPandas()


def _per_week(days: pd.Series, first: int, last: int) -> float:
    """Rows per week on the days from `first` until before `last`."""
    return float(days.between(first, last, inclusive="left").sum() / ((last - first) / 7))


def test_purchases_go_on_until_the_last_day(simulated: pd.DataFrame) -> None:
    days, end = simulated.loc[simulated["kind"] == "purchase", "day"], YEAR.days
    before = _per_week(days, end - 35, end - 7)
    assert before > 800
    assert _per_week(days, end - 7, end) == pytest.approx(before, rel=0.12)


def test_customers_who_leave_without_a_sign_buy_until_the_last_day(
    population: DataFrame, simulated: pd.DataFrame
) -> None:
    """Who move away, or do not pay; without those who use the account less before they leave."""
    unannounced = F.col("reason").isin("life", "money") & (F.col("disengaged_at") == NEVER)
    open_for_weeks = (F.col("closed") - F.greatest("opened", F.lit(0.0)) > 42) & (F.col("closed") < YEAR.days)
    leavers = population.where(unannounced & open_for_weeks).select("customer").toPandas()["customer"]
    assert len(leavers) > 150
    bought = simulated[(simulated["kind"] == "purchase") & simulated["customer"].isin(leavers)]
    assert _per_week(bought["before"], 0, 5) > 0.7 * _per_week(bought["before"], 14, 42)


def test_the_first_week_has_the_effects_of_the_days_before_the_period(
    population: DataFrame, simulated: pd.DataFrame
) -> None:
    """Refunds of purchases and fees; calls about troubles and fees."""
    called = calls(population, YEAR).where("direction = 'inbound' and day < 63").select("day").toPandas()["day"]
    for days in (simulated.loc[simulated["kind"] == "refund", "day"], called):
        assert _per_week(days, 0, 7) > 0.7 * _per_week(days, 7, 63)


def test_a_period_may_end_within_a_week_and_within_a_month(spark: SparkSession) -> None:
    """38 days that touch three months: customers leave, and bills are due, until the last day."""
    world = World(15_000, Draws(4), date(2026, 1, 31), date(2026, 3, 10), transactions_per_month=2.5)
    everybody = people(spark, world).persist()
    assert everybody.where("how = 'voluntary' and closed >= 35 and closed < 38").count() > 10
    payments = transactions(everybody.where("customer < 300"), world).where("kind = 'payment' and day < 38")
    paid = payments.groupBy(F.date_format(world.date(F.col("day")), "MMM").alias("month")).count()
    assert {row["month"] for row in paid.where("count > 30").collect()} == {"Feb", "Mar"}
