"""The frauds: cards copied at a compromised terminal, and account takeovers; and the reports about them."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.people import is_open
from churn.simulation.world import NEVER, World, at_hour

TAKEOVERS_A_YEAR: Final = 0.05
"""The share of accounts that are taken over in a year."""
THEFTS: Final = 4.0
"""The mean number of a thief's transactions after the first."""
OWN_DEVICE: Final = 0.6
"""The share of thieves with a device of their own; the others have the customer's."""
THIEF_CALLS: Final = 0.3
"""The share of takeovers that begin with a call about the password or the address."""
EPISODES: Final = ("compromised once", "compromised twice")
COMPROMISED: Final = 0.2
"""The chance that a merchant has a given episode in the period."""
ABUSED: Final = 0.28
"""The chance that a purchase at a compromised terminal is a fraud."""
REPORTED: Final = 0.85
MISTAKEN: Final = 0.0006
"""The chance that customers report a purchase of their own."""
LATE_HOURS: Final = (10, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 22, 23, 23)


def takeovers(population: DataFrame, world: World) -> DataFrame:
    """The customers whose account is taken over, with `taken_at`, the day of the first fraud."""
    draws, customer = world.draws, F.col("customer")
    hit = draws.chance(world.any_day_chance(TAKEOVERS_A_YEAR * world.days / 365), "takeover", customer)
    taken_at = at_hour(
        world.any_day(draws.uniform("taken at", customer)), LATE_HOURS, draws.uniform("taken hour", customer)
    )
    return population.filter(hit & is_open(taken_at)).withColumn("taken_at", taken_at)


def at_compromised_terminal(world: World, merchant: Column, day: Column) -> Column:
    """Whether a merchant's terminal is compromised on a day; an episode lasts two to five weeks."""
    is_compromised = F.lit(False)
    chance = world.any_day_chance(COMPROMISED)
    for episode in EPISODES:
        begins = world.any_day(world.draws.uniform(f"{episode} at", merchant))
        since = F.when(world.draws.chance(chance, episode, merchant), day - begins).otherwise(-NEVER)
        is_compromised = is_compromised | (
            (since >= 0) & (since < 14 + 21 * world.draws.uniform(f"{episode} for", merchant))
        )
    return is_compromised


def suspicious(transactions: DataFrame, world: World) -> DataFrame:
    """The frauds, where `fraud` is not null, and the customers' own purchases that they mistake for one."""
    is_mistaken = (F.col("kind") == "purchase") & world.draws.chance(
        MISTAKEN, "mistaken", F.col("customer"), F.col("number")
    )
    return transactions.filter(F.col("fraud").isNotNull() | is_mistaken)


def fraud_reports(suspects: DataFrame, world: World) -> DataFrame:
    """The reports, days to weeks later: of most frauds, and of every mistaken purchase. Grain: one report."""
    draws, ids = world.draws, (F.col("customer"), F.col("number"))
    is_fraud = F.col("fraud").isNotNull()
    delay = 0.3 + 8 * draws.lognormal(1.0, "report delay", *ids)
    return suspects.filter(~is_fraud | draws.chance(REPORTED, "reported", *ids)).withColumns(
        {"is_fraud": is_fraud, "day": F.col("day") + delay}
    )
