"""The simulated company as clean tables in the contracts' columns, without data quality problems."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.simulation.agreements import agreements
from churn.simulation.calls import calls
from churn.simulation.contacts import contacts
from churn.simulation.frauds import fraud_reports
from churn.simulation.people import TROUBLES, campaign_day
from churn.simulation.world import World

LOADS_A_DAY: Final = 96
MONEY: Final = "decimal(18,4)"
LAG: Final[Mapping[str, float]] = {
    "customers": 0.25,
    "calls": 0.03,
    "transactions": 0.02,
    "closures": 0.6,
    "fraud_reports": 0.1,
    "contacts": 0.2,
}
"""Mean days from an event to the load of its row; a load is every quarter of an hour."""


def tables(population: DataFrame, transactions: DataFrame, suspects: DataFrame, world: World) -> dict[str, DataFrame]:
    """Every source of the company, in the contracts' columns and types, without events after the period."""
    return {
        "customers": _customers(population, world),
        "calls": _calls(population, world),
        "transactions": _transactions(transactions, world),
        "closures": _closures(population, world),
        "fraud_reports": _fraud_reports(suspects, world),
        "contacts": _contacts(population, world),
    }


def ground_truth(population: DataFrame, suspects: DataFrame, world: World) -> dict[str, DataFrame]:
    """Tables that only the simulation knows; never an input of features."""
    events = [*(occurrence for trouble in TROUBLES for occurrence in trouble.occurrences), "money"]
    return {
        "customers": population.select(
            F.col("account").alias("customer_id"),
            *(F.round(trait, 6).alias(trait) for trait in ("frailty", "talkative", "price_sense")),
            *(_date_or_null(world, F.col(f"{event}_at")).alias(f"{event}_on") for event in events),
            _date_or_null(world, F.col("closed")).alias("closed_on"),
            F.when(F.col("closed") < world.days, F.col("reason")).alias("reason"),
        ),
        "frauds": suspects.filter(F.col("fraud").isNotNull() & (F.col("day") < world.days)).select(
            _transaction_id().alias("transaction_id"), F.col("account").alias("customer_id"), "fraud"
        ),
        "contacts": contacts(population, world).select(
            F.col("account").alias("customer_id"),
            _campaign(world).alias("campaign"),
            "responder",
            F.round("uplift", 6).alias("uplift"),
        ),
    }


def _date_or_null(world: World, day: Column) -> Column:
    return F.when(day < world.days, world.date(day))


def _times(world: World, source: str, *keys: Column) -> list[Column]:
    """Event time, and the time of the load that brought the row."""
    day = F.col("day")
    lag = world.draws.exponential(f"{source} lag", *keys) * LAG[source]
    loaded = F.ceil((day + lag) * LOADS_A_DAY) / LOADS_A_DAY
    return [world.time(day).alias("event_time"), world.time(loaded).alias("known_time")]


def _own_id(letter: str) -> Column:
    """An id from customer and number; multiplied by an odd factor modulo 2**24, the number reveals nothing."""
    scrambled = F.pmod(F.col("number") * 10_368_889 + 6_700_417, F.lit(1 << 24))
    return F.concat(
        F.lit(letter), F.lpad(F.col("customer").cast("string"), 7, "0"), F.lpad(scrambled.cast("string"), 8, "0")
    )


def _transaction_id() -> Column:
    return _own_id("T")


def _campaign(world: World) -> Column:
    return F.concat(F.lit("RET-"), F.date_format(world.date(campaign_day(F.col("campaign"))), "yyyy-MM"))


def _money(cents: Column) -> Column:
    return (cents.cast("decimal(14,0)") * F.lit(Decimal("0.01"))).cast(MONEY)


def _customers(population: DataFrame, world: World) -> DataFrame:
    return agreements(population, world).select(
        F.col("account").alias("customer_id"),
        *_times(world, "customers", F.col("customer"), F.col("day")),
        world.time(F.col("opened")).alias("opened_at"),
        "region",
        "segment",
        F.col("plan_then").alias("plan"),
        _money(F.col("cents")).alias("monthly_fee"),
        world.date(F.col("ends")).alias("contract_ends_on"),
    )


def _calls(population: DataFrame, world: World) -> DataFrame:
    return (
        calls(population, world)
        .filter(F.col("day") < world.days)
        .select(
            _own_id("C").alias("call_id"),
            F.col("account").alias("customer_id"),
            *_times(world, "calls", F.col("customer"), F.col("number")),
            *("direction", "queue", "reason", "wait_seconds", "talk_seconds", "hold_seconds", "transfers"),
            *("abandoned", "resolved", "agent_id", "csat", "notes"),
        )
    )


def _transactions(transactions: DataFrame, world: World) -> DataFrame:
    return transactions.filter(F.col("day") < world.days).select(
        _transaction_id().alias("transaction_id"),
        F.col("account").alias("customer_id"),
        *_times(world, "transactions", F.col("customer"), F.col("number")),
        "kind",
        _money(F.col("cents")).alias("amount"),
        F.lit("EUR").alias("currency"),
        "channel",
        F.concat(F.lit("M"), F.col("merchant").cast("string")).alias("merchant_id"),
        F.col("device").alias("device_id"),
        "country",
        F.when(F.col("declined"), "declined").otherwise("approved").alias("status"),
    )


def _closures(population: DataFrame, world: World) -> DataFrame:
    return (
        population.filter(F.col("closed") < world.days)
        .withColumn("day", F.col("closed"))
        .select(
            F.col("account").alias("customer_id"),
            *_times(world, "closures", F.col("customer")),
            F.col("how").alias("kind"),
        )
    )


def _fraud_reports(suspects: DataFrame, world: World) -> DataFrame:
    return (
        fraud_reports(suspects, world)
        .filter(F.col("day") < world.days)
        .select(
            _transaction_id().alias("transaction_id"),
            F.col("account").alias("customer_id"),
            *_times(world, "fraud_reports", F.col("customer"), F.col("number")),
            "is_fraud",
        )
    )


def _contacts(population: DataFrame, world: World) -> DataFrame:
    return contacts(population, world).select(
        F.col("account").alias("customer_id"),
        _campaign(world).alias("campaign"),
        *_times(world, "contacts", F.col("customer"), F.col("campaign")),
        F.lit("call").alias("channel"),
        "offer",
        F.col("cost").cast(MONEY).alias("cost"),
        "arm",
        "accepted",
    )
