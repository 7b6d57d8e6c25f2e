"""The transactions: purchases, transfers, monthly payments, fees, refunds, and frauds."""

from __future__ import annotations

from functools import reduce
from statistics import fmean
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.agreements import fee_cents
from churn.simulation.frauds import ABUSED, OWN_DEVICE, THEFTS, at_compromised_terminal, takeovers
from churn.simulation.people import devices_before, irritation, is_open, shortage, spending_loss
from churn.simulation.world import (
    ANY_HOUR,
    DAYS_PER_MONTH,
    MONTHS,
    OFFICE_HOURS,
    SHOPPING_WEEK,
    World,
    at_hour,
)

BILLING_PER_MONTH: Final = 1.25
"""Payments, fees and refunds a month of an open account; the other transactions are purchases and transfers."""
REMAINING_ACTIVITY: Final = 0.80
"""The mean share of the activity that quiet months, dissatisfaction and disengagement leave."""
CHARGED: Final = 0.10
"""The chance of an extra fee in a month."""
DECLINED: Final = 0.016
FAVOURITES: Final = 6
MAX_REFUND_DAYS: Final = 14
"""The most days from a purchase to its refund."""
FOLLOWED_UP: Final = 0.25
"""The chance that a purchase comes minutes to hours after the one before it, on a shopping trip."""
LARGE: Final = 0.04
"""The share of purchases several times as large as the others: a journey, a washing machine."""
BORROWED: Final = 0.03
"""The share of the customers' own transactions on a device that is used only once."""
LULLS: Final = 0.10
"""The share of months in which a customer has a quarter of the activity of other months."""
TRANSFERS: Final = 0.07
"""The share of the customers' own transactions that are transfers."""
HOME: Final = "NL"
ABROAD: Final = (
    *(("DE", 0.26), ("BE", 0.22), ("FR", 0.17), ("ES", 0.13)),
    *(("GB", 0.10), ("US", 0.07), ("BR", 0.03), ("VN", 0.02)),
)
FOREIGN_SHOPS: Final = (("DE", 0.30), ("GB", 0.30), ("US", 0.25), ("VN", 0.15))
FAR_AWAY: Final = (("US", 0.25), ("GB", 0.25), ("DE", 0.20), ("BR", 0.15), ("VN", 0.15))

_COLUMNS: Final = (
    *("customer", "account", "opened", "closed", "number", "day", "kind"),
    *("cents", "channel", "merchant", "device", "country", "declined", "fraud"),
)


def transactions(population: DataFrame, world: World) -> DataFrame:
    """Grain: one transaction. Internal columns; `number` is unique within the customer, `fraud` is the truth."""
    parts = [source(population, world) for source in (_activity, _bills, _thefts)]
    return reduce(DataFrame.unionByName, parts).filter((F.col("day") >= 0) & is_open(F.col("day")))


def _candidates_a_month(world: World) -> float:
    """Purchases and transfers of an average customer in a month without anything that keeps customers from them."""
    return max(world.transactions_per_month - BILLING_PER_MONTH, 0.25) / REMAINING_ACTIVITY


def yearly_spend(world: World) -> Column:
    """What a satisfied customer is expected to spend on purchases in a year, which the company does not know."""
    season = fmean(MONTHS) * fmean(SHOPPING_WEEK)
    made = 12 * _candidates_a_month(world) * season * (1 - 0.75 * LULLS) * (1 - TRANSFERS) * (1 - DECLINED)
    return made * F.col("active") * (1 + F.col("basket") * (1 + 4 * LARGE))


def _activity(population: DataFrame, world: World) -> DataFrame:
    """Purchases and transfers at the customer's own rate, by season, fewer when dissatisfied; and refunds.

    Candidates come at the greatest rate, one per interval, and are accepted with the chance of their day. Some share
    the interval of the one before, so there is one more than intervals; rows outside the account's time are dropped.
    """
    draws, customer, candidate, day, interval = (
        world.draws,
        F.col("customer"),
        F.col("candidate"),
        F.col("day"),
        F.col("interval"),
    )
    row = (customer, candidate)
    mean = _candidates_a_month(world)
    peak = max(MONTHS) * max(SHOPPING_WEEK)
    length = F.lit(DAYS_PER_MONTH / (mean * peak)) / F.col("active")
    since, until = world.whole_days(F.col("opened"), F.col("closed"), before=MAX_REFUND_DAYS + 1)
    last = F.ceil((until - since) / length).cast("int")
    candidates = (
        population.withColumns({"since": since, "length": length})
        .select("*", F.explode(F.sequence(F.lit(0), last)).alias("candidate"))
        .withColumn("interval", candidate - draws.chance(FOLLOWED_UP, "together", *row).cast("int"))
        .withColumn(
            "day", F.col("since") + (interval + draws.uniform("activity", customer, interval)) * F.col("length")
        )
        .withColumn("month", F.floor(day / DAYS_PER_MONTH))
    )
    quiet = F.when(draws.chance(LULLS, "lull", customer, F.col("month")), 0.25).otherwise(1.0)
    disengaged = F.when(day > F.col("disengaged_at"), 0.35).otherwise(1.0)
    activity = quiet * disengaged * F.exp(-spending_loss(day)) * (1 - shortage(day) * 0.5)
    after = F.when(interval < candidate, 0.002 + 0.1 * F.pow(draws.uniform("after", *row), F.lit(2.0))).otherwise(0.0)
    made = (
        candidates.filter(draws.chance(world.activity(day, SHOPPING_WEEK) * activity, "active", *row))
        .withColumn("day", at_hour(day, ANY_HOUR, draws.uniform("hour", customer, interval)) + after)
        .withColumn("is_transfer", draws.chance(TRANSFERS, "transfer", *row))
        .withColumn("merchant", F.when(~F.col("is_transfer"), _merchant(world)))
        .withColumns({"country": _country(world), "device": _device(world, *row), "cents": _cents(world)})
    )
    is_purchase = ~F.col("is_transfer")
    abused = is_purchase & at_compromised_terminal(world, F.col("merchant"), day) & draws.chance(ABUSED, "abused", *row)
    refunded = (
        is_purchase & ~abused & draws.chance(F.least(0.015 + 0.03 * irritation(day), F.lit(0.2)), "refunded", *row)
    )
    is_refund = F.col("is_refund") == 1
    online = draws.pick([("online", 0.5), ("store", 0.35), ("app", 0.15)], "channel", *row)
    by_transfer = draws.pick([("app", 0.6), ("online", 0.4)], "transfer channel", *row)
    return (
        made.withColumn("fraud", F.when(abused, "terminal"))
        .withColumn("declined", draws.chance(DECLINED + shortage(day) * 0.6, "declined", *row))
        .select(
            "*",
            F.explode(
                F.when(refunded & ~F.col("declined"), F.array(F.lit(0), F.lit(1))).otherwise(F.array(F.lit(0)))
            ).alias("is_refund"),
        )
        .withColumn("kind", F.when(is_refund, "refund").when(F.col("is_transfer"), "transfer").otherwise("purchase"))
        .withColumn("number", candidate.cast("long") * 8 + F.col("is_refund"))
        .withColumn(
            "day",
            F.when(
                is_refund,
                at_hour(
                    day + 3 + (MAX_REFUND_DAYS - 3) * draws.uniform("back", *row),
                    OFFICE_HOURS,
                    draws.uniform("back hour", *row),
                ),
            ).otherwise(day),
        )
        .withColumn("channel", F.when(F.col("is_transfer"), by_transfer).otherwise(online))
        .select(*_COLUMNS)
    )


def _merchant(world: World) -> Column:
    """One of the customer's favourites four times in five, else any merchant; few merchants are popular."""
    draws, customer, candidate = world.draws, F.col("customer"), F.col("candidate")
    favourite = F.floor(draws.uniform("which favourite", customer, candidate) * FAVOURITES)
    popular = F.when(
        draws.chance(0.8, "favourite", customer, candidate), draws.uniform("favourites", customer, favourite)
    ).otherwise(draws.uniform("anybody", customer, candidate))
    return F.floor(popular * F.sqrt(popular) * world.merchants)


def _country(world: World) -> Column:
    """HOME, except for customers who travel this month, and for some purchases at foreign shops."""
    draws, customer, candidate, month = world.draws, F.col("customer"), F.col("candidate"), F.col("month")
    abroad = draws.chance(0.06, "travels", customer, month) & draws.chance(0.6, "abroad", customer, candidate)
    elsewhere = draws.chance(0.03, "elsewhere", customer, candidate)
    return (
        F.when(abroad, draws.pick(ABROAD, "where", customer, month))
        .when(elsewhere, draws.pick(FOREIGN_SHOPS, "shop", customer, candidate))
        .otherwise(HOME)
    )


def _device(world: World, *row: Column) -> Column:
    """One of the customer's two devices, of which one is replaced at times, or a device that is used once."""
    draws = world.draws
    second = draws.chance(0.3, "second device", *row).cast("int")
    own = _device_id(world, second, F.when(second == 0, devices_before(world, F.col("day"))).otherwise(0))
    return F.when(draws.chance(BORROWED, "borrowed", *row), _device_id(world, F.lit(-2), *row)).otherwise(own)


def _device_id(world: World, *keys: Column) -> Column:
    return F.concat(
        F.lit("D"), F.pmod(world.draws.number("device", F.col("customer"), *keys), F.lit(10**9)).cast("string")
    )


def _cents(world: World) -> Column:
    draws, row = world.draws, (F.col("customer"), F.col("candidate"))
    size = F.when(F.col("is_transfer"), 4.0).otherwise(0.5 + draws.uniform("price level", F.col("merchant")))
    large = F.when(draws.chance(LARGE, "large", *row), 5.0).otherwise(1.0)
    return F.floor(100 + 100 * F.col("basket") * size * large * draws.lognormal(0.7, "amount", *row))


def _months(population: DataFrame, world: World) -> DataFrame:
    """One row per customer and month; `day` is the day of the bill, which each customer has.

    Month 0 is the one before the period: the fees and refunds that follow from its bills are in the period.
    """
    first = F.add_months(F.lit(world.start.replace(day=1)), F.col("month").cast("int") - 1)
    bill_day = F.floor(world.draws.uniform("bill day", F.col("customer")) * 27) + 0.25
    months = F.sequence(F.lit(0), F.lit(world.calendar_months)).cast("array<bigint>")
    return (
        population.select("*", F.explode(months).alias("month"))
        .withColumn("day", F.datediff(first, F.lit(world.start)) + bill_day)
        .filter(is_open(F.col("day")))
    )


def _charged(world: World) -> Column:
    return world.draws.chance(CHARGED, "charged", F.col("customer"), F.col("month"))


def _disputed(world: World) -> Column:
    probability = 0.07 + 0.25 * F.least(irritation(F.col("day")), F.lit(1.5))
    return world.draws.chance(probability, "disputed", F.col("customer"), F.col("month"))


def disputed_fees(population: DataFrame, world: World) -> DataFrame:
    """The extra fees that a customer disputes; `day` is when they were charged. Grain: customer and month."""
    return _months(population, world).filter(_charged(world) & _disputed(world))


def _bills(population: DataFrame, world: World) -> DataFrame:
    """The monthly payments, the failed ones with their fee and second attempt, extra fees and their refunds."""
    draws, row, day, unpaid = world.draws, (F.col("customer"), F.col("month")), F.col("day"), F.col("shortage")
    bills = (
        _months(population, world)
        .withColumn("shortage", shortage(day))
        .withColumn("failed", draws.chance(DECLINED + 0.9 * unpaid, "failed", *row))
        .withColumn("charged", _charged(world))
        .withColumn("disputed", F.col("charged") & _disputed(world))
    )
    cents = F.floor(250 + 1200 * draws.uniform("charge", *row))
    failed, again = F.col("failed"), draws.chance(0.05 + 0.9 * unpaid, "failed again", *row)
    entries = F.array(
        _entry(F.lit(True), 0, "payment", day, fee_cents(world, day), failed),
        _entry(failed, 1, "fee", day + 6, F.lit(500), F.lit(False)),
        _entry(failed, 2, "payment", day + 9, fee_cents(world, day), again),
        _entry(F.col("charged"), 3, "fee", day, cents, F.lit(False)),
        _entry(
            F.col("disputed"), 4, "refund", day + 4 + F.floor(8 * draws.uniform("credited", *row)), cents, F.lit(False)
        ),
    )
    return (
        bills.select("*", F.explode(F.filter(entries, lambda entry: entry["due"])).alias("entry"))
        .withColumns({name: F.col(f"entry.{name}") for name in ("kind", "day", "cents", "declined")})
        .withColumn("number", F.col("month") * 64 + F.col("entry.position") * 8 + 2)
        .withColumns({"channel": F.lit("direct debit"), "country": F.lit(HOME)})
        .withColumns(
            {
                "merchant": F.lit(None).cast("long"),
                "device": F.lit(None).cast("string"),
                "fraud": F.lit(None).cast("string"),
            }
        )
        .select(*_COLUMNS)
    )


def _entry(due: Column, position: int, kind: str, day: Column, cents: Column, declined: Column) -> Column:
    return F.struct(
        due.alias("due"),
        F.lit(position).alias("position"),
        F.lit(kind).alias("kind"),
        day.alias("day"),
        cents.cast("long").alias("cents"),
        declined.alias("declined"),
    )


def _thefts(population: DataFrame, world: World) -> DataFrame:
    """The thief's transactions on a taken-over account, over days or weeks; some try a small amount first.

    Some thieves use a device of their own; the others use the customer's, by malware or a second SIM card, or as a
    member of the household. Merchants and amounts are not conspicuous.
    """
    draws, customer, step = world.draws, F.col("customer"), F.col("step")
    row = (customer, step)
    steps = F.least(1 + F.floor(THEFTS * draws.exponential("thefts", customer)), F.lit(12)).cast("int")
    span = 0.2 + 12 * F.pow(draws.uniform("span", customer), F.lit(2.0))
    trial = (step == 0) & (steps > 1) & draws.chance(0.4, "trial", customer)
    size = F.when(trial, 0.15).otherwise(2.2) * draws.lognormal(0.9, "theft", *row)
    is_transfer = draws.chance(0.15, "theft by transfer", *row)
    is_own = draws.chance(OWN_DEVICE, "thief's device", customer)
    is_far = is_own & draws.chance(0.5, "theft abroad", customer) & draws.chance(0.7, "theft there", *row)
    anywhere = draws.uniform("theft at", *row)
    merchant = F.floor(anywhere * F.sqrt(anywhere) * world.merchants)
    at = F.col("taken_at") + span * (step + draws.uniform("theft moment", *row)) / steps
    asleep = (at - F.floor(at) < 0.25) & draws.chance(0.7, "thief sleeps", *row)
    purchase_channel = draws.pick([("online", 0.6), ("app", 0.2), ("store", 0.2)], "theft channel", *row)
    transfer_channel = draws.pick([("app", 0.5), ("online", 0.5)], "theft sent", *row)
    return (
        takeovers(population, world)
        .select("*", F.explode(F.sequence(F.lit(0), steps - 1).cast("array<bigint>")).alias("step"))
        .withColumn("day", at + F.when(asleep, 0.3).otherwise(0.0))
        .withColumn("kind", F.when(is_transfer, "transfer").otherwise("purchase"))
        .withColumn("merchant", F.when(~is_transfer, merchant))
        .withColumn("cents", F.floor(100 + 100 * F.col("basket") * size))
        .withColumn(
            "device", F.when(is_own, _device_id(world, F.lit(-1))).otherwise(_device(world, customer, -1 - step))
        )
        .withColumn("country", F.when(is_far, draws.pick(FAR_AWAY, "theft country", customer)).otherwise(HOME))
        .withColumn("channel", F.when(is_transfer, transfer_channel).otherwise(purchase_channel))
        .withColumn("declined", draws.chance(0.04 + 0.02 * step, "theft declined", *row))
        .withColumns({"fraud": F.lit("takeover"), "number": step * 8 + 3})
        .select(*_COLUMNS)
    )
