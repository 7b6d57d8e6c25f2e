"""Judge a fitted model by what came after, per as-of, beside the rule of thumb."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pandas as pd
from pyspark.ml import Transformer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.evaluation.cards import CARDS, alerts, card_precision
from churn.evaluation.metrics import LOWER_IS_BETTER, evaluate
from churn.evaluation.words import words_of
from churn.training.pipeline import probability
from churn.training.spec import ModelSpec

RULE = "rule_of_thumb"


def scored_rows(spec: ModelSpec, model: Transformer, labelled: DataFrame, *extra: str) -> pd.DataFrame:
    """(the spec's key, label, score, rule_of_thumb) and any `extra` columns, collected, in order.

    Transactions are judged by several days together: `as_of` is the first of them, `day` each one's own.
    """
    chosen = model.transform(labelled).select(*spec.key, "label", probability().alias("score"), *beside(spec), *extra)
    found = chosen.toPandas().sort_values(["as_of", *spec.key], ignore_index=True)
    return found.assign(day=found["as_of"], as_of=judged_as(spec, found["as_of"])) if spec.of_transactions else found


def judged_as(spec: ModelSpec, as_of: pd.Series) -> pd.Series:
    """The as-of under which each row is judged: its own, or of transactions the first of its `judged_days`."""
    if not spec.of_transactions:
        return as_of
    return as_of.groupby((as_of - as_of.min()).dt.days // spec.judged_days).transform("min")


def beside(spec: ModelSpec) -> list[Column]:
    """What stands beside a score that is judged: the rule of thumb, and of a transaction its amount.

    The rule ranks by one feature; a customer without a value of it has never done the thing: last of all.
    """
    rule = F.coalesce(F.col(spec.rule_of_thumb).cast("double"), F.lit(1e9)).alias(RULE)
    return [rule, F.col("amount").cast("double").alias("amount")] if spec.of_transactions else [rule]


def judge(spec: ModelSpec, rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Per as-of the metrics of the model with their intervals, and under `rule_of_thumb` those of the rule.

    Of a model of transactions also what alerts would catch.
    """
    judged = {}
    for as_of, part in rows.groupby("as_of", sort=True):
        common: dict[str, Any] = {
            "seed": spec.seed,
            "resamples": spec.resamples,
            "key": part["customer_id"],
            "as_of": as_of,
            "words": words_of(spec),
        }
        model = evaluate(part["label"], part["score"], **common)
        rule = evaluate(part["label"], part[RULE], probability=False, **common)
        if spec.of_transactions:
            model |= _worth(spec, part)
            rule |= _worth(spec, part.assign(score=part[RULE]))
        judged[f"{as_of:%Y-%m-%d}"] = {**model, RULE: rule}
    return judged


def _worth(spec: ModelSpec, rows: pd.DataFrame) -> dict[str, Any]:
    return {f"card_precision_at_{CARDS}": card_precision(rows), "alerts": alerts(rows, budget=spec.budget)}


def mean_and_worst(judged: Mapping[str, Mapping[str, Any]], metric: str) -> tuple[float, float]:
    """A metric over the dates: its mean, and its worst."""
    values = [float(metrics[metric]) for metrics in judged.values()]
    return fmean(values), (max if metric in LOWER_IS_BETTER else min)(values)
