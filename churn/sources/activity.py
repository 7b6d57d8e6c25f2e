"""Which transactions show that a customer is active."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def is_approved() -> Column:
    """Over transactions: whether one was approved; no status counts as approved."""
    return F.col("status").isNull() | (F.col("status") == "approved")


def is_activity(kinds: Sequence[str]) -> Column:
    """Over transactions: whether one is of these kinds and was approved."""
    return F.col("kind").isin(*kinds) & is_approved()
