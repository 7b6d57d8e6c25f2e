"""The campaigns of the simulated company."""

from __future__ import annotations

from datetime import date

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.simulation.contacts import contacts
from churn.simulation.draw import Draws
from churn.simulation.people import TROUBLES, people, responder
from churn.simulation.world import World


def test_a_period_may_end_before_the_first_campaign(spark: SparkSession) -> None:
    world = World(50, Draws(1), date(2026, 9, 1), date(2026, 10, 1), transactions_per_month=2.5)
    assert contacts(people(spark, world), world).where("day >= 0").isEmpty()


def test_a_customer_responds_by_what_he_is_dissatisfied_about(spark: SparkSession) -> None:
    """The same draw: saved where an offer of money meets the cause, driven away where it does not, or without one."""
    day = 500.0
    since = {"about money": ("price_1", 480.0), "about service": ("service_1", 480.0), "new": ("outage_1", 900.0)}
    rows = [
        (name, 400.0 if name == "new" else -100.0, 0.85, *since.get(name, ("offer_1", 1e6)))
        for name in ("about money", "about service", "new", "satisfied")
    ]
    found = spark.createDataFrame(rows, "name string, opened double, responds double, trouble string, at double")
    for occurrence in [one for trouble in TROUBLES for one in trouble.occurrences]:
        began = F.when(F.col("trouble") == occurrence, F.col("at")).otherwise(1e6)
        found = found.withColumns({f"{occurrence}_at": began, f"{occurrence}_severity": F.lit(2.0)})
    responses = {row["name"]: row["how"] for row in found.select("name", responder(F.lit(day)).alias("how")).collect()}
    assert responses == {
        "about money": "persuadable",
        "about service": "sleeping dog",
        "new": "indifferent",
        "satisfied": "sleeping dog",
    }
