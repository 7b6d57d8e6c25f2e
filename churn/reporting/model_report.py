"""One page that says whether a model may go live, to somebody who was not there: self-contained, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

import pandas as pd

from churn.dataset.examples import examples
from churn.evaluation.by_date import BASELINE
from churn.evaluation.calibration import slope_and_intercept
from churn.evaluation.challenger import Evaluation
from churn.evaluation.gates import NAMES
from churn.evaluation.leakage import LeakEvidence
from churn.evaluation.lift import Top, top
from churn.evaluation.metrics import LOWER_IS_BETTER, Metrics
from churn.features import features
from churn.model_spec import ModelSpec, Verdict
from churn.reporting import plots
from churn.reporting.html import address, template
from churn.vocabulary import CHURN, Vocabulary

HEADLINE_SHARE = 0.1
_DRIVERS = 15
_FEWEST = 10
"""Positives, and negatives, below which a segment's ranking is not worth a figure."""


@dataclass(frozen=True)
class Source:
    """A table that the model learnt from, and what its ledger says of the rows that came in."""

    name: str
    version: int | None
    rows_in: int
    accepted: int
    duplicate: int
    quarantined: int


@dataclass(frozen=True)
class Driver:
    """A feature's share in the score, and what it is; a report lists them the greatest share first."""

    name: str
    share: float
    doc: str = ""
    after_intent: bool = False


@dataclass(frozen=True)
class Report:
    """All that the report says.

    `rows` are the scored rows of the test dates (as_of, label, score, baseline), `by_date` their metrics, the baseline's
    under `baseline`. `schedule` holds the as-ofs by what they were used for: train,
    calibrate, test, score. `outcome` ends the sentence "the chance that a customer ...", `when` says when that
    happens, `population` for whom the model speaks.
    """

    model: str
    version: str
    run_id: str
    as_of: datetime
    outcome: str
    when: str
    population: str
    lead: int
    horizon: int
    baseline: str
    by_date: Mapping[str, Metrics]
    rows: pd.DataFrame
    verdicts: Sequence[Verdict]
    leaks: LeakEvidence
    drivers: Sequence[Driver]
    schedule: Mapping[str, Sequence[datetime]]
    sources: Sequence[Source]
    settings: Mapping[str, Any]
    segments: Mapping[str, Metrics] | None = None
    left_out: Sequence[str] = ()
    vocabulary: Vocabulary = CHURN
    champion: str | None = None
    """The version in use when this one was evaluated."""
    against_champion: Mapping[str, Any] | None = None
    """What `compare` says of this version and the champion; None where they were not compared."""


def draw(report: Report, importance: Mapping[str, float]) -> dict[str, str]:
    """The plots of a report as SVG, by name; `importance` is each feature's share in the score."""
    rows, vocabulary = report.rows, report.vocabulary
    figures = {
        "gains": plots.gains(rows, vocabulary, mark=HEADLINE_SHARE),
        "lift": plots.lift(rows, vocabulary),
        "precision_recall": plots.precision_recall(rows, vocabulary),
        "calibration": plots.calibration(rows, vocabulary),
        "timeline": plots.timeline(report.schedule, lead=report.lead, horizon=report.horizon),
        "importance": plots.importance(importance),
    }
    return {name: plots.svg(figure) for name, figure in figures.items()}


def render(report: Report, drawn: Mapping[str, str]) -> str:
    """The report, with what `draw` made of it, as one HTML page. The same report makes the same bytes."""
    rows, vocabulary = report.rows, report.vocabulary
    tops = {column: _mean_top(rows, column) for column in ("score", BASELINE)}
    slope, intercept = slope_and_intercept(rows["label"], rows["score"])
    return _TEMPLATE.render(
        report=report,
        vocabulary=vocabulary,
        baseline=BASELINE,
        names=NAMES,
        figures={name: address(svg) for name, svg in drawn.items()},
        tops=tops,
        headline=next(each for each in tops["score"] if each.share == HEADLINE_SHARE),
        headline_baseline=next(each for each in tops[BASELINE] if each.share == HEADLINE_SHARE),
        mean=lambda metric, of=None: _over_dates(report.by_date, metric, of, fmean),
        worst=lambda metric, of=None: _over_dates(
            report.by_date, metric, of, max if metric in LOWER_IS_BETTER else min
        ),
        failed=[verdict for verdict in report.verdicts if not verdict.passed],
        said=float(rows["score"].mean()),
        seen=float(rows["label"].mean()),
        slope=slope,
        intercept=intercept,
        fewest=_FEWEST,
    )


def _mean_top(rows: pd.DataFrame, column: str) -> tuple[Top, ...]:
    """The lift table, each figure the mean over the dates."""
    per_date = [top(part["label"], part[column]) for _, part in rows.groupby("as_of", sort=True)]
    return tuple(
        Top(
            share=same[0].share,
            rows=round(fmean(each.rows for each in same)),
            positives=fmean(each.positives for each in same),
            precision=fmean(each.precision for each in same),
            reached=fmean(each.reached for each in same),
            lift=fmean(each.lift for each in same),
        )
        for same in zip(*per_date, strict=True)
    )


def _over_dates(by_date: Mapping[str, Metrics], metric: str, of: str | None, choose: Any) -> float:
    """A metric (`auc`, `lift/0.1`) of the model, or of what is under `of`, over the dates."""
    values = []
    for metrics in by_date.values():
        value: Any = metrics[of] if of else metrics
        for name in metric.split("/"):
            value = value[name]
        values.append(float(value))
    return float(choose(values))


_TEMPLATE = template("model_report.html.j2")


def report_of(
    spec: ModelSpec,
    found: Evaluation,
    sources: Mapping[str, Mapping[str, int]],
    table_versions: Mapping[str, int | None],
) -> Report:
    """The report of an evaluation; `sources` are the ledger's totals by source, `table_versions` Delta's of each."""
    fitted, rows_of = found.version.summary, examples(spec)
    docs = {
        column: (feature.doc, feature.after_intent)
        for feature in features()
        for column in feature.columns(spec.features.windows)
    }
    slices = {name: [datetime.fromisoformat(day) for day in fitted["split"][name]] for name in ("train", "calibrate")}
    return Report(
        model=spec.name,
        version=found.version.number,
        run_id=found.version.run_id,
        as_of=found.as_of,
        outcome=spec.label.outcome,
        when=rows_of.when(found.as_of),
        population=rows_of.population,
        lead=spec.window.lead,
        horizon=spec.window.horizon,
        baseline=spec.baseline,
        by_date=found.by_date,
        rows=found.rows,
        verdicts=found.verdicts,
        leaks=found.leaks,
        drivers=[
            Driver(name, share, *docs.get(name, ("", False)))
            for name, share in list(fitted["importance"].items())[:_DRIVERS]
        ],
        schedule={**slices, "test": list(found.dates.test)},
        sources=[Source(name, table_versions[name], **counts) for name, counts in sources.items()],
        settings=spec.settings,
        segments=found.segments,
        left_out=fitted["left_out"],
        vocabulary=spec.vocabulary,
        champion=found.champion,
        against_champion=found.against_champion,
    )
