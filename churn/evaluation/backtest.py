"""What a model would have been worth at earlier as-ofs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.dataset.calendar import backtest_calendar, split
from churn.dataset.examples import check_baseline, examples, feature_columns, usable_features
from churn.evaluation.by_date import evaluate_by_date, scored_rows
from churn.model_spec import ModelSpec, Sources
from churn.training.fit import fit


def backtest(
    spark: SparkSession,
    spec: ModelSpec,
    sources: Sources,
    as_ofs: Sequence[datetime],
    *,
    scratch: str = tempfile.gettempdir(),
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each origin and its metrics. It uses rows known by then, and learns from as-ofs whose labels were complete.

    Raises BadInputError where an as-of has too little behind it, LeakageError where the data end inside its labels.
    """
    calendars = [backtest_calendar(spec, sources, as_of) for as_of in as_ofs]
    check_baseline(spec, sources)
    chosen, left_out = usable_features(spec, sources)
    if left_out:
        progress(f"left out for want of a source: {', '.join(feature.name for feature in left_out)}")
    needed = sorted({as_of for dates in calendars for as_of in dates.labelled})
    rows_of = examples(spec)
    rows = rows_of.feature_rows(spark, sources, chosen, needed).persist(StorageLevel.MEMORY_AND_DISK)
    for dates in calendars:
        slices = split(spec, dates)
        past = rows.where(F.col("as_of").isin(*slices.matured))
        known = rows_of.labelled(sources, past, known_until=dates.score)
        fitted = fit(spec, known, slices, feature_columns(spec, chosen), scratch=scratch)
        progress(
            f"{dates.score:%Y-%m-%d}: learnt from {len(slices.matured)} as-ofs, {slices.matured[0]:%Y-%m-%d} to "
            f"{slices.matured[-1]:%Y-%m-%d}; chose {fitted.chosen} of "
            + ", ".join(f"{name} (log loss {tried.log_loss:.4f})" for name, tried in fitted.trials.items())
        )
        future = rows_of.labelled(sources, rows.where(F.col("as_of").isin(*dates.test)))
        future = rows_of.eligible(sources, future, dates.score)
        yield from evaluate_by_date(spec, scored_rows(spec, fitted.model, future)).items()
    rows.unpersist()
