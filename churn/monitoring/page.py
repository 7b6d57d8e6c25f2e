"""One page that says whether a model in use still sees what it learnt from, and how it did: self-contained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from churn.evaluation.page import picture, template
from churn.evaluation.words import words_of
from churn.features import features as catalogue
from churn.monitoring import plots
from churn.monitoring.drift import LAST, SCORE, TRAINING, YEAR_AGO
from churn.monitoring.limits import has_moved, moved_features, moved_share, rise
from churn.monitoring.watch import Watched
from churn.training.spec import ModelSpec

NAMES: Mapping[str, str] = {TRAINING: "training", LAST: "the last period", YEAR_AGO: "a year ago"}
SHOWN = 20
DRAWN = 4
"""Features whose distribution is drawn."""


def render(spec: ModelSpec, found: Watched, *, run_id: str) -> str:
    """The page. The same findings make the same bytes."""
    first, against = next(iter(found.against)), found.now
    rows = sorted(_features(spec, found, first), key=lambda row: (-(row["psi"][first] or 0), row["name"]))
    history = sorted((*found.past, *found.outcomes), key=lambda row: (row["as_of"], row["judged_at"]))
    drawn = [row["name"] for row in rows if row["psi"][first]][:DRAWN]
    trend = _trend(found)
    return _TEMPLATE.render(
        found=found,
        spec=spec,
        run_id=run_id,
        words=words_of(spec),
        of_transactions=spec.of_transactions,
        n=against[SCORE].n,
        reach=spec.window.reach.days,
        score=against[SCORE],
        carried=moved_share(spec, found.moved, found.importance),
        moved_count=len(moved_features(spec, [one for one in found.moved if one.feature != SCORE])),
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
        docs={column: feature.doc for feature in catalogue() for column in feature.columns(spec.windows)},
        trend=trend,
        shown=SHOWN,
        figures={
            "score": picture(plots.distribution(against[SCORE])),
            "trend": picture(plots.trend({NAMES[of]: points for of, points in trend.items()}, limit=spec.psi_limit)),
            "features": {name: picture(plots.distribution(against[name])) for name in drawn},
            "outcomes": _outcomes(history, found),
        },
    )


def _features(spec: ModelSpec, found: Watched, first: str) -> list[dict[str, Any]]:
    """One entry a feature: its index against each reference, and its nulls."""
    by_reference = {name: found.of(name) for name in found.against}
    greatest = max(found.importance.values(), default=0) or 1
    return [
        {
            "name": name,
            "importance": found.importance.get(name, 0.0),
            "share_of_greatest": found.importance.get(name, 0.0) / greatest,
            "psi": {of: by_reference[of][name].psi for of in found.against},
            "moved": {of: has_moved(spec, by_reference[of][name]) for of in found.against},
            "missing": one.missing,
            "missing_reference": one.missing_reference,
            "lost": rise(one) > spec.missing_limit,
        }
        for name, one in by_reference[first].items()
        if name != SCORE
    ]


def _trend(found: Watched) -> dict[str, list[tuple[datetime, float]]]:
    """By reference the score's index at every look, this one last."""
    seen = [(row["reference"], row["as_of"], row["psi"]) for row in found.scores]
    seen += [(one.reference, found.as_of, one.psi) for one in found.moved if one.feature == SCORE]
    points = {
        name: [(at, value) for of, at, value in seen if of == name and value is not None] for name in found.against
    }
    return {name: each for name, each in points.items() if each}


def _newest(history: Sequence[Mapping[str, Any]], expected: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    judged = [row for row in history if row["auc"] is not None]
    if not judged:
        return None
    last = judged[-1]
    return {"auc": last["auc"], "as_of": last["as_of"], "expected": expected.get(last["version"], {}).get("auc")}


def _outcomes(history: Sequence[Mapping[str, Any]], found: Watched) -> str | None:
    judged = [row for row in history if row["auc"] is not None and row["auc_low"] is not None]
    if not judged:
        return None
    points = [(row["as_of"], row["auc"], row["auc_low"], row["auc_high"]) for row in judged]
    rule = [(row["as_of"], row["rule_of_thumb_auc"]) for row in judged]
    return picture(plots.outcomes(points, rule, expected=found.expected.get(found.version, {}).get("auc")))


_TEMPLATE = template(Path(__file__).with_name("page.html.j2"))
