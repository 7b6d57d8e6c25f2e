"""The outcomes of past scores, once their labels have matured. Grain: one row a period of scored as-ofs and version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.dataset.examples import Period, examples
from churn.evaluation.by_date import columns_beside, evaluate_by_date
from churn.model_spec import ModelSpec, Sources
from churn.training.model_version import may_have_learnt

MOST_PERIODS: Final = 60
"""The most periods that one run evaluates, the newest; there are more only where monitoring has not run for long."""


@dataclass(frozen=True)
class Scored:
    """A period of as-ofs that one version scored."""

    period: Period
    version: str


@dataclass(frozen=True)
class Outcome:
    """The scores of a period beside their labels. `metrics` are an evaluation's; empty where all labels are equal."""

    as_of: datetime
    version: str
    n: int
    positives: int
    mean_score: float
    metrics: Mapping[str, Any]

    @property
    def rate(self) -> float:
        return self.positives / self.n


def matured_periods(
    spec: ModelSpec,
    scored: Iterable[tuple[datetime, str]],
    evaluated: Iterable[tuple[datetime, str]],
    *,
    known_until: datetime,
    learnt_until: Mapping[str, datetime],
) -> tuple[list[Scored], list[Scored]]:
    """Of the scored (as_of, version) the periods whose labels have matured, in order of time: those that were not
    evaluated yet, and those that are not evaluated, as the version may have learnt their labels.

    `learnt_until` says by version until when it has learnt; of one that it lacks nobody knows. Scores of earlier as-ofs
    are there where past days were scored again.
    """
    by_version: dict[str, list[datetime]] = {}
    for as_of, version in scored:
        by_version.setdefault(version, []).append(as_of)
    matured = [
        Scored(period, version)
        for version, as_ofs in by_version.items()
        for period in examples(spec).periods(as_ofs)
        if spec.window.matured_at(period.last) <= known_until
    ]
    matured.sort(key=lambda one: (one.period.last, one.version))
    learnt = [one for one in matured if may_have_learnt(learnt_until.get(one.version, datetime.max), one.period.first)]
    done = set(evaluated)
    new = [one for one in matured if one not in learnt and (one.period.first, one.version) not in done]
    return new[-MOST_PERIODS:], learnt


def outcome(
    spec: ModelSpec,
    sources: Sources,
    scores: DataFrame,
    features: DataFrame,
    scored: Scored,
    *,
    known_until: datetime,
) -> Outcome | None:
    """The outcome of the scores of a period, by the labels known at a time; None where none is known.

    `features` give the baseline to compare with. Only rows that are eligible in an evaluation count.
    """
    rows_of, key, first = examples(spec), list(spec.key), scored.period.first
    at = F.col("as_of").isin(*scored.period.as_ofs)
    of_period = scores.where(at & (F.col("model_version") == scored.version)).select(*key, "score")
    labels = rows_of.labels(sources, of_period.select(*key), known_until=known_until).select(*key, "label")
    joined = of_period.join(labels, on=key, how="inner").join(features.where(at), on=key, how="left")
    rows = rows_of.eligible(sources, joined).select(*key, "label", "score", *columns_beside(spec)).toPandas()
    if rows.empty:
        return None
    rows = rows.sort_values(key, ignore_index=True)
    rows = rows.assign(day=rows["as_of"], as_of=first)
    n, positives = len(rows), int(rows["label"].sum())
    metrics = evaluate_by_date(spec, rows)[f"{first:%Y-%m-%d}"] if 0 < positives < n else {}
    return Outcome(first, scored.version, n, positives, float(rows["score"].mean()), metrics)
