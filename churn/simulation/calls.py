"""The calls that follow from what happens to the customers, and those that follow from nothing at all."""

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
    DEVICE_LASTS,
    OFFER,
    OUTAGE,
    PRICE,
    SERVICE,
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
"""Calls a month of an average customer who is not troubled."""
MOST: Final = 14.0
"""How many times more a customer calls at the very worst, the busiest day of the year included."""
AGAIN_WITHIN: Final = 8
"""Days from a call to the last one that repeats it, at most."""

HAPPY: Final = (
    ("information", 0.27),
    ("billing", 0.21),
    ("order", 0.17),
    ("technical", 0.13),
    ("contract", 0.08),
    ("password", 0.07),
    ("address", 0.04),
    ("complaint", 0.03),
)
ABOUT_PRICE: Final = (("billing", 0.45), ("complaint", 0.33), ("contract", 0.12), ("cancellation", 0.10))
ABOUT_SERVICE: Final = (("technical", 0.55), ("complaint", 0.35), ("billing", 0.05), ("cancellation", 0.05))
ABOUT_OFFER: Final = (("contract", 0.50), ("information", 0.35), ("cancellation", 0.15))
QUEUES: Final = {"billing": "billing", "technical": "support", "complaint": "support", "cancellation": "retention"}
NOTES: Final = {
    "billing": "asked about the invoice",
    "technical": "line does not work, ticket opened",
    "complaint": "upset, wants a call back",
    "cancellation": "asked how to cancel",
    "contract": "asked when the contract ends",
    "address": "new address given",
}


def calls(alive: DataFrame, world: World) -> DataFrame:
    """Grain: one call. Internal columns `customer`, `number` and `day`, then the contract's fields."""
    began = reduce(
        DataFrame.unionByName,
        (source(alive, world) for source in (_own, _disputes, _goodbyes, _replacements, _takeovers, _campaigns)),
    )
    return began.filter((F.col("day") >= 0) & is_open(F.col("day"))).transform(_conversation, world)


_BEGAN: Final = ("customer", "account", "opened", "closed", "number", "day", "direction", "reason", "anger")


def _own(alive: DataFrame, world: World) -> DataFrame:
    """Calls at the customer's own rate, which irritation raises; an irritated customer calls again within days."""
    dice, who, slot = world.dice, F.col("customer"), F.col("slot")
    gap = F.lit(DAYS_PER_MONTH / (PER_MONTH * MOST)) / F.col("talkative")
    since, until = world.whole_days(F.col("opened"), F.col("closed"), before=AGAIN_WITHIN)
    slots = F.ceil((until - since) / gap).cast("int")
    tried = (
        alive.select("*", F.explode(F.sequence(F.lit(0), slots - 1)).alias("slot"))
        .withColumn("day", since + (slot + dice.uniform("call", who, slot)) * gap)
        .withColumn("anger", irritation(F.col("day")) + 1.5 * shortage(F.col("day")))
    )
    often = (1 + 3.0 * F.col("anger")) * world.busy(F.col("day"), CALLING_WEEK)
    service = irritation(F.col("day"), (OUTAGE, SERVICE))
    price = irritation(F.col("day"), (PRICE,))
    offer = irritation(F.col("day"), (OFFER,))
    u = dice.uniform("reason", who, slot)
    because = dice.uniform("because", who, slot) * (0.6 + F.col("anger"))
    reason = (
        F.when(because < service, choose(u, ABOUT_SERVICE))
        .when(because < service + price, choose(u, ABOUT_PRICE))
        .when(because < service + price + offer, choose(u, ABOUT_OFFER))
        .otherwise(choose(u, HAPPY))
    )
    again = F.least(F.floor(dice.exponential("again", who, slot) * (0.25 + 0.7 * F.col("anger"))), F.lit(3))
    repeat = F.col("repeat")
    later = F.when(repeat == 0, 0.0).otherwise(repeat * 2.2 + dice.uniform("later", who, slot, repeat) * 2 - 1.5)
    hours = dice.uniform("call hour", who, slot, repeat)
    return (
        tried.filter(dice.chance(often / MOST, "calls", who, slot))
        .withColumn("reason", reason)
        .select("*", F.explode(F.sequence(F.lit(0), again.cast("int"))).alias("repeat"))
        .withColumn("number", (slot * 4 + repeat) * 8)
        .withColumn("day", at_hour(F.col("day") + later, CALLING_HOURS, hours))
        .withColumn("direction", F.lit("inbound"))
        .select(*_BEGAN)
    )


def _disputes(alive: DataFrame, world: World) -> DataFrame:
    """A call about a fee that the customer will not pay."""
    who, month = F.col("customer"), F.col("month")
    after = F.col("day") + 0.2 + 3 * world.dice.uniform("dispute call", who, month)
    return (
        disputed_fees(alive, world)
        .filter(world.dice.chance(0.7, "dispute called", who, month))
        .withColumn("number", month * 8 + 1)
        .withColumn("day", at_hour(after, CALLING_HOURS, world.dice.uniform("dispute hour", who, month)))
        .withColumns({"direction": F.lit("inbound"), "reason": F.lit("billing"), "anger": F.lit(0.8)})
        .select(*_BEGAN)
    )


def _goodbyes(alive: DataFrame, world: World) -> DataFrame:
    """Some of those who leave call to say so, days or weeks before."""
    dice, who = world.dice, F.col("customer")
    before = 4 + 14 * dice.exponential("goodbye day", who)
    return (
        alive.filter((F.col("how") == "voluntary") & dice.chance(0.3, "goodbye", who))
        .withColumn("day", at_hour(F.col("closed") - before, CALLING_HOURS, dice.uniform("goodbye hour", who)))
        .withColumns({"number": F.lit(2).cast("long"), "direction": F.lit("inbound")})
        .withColumns({"reason": F.lit("cancellation"), "anger": F.lit(0.5)})
        .select(*_BEGAN)
    )


def _replacements(alive: DataFrame, world: World) -> DataFrame:
    """A new device, and the password is on the old one."""
    dice, who, number = world.dice, F.col("customer"), F.col("number")
    numbers = F.sequence(F.lit(0), F.lit(world.days // DEVICE_LASTS + 1)).cast("array<bigint>")
    after = replaced_at(world, number) + 3 * dice.uniform("replaced", who, number)
    return (
        alive.select("*", F.explode(numbers).alias("number"))
        .filter(dice.chance(0.2, "replacement called", who, number))
        .withColumn("day", at_hour(after, CALLING_HOURS, dice.uniform("replacement hour", who, number)))
        .withColumn("number", number * 8 + 5)
        .withColumns({"direction": F.lit("inbound"), "reason": F.lit("password"), "anger": F.lit(0.1)})
        .select(*_BEGAN)
    )


def _takeovers(alive: DataFrame, world: World) -> DataFrame:
    """Some thieves call first, an hour to two days before: a new password, another address."""
    dice, who = world.dice, F.col("customer")
    before = 0.04 + 0.08 * dice.uniform("thief hour", who) + F.floor(3 * dice.uniform("thief day", who))
    return (
        takeovers(alive, world)
        .filter(dice.chance(THIEF_CALLS, "thief calls", who))
        .withColumn("day", F.col("taken_at") - before)
        .withColumns({"number": F.lit(3).cast("long"), "direction": F.lit("inbound"), "anger": F.lit(0.0)})
        .withColumn("reason", dice.pick([("password", 0.65), ("address", 0.35)], "thief reason", who))
        .select(*_BEGAN)
    )


def _campaigns(alive: DataFrame, world: World) -> DataFrame:
    """Calls that the company makes to half of those it treats; the others get a letter."""
    by_phone = world.dice.chance(0.5, "by phone", F.col("customer"), F.col("campaign"))
    return (
        contacts(alive, world)
        .filter((F.col("arm") == "treated") & by_phone)
        .withColumn("number", F.col("campaign") * 8 + 4)
        .withColumns({"direction": F.lit("outbound"), "reason": F.lit("offer"), "anger": F.lit(0.0)})
        .select(*_BEGAN)
    )


def _conversation(began: DataFrame, world: World) -> DataFrame:
    """How the call went: an angry customer finds longer queues, more transfers, fewer solutions."""
    dice, call = world.dice, (F.col("customer"), F.col("number"))
    anger = F.least(F.col("anger"), F.lit(3.0))
    inbound = F.col("direction") == "inbound"
    crowd = 0.6 + world.busy(F.col("day"), CALLING_WEEK)
    went = began.withColumn(
        "wait_seconds",
        F.when(inbound, F.floor(62 * crowd * (1 + 0.6 * anger) * dice.around(1.0, "wait", *call)))
        .otherwise(0)
        .cast("int"),
    )
    wait = F.col("wait_seconds")
    went = went.withColumn("abandoned", inbound & dice.chance(0.5 * wait / (wait + 420), "abandoned", *call))
    reached = ~F.col("abandoned")

    def if_reached(value: Column) -> Column:
        return F.when(reached, value)

    def seconds(value: Column) -> Column:
        return F.when(reached, F.floor(value)).otherwise(0).cast("int")

    held = dice.chance(0.25 + 0.1 * anger, "held", *call)
    passed = dice.exponential("transfers", *call) * (0.35 + 0.3 * anger)
    went = went.withColumns(
        {
            "talk_seconds": seconds(250 * (1 + 0.25 * anger) * dice.around(0.75, "talk", *call) + 8),
            "hold_seconds": seconds(F.when(held, 70 * dice.exponential("hold", *call)).otherwise(0.0)),
            "transfers": F.when(reached, F.least(F.floor(passed), F.lit(4))).otherwise(0).cast("int"),
            "resolved": if_reached(dice.chance(0.86 / (1 + 0.55 * anger), "resolved", *call)),
            "agent_id": if_reached(
                F.concat(F.lit("G"), F.lpad((dice.uniform("agent", *call) * 60).cast("int"), 3, "0"))
            ),
        }
    )
    rating = 4.3 + F.when(F.col("resolved"), 0.3).otherwise(-0.9) - 0.7 * anger + dice.normal("csat", *call)
    asked = dice.chance(0.28, "asked", *call) & inbound
    noted = dice.chance(0.4, "noted", *call)
    return went.withColumns(
        {
            "queue": _of_reason(QUEUES, F.when(inbound, "general").otherwise("outbound")),
            "csat": if_reached(
                F.when(asked, F.greatest(F.lit(1), F.least(F.lit(5), F.floor(rating + 0.5))).cast("int"))
            ),
            "notes": if_reached(F.when(noted, _of_reason(NOTES, F.lit(None)))),
        }
    )


def _of_reason(words: Mapping[str, str], otherwise: Column) -> Column:
    for reason, word in words.items():
        otherwise = F.when(F.col("reason") == reason, word).otherwise(otherwise)
    return otherwise
