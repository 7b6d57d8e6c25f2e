"""Draws by key: a row is drawn, or not, whatever the order and the partitions of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

DRAWS: Final = 1 << 20
"""How many different numbers a draw may give."""


def drawn(key: Sequence[str], seed: int | str) -> Column:
    """A number from 0 to below 1 for each row, by its key and a seed."""
    return F.pmod(F.xxhash64(*key, F.lit(seed)), F.lit(DRAWS)) / DRAWS
