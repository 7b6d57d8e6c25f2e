"""One page that says whether a model in use still sees what it learnt from, and how it did: self-contained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from churn.features import features as catalogue
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
from churn.reporting import monitoring_plots as plots
from churn.reporting.html import picture, template

NAMES: Mapping[str, str] = {TRAINING: "training", LAST_PERIOD: "the last period", YEAR_AGO: "a year ago"}
SHOWN = 20
DRAWN = 4
"""Features whose distribution is drawn."""


def render(spec: ModelSpec, found: MonitoringRun, *, run_id: str) -> str:
    """The page. The same findings make the same bytes."""
    first, against = next(iter(found.against)), found.from_first_reference
    score_limit, feature_limit = limit_of(spec.limits, ScoreDrift), limit_of(spec.limits, FeatureDrift)
    missing_limit = limit_of(spec.limits, MissingValues)
    rows = sorted(
        _features(found, first, feature_limit, missing_limit), key=lambda row: (-(row["psi"][first] or 0), row["name"])
    )
    history = sorted((*found.past, *found.outcomes), key=lambda row: (row["as_of"], row["evaluated_at"]))
    drawn = [row["name"] for row in rows if row["psi"][first]][:DRAWN]
    trend = _trend(found)
    return _TEMPLATE.render(
        found=found,
        spec=spec,
        run_id=run_id,
        vocabulary=spec.vocabulary,
        score_limit=score_limit,
        feature_limit=feature_limit,
        missing_limit=missing_limit,
        has_alerts=any(row["card_precision"] is not None for row in history),
        n=against[SCORE].n,
        matures_after=spec.window.matures_after.days,
        score=against[SCORE],
        carried=drifted_share(found.drifts, found.importance, feature_limit.psi),
        drifted_count=len(drifted([one for one in found.drifts if one.feature != SCORE], feature_limit.psi)),
        lost=max(
            ({"name": row["name"], "rise": max(0.0, rise(against[row["name"]]))} for row in rows),
            key=lambda one: one["rise"],
        ),
        outcomes=found.outcomes,
        history=history,
        newest=_newest(history, found.expected),
        features=rows,
        rows_by_name={row["name"]: row for row in rows},
        references=list(found.against),
        absent=[name for name in NAMES if name not in found.against],
        names=NAMES,
        docs={column: feature.doc for feature in catalogue() for column in feature.columns(spec.features.windows)},
        trend=trend,
        shown=SHOWN,
        figures={
            "score": picture(plots.distribution(against[SCORE])),
            "trend": picture(plots.trend({NAMES[of]: points for of, points in trend.items()}, limit=score_limit.psi)),
            "features": {name: picture(plots.distribution(against[name])) for name in drawn},
            "outcomes": _outcomes(history, found),
        },
    )


def _features(
    found: MonitoringRun, first: str, feature_limit: FeatureDrift, missing_limit: MissingValues
) -> list[dict[str, Any]]:
    """One entry a feature: its index against each reference, and its nulls."""
    by_reference = {name: found.from_reference(name) for name in found.against}
    greatest = max(found.importance.values(), default=0) or 1
    return [
        {
            "name": name,
            "importance": found.importance.get(name, 0.0),
            "share_of_greatest": found.importance.get(name, 0.0) / greatest,
            "psi": {of: by_reference[of][name].psi for of in found.against},
            "drifted": {of: has_drifted(by_reference[of][name], feature_limit.psi) for of in found.against},
            "missing": one.missing,
            "missing_reference": one.missing_reference,
            "lost": rise(one) > missing_limit.rise,
        }
        for name, one in by_reference[first].items()
        if name != SCORE
    ]


def _trend(found: MonitoringRun) -> dict[str, list[tuple[datetime, float]]]:
    """By reference the score's index at every look, this one last."""
    seen = [(row["reference"], row["as_of"], row["psi"]) for row in found.score_drifts]
    seen += [(one.reference, found.as_of, one.psi) for one in found.drifts if one.feature == SCORE]
    points = {
        name: [(at, value) for of, at, value in seen if of == name and value is not None] for name in found.against
    }
    return {name: each for name, each in points.items() if each}


def _newest(history: Sequence[Mapping[str, Any]], expected: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    known = [row for row in history if row["auc"] is not None]
    if not known:
        return None
    last = known[-1]
    return {"auc": last["auc"], "as_of": last["as_of"], "expected": expected.get(last["version"], {}).get("auc")}


def _outcomes(history: Sequence[Mapping[str, Any]], found: MonitoringRun) -> str | None:
    known = [row for row in history if row["auc"] is not None and row["auc_low"] is not None]
    if not known:
        return None
    points = [(row["as_of"], row["auc"], row["auc_low"], row["auc_high"]) for row in known]
    rule = [(row["as_of"], row["baseline_auc"]) for row in known]
    return picture(plots.outcomes(points, rule, expected=found.expected.get(found.version, {}).get("auc")))


_TEMPLATE = template("monitoring_report.html.j2")
