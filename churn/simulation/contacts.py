"""The retention campaigns: who is contacted, in which arm, and the true uplift."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.people import (
    CAMPAIGN_EVERY,
    FIRST_CAMPAIGN,
    background_hazard,
    campaign_day,
    contacted,
    dissatisfaction_hazard,
    is_open,
    responder,
    treated,
    treatment_effect,
)
from churn.simulation.world import DAYS_PER_MONTH, OFFICE_HOURS, World, at_hour

OFFERS: Final = (("discount", 0.5), ("free month", 0.3), ("upgrade", 0.2))
COSTS: Final = {"discount": 9.0, "free month": 14.0, "upgrade": 6.5}


def contacts(population: DataFrame, world: World) -> DataFrame:
    """Grain: one customer chosen for one campaign. `campaign` counts from 0; a held-out customer is not approached."""
    draws, customer, campaign = world.draws, F.col("customer"), F.col("campaign")
    hour = draws.uniform("campaign hour", customer, campaign)
    last = max(0, (world.days - 1 - FIRST_CAMPAIGN) // CAMPAIGN_EVERY)
    return (
        population.select("*", F.explode(F.sequence(F.lit(0), F.lit(last)).cast("array<bigint>")).alias("campaign"))
        .filter(contacted(world, campaign))
        .withColumn("day", at_hour(campaign_day(campaign), OFFICE_HOURS, hour))
        .filter(is_open(F.col("day")) & (F.col("day") < world.days))
        .withColumn("responder", responder(campaign_day(campaign)))
        .withColumns(_contact(world))
    )


def _contact(world: World) -> dict[str, Column]:
    """The arm, the offer, its cost, whether it was accepted, and its true uplift, which the company does not know."""
    draws, row = world.draws, (F.col("customer"), F.col("campaign"))
    in_arm = treated(world, F.col("campaign"))
    offer = draws.pick(OFFERS, "offer", *row)
    cost = F.lit(0.0)
    for name, amount in COSTS.items():
        cost = F.when(offer == name, amount).otherwise(cost)
    acceptance = F.when(F.col("responder") == "persuadable", 0.34).when(F.col("responder") == "indifferent", 0.12)
    return {
        "arm": F.when(in_arm, "treated").otherwise("held_out"),
        "offer": F.when(in_arm, offer),
        "cost": F.when(in_arm, cost).otherwise(0.0),
        "accepted": in_arm & draws.chance(acceptance.otherwise(0.04), "accepted", *row),
        "uplift": true_uplift(campaign_day(F.col("campaign")), F.col("responder")),
    }


def true_uplift(first: Column, responder: Column) -> Column:
    """By how much a treatment on the day `first` lowers the chance of leaving by choice while it has its effect."""
    return _leaving_chance(first, F.lit(0.0)) - _leaving_chance(first, treatment_effect(responder))


def _leaving_chance(first: Column, change: Column) -> Column:
    """The chance of leaving by choice in as many days as are between campaigns, if the logarithm of the hazard changes
    by `change`."""
    weeks = F.sequence(F.lit(0), F.lit(CAMPAIGN_EVERY // 7 - 1))

    def week(total: Column, number: Column) -> Column:
        day = first + number * 7.0
        return total + (background_hazard(day) + dissatisfaction_hazard(day) * F.exp(change)) * (7 / DAYS_PER_MONTH)

    return 1 - F.exp(-F.aggregate(weeks, F.lit(0.0), week))
