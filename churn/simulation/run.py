"""The simulated company as a whole: its tables for whoever wants DataFrames, its files for everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final, get_args

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError, nearest
from churn.runtime.session import with_settings
from churn.simulation.draw import Dice
from churn.simulation.frauds import suspicious
from churn.simulation.noise import Dirt
from churn.simulation.people import people
from churn.simulation.sources import SOURCES
from churn.simulation.tables import tables, truths
from churn.simulation.transactions import transactions
from churn.simulation.world import World
from churn.simulation.write import Format, Layout, file_names, place_in_time, write

START: Final = date(2024, 10, 1)
END: Final = date(2026, 10, 1)
MOST_CUSTOMERS: Final = 10_000_000
"""Ids have seven digits."""
TRUTH: Final = "truth"
_SETTINGS: Final = {
    # Java compiles no method over 8,000 bytes, so Spark must not fuse the long expressions into a larger one, which is
    # five times slower.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    "spark.sql.session.timeZone": "UTC",  # times are written as text
}
OPEN: Final = 0.65
"""About the share of the customers' months in which their account is open."""


def simulate(
    spark: SparkSession,
    *,
    customers: int,
    seed: int,
    out: Path,
    start: date = START,
    end: date = END,
    transactions_per_month: float = 4.0,
    format: Format = "csv",  # noqa: A002 (Spark's word, and that of churn.toml)
    layout: Layout = "single",
    dirt: Dirt = Dirt(),
) -> dict[str, int]:
    """Write the files of a company of this size under `out`, and return the rows of each source.

    `start` is the first day and `end` the day after the last; what arrives later is left out. `transactions_per_month`
    is the mean of an open account, all kinds together. Layout `single` gives `calls/part-00000.csv` and further parts
    for a large company, in order of arrival; `daily` gives `calls/2026-03-01.csv` for every day of arrival, the first
    of which brings what was known before. `truth/` is what only the simulation knows. Same arguments, same bytes.
    """
    if format not in get_args(Format):
        raise BadInputError(f"simulate: no format {format!r}{nearest(format, get_args(Format))}")
    if layout not in get_args(Layout):
        raise BadInputError(f"simulate: no layout {layout!r}{nearest(layout, get_args(Layout))}")
    world = _world(customers, seed, start, end, transactions_per_month)
    rows: dict[str, int] = {}
    with with_settings(spark, _SETTINGS):
        alive = people(spark, world).persist(StorageLevel.MEMORY_AND_DISK)
        moved = transactions(alive, world)
        suspects = suspicious(moved, world).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            for name, table in tables(alive, moved, suspects, world).items():
                own = SOURCES[name]
                in_time = F.col("arrived") < world.time(F.lit(float(world.days)))
                sent = own.files_rows(table, world.dice, dirt).filter(in_time)
                expected = customers * world.months * (own.rows or transactions_per_month * OPEN)
                names = file_names(world, layout, expected)
                rows[name] = write(sent, out / name, names, place_in_time(world, F.col("arrived"), len(names)), format)
            for name, truth in truths(alive, suspects, world).items():
                rows[f"{TRUTH}/{name}"] = write(truth, out / TRUTH / name, ["part-00000"], F.lit(0), format)
        finally:
            suspects.unpersist()
            alive.unpersist()
    return rows


def company(
    spark: SparkSession,
    *,
    customers: int,
    seed: int,
    start: date = START,
    end: date = END,
    transactions_per_month: float = 4.0,
) -> Mapping[str, DataFrame]:
    """The same company as clean tables: contract name -> DataFrame in the contract's columns and types."""
    world = _world(customers, seed, start, end, transactions_per_month)
    alive = people(spark, world)
    moved = transactions(alive, world)
    return tables(alive, moved, suspicious(moved, world), world)


def _world(customers: int, seed: int, start: date, end: date, transactions_per_month: float) -> World:
    if not 1 <= customers <= MOST_CUSTOMERS:
        raise BadInputError(f"simulate: {customers} customers, want 1 to {MOST_CUSTOMERS:,}")
    if (end - start).days < 28:
        raise BadInputError(f"simulate: from {start} to {end} is too short, want at least 28 days")
    if not 0 < transactions_per_month <= 1000:
        raise BadInputError(f"simulate: {transactions_per_month} transactions a month, want more than 0, at most 1000")
    return World(customers, Dice(seed), start, end, transactions_per_month)
