"""Who the customers are, what happens to them, how they feel about it, and when they leave.

A trouble hurts a customer from one day on. The call centre hears of it at once; the mood sinks slowly and recovers,
and the hazard of leaving follows the mood. So what can be seen comes before the closure, and most of the troubled stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.simulation.world import (
    DAYS_PER_MONTH,
    FAR,
    OFFICE_HOURS,
    PLANS,
    REGIONS,
    RUN_OUT,
    SEGMENTS,
    World,
    at_hour,
)

JOINERS: Final = 0.36
"""The share of customers who open their account during the period."""
LIFE: Final = 0.0030
"""Hazard a month of leaving for reasons nobody could have seen: moving away, death, a household that merges."""
DRIFT: Final = 0.0017
"""Hazard a month of leaving in a calm mood."""
WORST_MOOD: Final = 4.0
DEVICE_LASTS: Final = 400
"""Days until a customer replaces the device that is used most."""
FIRST_CAMPAIGN: Final = 63
CAMPAIGN_EVERY: Final = 91
"""Days; both are whole weeks, as the hazard is drawn week by week. A campaign works until the next one."""


@dataclass(frozen=True)
class Trouble:
    """One kind of reason to leave. `times` is how often it can meet a customer.

    `days`: from the trouble to the lowest mood. `hurt`: how low, on average. `voice`: how much of it the call centre
    hears. `chill`: how much of it shows in spending.
    """

    name: str
    times: int
    days: float
    hurt: float
    voice: float
    chill: float

    @property
    def slots(self) -> list[str]:
        return [f"{self.name}_{number}" for number in range(1, self.times + 1)]


PRICE: Final = Trouble("price", times=2, days=35, hurt=1.0, voice=1.2, chill=0.40)
OUTAGE: Final = Trouble("outage", times=2, days=30, hurt=1.1, voice=1.8, chill=0.25)
SERVICE: Final = Trouble("service", times=2, days=40, hurt=2.2, voice=1.6, chill=0.35)
OFFER: Final = Trouble("offer", times=2, days=35, hurt=2.1, voice=0.6, chill=0.55)
TROUBLES: Final = (PRICE, OUTAGE, SERVICE, OFFER)


def people(spark: SparkSession, world: World) -> DataFrame:
    """One row per customer: traits, troubles, and how it ended."""
    alive = spark.range(world.customers).withColumnRenamed("id", "customer")
    for columns in (_traits(world), _contract(), _troubles(world), _money(world)):
        alive = alive.select("*", *(column.alias(name) for name, column in columns.items()))
    return alive.join(_departures(world, alive), "customer", "left").transform(_endings, world)


def _traits(world: World) -> dict[str, Column]:
    dice, who = world.dice, F.col("customer")
    joined = dice.uniform("joined", who)
    before = -dice.exponential("tenure", who) * 620 - 20
    day = F.when(joined < JOINERS, joined / JOINERS * world.days).otherwise(before)
    ranks = [(str(rank), weight) for rank, (_, weight) in enumerate(PLANS)]
    return {
        "account": F.concat(F.lit("A"), F.lpad(who.cast("string"), 7, "0")),
        "opened": at_hour(day, OFFICE_HOURS, dice.uniform("opened", who)),
        "region": dice.pick(REGIONS, "region", who),
        "segment": dice.pick(SEGMENTS, "segment", who),
        "plan": dice.pick(ranks, "plan", who).cast("int"),
        "term": dice.pick([("0", 0.3), ("365", 0.45), ("730", 0.25)], "term", who).cast("double"),
        "frailty": dice.normal("frailty", who),
        "price_sense": dice.around(0.5, "price sense", who),
        "talkative": dice.around(0.75, "talkative", who),
        "active": dice.around(0.7, "active", who),
        "basket": dice.around(0.5, "basket", who) * 32,
        "responder": dice.pick([("persuadable", 0.35), ("indifferent", 0.5), ("sleeping dog", 0.15)], "responder", who),
    }


def _contract() -> dict[str, Column]:
    """The first end of the binding term that falls in the period; terms renew themselves."""
    opened, term = F.col("opened"), F.col("term")
    rounds = F.greatest(F.ceil(-opened / F.greatest(term, F.lit(1.0))), F.lit(1))
    return {"first_end": F.when(term > 0, opened + term * rounds).otherwise(FAR)}


def _troubles(world: World) -> dict[str, Column]:
    """Two columns a trouble: the day it begins (`_at`, FAR if it does not) and how much it hurts (`_hurt`)."""
    dice, who, region, days = world.dice, F.col("customer"), F.col("region"), world.days
    met: dict[str, tuple[Column, Column]] = {}
    for number, slot in enumerate(PRICE.slots):
        met[slot] = (
            price_rise(world, number),
            dice.chance(0.75, slot, who),
        )
    for slot in OUTAGE.slots:
        met[slot] = (
            dice.uniform(slot, region) * days + dice.uniform(slot, who) * 3,
            dice.chance(0.45, f"{slot} hit", who),
        )
    for slot in SERVICE.slots:
        met[slot] = (
            world.any_day(dice.uniform(slot, who)),
            dice.chance(world.any_day_chance(0.3), f"{slot} hit", who),
        )
    for number, slot in enumerate(OFFER.slots):
        end = F.col("first_end") + F.col("term") * number
        met[slot] = (end - 20 - 60 * dice.uniform(slot, who), dice.chance(0.5, f"{slot} hit", who))
    columns: dict[str, Column] = {}
    for trouble in TROUBLES:
        sense = F.col("price_sense") if trouble in (PRICE, OFFER) else F.lit(1.0)
        for slot in trouble.slots:
            day, hit = met[slot]
            columns[f"{slot}_at"] = F.when(hit & (day > F.col("opened")), day).otherwise(FAR)
            columns[f"{slot}_hurt"] = dice.exponential(f"{slot} hurt", who) * sense * trouble.hurt
    return columns


def price_rise(world: World, number: int) -> Column:
    """The day on which a region's prices go up for the first (0) or second (1) time."""
    return F.floor(
        (0.2 + 0.45 * number + 0.2 * world.dice.uniform(f"price rise {number}", F.col("region"))) * world.days
    )


def _money(world: World) -> dict[str, Column]:
    """The day the money runs out; half of those who meet it are closed for not paying, two or three months later.

    Nobody has a day that would have closed the account before the period: all are customers in it.
    """
    dice, who = world.dice, F.col("customer")
    hit = dice.chance(world.any_day_chance(0.143 * world.days / 730), "money", who)
    day = world.any_day(dice.uniform("money day", who))
    closed = day + 50 + 60 * dice.uniform("money closed", who)
    ruined = hit & dice.chance(0.5, "ruined", who) & (closed > F.col("opened") + 40)
    closed_before = ruined & (closed <= 0)
    return {
        "money_at": F.when(hit & ~closed_before, day).otherwise(FAR),
        "ruined_at": F.when(
            ruined & ~closed_before, at_hour(closed, OFFICE_HOURS, dice.uniform("ruin hour", who))
        ).otherwise(FAR),
    }


def _wave(day: Column, at: str, shape: Callable[[Column], Column], until: float) -> Column:
    since = day - F.col(at)
    return F.when((since > 0) & (since < until), shape(since)).otherwise(0.0)


def _sunk(day: Column, trouble: Trouble, slot: str) -> Column:
    """How low one trouble has brought the mood: up to its hurt after its days, then back."""
    return F.col(f"{slot}_hurt") * _wave(
        day, f"{slot}_at", lambda since: since / trouble.days * F.exp(1 - since / trouble.days), 9 * trouble.days
    )


def _sum(terms: list[Column]) -> Column:
    return reduce(add, terms)


def mood(day: Column) -> Column:
    """How sunk the mood is that day: 0 is calm."""
    return F.least(
        _sum([_sunk(day, trouble, slot) for trouble in TROUBLES for slot in trouble.slots]), F.lit(WORST_MOOD)
    )


def chill(day: Column) -> Column:
    """How much of the mood keeps the customer from spending."""
    return _sum([_sunk(day, trouble, slot) * trouble.chill for trouble in TROUBLES for slot in trouble.slots])


def irritation(day: Column, troubles: tuple[Trouble, ...] = TROUBLES) -> Column:
    """What the call centre hears of the troubles: loud at once, gone within a few weeks."""
    return _sum(
        [
            F.col(f"{slot}_hurt") * trouble.voice * _wave(day, f"{slot}_at", lambda since: F.exp(-since / 24), 150)
            for trouble in troubles
            for slot in trouble.slots
        ]
    )


def shortage(day: Column) -> Column:
    """The chance that money is not there: grows for a month after it ran out, then fades."""
    return _wave(day, "money_at", lambda since: 0.75 * F.least(since / 30, F.exp((30 - since) / 70)), 240)


def campaign_day(campaign: Column) -> Column:
    return campaign * CAMPAIGN_EVERY + FIRST_CAMPAIGN


def contacted(world: World, campaign: Column) -> Column:
    """Chosen for a campaign: rather those in a bad mood, as far as the company can tell."""
    day = campaign_day(campaign)
    troubled = mood(day) > 0.7
    chosen = world.dice.chance(F.when(troubled, 0.26).otherwise(0.12), "contacted", F.col("customer"), campaign)
    return (campaign >= 0) & (F.col("opened") < day - 30) & chosen


def treated(world: World, campaign: Column) -> Column:
    """The arm, drawn by chance among those chosen."""
    return world.dice.chance(0.7, "treated", F.col("customer"), campaign)


def effect() -> Column:
    """What a treatment adds to the logarithm of the hazard, until the next campaign."""
    return (
        F.when(F.col("responder") == "persuadable", -1.2).when(F.col("responder") == "sleeping dog", 0.9).otherwise(0.0)
    )


def calm_leaving(day: Column) -> Column:
    """Hazard a month that has nothing to do with what the company did."""
    return F.when(day - F.col("opened") < 90, 1.7).otherwise(1.0) * LIFE


def leaving(day: Column) -> Column:
    """Hazard a month from the mood, without any treatment. A binding term holds back, its end sets free."""
    to_end = F.pmod(F.col("first_end") - day, F.greatest(F.col("term"), F.lit(1.0)))
    near_end = (to_end < 25) | (to_end > F.col("term") - 25)
    bound = F.when(F.col("term") == 0, 1.1).when(near_end, 2.0).otherwise(0.75)
    return bound * F.exp(mood(day) * 1.35 + F.col("frailty") * 0.4) * DRIFT


def _departures(world: World, alive: DataFrame) -> DataFrame:
    """The first week in which a customer leaves by choice, and why. Grain: one customer who does."""
    dice, who, week = world.dice, F.col("customer"), F.col("week")
    day = week * 7.0
    campaign = F.floor((day - FIRST_CAMPAIGN) / CAMPAIGN_EVERY)
    change = F.when(contacted(world, campaign) & treated(world, campaign), effect()).otherwise(0.0)
    last = (world.days + RUN_OUT) // 7
    weeks = alive.select("*", F.explode(F.sequence(F.lit(0), F.lit(last))).alias("week"))
    hazards = weeks.filter(day > F.col("opened") + 14).select(
        "*", calm_leaving(day).alias("calm"), (leaving(day) * F.exp(change)).alias("driven")
    )
    chance = 1 - F.exp(-(F.col("calm") + F.col("driven")) * 7 / DAYS_PER_MONTH)
    sunk = [(trouble.name, _sunk(day, trouble, slot)) for trouble in TROUBLES for slot in trouble.slots]
    worst = F.greatest(*(F.struct(depth.alias("depth"), F.lit(name).alias("name")) for name, depth in sunk))
    unforeseen = dice.chance(F.col("calm") / (F.col("calm") + F.col("driven")), "unforeseen", who, week)
    reason = F.when(unforeseen, "life").when(worst["depth"] > 0.2, worst["name"]).otherwise("drift")
    moment = at_hour(day + 7 * dice.uniform("left day", who), OFFICE_HOURS, dice.uniform("left hour", who))
    return (
        hazards.filter(dice.chance(chance, "left", who, week))
        .groupBy("customer")
        .agg(F.min(F.struct(moment.alias("at"), reason.alias("reason"))).alias("departure"))
    )


def _endings(alive: DataFrame, world: World) -> DataFrame:
    """`closed` (FAR while open), how and why, and from when on a customer who goes uses the account less."""
    dice, who = world.dice, F.col("customer")
    left_at = F.coalesce(F.col("departure.at"), F.lit(FAR))
    ruined = F.col("ruined_at") < left_at
    packing = dice.chance(F.when(F.col("departure.reason") == "life", 0.35).otherwise(0.6), "packing", who)
    ended = alive.select(
        "*",
        F.least(left_at, F.col("ruined_at")).alias("closed"),
        F.when(ruined, "involuntary").when(left_at < FAR, "voluntary").alias("how"),
        F.when(ruined, "money").otherwise(F.col("departure.reason")).alias("reason"),
        F.when(packing & ~ruined, left_at - 6 - 40 * dice.uniform("packing day", who))
        .otherwise(FAR)
        .alias("packing_at"),
    )
    return ended.drop("departure", "ruined_at")


def devices_before(world: World, day: Column) -> Column:
    """How often the customer had replaced the device by that day."""
    return F.floor(day / DEVICE_LASTS + world.dice.uniform("replaces", F.col("customer")))


def replaced_at(world: World, number: Column) -> Column:
    """The day of a replacement: the first one on which `devices_before` says that number."""
    return (number - world.dice.uniform("replaces", F.col("customer"))) * DEVICE_LASTS


def is_open(day: Column) -> Column:
    return (day >= F.col("opened")) & (day < F.col("closed"))
