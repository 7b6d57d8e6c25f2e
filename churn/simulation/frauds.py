"""The frauds: cards stolen at a merchant's terminal, and accounts taken over; and what is reported of them."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.people import is_open
from churn.simulation.world import FAR, World, at_hour

TAKEOVERS_A_YEAR: Final = 0.05
"""The share of accounts that are taken over in a year."""
THEFTS: Final = 4.0
"""About how many more transactions a thief makes after the first."""
OWN_DEVICE: Final = 0.6
"""The share of thieves with a device of their own; the others have the customer's."""
THIEF_CALLS: Final = 0.3
"""The share of takeovers that begin with a call: a new password, another address."""
EPISODES: Final = ("compromised once", "compromised twice")
COMPROMISED: Final = 0.2
"""The chance of each episode of a merchant, in the period."""
ABUSED: Final = 0.28
"""The chance that a purchase at a compromised terminal is a fraud."""
REPORTED: Final = 0.85
MISTAKEN: Final = 0.0006
"""The chance that customers report a purchase of their own."""
LATE_HOURS: Final = (10, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 22, 23, 23)


def takeovers(alive: DataFrame, world: World) -> DataFrame:
    """The customers whose account is taken over, and `taken_at`, the day of the first fraud."""
    dice, who = world.dice, F.col("customer")
    hit = dice.chance(world.any_day_chance(TAKEOVERS_A_YEAR * world.days / 365), "takeover", who)
    taken_at = at_hour(world.any_day(dice.uniform("taken at", who)), LATE_HOURS, dice.uniform("taken hour", who))
    return alive.filter(hit & is_open(taken_at)).withColumn("taken_at", taken_at)


def at_bad_terminal(world: World, merchant: Column, day: Column) -> Column:
    """The terminal is compromised that day; every episode lasts two to five weeks."""
    bad = F.lit(False)
    chance = world.any_day_chance(COMPROMISED)
    for episode in EPISODES:
        begins = world.any_day(world.dice.uniform(f"{episode} at", merchant))
        since = F.when(world.dice.chance(chance, episode, merchant), day - begins).otherwise(-FAR)
        bad = bad | ((since >= 0) & (since < 14 + 21 * world.dice.uniform(f"{episode} for", merchant)))
    return bad


def suspicious(moved: DataFrame, world: World) -> DataFrame:
    """The transactions that are frauds, by `fraud`, and the customers' own that they will take for one."""
    mistaken = (F.col("kind") == "purchase") & world.dice.chance(
        MISTAKEN, "mistaken", F.col("customer"), F.col("number")
    )
    return moved.filter(F.col("fraud").isNotNull() | mistaken)


def fraud_reports(suspects: DataFrame, world: World) -> DataFrame:
    """What customers report, days to weeks later: most frauds, and every mistake. Grain: one report."""
    dice, ids = world.dice, (F.col("customer"), F.col("number"))
    is_fraud = F.col("fraud").isNotNull()
    delay = 0.3 + 8 * dice.around(1.0, "report delay", *ids)
    return suspects.filter(~is_fraud | dice.chance(REPORTED, "reported", *ids)).withColumns(
        {"is_fraud": is_fraud, "day": F.col("day") + delay}
    )
