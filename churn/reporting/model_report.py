"""The model report: one page by which a lead decides whether a version goes live. Self-contained, nothing fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

import pandas as pd

from churn.dataset.examples import examples
from churn.evaluation.by_date import BASELINE
from churn.evaluation.calibration import slope_and_intercept
from churn.evaluation.challenger import Evaluation
from churn.evaluation.gates import GATES, NAMES
from churn.evaluation.leakage import LeakEvidence
from churn.evaluation.lift import Top, top
from churn.evaluation.metrics import LOWER_IS_BETTER, Metrics
from churn.features import features
from churn.model_spec import Campaign, ModelSpec, Verdict
from churn.monitoring.limits import LIMITS
from churn.reporting import plots
from churn.reporting.html import address, template
from churn.scoring.reasons import FrequentReason
from churn.vocabulary import CHURN, Vocabulary

HEADLINE_SHARE = 0.1
_DRIVERS_SHOWN = 15
_MIN_CLASS_ROWS = 10
"""Positives, and negatives, below which no metrics of a segment are shown."""


@dataclass(frozen=True)
class Source:
    """A table that the model learnt from, and the totals of its ledger."""

    name: str
    version: int | None
    rows_in: int
    accepted: int
    duplicate: int
    quarantined: int


@dataclass(frozen=True)
class Driver:
    """A feature and its share in the score."""

    name: str
    share: float
    doc: str = ""
    after_intent: bool = False


@dataclass(frozen=True)
class Report:
    """The contents of a model report.

    `outcome` and `when` complete the sentence "The chance that a customer ...". `by_date` holds the metrics of each
    test date, those of the baseline under `baseline`; `rows` the scored rows (as_of, label, score, baseline).
    `drivers` are in order, the greatest share first. `schedule` holds the as-ofs of each slice: train, calibrate, test.
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
    """As in `ModelSpec.settings`."""
    segments: Mapping[str, Metrics] | None = None
    left_out: Sequence[str] = ()
    treated: Mapping[str, int] | None = None
    """Of the rows to learn from, how many a contact treated before their label was known; None = it made no matter."""
    vocabulary: Vocabulary = CHURN
    champion: str | None = None
    """The version in use when this one was evaluated."""
    against_champion: Mapping[str, Any] | None = None
    """`compare` of this version and the champion; None where they were not compared."""
    campaign: Campaign | None = None
    """By what the profit is measured; None = it is not."""
    reasons: Sequence[FrequentReason] = ()
    """Of those who would have been acted on at the last test date."""


def report_of(
    spec: ModelSpec,
    evaluation: Evaluation,
    sources: Mapping[str, Mapping[str, int]],
    table_versions: Mapping[str, int | None],
    reasons: Sequence[FrequentReason] = (),
) -> Report:
    """The report of an evaluation; `sources` are the ledger's totals by source, `table_versions` Delta's of each."""
    version, rows_of = evaluation.version, examples(spec)
    by_column = {column: feature for feature in features() for column in feature.columns(spec.features.windows)}
    drivers = [
        Driver(name, share, by_column[name].doc, by_column[name].after_intent)
        if name in by_column
        else Driver(name, share)
        for name, share in version.summary["importance"].items()
    ]
    learnt = version.summary["split"]
    slices = {name: [datetime.fromisoformat(day) for day in learnt[name]] for name in ("train", "calibrate")}
    checked = {"gates": [str(gate) for gate in spec.gates or GATES], "limits": [*map(str, spec.limits or LIMITS)]}
    return Report(
        model=spec.name,
        version=version.number,
        run_id=version.run_id,
        as_of=evaluation.as_of,
        outcome=spec.label.outcome,
        when=rows_of.when(evaluation.as_of),
        population=rows_of.population,
        lead=spec.window.lead,
        horizon=spec.window.horizon,
        baseline=spec.baseline,
        by_date=evaluation.by_date,
        rows=evaluation.rows,
        verdicts=evaluation.verdicts,
        leaks=evaluation.leaks,
        drivers=drivers,
        schedule={**slices, "test": evaluation.dates.test},
        sources=[Source(name, table_versions[name], **counts) for name, counts in sources.items()],
        settings=spec.settings | checked,
        segments=evaluation.segments,
        left_out=version.summary["left_out"],
        treated=version.summary.get("treated"),
        vocabulary=spec.vocabulary,
        champion=evaluation.champion,
        against_champion=evaluation.against_champion,
        campaign=spec.campaign,
        reasons=reasons,
    )


def draw(report: Report) -> dict[str, str]:
    """The plots of a report as SVG, by name."""
    rows, vocabulary = report.rows, report.vocabulary
    figures = {
        "gains": plots.gains(rows, vocabulary, mark=HEADLINE_SHARE),
        "lift": plots.lift(rows, vocabulary),
        "precision_recall": plots.precision_recall(rows, vocabulary),
        "calibration": plots.calibration(rows, vocabulary),
        "timeline": plots.timeline(report.schedule, lead=report.lead, horizon=report.horizon),
        "importance": plots.importance({driver.name: driver.share for driver in report.drivers}),
    }
    if report.campaign:
        figures["profit"] = plots.profit(rows, report.campaign, vocabulary)
    return {name: plots.svg(figure) for name, figure in figures.items()}


def render(report: Report, drawn: Mapping[str, str]) -> str:
    """The report with the plots of `draw`, as one HTML page. The same report gives the same bytes."""
    rows = report.rows
    tops = {column: _mean_top(rows, column) for column in ("score", BASELINE)}
    headline, headline_baseline = (
        next(each for each in tops[column] if each.share == HEADLINE_SHARE) for column in ("score", BASELINE)
    )
    slope, intercept = slope_and_intercept(rows["label"], rows["score"])
    return _TEMPLATE.render(
        report=report,
        vocabulary=report.vocabulary,
        baseline=BASELINE,
        names=NAMES,
        figures={name: address(svg) for name, svg in drawn.items()},
        tops=tops,
        headline=headline,
        headline_baseline=headline_baseline,
        mean=lambda metric, of=None: fmean(_values(report.by_date, metric, of)),
        worst=lambda metric, of=None: _worst(metric)(_values(report.by_date, metric, of)),
        failed=[verdict for verdict in report.verdicts if not verdict.passed],
        mean_score=float(rows["score"].mean()),
        observed=float(rows["label"].mean()),
        slope=slope,
        intercept=intercept,
        shown=_DRIVERS_SHOWN,
        settings=_by_part(report.settings),
        min_class_rows=_MIN_CLASS_ROWS,
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


def _values(by_date: Mapping[str, Metrics], metric: str, of: str | None) -> list[float]:
    """A metric (`auc`, `lift/0.1`) of each date, of the model or of what is under `of`."""
    values = []
    for metrics in by_date.values():
        value: Any = metrics[of] if of else metrics
        for name in metric.split("/"):
            value = value[name]
        values.append(float(value))
    return values


def _worst(metric: str) -> Callable[[Iterable[float]], float]:
    return max if metric in LOWER_IS_BETTER else min


def _by_part(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The settings as the page lists them: by part (name, value); those that belong to no part under `model`."""
    parts: dict[str, list[tuple[str, str]]] = {"model": []}
    for part, values in settings.items():
        if isinstance(values, Mapping):
            parts[part] = [(name, _formatted(value)) for name, value in values.items()]
        elif isinstance(values, list):
            parts[part] = [(value, "") for value in values]
        else:
            parts["model"].append((part, _formatted(values)))
    return parts


def _formatted(value: Any) -> str:
    if value is None or value in ((), []):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_formatted(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_formatted, value))
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


_TEMPLATE = template("model_report.html.j2")
