"""Whether there is something new to learn: labels that have ripened since a version was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.labels.fraud import first_versions
from churn.training.data import Sources, calendar, labels, spine
from churn.training.spec import ModelSpec


@dataclass(frozen=True)
class Ripened:
    """The as-ofs a run could learn from and a version has not, and the rows of 1 at them; `since` is its newest."""

    since: datetime
    as_ofs: tuple[datetime, ...]
    positives: int


def ripened(
    spark: SparkSession, spec: ModelSpec, sources: Sources, as_of: datetime, summary: Mapping[str, Any]
) -> Ripened:
    """What a run at `as_of` has to learn from beyond a version's `fit.json`, `every` days apart.

    Like is compared with like: both hold the newest ripe as-ofs out to be judged by. Labels are those known at `as_of`.
    """
    since = datetime.fromisoformat(max(summary["split"]["ripe"]))
    newest, step = calendar(spec, sources, as_of).learn[-1], timedelta(days=spec.every)
    as_ofs = tuple(since + step * number for number in range(1, max(0, (newest - since) // step) + 1))
    if not as_ofs:
        return Ripened(since, (), 0)
    told = labels(spec, sources, _cohort(spark, spec, sources, as_ofs), known_until=as_of)
    ones = told.agg(F.sum("label").alias("ones")).collect()[0]["ones"]
    return Ripened(since, as_ofs, int(ones or 0))


def _cohort(spark: SparkSession, spec: ModelSpec, sources: Sources, as_ofs: tuple[datetime, ...]) -> DataFrame:
    """Who is labelled at the as-ofs: customers, or the transactions of those days."""
    if not spec.of_transactions:
        return spine(spark, spec, sources, as_ofs)
    day = F.date_trunc("day", "event_time")
    return first_versions(sources["transactions"]).where(day.isin(*as_ofs))
