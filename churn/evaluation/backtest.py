"""What a model would have been worth at earlier moments."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.evaluation.judge import judge, scored_rows
from churn.training.data import (
    Sources,
    backtest_calendar,
    columns,
    feature_rows,
    labelled,
    split,
    unblocked,
    usable_features,
)
from churn.training.fit import fit
from churn.training.spec import ModelSpec


def backtest(
    spark: SparkSession,
    spec: ModelSpec,
    sources: Sources,
    as_ofs: Sequence[datetime],
    *,
    scratch: str = tempfile.gettempdir(),
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each as-of and its metrics. A stand sees rows known by then, and learns from as-ofs whose labels were complete.

    Raises BadInputError where an as-of has too little behind it, LeakageError where the data end inside its labels.
    """
    calendars = [backtest_calendar(spec, sources, as_of) for as_of in as_ofs]
    chosen, left_out = usable_features(spec, sources)
    if left_out:
        say(f"left out for want of a source: {', '.join(feature.name for feature in left_out)}")
    needed = sorted({as_of for dates in calendars for as_of in dates.labelled})
    rows = feature_rows(spark, spec, sources, chosen, needed).persist(StorageLevel.MEMORY_AND_DISK)
    for dates in calendars:
        slices = split(spec, dates)
        past = rows.where(F.col("as_of").isin(*slices.ripe))
        known = labelled(spec, sources, past, known_until=dates.score)
        fitted = fit(spec, known, slices, columns(spec, chosen), scratch=scratch)
        say(
            f"{dates.score:%Y-%m-%d}: learnt from {len(slices.ripe)} as-ofs, {slices.ripe[0]:%Y-%m-%d} to "
            f"{slices.ripe[-1]:%Y-%m-%d}; chose {fitted.chosen} of "
            + ", ".join(f"{name} (log loss {tried.log_loss:.4f})" for name, tried in fitted.trials.items())
        )
        future = labelled(spec, sources, rows.where(F.col("as_of").isin(*dates.test)))
        future = unblocked(spec, sources, future, dates.score)
        yield from judge(spec, scored_rows(spec, fitted.model, future)).items()
    rows.unpersist()
