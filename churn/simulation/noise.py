"""What goes wrong on the way: rows that come late, are told wrongly first, come twice, or come broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.simulation.draw import Dice


@dataclass(frozen=True)
class Dirt:
    """How much goes wrong: shares of the rows of every source.

    `late`: arrives one to ten days or more after its time. `corrected`: arrives again days later under the same id,
    with a field changed. `duplicated`: arrives twice, equal to the last letter. `broken`: one field cannot be right.
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


def on_the_way(df: DataFrame, key: Sequence[str], told_first: Mapping[str, str], dice: Dice, dirt: Dirt) -> DataFrame:
    """The rows as they arrive, with `copy`: 0 = as first told, 1 = the correction, 2 = a duplicate of 0.

    `told_first`: what a later corrected field said at first, as SQL.
    """
    row = [F.col(name) for name in key]
    late = dice.chance(dirt.late, "late", *row)
    corrected = dice.chance(dirt.corrected, "corrected", *row)
    duplicated = dice.chance(dirt.duplicated, "duplicated", *row)
    copies = (
        F.when(corrected & duplicated, _array(0, 1, 2))
        .when(corrected, _array(0, 1))
        .when(duplicated, _array(0, 2))
        .otherwise(_array(0))
    )
    delay = F.when(late, _days(1 + 3 * dice.exponential("late by", *row))).otherwise(F.lit(0))
    second = F.when(F.col("copy") == 1, _days(0.5 + 9 * dice.exponential("corrected by", *row))).otherwise(F.lit(0))
    wrong = corrected & (F.col("copy") != 1)
    return df.select("*", F.explode(copies).alias("copy")).withColumns(
        {
            "known_time": F.timestamp_seconds(F.unix_seconds("known_time") + delay + second),
            **{name: F.when(wrong, F.expr(first)).otherwise(F.col(name)) for name, first in told_first.items()},
        }
    )


def break_some(
    df: DataFrame, key: Sequence[Column], ways: Sequence[tuple[str, str]], dice: Dice, share: float
) -> DataFrame:
    """One field of some rows replaced by what cannot be right: `ways` are (column, SQL)."""
    u = dice.uniform("broken", *key)
    way = F.floor(u / share * len(ways)) if share else F.lit(len(ways))
    bad = {name: [(number, sql) for number, (column, sql) in enumerate(ways) if column == name] for name, _ in ways}
    return (
        df.withColumn("way", way)
        .withColumns({name: _first_of(name, numbered) for name, numbered in bad.items()})
        .drop("way")
    )


def _first_of(name: str, numbered: Sequence[tuple[int, str]]) -> Column:
    value = F.col(name)
    for number, sql in numbered:
        value = F.when(F.col("way") == number, F.expr(sql)).otherwise(value)
    return value


def _array(*copies: int) -> Column:
    return F.array(*(F.lit(copy) for copy in copies))


def _days(days: Column) -> Column:
    """Whole quarters of an hour, in seconds, as the company loads its data."""
    return (F.floor(days * 96) * 900).cast("long")
