"""The calls: those that follow from events in a customer's life, and those without a cause."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.contacts import contacts
from churn.simulation.draw import choose
from churn.simulation.frauds import THIEF_CALLS, takeovers
from churn.simulation.people import (
    ABOUT_MONEY,
    DEVICE_LASTS,
    OFFER,
    OUTAGE,
    PRICE,
    SERVICE,
    dissatisfaction_from,
    irritation,
    is_open,
    replaced_at,
    shortage,
)
from churn.simulation.transactions import disputed_fees
from churn.simulation.world import (
    CALLING_HOURS,
    CALLING_WEEK,
    DAYS_PER_MONTH,
    World,
    at_hour,
)

PER_MONTH: Final = 0.13
"""Calls a month of an average customer without troubles."""
MAX_RATE: Final = 14.0
"""The greatest rate of calls, as a multiple of PER_MONTH: of an irritated customer on the busiest day of a year."""
MAX_REPEAT_DAYS: Final = 8
"""The most days from a call to the last call that repeats it."""

REASONS: Final = (
    ("information", 0.27),
    ("billing", 0.21),
    ("order", 0.17),
    ("technical", 0.13),
    ("contract", 0.08),
    ("password", 0.07),
    ("address", 0.04),
    ("complaint", 0.02),
    ("price", 0.01),
)
ABOUT_PRICE: Final = (("price", 0.45), ("billing", 0.25), ("complaint", 0.20), ("cancellation", 0.10))
ABOUT_SERVICE: Final = (("technical", 0.55), ("complaint", 0.35), ("billing", 0.05), ("cancellation", 0.05))
ABOUT_OFFER: Final = (("price", 0.45), ("contract", 0.40), ("cancellation", 0.15))
BARGAINS_FROM: Final = 0.8
"""The dissatisfaction about money from which on a customer may ask for a better price."""
BARGAINS_EVERY: Final = 20.0
BARGAINS: Final = 9
"""He may in each of so many spans of so many days after the trouble."""
QUEUES: Final = {"billing": "billing", "technical": "support", "complaint": "support", "cancellation": "retention"}
NOTES: Final = {
    "billing": "asked about the invoice",
    "technical": "line does not work, ticket opened",
    "complaint": "upset, wants a call back",
    "cancellation": "asked how to cancel",
    "contract": "asked when the contract ends",
    "price": "asked for a better price",
    "address": "new address given",
}


def calls(population: DataFrame, world: World) -> DataFrame:
    """Grain: one call. Internal columns `customer`, `number` and `day`, then the contract's fields."""
    started = reduce(
        DataFrame.unionByName,
        (
            source(population, world)
            for source in (_ordinary, _bargains, _disputes, _goodbyes, _replacements, _takeovers, _campaigns)
        ),
    )
    return started.filter((F.col("day") >= 0) & is_open(F.col("day"))).transform(_handled, world)


_COLUMNS: Final = ("customer", "account", "opened", "closed", "number", "day", "direction", "reason", "anger")


def _ordinary(population: DataFrame, world: World) -> DataFrame:
    """Calls at the customer's own rate, which irritation raises; an irritated customer calls again within days.

    Candidates come at the greatest rate, one per interval, and are accepted with the chance of their day.
    """
    draws, customer, candidate = world.draws, F.col("customer"), F.col("candidate")
    interval = F.lit(DAYS_PER_MONTH / (PER_MONTH * MAX_RATE)) / F.col("talkative")
    since, until = world.whole_days(F.col("opened"), F.col("closed"), before=MAX_REPEAT_DAYS)
    count = F.ceil((until - since) / interval).cast("int")
    candidates = (
        population.select("*", F.explode(F.sequence(F.lit(0), count - 1)).alias("candidate"))
        .withColumn("day", since + (candidate + draws.uniform("call", customer, candidate)) * interval)
        .withColumn("anger", irritation(F.col("day")) + 1.5 * shortage(F.col("day")))
    )
    rate = (1 + 3.0 * F.col("anger")) * world.activity(F.col("day"), CALLING_WEEK)
    service = irritation(F.col("day"), (OUTAGE, SERVICE))
    price = irritation(F.col("day"), (PRICE,))
    offer = irritation(F.col("day"), (OFFER,))
    u = draws.uniform("reason", customer, candidate)
    cause = draws.uniform("because", customer, candidate) * (0.6 + F.col("anger"))
    reason = (
        F.when(cause < service, choose(u, ABOUT_SERVICE))
        .when(cause < service + price, choose(u, ABOUT_PRICE))
        .when(cause < service + price + offer, choose(u, ABOUT_OFFER))
        .otherwise(choose(u, REASONS))
    )
    repeats = F.least(
        F.floor(draws.exponential("again", customer, candidate) * (0.25 + 0.7 * F.col("anger"))), F.lit(3)
    )
    repeat = F.col("repeat")
    delay = F.when(repeat == 0, 0.0).otherwise(
        repeat * 2.2 + draws.uniform("later", customer, candidate, repeat) * 2 - 1.5
    )
    hour = draws.uniform("call hour", customer, candidate, repeat)
    return (
        candidates.filter(draws.chance(rate / MAX_RATE, "calls", customer, candidate))
        .withColumn("reason", reason)
        .select("*", F.explode(F.sequence(F.lit(0), repeats.cast("int"))).alias("repeat"))
        .withColumn("number", (candidate * 4 + repeat) * 8)
        .withColumn("day", at_hour(F.col("day") + delay, CALLING_HOURS, hour))
        .withColumn("direction", F.lit("inbound"))
        .select(*_COLUMNS)
    )


def _bargains(population: DataFrame, world: World) -> DataFrame:
    """Calls of customers who ask for a better price: the more often, the more a raised fee, or another company's offer,
    makes them dissatisfied at the time."""
    draws, customer, time = world.draws, F.col("customer"), F.col("time")
    troubles = [(trouble, occurrence) for trouble in ABOUT_MONEY for occurrence in trouble.occurrences]
    calls = []
    for number, (trouble, occurrence) in enumerate(troubles):
        name = f"bargains {occurrence}"
        day = F.col(f"{occurrence}_at") + BARGAINS_EVERY * (time + draws.uniform(f"{name} day", customer, time))
        dissatisfied = dissatisfaction_from(day, trouble, occurrence) - BARGAINS_FROM
        calls.append(
            population.filter(F.col(f"{occurrence}_at") < world.days)
            .select("*", F.explode(F.sequence(F.lit(0), F.lit(BARGAINS - 1)).cast("array<bigint>")).alias("time"))
            .filter(draws.chance(1 - F.exp(-1.5 * F.greatest(dissatisfied, F.lit(0.0))), name, customer, time))
            .withColumn("number", (time * len(troubles) + number) * 8 + 6)
            .withColumn("day", at_hour(day, CALLING_HOURS, draws.uniform(f"{name} hour", customer, time)))
        )
    return (
        reduce(DataFrame.unionByName, calls)
        .withColumns({"direction": F.lit("inbound"), "reason": F.lit("price"), "anger": F.lit(0.6)})
        .select(*_COLUMNS)
    )


def _disputes(population: DataFrame, world: World) -> DataFrame:
    """Calls about fees that the customer disputes."""
    customer, month = F.col("customer"), F.col("month")
    after = F.col("day") + 0.2 + 3 * world.draws.uniform("dispute call", customer, month)
    return (
        disputed_fees(population, world)
        .filter(world.draws.chance(0.7, "dispute called", customer, month))
        .withColumn("number", month * 8 + 1)
        .withColumn("day", at_hour(after, CALLING_HOURS, world.draws.uniform("dispute hour", customer, month)))
        .withColumns({"direction": F.lit("inbound"), "reason": F.lit("billing"), "anger": F.lit(0.8)})
        .select(*_COLUMNS)
    )


def _goodbyes(population: DataFrame, world: World) -> DataFrame:
    """Some leavers call to cancel, days or weeks before."""
    draws, customer = world.draws, F.col("customer")
    before = 4 + 14 * draws.exponential("goodbye day", customer)
    return (
        population.filter((F.col("how") == "voluntary") & draws.chance(0.3, "goodbye", customer))
        .withColumn("day", at_hour(F.col("closed") - before, CALLING_HOURS, draws.uniform("goodbye hour", customer)))
        .withColumns({"number": F.lit(2).cast("long"), "direction": F.lit("inbound")})
        .withColumns({"reason": F.lit("cancellation"), "anger": F.lit(0.5)})
        .select(*_COLUMNS)
    )


def _replacements(population: DataFrame, world: World) -> DataFrame:
    """Calls about the password, after a device was replaced."""
    draws, customer, number = world.draws, F.col("customer"), F.col("number")
    numbers = F.sequence(F.lit(0), F.lit(world.days // DEVICE_LASTS + 1)).cast("array<bigint>")
    after = replaced_at(world, number) + 3 * draws.uniform("replaced", customer, number)
    return (
        population.select("*", F.explode(numbers).alias("number"))
        .filter(draws.chance(0.2, "replacement called", customer, number))
        .withColumn("day", at_hour(after, CALLING_HOURS, draws.uniform("replacement hour", customer, number)))
        .withColumn("number", number * 8 + 5)
        .withColumns({"direction": F.lit("inbound"), "reason": F.lit("password"), "anger": F.lit(0.1)})
        .select(*_COLUMNS)
    )


def _takeovers(population: DataFrame, world: World) -> DataFrame:
    """Some thieves call first, an hour to two days before the first fraud, about the password or the address."""
    draws, customer = world.draws, F.col("customer")
    before = 0.04 + 0.08 * draws.uniform("thief hour", customer) + F.floor(3 * draws.uniform("thief day", customer))
    return (
        takeovers(population, world)
        .filter(draws.chance(THIEF_CALLS, "thief calls", customer))
        .withColumn("day", F.col("taken_at") - before)
        .withColumns({"number": F.lit(3).cast("long"), "direction": F.lit("inbound"), "anger": F.lit(0.0)})
        .withColumn("reason", draws.pick([("password", 0.65), ("address", 0.35)], "thief reason", customer))
        .select(*_COLUMNS)
    )


def _campaigns(population: DataFrame, world: World) -> DataFrame:
    """Calls of the company to half of the treated customers; the others get a letter."""
    by_phone = world.draws.chance(0.5, "by phone", F.col("customer"), F.col("campaign"))
    return (
        contacts(population, world)
        .filter((F.col("arm") == "treated") & by_phone)
        .withColumn("number", F.col("campaign") * 8 + 4)
        .withColumns({"direction": F.lit("outbound"), "reason": F.lit("offer"), "anger": F.lit(0.0)})
        .select(*_COLUMNS)
    )


def _handled(calls: DataFrame, world: World) -> DataFrame:
    """The course of each call: an angry customer waits longer, is transferred more often, and is helped less often."""
    draws, call = world.draws, (F.col("customer"), F.col("number"))
    anger = F.least(F.col("anger"), F.lit(3.0))
    inbound = F.col("direction") == "inbound"
    load = 0.6 + world.activity(F.col("day"), CALLING_WEEK)
    answered = calls.withColumn(
        "wait_seconds",
        F.when(inbound, F.floor(62 * load * (1 + 0.6 * anger) * draws.lognormal(1.0, "wait", *call)))
        .otherwise(0)
        .cast("int"),
    )
    wait = F.col("wait_seconds")
    answered = answered.withColumn("abandoned", inbound & draws.chance(0.5 * wait / (wait + 420), "abandoned", *call))
    reached = ~F.col("abandoned")

    def if_reached(value: Column) -> Column:
        return F.when(reached, value)

    def seconds(value: Column) -> Column:
        return F.when(reached, F.floor(value)).otherwise(0).cast("int")

    is_on_hold = draws.chance(0.25 + 0.1 * anger, "held", *call)
    transfers = draws.exponential("transfers", *call) * (0.35 + 0.3 * anger)
    handled = answered.withColumns(
        {
            "talk_seconds": seconds(250 * (1 + 0.25 * anger) * draws.lognormal(0.75, "talk", *call) + 8),
            "hold_seconds": seconds(F.when(is_on_hold, 70 * draws.exponential("hold", *call)).otherwise(0.0)),
            "transfers": F.when(reached, F.least(F.floor(transfers), F.lit(4))).otherwise(0).cast("int"),
            "resolved": if_reached(draws.chance(0.86 / (1 + 0.55 * anger), "resolved", *call)),
            "agent_id": if_reached(
                F.concat(F.lit("G"), F.lpad((draws.uniform("agent", *call) * 60).cast("int"), 3, "0"))
            ),
        }
    )
    rating = 4.3 + F.when(F.col("resolved"), 0.3).otherwise(-0.9) - 0.7 * anger + draws.normal("csat", *call)
    is_surveyed = draws.chance(0.28, "asked", *call) & inbound
    has_note = draws.chance(0.4, "noted", *call)
    return handled.withColumns(
        {
            "queue": _of_reason(QUEUES, F.when(inbound, "general").otherwise("outbound")),
            "csat": if_reached(
                F.when(is_surveyed, F.greatest(F.lit(1), F.least(F.lit(5), F.floor(rating + 0.5))).cast("int"))
            ),
            "notes": if_reached(F.when(has_note, _of_reason(NOTES, F.lit(None)))),
        }
    )


def _of_reason(values: Mapping[str, str], otherwise: Column) -> Column:
    """The value for the reason of the call."""
    for reason, value in values.items():
        otherwise = F.when(F.col("reason") == reason, value).otherwise(otherwise)
    return otherwise
