"""Evaluate a fitted model by what happened after, per as-of, beside the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any, Final

import pandas as pd
from pyspark.ml import Transformer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.dataset.examples import examples
from churn.evaluation.alert_metrics import DAILY_METRICS
from churn.evaluation.metrics import LOWER_IS_BETTER, Metrics, evaluate
from churn.evaluation.profit import profit
from churn.model_output import probability
from churn.model_spec import ModelSpec

BASELINE: Final = "baseline"
"""The column of the baseline's ranking, and the name under which its metrics are."""


def scored_rows(spec: ModelSpec, model: Transformer, labelled: DataFrame, *extra: str) -> pd.DataFrame:
    """(the spec's key, day, label, score, baseline) and any `extra` columns, collected, in order.

    `as_of` is the as-of under which a row is evaluated, `day` its own.
    """
    chosen = model.transform(labelled).select(
        *spec.key, "label", probability().alias("score"), *columns_beside(spec), *extra
    )
    found = chosen.toPandas().sort_values(["as_of", *spec.key], ignore_index=True)
    return found.assign(day=found["as_of"], as_of=examples(spec).evaluated_as(found["as_of"]))


def columns_beside(spec: ModelSpec) -> list[Column]:
    """What an evaluation needs beside a score: the baseline, and the amounts that daily metrics read.

    The baseline ranks by one feature; a row without a value ranks first: what the feature counts has never happened.
    """
    baseline = F.coalesce(F.col(spec.baseline).cast("double"), F.lit(1e9)).alias(BASELINE)
    return [baseline, *(F.col(name).cast("double").alias(name) for name in examples(spec).amounts)]


def evaluate_by_date(spec: ModelSpec, rows: pd.DataFrame) -> dict[str, Metrics]:
    """Per as-of the metrics of the model with their intervals, and under `baseline` those of the baseline.

    `rows` are those of `scored_rows`.
    """
    by_date = {}
    for as_of, part in rows.groupby("as_of", sort=True):
        common: dict[str, Any] = {
            "seed": spec.training.seed,
            "resamples": spec.evaluation.resamples,
            "key": part["customer_id"],
            "as_of": as_of,
            "vocabulary": spec.vocabulary,
            "campaign": spec.campaign,
        }
        model = evaluate(part["label"], part["score"], **common) | _daily(spec, part) | _profit(spec, part)
        baseline = evaluate(part["label"], part[BASELINE], probability=False, **common)
        by_date[f"{as_of:%Y-%m-%d}"] = {
            **model,
            BASELINE: baseline | _daily(spec, part.assign(score=part[BASELINE])),
        }
    return by_date


def _profit(spec: ModelSpec, rows: pd.DataFrame) -> Metrics:
    """`empc_fraction`, `mpc` and `mpc_fraction` of a model with a campaign; `empc` has an interval, and is among the
    other metrics."""
    if spec.campaign is None:
        return {}
    found = asdict(profit(rows["label"], rows["score"], spec.campaign))
    return {name: value for name, value in found.items() if name != "empc"}


def _daily(spec: ModelSpec, rows: pd.DataFrame) -> Metrics:
    found: Metrics = {}
    for name in examples(spec).daily_metrics:
        found |= DAILY_METRICS[name](spec, rows)
    return found


def mean_and_worst(by_date: Mapping[str, Mapping[str, Any]], metric: str) -> tuple[float, float]:
    """A metric over the dates: its mean, and its worst."""
    values = [float(metrics[metric]) for metrics in by_date.values()]
    return fmean(values), (max if metric in LOWER_IS_BETTER else min)(values)
