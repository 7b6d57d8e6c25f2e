"""The retention campaigns: who was chosen, which arm chance gave them, and what it truly changed."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.people import (
    CAMPAIGN_EVERY,
    FIRST_CAMPAIGN,
    calm_leaving,
    campaign_day,
    contacted,
    effect,
    is_open,
    leaving,
    treated,
)
from churn.simulation.world import DAYS_PER_MONTH, OFFICE_HOURS, World, at_hour

OFFERS: Final = (("discount", 0.5), ("free month", 0.3), ("upgrade", 0.2))
COSTS: Final = {"discount": 9.0, "free month": 14.0, "upgrade": 6.5}


def contacts(alive: DataFrame, world: World) -> DataFrame:
    """Grain: one customer chosen in one campaign. `campaign` counts from 0; a held-out customer is not approached."""
    dice, who, campaign = world.dice, F.col("customer"), F.col("campaign")
    last = max(0, (world.days - 1 - FIRST_CAMPAIGN) // CAMPAIGN_EVERY)
    return (
        alive.select("*", F.explode(F.sequence(F.lit(0), F.lit(last)).cast("array<bigint>")).alias("campaign"))
        .filter(contacted(world, campaign))
        .withColumn("day", at_hour(campaign_day(campaign), OFFICE_HOURS, dice.uniform("campaign hour", who, campaign)))
        .filter(is_open(F.col("day")) & (F.col("day") < world.days))
        .withColumns(_contact(world))
    )


def _contact(world: World) -> dict[str, Column]:
    """The arm; what a treatment was, cost and met with; and its true uplift, which nobody in the company knows."""
    dice, row = world.dice, (F.col("customer"), F.col("campaign"))
    in_arm = treated(world, F.col("campaign"))
    offer = dice.pick(OFFERS, "offer", *row)
    cost = F.lit(0.0)
    for name, amount in COSTS.items():
        cost = F.when(offer == name, amount).otherwise(cost)
    welcome = F.when(F.col("responder") == "persuadable", 0.34).when(F.col("responder") == "indifferent", 0.12)
    return {
        "arm": F.when(in_arm, "treated").otherwise("held_out"),
        "offer": F.when(in_arm, offer),
        "cost": F.when(in_arm, cost).otherwise(0.0),
        "accepted": in_arm & dice.chance(welcome.otherwise(0.04), "accepted", *row),
        "uplift": _leaves(F.lit(0.0)) - _leaves(effect()),
    }


def _leaves(change: Column) -> Column:
    """The chance of leaving by choice before the next campaign, when the logarithm of the hazard changes by this."""
    first = campaign_day(F.col("campaign"))
    weeks = F.sequence(F.lit(0), F.lit(CAMPAIGN_EVERY // 7 - 1))

    def week(total: Column, number: Column) -> Column:
        day = first + number * 7.0
        return total + (calm_leaving(day) + leaving(day) * F.exp(change)) * (7 / DAYS_PER_MONTH)

    return 1 - F.exp(-F.aggregate(weeks, F.lit(0.0), week))
