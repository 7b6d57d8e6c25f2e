"""What was agreed with each customer and how it changed: plan, fee, the end of the binding term."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.draw import table
from churn.simulation.people import PRICE, price_rise
from churn.simulation.world import FAR, PLANS, World

MONTHLY_CENTS: Final = (1290, 2490, 4490)
"""What each plan cost at the start."""
RISES: Final = (1.07, 1.05)
MOVES: Final = 0.25
"""The share of customers who change their plan once in two years."""


def agreements(alive: DataFrame, world: World) -> DataFrame:
    """Grain: one customer and change; `day` is when it took effect."""
    opened, closed, term = F.col("opened"), F.col("closed"), F.col("term")
    terms = F.when(term > 0, F.floor((world.days - opened) / F.greatest(term, F.lit(1.0)))).otherwise(0)
    renewals = F.transform(F.sequence(F.lit(0), F.greatest(terms, F.lit(0)).cast("int")), lambda n: opened + term * n)
    others = F.array(_moves_at(world), *(F.col(f"{slot}_at") for slot in PRICE.slots))
    day = F.col("day")
    return (
        alive.select("*", F.explode(F.concat(renewals, others)).alias("day"))
        .filter((day >= opened) & (day < closed) & (day < world.days))
        .withColumns({"plan_then": _plan(world, day), "cents": fee_cents(world, day), "ends": _ends(day)})
    )


def fee_cents(world: World, day: Column) -> Column:
    """The monthly fee of that day. Those who opened after a rise pay the new price; a few are spared."""
    cents = table(MONTHLY_CENTS, _plan_rank(world, day))
    for number, (slot, rise) in enumerate(zip(PRICE.slots, RISES, strict=True)):
        risen = (day >= F.col(f"{slot}_at")) | (F.col("opened") >= price_rise(world, number))
        cents = F.floor(cents * F.when(risen, rise).otherwise(1.0))
    return cents


def _moves_at(world: World) -> Column:
    dice, who = world.dice, F.col("customer")
    moves = dice.chance(MOVES * world.days / 730, "moves", who)
    return F.when(moves, F.floor(dice.uniform("moves at", who) * world.days) + 0.25).otherwise(FAR)


def _plan_rank(world: World, day: Column) -> Column:
    """The plan's place in the price list; more customers move up than down."""
    step = F.when(world.dice.chance(0.62, "moves up", F.col("customer")), 1).otherwise(-1)
    moved = F.greatest(F.lit(0), F.least(F.lit(len(PLANS) - 1), F.col("plan") + step))
    return F.when(day >= _moves_at(world), moved).otherwise(F.col("plan"))


def _plan(world: World, day: Column) -> Column:
    names = F.array(*(F.lit(name) for name, _ in PLANS))
    return F.element_at(names, _plan_rank(world, day) + 1)


def _ends(day: Column) -> Column:
    """The last day of the term that runs that day; an instant is added so that a renewal is in its new term."""
    since = day - F.col("opened") + 1e-6
    terms = F.floor(since / F.greatest(F.col("term"), F.lit(1.0))) + 1
    return F.when(F.col("term") > 0, F.col("opened") + F.col("term") * terms)
