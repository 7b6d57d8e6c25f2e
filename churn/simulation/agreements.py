"""The agreements with each customer and their changes: plan, fee, the end of the binding term."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.draw import value_at
from churn.simulation.people import PRICE, price_rise
from churn.simulation.world import NEVER, PLANS, World

MONTHLY_CENTS: Final = (1290, 2490, 4490)
"""What each plan cost at the start."""
PRICE_RISES: Final = (1.07, 1.05)
BASKET: Final = 32
"""The mean purchase of a customer whose needs the smallest plan meets."""
UPGRADES: Final = 0.75
"""The share of customers who need more than their plan and change to a larger one within 18 months; it shows in
spending."""
DOWNGRADES: Final = 0.25
"""The share of customers who need less than their plan and change to a smaller one within 18 months."""
OTHER_CHANGES: Final = 0.06
"""The share of all others who change their plan within 18 months, for no reason that shows."""


def agreements(population: DataFrame, world: World) -> DataFrame:
    """Grain: one customer and change; `day` is when it takes effect."""
    opened, closed, term = F.col("opened"), F.col("closed"), F.col("term")
    terms = F.when(term > 0, F.floor((world.days - opened) / F.greatest(term, F.lit(1.0)))).otherwise(0)
    renewals = F.transform(F.sequence(F.lit(0), F.greatest(terms, F.lit(0)).cast("int")), lambda n: opened + term * n)
    changes = F.array(_plan_changes_at(world), *(F.col(f"{occurrence}_at") for occurrence in PRICE.occurrences))
    day = F.col("day")
    return (
        population.select("*", F.explode(F.concat(renewals, changes)).alias("day"))
        .filter((day >= opened) & (day < closed) & (day < world.days))
        .withColumns({"plan_then": _plan(world, day), "cents": fee_cents(world, day), "ends": _ends(day)})
    )


def fee_cents(world: World, day: Column) -> Column:
    """The monthly fee on a day. Accounts opened after a price rise pay the new price; a few older ones do not."""
    cents = value_at(MONTHLY_CENTS, _plan_index(world, day))
    for number, (occurrence, rise) in enumerate(zip(PRICE.occurrences, PRICE_RISES, strict=True)):
        is_raised = (day >= F.col(f"{occurrence}_at")) | (F.col("opened") >= price_rise(world, number))
        cents = F.floor(cents * F.when(is_raised, rise).otherwise(1.0))
    return cents


def _plan_changes_at(world: World) -> Column:
    """The day of a customer's change of plan, NEVER where there is none."""
    draws, customer = world.draws, F.col("customer")
    share = F.when(_outgrown(), UPGRADES).when(_oversized(), DOWNGRADES).otherwise(OTHER_CHANGES)
    start = F.greatest(F.floor("opened"), F.lit(0.0))
    day = F.floor(start + draws.uniform("moves at", customer) * (world.days - start)) + 0.25
    return F.when(draws.chance(share * world.days / 548, "moves", customer), day).otherwise(NEVER)


def _need() -> Column:
    """How much of a plan's services a customer uses, 1 on average; what shows of it is how much is bought."""
    return F.col("active") * F.col("basket") / BASKET


def _outgrown() -> Column:
    return ((F.col("plan") == 0) & (_need() > 0.8)) | ((F.col("plan") == 1) & (_need() > 1.6))


def _oversized() -> Column:
    return ((F.col("plan") == 1) & (_need() < 0.4)) | ((F.col("plan") == 2) & (_need() < 0.8))


def _plan_index(world: World, day: Column) -> Column:
    """The plan's index in PLANS on a day; more customers change to a larger plan than to a smaller one."""
    by_chance = world.draws.chance(0.62, "moves up", F.col("customer"))
    step = F.when(_outgrown() | (~_oversized() & by_chance), 1).otherwise(-1)
    changed = F.greatest(F.lit(0), F.least(F.lit(len(PLANS) - 1), F.col("plan") + step))
    return F.when(day >= _plan_changes_at(world), changed).otherwise(F.col("plan"))


def _plan(world: World, day: Column) -> Column:
    names = F.array(*(F.lit(name) for name, _ in PLANS))
    return F.element_at(names, _plan_index(world, day) + 1)


def _ends(day: Column) -> Column:
    """The end of the term that runs on a day; the small constant puts the time of a renewal into the new term."""
    since = day - F.col("opened") + 1e-6
    terms = F.floor(since / F.greatest(F.col("term"), F.lit(1.0))) + 1
    return F.when(F.col("term") > 0, F.col("opened") + F.col("term") * terms)
