"""The money that moves: purchases, transfers, monthly payments, fees, refunds, and the thieves' share of them."""

from __future__ import annotations

from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.agreements import fee_cents
from churn.simulation.frauds import ABUSED, OWN_DEVICE, THEFTS, at_bad_terminal, takeovers
from churn.simulation.people import chill, devices_before, irritation, is_open, shortage
from churn.simulation.world import (
    ANY_HOUR,
    DAYS_PER_MONTH,
    MONTHS,
    OFFICE_HOURS,
    SHOPPING_WEEK,
    World,
    at_hour,
)

OTHERS: Final = 1.25
"""Payments, fees and refunds a month of an open account; the rest of the wanted transactions are its own."""
EASE: Final = 0.80
"""The share of the usual activity that remains on average, after lulls, bad moods and goodbyes."""
CHARGED: Final = 0.10
"""The chance of an extra fee in a month."""
DECLINED: Final = 0.016
FAVOURITES: Final = 6
REFUNDED_WITHIN: Final = 14
"""Days from a purchase to its refund, at most."""
TOGETHER: Final = 0.25
"""The chance that a purchase comes minutes to hours after the one before it: customers go shopping."""
LARGE: Final = 0.04
"""The share of purchases that are several times as large as the usual ones: a journey, a washing machine."""
BORROWED: Final = 0.03
"""The share of the customers' own transactions that are made with a device never seen before or after."""
HOME: Final = "NL"
ABROAD: Final = (
    *(("DE", 0.26), ("BE", 0.22), ("FR", 0.17), ("ES", 0.13)),
    *(("GB", 0.10), ("US", 0.07), ("BR", 0.03), ("VN", 0.02)),
)
FOREIGN_SHOPS: Final = (("DE", 0.30), ("GB", 0.30), ("US", 0.25), ("VN", 0.15))
FAR_AWAY: Final = (("US", 0.25), ("GB", 0.25), ("DE", 0.20), ("BR", 0.15), ("VN", 0.15))

_MOVED: Final = (
    *("customer", "account", "opened", "closed", "number", "day", "kind"),
    *("cents", "channel", "merchant", "device", "country", "declined", "fraud"),
)


def transactions(alive: DataFrame, world: World) -> DataFrame:
    """Grain: one transaction. Internal columns; `number` is its own within the customer, `fraud` is the truth."""
    moved = [source(alive, world) for source in (_activity, _bills, _thefts)]
    return reduce(DataFrame.unionByName, moved).filter((F.col("day") >= 0) & is_open(F.col("day")))


def _activity(alive: DataFrame, world: World) -> DataFrame:
    """Purchases and transfers at the customer's own rate, in the company's seasons, less in a bad mood; and refunds.

    Candidates come at the highest rate, one a slot, and stay with the chance that the day gives. Some come with the
    one before, so there is one slot more than the time holds; rows outside the account's time are dropped.
    """
    dice, who, slot, day, spot = world.dice, F.col("customer"), F.col("slot"), F.col("day"), F.col("spot")
    row = (who, slot)
    mean = max(world.transactions_per_month - OTHERS, 0.25) / EASE
    peak = max(MONTHS) * max(SHOPPING_WEEK)
    gap = F.lit(DAYS_PER_MONTH / (mean * peak)) / F.col("active")
    since, until = world.whole_days(F.col("opened"), F.col("closed"), before=REFUNDED_WITHIN + 1)
    last = F.ceil((until - since) / gap).cast("int")
    tried = (
        alive.withColumns({"since": since, "gap": gap})
        .select("*", F.explode(F.sequence(F.lit(0), last)).alias("slot"))
        .withColumn("spot", slot - dice.chance(TOGETHER, "together", *row).cast("int"))
        .withColumn("day", F.col("since") + (spot + dice.uniform("activity", who, spot)) * F.col("gap"))
        .withColumn("month", F.floor(day / DAYS_PER_MONTH))
    )
    lull = F.when(dice.chance(0.10, "lull", who, F.col("month")), 0.25).otherwise(1.0)
    packing = F.when(day > F.col("packing_at"), 0.35).otherwise(1.0)
    keen = lull * packing * F.exp(-chill(day)) * (1 - shortage(day) * 0.5)
    after = F.when(spot < slot, 0.002 + 0.1 * F.pow(dice.uniform("after", *row), F.lit(2.0))).otherwise(0.0)
    done = (
        tried.filter(dice.chance(world.busy(day, SHOPPING_WEEK) * keen, "active", *row))
        .withColumn("day", at_hour(day, ANY_HOUR, dice.uniform("hour", who, spot)) + after)
        .withColumn("is_transfer", dice.chance(0.07, "transfer", *row))
        .withColumn("merchant", F.when(~F.col("is_transfer"), _merchant(world)))
        .withColumns({"country": _country(world), "device": _device(world, *row), "cents": _cents(world)})
    )
    sold = ~F.col("is_transfer")
    abused = sold & at_bad_terminal(world, F.col("merchant"), day) & dice.chance(ABUSED, "abused", *row)
    refunded = sold & ~abused & dice.chance(F.least(0.015 + 0.03 * irritation(day), F.lit(0.2)), "refunded", *row)
    back = F.col("back") == 1
    online = dice.pick([("online", 0.5), ("store", 0.35), ("app", 0.15)], "channel", *row)
    by_transfer = dice.pick([("app", 0.6), ("online", 0.4)], "transfer channel", *row)
    return (
        done.withColumn("fraud", F.when(abused, "terminal"))
        .withColumn("declined", dice.chance(DECLINED + shortage(day) * 0.6, "declined", *row))
        .select(
            "*",
            F.explode(
                F.when(refunded & ~F.col("declined"), F.array(F.lit(0), F.lit(1))).otherwise(F.array(F.lit(0)))
            ).alias("back"),
        )
        .withColumn("kind", F.when(back, "refund").when(F.col("is_transfer"), "transfer").otherwise("purchase"))
        .withColumn("number", slot.cast("long") * 8 + F.col("back"))
        .withColumn(
            "day",
            F.when(
                back,
                at_hour(
                    day + 3 + (REFUNDED_WITHIN - 3) * dice.uniform("back", *row),
                    OFFICE_HOURS,
                    dice.uniform("back hour", *row),
                ),
            ).otherwise(day),
        )
        .withColumn("channel", F.when(F.col("is_transfer"), by_transfer).otherwise(online))
        .select(*_MOVED)
    )


def _merchant(world: World) -> Column:
    """A favourite four times in five, else anybody; few merchants are popular."""
    dice, who, slot = world.dice, F.col("customer"), F.col("slot")
    favourite = F.floor(dice.uniform("which favourite", who, slot) * FAVOURITES)
    popular = F.when(dice.chance(0.8, "favourite", who, slot), dice.uniform("favourites", who, favourite)).otherwise(
        dice.uniform("anybody", who, slot)
    )
    return F.floor(popular * F.sqrt(popular) * world.merchants)


def _country(world: World) -> Column:
    """Home, but for those who travel this month, and for a shop somewhere else now and then."""
    dice, who, slot, month = world.dice, F.col("customer"), F.col("slot"), F.col("month")
    abroad = dice.chance(0.06, "travels", who, month) & dice.chance(0.6, "abroad", who, slot)
    elsewhere = dice.chance(0.03, "elsewhere", who, slot)
    return (
        F.when(abroad, dice.pick(ABROAD, "where", who, month))
        .when(elsewhere, dice.pick(FOREIGN_SHOPS, "shop", who, slot))
        .otherwise(HOME)
    )


def _device(world: World, *row: Column) -> Column:
    """One of two, of which the customer replaces one now and then, or somebody else's."""
    dice = world.dice
    second = dice.chance(0.3, "second device", *row).cast("int")
    own = _device_id(world, second, F.when(second == 0, devices_before(world, F.col("day"))).otherwise(0))
    return F.when(dice.chance(BORROWED, "borrowed", *row), _device_id(world, F.lit(-2), *row)).otherwise(own)


def _device_id(world: World, *keys: Column) -> Column:
    return F.concat(
        F.lit("D"), F.pmod(world.dice.number("device", F.col("customer"), *keys), F.lit(10**9)).cast("string")
    )


def _cents(world: World) -> Column:
    dice, row = world.dice, (F.col("customer"), F.col("slot"))
    size = F.when(F.col("is_transfer"), 4.0).otherwise(0.5 + dice.uniform("price level", F.col("merchant")))
    large = F.when(dice.chance(LARGE, "large", *row), 5.0).otherwise(1.0)
    return F.floor(100 + 100 * F.col("basket") * size * large * dice.around(0.7, "amount", *row))


def _months(alive: DataFrame, world: World) -> DataFrame:
    """One row per customer and month, `day` being the customer's own day of the bill.

    Month 0 is the one before the period: what follows from its bills falls into the first days.
    """
    first = F.add_months(F.lit(world.start.replace(day=1)), F.col("month").cast("int") - 1)
    bill_day = F.floor(world.dice.uniform("bill day", F.col("customer")) * 27) + 0.25
    months = F.sequence(F.lit(0), F.lit(world.calendar_months)).cast("array<bigint>")
    return (
        alive.select("*", F.explode(months).alias("month"))
        .withColumn("day", F.datediff(first, F.lit(world.start)) + bill_day)
        .filter(is_open(F.col("day")))
    )


def _charged(world: World) -> Column:
    return world.dice.chance(CHARGED, "charged", F.col("customer"), F.col("month"))


def _disputed(world: World) -> Column:
    probability = 0.07 + 0.25 * F.least(irritation(F.col("day")), F.lit(1.5))
    return world.dice.chance(probability, "disputed", F.col("customer"), F.col("month"))


def disputed_fees(alive: DataFrame, world: World) -> DataFrame:
    """The extra fees that the customer will not pay; `day` is when they were charged. Grain: customer and month."""
    return _months(alive, world).filter(_charged(world) & _disputed(world))


def _bills(alive: DataFrame, world: World) -> DataFrame:
    """What the company takes every month, what fails, what that costs, and what it gives back."""
    dice, row, day, short = world.dice, (F.col("customer"), F.col("month")), F.col("day"), F.col("short")
    bills = (
        _months(alive, world)
        .withColumn("short", shortage(day))
        .withColumn("failed", dice.chance(DECLINED + 0.9 * short, "failed", *row))
        .withColumn("charged", _charged(world))
        .withColumn("disputed", F.col("charged") & _disputed(world))
    )
    cents = F.floor(250 + 1200 * dice.uniform("charge", *row))
    failed, again = F.col("failed"), dice.chance(0.05 + 0.9 * short, "failed again", *row)
    entries = F.array(
        _entry(F.lit(True), 0, "payment", day, fee_cents(world, day), failed),
        _entry(failed, 1, "fee", day + 6, F.lit(500), F.lit(False)),
        _entry(failed, 2, "payment", day + 9, fee_cents(world, day), again),
        _entry(F.col("charged"), 3, "fee", day, cents, F.lit(False)),
        _entry(
            F.col("disputed"), 4, "refund", day + 4 + F.floor(8 * dice.uniform("credited", *row)), cents, F.lit(False)
        ),
    )
    return (
        bills.select("*", F.explode(F.filter(entries, lambda entry: entry["due"])).alias("entry"))
        .withColumns({name: F.col(f"entry.{name}") for name in ("kind", "day", "cents", "declined")})
        .withColumn("number", F.col("month") * 64 + F.col("entry.place") * 8 + 2)
        .withColumns({"channel": F.lit("direct debit"), "country": F.lit(HOME)})
        .withColumns(
            {
                "merchant": F.lit(None).cast("long"),
                "device": F.lit(None).cast("string"),
                "fraud": F.lit(None).cast("string"),
            }
        )
        .select(*_MOVED)
    )


def _entry(due: Column, place: int, kind: str, day: Column, cents: Column, declined: Column) -> Column:
    return F.struct(
        due.alias("due"),
        F.lit(place).alias("place"),
        F.lit(kind).alias("kind"),
        day.alias("day"),
        cents.cast("long").alias("cents"),
        declined.alias("declined"),
    )


def _thefts(alive: DataFrame, world: World) -> DataFrame:
    """A taken-over account is used for days or weeks, by some with a small sum first.

    Some thieves bring a device of their own; the others have the customer's, by malware, a second SIM card, or because
    they live there. They buy where others buy, and not for so much that it must be seen.
    """
    dice, who, step = world.dice, F.col("customer"), F.col("step")
    row = (who, step)
    steps = F.least(1 + F.floor(THEFTS * dice.exponential("thefts", who)), F.lit(12)).cast("int")
    span = 0.2 + 12 * F.pow(dice.uniform("span", who), F.lit(2.0))
    trial = (step == 0) & (steps > 1) & dice.chance(0.4, "trial", who)
    size = F.when(trial, 0.15).otherwise(2.2) * dice.around(0.9, "theft", *row)
    is_transfer = dice.chance(0.15, "theft by transfer", *row)
    is_own = dice.chance(OWN_DEVICE, "thief's device", who)
    is_far = is_own & dice.chance(0.5, "theft abroad", who) & dice.chance(0.7, "theft there", *row)
    anywhere = dice.uniform("theft at", *row)
    merchant = F.floor(anywhere * F.sqrt(anywhere) * world.merchants)
    moment = F.col("taken_at") + span * (step + dice.uniform("theft moment", *row)) / steps
    asleep = (moment - F.floor(moment) < 0.25) & dice.chance(0.7, "thief sleeps", *row)
    bought = dice.pick([("online", 0.6), ("app", 0.2), ("store", 0.2)], "theft channel", *row)
    sent = dice.pick([("app", 0.5), ("online", 0.5)], "theft sent", *row)
    return (
        takeovers(alive, world)
        .select("*", F.explode(F.sequence(F.lit(0), steps - 1).cast("array<bigint>")).alias("step"))
        .withColumn("day", moment + F.when(asleep, 0.3).otherwise(0.0))
        .withColumn("kind", F.when(is_transfer, "transfer").otherwise("purchase"))
        .withColumn("merchant", F.when(~is_transfer, merchant))
        .withColumn("cents", F.floor(100 + 100 * F.col("basket") * size))
        .withColumn("device", F.when(is_own, _device_id(world, F.lit(-1))).otherwise(_device(world, who, -1 - step)))
        .withColumn("country", F.when(is_far, dice.pick(FAR_AWAY, "theft country", who)).otherwise(HOME))
        .withColumn("channel", F.when(is_transfer, sent).otherwise(bought))
        .withColumn("declined", dice.chance(0.04 + 0.02 * step, "theft declined", *row))
        .withColumns({"fraud": F.lit("takeover"), "number": step * 8 + 3})
        .select(*_MOVED)
    )
