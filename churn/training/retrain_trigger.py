"""Whether there is something new to learn: labels that have matured since a version was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.dataset.calendar import calendar
from churn.dataset.examples import examples
from churn.model_spec import ModelSpec, Sources


@dataclass(frozen=True)
class NewlyMatured:
    """The as-ofs that a run could learn from and a version has not, and their positives; `since` is its newest one."""

    since: datetime
    as_ofs: tuple[datetime, ...]
    positives: int


def newly_matured(
    spark: SparkSession, spec: ModelSpec, sources: Sources, as_of: datetime, summary: Mapping[str, Any]
) -> NewlyMatured:
    """The as-ofs, `every` days apart, that a run at `as_of` would learn from beyond those of a version's `fit.json`.

    Both hold the newest matured as-ofs out as test dates, so those do not count. Labels are those known at `as_of`.
    """
    since = datetime.fromisoformat(max(summary["split"]["matured"]))
    newest, step = calendar(spec, sources, as_of).learn[-1], timedelta(days=spec.schedule.every)
    as_ofs = tuple(since + step * number for number in range(1, max(0, (newest - since) // step) + 1))
    if not as_ofs:
        return NewlyMatured(since, (), 0)
    rows_of = examples(spec)
    labelled = rows_of.labels(sources, rows_of.members(spark, sources, as_ofs), known_until=as_of)
    positives = labelled.agg(F.sum("label").alias("positives")).collect()[0]["positives"]
    return NewlyMatured(since, as_ofs, int(positives or 0))
