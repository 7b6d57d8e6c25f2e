"""The customers: their traits, the troubles that they meet, how dissatisfied these make them, and when they leave.

A trouble begins on one day. Calls about it follow at once, and about money also later; dissatisfaction rises slowly and
falls again, and the hazard of leaving follows it. So there are signs before a closure, and most customers with a
trouble stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.simulation.draw import choose
from churn.simulation.world import (
    DAYS_PER_MONTH,
    NEVER,
    OFFICE_HOURS,
    PLANS,
    REGIONS,
    RUN_OUT,
    SEGMENTS,
    World,
    at_hour,
)

JOINING_SHARE: Final = 0.36
"""The share of customers who open their account during the period."""
BACKGROUND_HAZARD: Final = 0.0030
"""Monthly hazard of leaving for a reason without signs: moving away, death, a merged household."""
CALM_HAZARD: Final = 0.0017
"""Monthly hazard of leaving by choice without dissatisfaction."""
MAX_DISSATISFACTION: Final = 4.0
DEVICE_LASTS: Final = 400
"""Days until a customer replaces the device that is used most."""
FIRST_CAMPAIGN: Final = 63
CAMPAIGN_EVERY: Final = 91
"""Days; both are whole weeks, as departures are drawn by week. A campaign has its effect until the next one."""


@dataclass(frozen=True)
class Trouble:
    """One kind of reason to leave; a customer meets it at most `times` times.

    `days`: until its greatest effect. `severity`: that effect on dissatisfaction, on average. `in_calls` and
    `in_spending`: how strongly it shows there.
    """

    name: str
    times: int
    days: float
    severity: float
    in_calls: float
    in_spending: float

    @property
    def occurrences(self) -> list[str]:
        """The name of each occurrence, to which the columns `<name>_at` and `<name>_severity` belong."""
        return [f"{self.name}_{number}" for number in range(1, self.times + 1)]


PRICE: Final = Trouble("price", times=2, days=35, severity=1.0, in_calls=1.2, in_spending=0.40)
OUTAGE: Final = Trouble("outage", times=2, days=30, severity=1.1, in_calls=1.8, in_spending=0.25)
SERVICE: Final = Trouble("service", times=2, days=40, severity=2.2, in_calls=1.6, in_spending=0.35)
OFFER: Final = Trouble("offer", times=2, days=35, severity=2.1, in_calls=0.6, in_spending=0.55)
TROUBLES: Final = (PRICE, OUTAGE, SERVICE, OFFER)
ABOUT_MONEY: Final = (PRICE, OFFER)
ABOUT_SERVICE: Final = (OUTAGE, SERVICE)

DISSATISFIED: Final = 0.5
"""The dissatisfaction from which on its cause decides how a customer responds to a campaign."""
NEW: Final = 180
"""Days from opening in which a customer still compares."""
RESPONDERS: Final[Mapping[str, tuple[tuple[str, float], ...]]] = {
    "about money": (("persuadable", 0.9), ("indifferent", 0.08), ("sleeping dog", 0.02)),
    "about service": (("persuadable", 0.06), ("indifferent", 0.74), ("sleeping dog", 0.2)),
    "new": (("persuadable", 0.2), ("indifferent", 0.75), ("sleeping dog", 0.05)),
    "satisfied": (("persuadable", 0.06), ("indifferent", 0.64), ("sleeping dog", 0.3)),
}
"""How customers respond to an offer of money, by what they are dissatisfied about: money is what the offer is about,
service is not, and a satisfied customer is reminded that there are other companies."""


def people(spark: SparkSession, world: World) -> DataFrame:
    """One row per customer: traits, troubles, and when and why the account was closed."""
    population = spark.range(world.customers).withColumnRenamed("id", "customer")
    for columns in (_traits(world), _contract(), _troubles(world), _money(world)):
        population = population.select("*", *(column.alias(name) for name, column in columns.items()))
    return population.join(_departures(world, population), "customer", "left").transform(_endings, world)


def _traits(world: World) -> dict[str, Column]:
    draws, customer = world.draws, F.col("customer")
    joined = draws.uniform("joined", customer)
    before = -draws.exponential("tenure", customer) * 620 - 20
    day = F.when(joined < JOINING_SHARE, joined / JOINING_SHARE * world.days).otherwise(before)
    ranks = [(str(rank), weight) for rank, (_, weight) in enumerate(PLANS)]
    return {
        "account": F.concat(F.lit("A"), F.lpad(customer.cast("string"), 7, "0")),
        "opened": at_hour(day, OFFICE_HOURS, draws.uniform("opened", customer)),
        "region": draws.pick(REGIONS, "region", customer),
        "segment": draws.pick(SEGMENTS, "segment", customer),
        "plan": draws.pick(ranks, "plan", customer).cast("int"),
        "term": draws.pick([("0", 0.3), ("365", 0.45), ("730", 0.25)], "term", customer).cast("double"),
        "frailty": draws.normal("frailty", customer),
        "price_sense": draws.lognormal(0.5, "price sense", customer),
        "talkative": draws.lognormal(0.75, "talkative", customer),
        "active": draws.lognormal(0.7, "active", customer),
        "basket": draws.lognormal(0.5, "basket", customer) * 32,
        "responds": draws.uniform("responder", customer),
    }


def _contract() -> dict[str, Column]:
    """The first end of the binding term in the period; terms renew automatically."""
    opened, term = F.col("opened"), F.col("term")
    rounds = F.greatest(F.ceil(-opened / F.greatest(term, F.lit(1.0))), F.lit(1))
    return {"first_end": F.when(term > 0, opened + term * rounds).otherwise(NEVER)}


def _troubles(world: World) -> dict[str, Column]:
    """Two columns for each occurrence of a trouble: its day (`_at`, NEVER if it does not occur) and its `_severity`."""
    draws, customer, region, days = world.draws, F.col("customer"), F.col("region"), world.days
    day_and_hit: dict[str, tuple[Column, Column]] = {}
    for number, occurrence in enumerate(PRICE.occurrences):
        day_and_hit[occurrence] = (
            price_rise(world, number),
            draws.chance(0.75, occurrence, customer),
        )
    for occurrence in OUTAGE.occurrences:
        day_and_hit[occurrence] = (
            draws.uniform(occurrence, region) * days + draws.uniform(occurrence, customer) * 3,
            draws.chance(0.45, f"{occurrence} hit", customer),
        )
    for occurrence in SERVICE.occurrences:
        day_and_hit[occurrence] = (
            world.any_day(draws.uniform(occurrence, customer)),
            draws.chance(world.any_day_chance(0.3), f"{occurrence} hit", customer),
        )
    for number, occurrence in enumerate(OFFER.occurrences):
        end = F.col("first_end") + F.col("term") * number
        day_and_hit[occurrence] = (
            end - 20 - 60 * draws.uniform(occurrence, customer),
            draws.chance(0.5, f"{occurrence} hit", customer),
        )
    columns: dict[str, Column] = {}
    for trouble in TROUBLES:
        sensitivity = F.col("price_sense") if trouble in (PRICE, OFFER) else F.lit(1.0)
        for occurrence in trouble.occurrences:
            day, hit = day_and_hit[occurrence]
            columns[f"{occurrence}_at"] = F.when(hit & (day > F.col("opened")), day).otherwise(NEVER)
            drawn = draws.exponential(f"{occurrence} hurt", customer)
            columns[f"{occurrence}_severity"] = drawn * sensitivity * trouble.severity
    return columns


def price_rise(world: World, number: int) -> Column:
    """The day of the first (0) or second (1) price rise in a region."""
    return F.floor(
        (0.2 + 0.45 * number + 0.2 * world.draws.uniform(f"price rise {number}", F.col("region"))) * world.days
    )


def _money(world: World) -> dict[str, Column]:
    """The day on which a customer can no longer pay; half of these accounts are closed two or three months later.

    No such day closes an account before the period, so all customers are customers in it.
    """
    draws, customer = world.draws, F.col("customer")
    hit = draws.chance(world.any_day_chance(0.143 * world.days / 730), "money", customer)
    day = world.any_day(draws.uniform("money day", customer))
    closed = day + 50 + 60 * draws.uniform("money closed", customer)
    unpaid = hit & draws.chance(0.5, "ruined", customer) & (closed > F.col("opened") + 40)
    closed_before = unpaid & (closed <= 0)
    return {
        "money_at": F.when(hit & ~closed_before, day).otherwise(NEVER),
        "nonpayment_at": F.when(
            unpaid & ~closed_before, at_hour(closed, OFFICE_HOURS, draws.uniform("ruin hour", customer))
        ).otherwise(NEVER),
    }


def _effect(day: Column, at: str, course: Callable[[Column], Column], until: float) -> Column:
    """The effect of an event on a later day, from the days since; 0 from `until` days on."""
    since = day - F.col(at)
    return F.when((since > 0) & (since < until), course(since)).otherwise(0.0)


def dissatisfaction_from(day: Column, trouble: Trouble, occurrence: str) -> Column:
    """The dissatisfaction from one occurrence: it rises to its severity within the trouble's days, then falls."""
    return F.col(f"{occurrence}_severity") * _effect(
        day, f"{occurrence}_at", lambda since: since / trouble.days * F.exp(1 - since / trouble.days), 9 * trouble.days
    )


def _total(effect: Callable[[Trouble, str], Column], troubles: tuple[Trouble, ...] = TROUBLES) -> Column:
    """The sum of an effect over all occurrences."""
    return reduce(add, [effect(trouble, occurrence) for trouble in troubles for occurrence in trouble.occurrences])


def dissatisfaction(day: Column) -> Column:
    """0 is a satisfied customer."""
    total = _total(lambda trouble, occurrence: dissatisfaction_from(day, trouble, occurrence))
    return F.least(total, F.lit(MAX_DISSATISFACTION))


def spending_loss(day: Column) -> Column:
    """The part of the dissatisfaction that keeps a customer from spending."""
    return _total(lambda trouble, occurrence: dissatisfaction_from(day, trouble, occurrence) * trouble.in_spending)


def irritation(day: Column, troubles: tuple[Trouble, ...] = TROUBLES) -> Column:
    """How strongly the troubles show in calls: at once, and for a few weeks."""

    def in_calls(trouble: Trouble, occurrence: str) -> Column:
        decayed = _effect(day, f"{occurrence}_at", lambda since: F.exp(-since / 24), 150)
        return F.col(f"{occurrence}_severity") * trouble.in_calls * decayed

    return _total(in_calls, troubles)


def shortage(day: Column) -> Column:
    """The chance that a payment fails for lack of money: it grows for a month, then decays."""
    return _effect(day, "money_at", lambda since: 0.75 * F.least(since / 30, F.exp((30 - since) / 70)), 240)


def campaign_day(campaign: Column) -> Column:
    return campaign * CAMPAIGN_EVERY + FIRST_CAMPAIGN


def contacted(world: World, campaign: Column) -> Column:
    """Chosen for a campaign; dissatisfied customers are likelier to be."""
    day = campaign_day(campaign)
    is_dissatisfied = dissatisfaction(day) > 0.7
    chosen = world.draws.chance(F.when(is_dissatisfied, 0.26).otherwise(0.12), "contacted", F.col("customer"), campaign)
    return (campaign >= 0) & (F.col("opened") < day - 30) & chosen


def treated(world: World, campaign: Column) -> Column:
    """In the treated arm, which is drawn at random among those chosen."""
    return world.draws.chance(0.7, "treated", F.col("customer"), campaign)


def responder(day: Column) -> Column:
    """How a customer responds to an offer that is made on a day: persuadable, indifferent, or a sleeping dog."""
    money, service = (
        _total(lambda trouble, occurrence: dissatisfaction_from(day, trouble, occurrence), troubles)
        for troubles in (ABOUT_MONEY, ABOUT_SERVICE)
    )
    weights = {name: choose(F.col("responds"), shares) for name, shares in RESPONDERS.items()}
    of_satisfied = F.when(day - F.col("opened") < NEW, weights["new"]).otherwise(weights["satisfied"])
    of_dissatisfied = F.when(money > service, weights["about money"]).otherwise(weights["about service"])
    return F.when(money + service > DISSATISFIED, of_dissatisfied).otherwise(of_satisfied)


def treatment_effect(responder: Column) -> Column:
    """Added to the logarithm of `dissatisfaction_hazard` by a treatment, until the next campaign."""
    return F.when(responder == "persuadable", -1.6).when(responder == "sleeping dog", 0.9).otherwise(0.0)


def background_hazard(day: Column) -> Column:
    """Monthly hazard of leaving for a reason outside the company; new customers have more of it."""
    return F.when(day - F.col("opened") < 90, 1.7).otherwise(1.0) * BACKGROUND_HAZARD


def dissatisfaction_hazard(day: Column) -> Column:
    """Monthly hazard of leaving from dissatisfaction if untreated; lower in a binding term, higher near its end."""
    to_end = F.pmod(F.col("first_end") - day, F.greatest(F.col("term"), F.lit(1.0)))
    near_end = (to_end < 25) | (to_end > F.col("term") - 25)
    term_factor = F.when(F.col("term") == 0, 1.1).when(near_end, 2.0).otherwise(0.75)
    return term_factor * F.exp(dissatisfaction(day) * 1.35 + F.col("frailty") * 0.4) * CALM_HAZARD


def _departures(world: World, population: DataFrame) -> DataFrame:
    """The `departure` of each customer who leaves by choice: its time and reason. Grain: one customer."""
    draws, customer, week = world.draws, F.col("customer"), F.col("week")
    day = week * 7.0
    campaign = F.floor((day - FIRST_CAMPAIGN) / CAMPAIGN_EVERY)
    effect = treatment_effect(responder(campaign_day(campaign)))
    change = F.when(contacted(world, campaign) & treated(world, campaign), effect).otherwise(0.0)
    last = (world.days + RUN_OUT) // 7
    weeks = population.select("*", F.explode(F.sequence(F.lit(0), F.lit(last))).alias("week"))
    hazards = weeks.filter(day > F.col("opened") + 14).select(
        "*", background_hazard(day).alias("background"), (dissatisfaction_hazard(day) * F.exp(change)).alias("driven")
    )
    chance = 1 - F.exp(-(F.col("background") + F.col("driven")) * 7 / DAYS_PER_MONTH)
    causes = [
        F.struct(dissatisfaction_from(day, trouble, occurrence).alias("amount"), F.lit(trouble.name).alias("name"))
        for trouble in TROUBLES
        for occurrence in trouble.occurrences
    ]
    worst = F.greatest(*causes)
    unforeseen = draws.chance(
        F.col("background") / (F.col("background") + F.col("driven")), "unforeseen", customer, week
    )
    reason = F.when(unforeseen, "life").when(worst["amount"] > 0.2, worst["name"]).otherwise("drift")
    left_at = at_hour(day + 7 * draws.uniform("left day", customer), OFFICE_HOURS, draws.uniform("left hour", customer))
    return (
        hazards.filter(draws.chance(chance, "left", customer, week))
        .groupBy("customer")
        .agg(F.min(F.struct(left_at.alias("at"), reason.alias("reason"))).alias("departure"))
    )


def _endings(population: DataFrame, world: World) -> DataFrame:
    """`closed` (NEVER while open), how and why, and `disengaged_at`, from when a leaver uses the account less."""
    draws, customer = world.draws, F.col("customer")
    left_at = F.coalesce(F.col("departure.at"), F.lit(NEVER))
    is_unpaid = F.col("nonpayment_at") < left_at
    disengages = draws.chance(F.when(F.col("departure.reason") == "life", 0.35).otherwise(0.6), "packing", customer)
    ended = population.select(
        "*",
        F.least(left_at, F.col("nonpayment_at")).alias("closed"),
        F.when(is_unpaid, "involuntary").when(left_at < NEVER, "voluntary").alias("how"),
        F.when(is_unpaid, "money").otherwise(F.col("departure.reason")).alias("reason"),
        F.when(disengages & ~is_unpaid, left_at - 6 - 40 * draws.uniform("packing day", customer))
        .otherwise(NEVER)
        .alias("disengaged_at"),
    )
    return ended.drop("departure", "nonpayment_at")


def devices_before(world: World, day: Column) -> Column:
    """How often the customer had replaced the device by that day."""
    return F.floor(day / DEVICE_LASTS + world.draws.uniform("replaces", F.col("customer")))


def replaced_at(world: World, number: Column) -> Column:
    """The day of a replacement: the first on which `devices_before` is that number."""
    return (number - world.draws.uniform("replaces", F.col("customer"))) * DEVICE_LASTS


def is_open(day: Column) -> Column:
    return (day >= F.col("opened")) & (day < F.col("closed"))
