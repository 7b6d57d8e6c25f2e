"""Seeded draws as Columns: the same keys, seed and purpose give the same number, whatever the order of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate

from pyspark.sql import Column
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Draws:
    """The draws of one simulation. `purpose` makes the draws of one row independent of each other; another text for it
    gives another company.

    Only exp, log and pow are used, which Spark computes with Java's StrictMath: the same bits on every machine.
    """

    seed: int

    def number(self, purpose: str, *keys: Column) -> Column:
        """A pseudorandom 64-bit number."""
        salt = int.from_bytes(sha256(f"{self.seed}/{purpose}".encode()).digest()[:8], signed=True)
        return F.xxhash64(*keys, F.lit(salt).cast("long"))

    def uniform(self, purpose: str, *keys: Column) -> Column:
        """Strictly between 0 and 1: an odd multiple of 2**-53."""
        return (F.shiftrightunsigned(self.number(purpose, *keys), 12).cast("double") + 0.5) * 2.0**-52

    def chance(self, probability: Column | float, purpose: str, *keys: Column) -> Column:
        """True with this probability."""
        return self.uniform(purpose, *keys) < probability

    def normal(self, purpose: str, *keys: Column) -> Column:
        """Mean 0, deviation 1, by Tukey's lambda at 0.135, which follows the normal to 0.005 and ends at 5."""
        u = self.uniform(purpose, *keys)
        return (F.pow(u, F.lit(0.135)) - F.pow(1 - u, F.lit(0.135))) / 0.1975

    def exponential(self, purpose: str, *keys: Column) -> Column:
        """Mean 1."""
        return -F.log(self.uniform(purpose, *keys))

    def lognormal(self, spread: float, purpose: str, *keys: Column) -> Column:
        """A log-normal factor with mean 1: heavy-tailed differences between customers, amounts, durations."""
        return F.exp(self.normal(purpose, *keys) * spread - spread * spread / 2)

    def pick(self, weights: Sequence[tuple[str, float]], purpose: str, *keys: Column) -> Column:
        """One of the values, with a probability in proportion to its weight."""
        return choose(self.uniform(purpose, *keys), weights)


def choose(u: Column, weights: Sequence[tuple[str, float]]) -> Column:
    """The value into whose share of [0, 1) the number falls; shares are in proportion to the weights."""
    total = sum(weight for _, weight in weights)
    upper_bounds = accumulate(weight / total for _, weight in weights)
    *earlier, last = zip((value for value, _ in weights), upper_bounds, strict=True)
    chosen = F.lit(last[0])
    for value, upper_bound in reversed(earlier):
        chosen = F.when(u < upper_bound, F.lit(value)).otherwise(chosen)
    return chosen


def value_at(values: Sequence[float], index: Column) -> Column:
    """The value at an index from 0."""
    return F.element_at(F.array(*(F.lit(float(value)) for value in values)), index.cast("int") + 1)
