"""Which transactions show that a customer is active."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def is_activity(kinds: Sequence[str]) -> Column:
    """Over transactions: whether one is of these kinds and was approved; no status counts as approved."""
    approved = F.col("status").isNull() | (F.col("status") == "approved")
    return F.col("kind").isin(*kinds) & approved
