"""The campaigns of the simulated company."""

from __future__ import annotations

from datetime import date

from pyspark.sql import SparkSession

from churn.simulation.contacts import contacts
from churn.simulation.draw import Draws
from churn.simulation.people import people
from churn.simulation.world import World


def test_a_period_may_end_before_the_first_campaign(spark: SparkSession) -> None:
    world = World(50, Draws(1), date(2026, 9, 1), date(2026, 10, 1), transactions_per_month=2.5)
    assert contacts(people(spark, world), world).where("day >= 0").isEmpty()
