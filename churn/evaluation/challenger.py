"""Evaluate a challenger on dates after all it has learnt from, beside the baseline and the champion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from statistics import fmean
from typing import Any, Final

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.dataset.calendar import Calendar, calendar
from churn.dataset.calendar import split as split_dates
from churn.dataset.examples import examples
from churn.dataset.feature_table import StoredFeatures, check_inputs, read_columns, read_features
from churn.dataset.split import Fold
from churn.errors import BadInputError
from churn.evaluation.by_date import BASELINE, evaluate_by_date, scored_rows
from churn.evaluation.gates import Evidence, Unmatched, check_gates
from churn.evaluation.leakage import LeakEvidence, auc_alone
from churn.evaluation.metrics import Metrics, compare, evaluate, metrics
from churn.features import features
from churn.model_spec import ModelSpec, Sources, Verdict
from churn.training.fit import FitRequest, Trainer, candidates_of
from churn.training.fit_task import FitResult
from churn.training.model_version import ModelVersion, may_have_learnt

LEAK_ROWS: Final = 100_000
"""About as many rows as the evidence of leaks is taken from; customers are picked by hash."""
SEGMENT: Final = "customer_segment"


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: metrics by test date, the gates' verdicts, and the rows and evidence behind them.

    `rows` are those of `scored_rows`, with `champion`, its scores, where there is one to compare with.
    `against_champion` is the result of `compare` for both; None where they were not compared.
    """

    version: ModelVersion
    as_of: datetime
    dates: Calendar
    by_date: Mapping[str, Metrics]
    verdicts: tuple[Verdict, ...]
    rows: pd.DataFrame
    leaks: LeakEvidence
    segments: Mapping[str, Metrics] | None
    champion: str | None
    against_champion: Mapping[str, Any] | None


def evaluate_challenger(
    features: StoredFeatures,
    spec: ModelSpec,
    sources: Sources,
    as_of: datetime,
    version: ModelVersion,
    champion: ModelVersion | None = None,
) -> Evaluation:
    """Evaluate a registered version on the test dates of a run at `as_of`, by what was known then.

    `features` are the model's stored features. Labels are cut at `as_of`, so the same as-of evaluated later gives the
    same verdicts. Raises BadInputError where the version was trained for another run: what it has learnt must have been
    complete at the first test date.
    """
    dates, fitted = calendar(spec, sources, as_of), version.summary
    if may_have_learnt(version.learnt_until, dates.test[0]):
        raise BadInputError(
            f"{spec.name} version {version.number} has learnt from labels until {version.learnt_until:%Y-%m-%d}, after "
            f"the first test date {dates.test[0]:%Y-%m-%d} of as-of {as_of:%Y-%m-%d}; train for this as-of first"
        )
    rows_of, matured = examples(spec), split_dates(spec, dates).matured
    stored = read_features(features, (*matured, *dates.test))
    learnt = rows_of.labelled(sources, stored.where(F.col("as_of").isin(*matured)), known_until=dates.test[0])
    evaluated = rows_of.labelled(sources, stored.where(F.col("as_of").isin(*dates.test)), known_until=as_of)
    test = rows_of.eligible(sources, evaluated).persist()
    segment = SEGMENT if SEGMENT in test.columns else None
    unmatched = _unmatched(dates, version, champion)
    opponent = champion if champion and not unmatched else None
    compared = [version, *([opponent] if opponent else [])]
    with _trainer(spec, learnt, test, compared) as trainer:
        for one in compared:
            check_inputs(spec, trainer.summary(dates.test), one.summary, one.number)
        rows = scored_rows(spec, version.model, test, *([segment] if segment else []))
        by_date = evaluate_by_date(spec, rows)
        if opponent:
            rows["champion"] = scored_rows(spec, opponent.model, test)["score"]
        leaks = _leaks(spec, trainer, dates, fitted)
    test.unpersist()
    shared: dict[str, Any] = {
        "seed": spec.training.seed,
        "key": rows["customer_id"],
        "date": rows["as_of"],
        "campaign": spec.campaign,
    }
    against = {"baseline": compare(rows["label"], rows["score"], rows[BASELINE], **shared)}
    if opponent:
        against["champion"] = compare(rows["label"], rows["score"], rows["champion"], probability=True, **shared)
    return Evaluation(
        version=version,
        as_of=as_of,
        dates=dates,
        by_date=by_date,
        verdicts=check_gates(Evidence(by_date, against, leaks, unmatched), spec.gates),
        rows=rows,
        leaks=leaks,
        segments=_segments(spec, rows, segment),
        champion=champion.number if champion else None,
        against_champion=against.get("champion"),
    )


def _unmatched(dates: Calendar, version: ModelVersion, champion: ModelVersion | None) -> dict[str, Unmatched]:
    """Why the version is not compared with the champion, where there is one and it is not."""
    if champion is None:
        return {}
    if champion.number == version.number:
        return {"champion": Unmatched(True, f"version {version.number} is the champion itself")}
    if may_have_learnt(champion.learnt_until, dates.test[0]):
        why = f"the champion, version {champion.number}, has learnt until {champion.learnt_until:%Y-%m-%d}, after "
        return {"champion": Unmatched(False, f"{why}the first test date {dates.test[0]:%Y-%m-%d}: no fair comparison")}
    return {}


def _trainer(spec: ModelSpec, learnt: DataFrame, test: DataFrame, versions: Sequence[ModelVersion]) -> Trainer:
    """The rows that the first version was trained on and the test rows, with all columns that the versions read."""
    read = dict.fromkeys(column for version in versions for column in read_columns(version.summary))
    stored = [column for column in read if column in test.columns and column in learnt.columns]
    columns = [*spec.key, "label", *stored]
    return Trainer(spec, learnt.select(*columns).unionByName(test.select(*columns)), stored)


def _leaks(
    spec: ModelSpec,
    trainer: Trainer,
    dates: Calendar,
    fitted: Mapping[str, Any],
) -> LeakEvidence:
    """The AUC of each feature alone, and the metrics of the model without signals that follow a decision to leave."""
    columns = fitted["columns"]["numeric"]
    alone = trainer.on_rows(dates.test, partial(auc_alone, columns=columns), most=LEAK_ROWS)
    read = read_columns(fitted)
    marked = {
        column
        for feature in features()
        if feature.after_intent
        for column in feature.columns(spec.features.windows)
        if column in read
    }
    if not marked:
        return LeakEvidence(alone=alone)
    with_all, without = _refitted(spec, trainer, dates, fitted, [frozenset(read), frozenset(read) - marked])
    return LeakEvidence(
        alone=alone, after_intent=tuple(sorted(marked)), with_after_intent=with_all, without_after_intent=without
    )


def _refitted(
    spec: ModelSpec, trainer: Trainer, dates: Calendar, fitted: Mapping[str, Any], columns: Sequence[frozenset[str]]
) -> list[dict[str, float]]:
    """The metrics of the chosen candidate, fitted anew on each of these sets of columns; what else it is made of is the
    same."""
    fold, slopes = Fold(train=split_dates(spec, dates).matured, later=dates.test), fitted["slopes"]
    parts = candidates_of(spec, fitted["chosen"])
    requests = [FitRequest(parts[part], fold, fitted["rounds"].get(part), only) for only in columns for part in slopes]
    fits = trainer.fit_all(requests)
    return [_later_means(spec, slopes, fits[at : at + len(slopes)]) for at in range(0, len(fits), len(slopes))]


def _later_means(spec: ModelSpec, slopes: Mapping[str, float], fits: Sequence[FitResult]) -> dict[str, float]:
    """The mean over dates of the metrics of fits that are added up."""
    log_odds = sum(slope * one.later_margin for slope, one in zip(slopes.values(), fits, strict=True))
    as_of = examples(spec).evaluated_as(pd.Series(fits[0].later_as_of.astype("datetime64[us]")))
    rows = pd.DataFrame({"label": fits[0].later_label, "score": log_odds})
    return _means(metrics(part["label"], part["score"], probability=False) for _, part in rows.groupby(as_of))


def _means(by_date: Iterable[Metrics]) -> dict[str, float]:
    dates = list(by_date)
    return {name: fmean(float(one[name]) for one in dates) for name in ("auc", "average_precision")}


def _segments(spec: ModelSpec, rows: pd.DataFrame, segment: str | None) -> dict[str, Metrics] | None:
    """The metrics of each segment that has both outcomes."""
    if segment is None:
        return None
    return {
        str(name): evaluate(
            part["label"],
            part["score"],
            seed=spec.training.seed,
            resamples=spec.evaluation.resamples,
            key=part["customer_id"],
        )
        for name, part in rows.groupby(segment)
        if part["label"].nunique() == 2
    }
