"""The tables that monitoring writes: `drift` and `outcomes`, a few rows a run; each run replaces its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import functions as F

from churn.evaluation.alert_metrics import CARD_PRECISION
from churn.evaluation.by_date import BASELINE
from churn.monitoring.drift import Drift
from churn.monitoring.outcomes import Outcome
from churn.storage import Lake

DRIFT, OUTCOMES = "drift", "outcomes"
Row = dict[str, Any]

DRIFT_SCHEMA = (
    "model string, as_of timestamp, version string, feature string, reference string, psi double, noise double, "
    "missing double, missing_reference double, n bigint, n_reference bigint"
)
OUTCOMES_SCHEMA = (
    "model string, evaluated_at timestamp, as_of timestamp, version string, n bigint, positives bigint, rate double, "
    "mean_score double, auc double, auc_low double, auc_high double, average_precision double, lift_10 double, "
    "brier double, calibration_error double, baseline_auc double, card_precision double, alert_precision double, "
    "alert_recall double"
)


def write_drift(lake: Lake, model: str, version: str, as_of: datetime, drifts: Sequence[Drift]) -> None:
    """One row per (as_of, model, version, feature, reference), in place of those of an earlier run."""
    rows = [
        (
            model,
            as_of,
            version,
            one.feature,
            one.reference,
            one.psi,
            one.noise,
            one.missing,
            one.missing_reference,
            one.n,
            one.n_reference,
        )
        for one in drifts
    ]
    frame = lake.spark.createDataFrame(rows, DRIFT_SCHEMA).coalesce(1)
    lake.replace(frame, DRIFT, {"model": model, "as_of": as_of})


def write_outcomes(lake: Lake, model: str, evaluated_at: datetime, rows: Sequence[Row]) -> None:
    """One row per (as_of that was scored, evaluated_at, version), in place of those of an earlier run."""
    columns = [field.split()[0] for field in OUTCOMES_SCHEMA.split(", ")]
    values = [tuple(row[name] for name in columns) for row in rows]
    frame = lake.spark.createDataFrame(values, OUTCOMES_SCHEMA).coalesce(1)
    lake.replace(frame, OUTCOMES, {"model": model, "evaluated_at": evaluated_at})


def outcome_row(model: str, evaluated_at: datetime, one: Outcome) -> Row:
    """An outcome as a row of `outcomes`; metrics are null where all labels are equal."""
    metrics = one.metrics
    low, high = metrics.get("intervals", {}).get("auc") or (None, None)
    alerts = metrics.get("alerts", {})
    return {
        "model": model,
        "evaluated_at": evaluated_at,
        "as_of": one.as_of,
        "version": one.version,
        "n": one.n,
        "positives": one.positives,
        "rate": one.rate,
        "mean_score": one.mean_score,
        "auc": metrics.get("auc"),
        "auc_low": low,
        "auc_high": high,
        "average_precision": metrics.get("average_precision"),
        "lift_10": metrics.get("lift", {}).get("0.1"),
        "brier": metrics.get("brier"),
        "calibration_error": metrics.get("calibration_error"),
        "baseline_auc": metrics.get(BASELINE, {}).get("auc"),
        "card_precision": metrics.get(CARD_PRECISION),
        "alert_precision": alerts.get("precision"),
        "alert_recall": alerts.get("recall"),
    }


def past_outcomes(lake: Lake, model: str, *, before: datetime) -> list[Row]:
    """What earlier runs evaluated, in order of the as-ofs that were scored."""
    if not lake.exists(OUTCOMES):
        return []
    rows = lake.read(OUTCOMES).where((F.col("model") == model) & (F.col("evaluated_at") < F.lit(before)))
    return [row.asDict() for row in rows.orderBy("as_of", "evaluated_at", "version").collect()]


def past_drift(lake: Lake, model: str, feature: str, *, before: datetime) -> list[Row]:
    """How a feature had drifted at earlier as-ofs, in their order."""
    if not lake.exists(DRIFT):
        return []
    rows = lake.read(DRIFT).where((F.col("model") == model) & (F.col("as_of") < F.lit(before)))
    return [row.asDict() for row in rows.where(F.col("feature") == feature).orderBy("as_of", "reference").collect()]
