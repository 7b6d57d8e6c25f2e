"""Data quality problems of the company's files: late, corrected, duplicated and broken rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.simulation.draw import Draws


@dataclass(frozen=True)
class Dirt:
    """The share of each problem among the rows of every source.

    `late`: arrives one to ten days late, or more. `corrected`: arrives again days later under the same id, with a field
    changed. `duplicated`: arrives twice, byte for byte. `broken`: has one invalid field.
    """

    late: float = 0.01
    corrected: float = 0.005
    duplicated: float = 0.005
    broken: float = 0.003

    def __post_init__(self) -> None:
        for field in fields(self):
            share = getattr(self, field.name)
            if not 0 <= share <= 0.5:
                raise BadInputError(f"dirt: {field.name} is {share}, want a share from 0 to 0.5")


CLEAN = Dirt(late=0, corrected=0, duplicated=0, broken=0)


def with_delivery_errors(
    df: DataFrame, key: Sequence[str], before_correction: Mapping[str, str], draws: Draws, dirt: Dirt
) -> DataFrame:
    """The rows as they arrive, with `copy`: 0 is the first row of an id, 1 its correction, 2 a duplicate of the first.

    `before_correction` is the wrong value that a corrected field has at first, as SQL by column.
    """
    row = [F.col(name) for name in key]
    late = draws.chance(dirt.late, "late", *row)
    corrected = draws.chance(dirt.corrected, "corrected", *row)
    duplicated = draws.chance(dirt.duplicated, "duplicated", *row)
    copies = (
        F.when(corrected & duplicated, _array(0, 1, 2))
        .when(corrected, _array(0, 1))
        .when(duplicated, _array(0, 2))
        .otherwise(_array(0))
    )
    delay = F.when(late, _days(1 + 3 * draws.exponential("late by", *row))).otherwise(F.lit(0))
    correction_delay = F.when(F.col("copy") == 1, _days(0.5 + 9 * draws.exponential("corrected by", *row))).otherwise(
        F.lit(0)
    )
    is_wrong = corrected & (F.col("copy") != 1)
    return df.select("*", F.explode(copies).alias("copy")).withColumns(
        {
            "known_time": F.timestamp_seconds(F.unix_seconds("known_time") + delay + correction_delay),
            **{
                name: F.when(is_wrong, F.expr(wrong)).otherwise(F.col(name))
                for name, wrong in before_correction.items()
            },
        }
    )


def with_broken_fields(
    df: DataFrame, key: Sequence[Column], corruptions: Sequence[tuple[str, str]], draws: Draws, share: float
) -> DataFrame:
    """Some rows with one invalid field; a corruption is (column, SQL of the invalid value)."""
    u = draws.uniform("broken", *key)
    corruption = F.floor(u / share * len(corruptions)) if share else F.lit(len(corruptions))
    by_column = {
        name: [(number, sql) for number, (column, sql) in enumerate(corruptions) if column == name]
        for name, _ in corruptions
    }
    return (
        df.withColumn("corruption", corruption)
        .withColumns({name: _corrupted(name, numbered) for name, numbered in by_column.items()})
        .drop("corruption")
    )


def _corrupted(name: str, numbered: Sequence[tuple[int, str]]) -> Column:
    value = F.col(name)
    for number, sql in numbered:
        value = F.when(F.col("corruption") == number, F.expr(sql)).otherwise(value)
    return value


def _array(*copies: int) -> Column:
    return F.array(*(F.lit(copy) for copy in copies))


def _days(days: Column) -> Column:
    """Days in seconds, in whole quarters of an hour: the company loads its data every quarter."""
    return (F.floor(days * 96) * 900).cast("long")
