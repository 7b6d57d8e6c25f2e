"""The simulated company as a whole: as files, or as DataFrames."""

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
from churn.simulation.draw import Draws
from churn.simulation.frauds import suspicious
from churn.simulation.noise import Dirt
from churn.simulation.people import people
from churn.simulation.sources import SOURCES
from churn.simulation.tables import ground_truth, tables
from churn.simulation.transactions import transactions
from churn.simulation.world import World
from churn.simulation.write import Format, Layout, file_names, file_number, write

START: Final = date(2024, 10, 1)
END: Final = date(2026, 10, 1)
MAX_CUSTOMERS: Final = 10_000_000
"""Ids have seven digits."""
TRUTH: Final = "truth"
_SETTINGS: Final = {
    # By default the JVM compiles no method of more than 8,000 bytes, so Spark must not fuse long expressions into
    # larger ones, which would be five times slower.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    "spark.sql.session.timeZone": "UTC",  # times are written as text
}
OPEN: Final = 0.65
"""About the share of customer-months in which the account is open."""


def simulate(
    spark: SparkSession,
    *,
    customers: int,
    seed: int,
    out: Path,
    start: date = START,
    end: date = END,
    transactions_per_month: float = 4.0,
    format: Format = "csv",  # noqa: A002 (Spark's term, and that of churn.toml)
    layout: Layout = "single",
    dirt: Dirt = Dirt(),
) -> dict[str, int]:
    """Write the files of a company of this size under `out`, and return the rows of each source.

    `start` is the first day and `end` the day after the last; rows that arrive later are left out.
    `transactions_per_month` is the mean of an open account, all kinds together. Layout `single` writes
    `calls/part-00000.csv`, and more parts of a large company, in order of arrival; `daily` writes
    `calls/2026-03-01.csv` for every day of arrival, the first with all that arrived before. `truth/` has what only the
    simulation knows. The same arguments give the same bytes. Raises BadInputError where one is out of range.
    """
    if format not in get_args(Format):
        raise BadInputError(f"simulate: no format {format!r}{nearest(format, get_args(Format))}")
    if layout not in get_args(Layout):
        raise BadInputError(f"simulate: no layout {layout!r}{nearest(layout, get_args(Layout))}")
    world = _world(customers, seed, start, end, transactions_per_month)
    rows: dict[str, int] = {}
    with with_settings(spark, _SETTINGS):
        population = people(spark, world).persist(StorageLevel.MEMORY_AND_DISK)
        simulated = transactions(population, world)
        suspects = suspicious(simulated, world).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            for name, table in tables(population, simulated, suspects, world).items():
                source = SOURCES[name]
                in_time = F.col("arrived") < world.time(F.lit(float(world.days)))
                arriving = source.file_rows(table, world.draws, dirt).filter(in_time)
                expected = customers * world.months * (source.monthly_rows or transactions_per_month * OPEN)
                names = file_names(world, layout, expected)
                number = file_number(world, F.col("arrived"), len(names))
                rows[name] = write(arriving, out / name, names, number, format)
            for name, truth in ground_truth(population, suspects, world).items():
                rows[f"{TRUTH}/{name}"] = write(truth, out / TRUTH / name, ["part-00000"], F.lit(0), format)
        finally:
            suspects.unpersist()
            population.unpersist()
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
    """The same company as clean tables: a DataFrame in the contract's columns and types by its name."""
    world = _world(customers, seed, start, end, transactions_per_month)
    population = people(spark, world)
    simulated = transactions(population, world)
    return tables(population, simulated, suspicious(simulated, world), world)


def _world(customers: int, seed: int, start: date, end: date, transactions_per_month: float) -> World:
    if not 1 <= customers <= MAX_CUSTOMERS:
        raise BadInputError(f"simulate: {customers} customers, want 1 to {MAX_CUSTOMERS:,}")
    if (end - start).days < 28:
        raise BadInputError(f"simulate: from {start} to {end} is too short, want at least 28 days")
    if not 0 < transactions_per_month <= 1000:
        raise BadInputError(f"simulate: {transactions_per_month} transactions a month, want more than 0, at most 1000")
    return World(customers, Draws(seed), start, end, transactions_per_month)
