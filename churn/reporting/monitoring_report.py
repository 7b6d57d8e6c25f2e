"""The report of a monitoring run: one page, whether a model in use still sees what it learnt from, and how it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from churn.decisions.plan_outcomes import PlanOutcome
from churn.features import features
from churn.model_spec import ModelSpec
from churn.monitoring.drift import LAST_PERIOD, SCORE, TRAINING, YEAR_AGO
from churn.monitoring.limits import (
    FeatureDrift,
    MissingValues,
    ScoreDrift,
    drifted,
    drifted_share,
    has_drifted,
    limit_of,
    rise,
)
from churn.monitoring.monitoring_run import MonitoringRun
from churn.monitoring.tables import Row
from churn.reporting import monitoring_plots as plots
from churn.reporting.html import picture, template

NAMES: Mapping[str, str] = {TRAINING: "training", LAST_PERIOD: "the last period", YEAR_AGO: "a year ago"}
_ROWS_SHOWN = 20
_FEATURES_DRAWN = 4


def render(spec: ModelSpec, run: MonitoringRun, *, run_id: str, plans: Sequence[PlanOutcome] = ()) -> str:
    """The report as one HTML page; `run_id` is that of MLflow, `plans` are the outcomes of campaign plans. The same run
    gives the same bytes."""
    score_limit, feature_limit = limit_of(spec.limits, ScoreDrift), limit_of(spec.limits, FeatureDrift)
    missing_limit = limit_of(spec.limits, MissingValues)
    first = next(iter(run.against))
    against_first, rows = run.from_first_reference, _feature_rows(run, feature_limit, missing_limit)
    most_missing = max(rows, key=lambda row: rise(against_first[row["name"]]))["name"]
    drawn = [row["name"] for row in rows if row["psi"][first]][:_FEATURES_DRAWN]
    outcomes = sorted((*run.past, *run.outcomes), key=lambda row: (row["as_of"], row["evaluated_at"]))
    ranked, trend = [row for row in outcomes if row["auc"] is not None], _score_trend(run)
    return _TEMPLATE.render(
        run=run,
        spec=spec,
        run_id=run_id,
        vocabulary=spec.vocabulary,
        score_limit=score_limit,
        feature_limit=feature_limit,
        missing_limit=missing_limit,
        names=NAMES,
        first=first,
        score=against_first[SCORE],
        matures_after=spec.window.matures_after.days,
        drifted_share=drifted_share(run.drifts, run.importance, feature_limit.psi),
        n_drifted=len([name for name in drifted(run.drifts, feature_limit.psi) if name != SCORE]),
        most_missing=most_missing,
        greatest_rise=max(0.0, rise(against_first[most_missing])),
        features=rows,
        shown=_ROWS_SHOWN,
        docs={column: feature.doc for feature in features() for column in feature.columns(spec.features.windows)},
        trend=trend,
        plans=plans,
        outcomes=outcomes,
        newest=ranked[-1] if ranked else None,
        expected_auc={version: metrics.get("auc") for version, metrics in run.expected.items()},
        has_alerts=any(row["card_precision"] is not None for row in outcomes),
        figures={
            "score": picture(plots.distribution(against_first[SCORE], NAMES[first])),
            "trend": picture(plots.trend({NAMES[of]: points for of, points in trend.items()}, limit=score_limit.psi)),
            "features": {name: picture(plots.distribution(against_first[name], NAMES[first])) for name in drawn},
            "outcomes": _outcomes_figure(ranked, run.expected.get(run.version, {}).get("auc")),
        },
    )


def _feature_rows(
    run: MonitoringRun, feature_limit: FeatureDrift, missing_limit: MissingValues
) -> list[dict[str, Any]]:
    """One row a feature, in order of its drift from the first reference, the greatest first."""
    by_reference = {name: run.from_reference(name) for name in run.against}
    first = next(iter(run.against))
    greatest = max(run.importance.values(), default=0) or 1
    rows = [
        {
            "name": name,
            "importance": run.importance.get(name, 0.0),
            "share_of_greatest": run.importance.get(name, 0.0) / greatest,
            "psi": {reference: drifts[name].psi for reference, drifts in by_reference.items()},
            "drifted": {
                reference: has_drifted(drifts[name], feature_limit.psi) for reference, drifts in by_reference.items()
            },
            "missing": drift.missing,
            "missing_reference": drift.missing_reference,
            "missing_more": rise(drift) > missing_limit.rise,
        }
        for name, drift in by_reference[first].items()
        if name != SCORE
    ]
    return sorted(rows, key=lambda row: (-(row["psi"][first] or 0), row["name"]))


def _score_trend(run: MonitoringRun) -> dict[str, list[tuple[datetime, float]]]:
    """By reference the stability index of the score in every monitoring run, this one last."""
    indices = [(row["reference"], row["as_of"], row["psi"]) for row in run.score_drifts]
    indices += [(drift.reference, run.as_of, drift.psi) for drift in run.drifts if drift.feature == SCORE]
    points = {
        name: [(as_of, psi) for reference, as_of, psi in indices if reference == name and psi is not None]
        for name in run.against
    }
    return {name: each for name, each in points.items() if each}


def _outcomes_figure(ranked: Sequence[Row], expected: float | None) -> str | None:
    with_interval = [row for row in ranked if row["auc_low"] is not None]
    if not with_interval:
        return None
    points = [(row["as_of"], row["auc"], row["auc_low"], row["auc_high"]) for row in with_interval]
    baseline = [(row["as_of"], row["baseline_auc"]) for row in with_interval]
    return picture(plots.outcomes(points, baseline, expected=expected))


_TEMPLATE = template("monitoring_report.html.j2")
