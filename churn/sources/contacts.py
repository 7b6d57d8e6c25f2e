"""Which contacts treated a customer."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.sources.catalog.contacts import TREATED


def is_treated() -> Column:
    """Whether a contact was made, rather than held out to compare with."""
    return F.coalesce("arm", F.lit(TREATED)) == TREATED
