"""One page that says whether a model may go live, to somebody who was not there: self-contained, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from churn.evaluation import plots
from churn.evaluation.calibration import slope_and_intercept
from churn.evaluation.gates import NAMES, Verdict
from churn.evaluation.leaks import LeakEvidence
from churn.evaluation.lift import Top, top
from churn.evaluation.metrics import LOWER_IS_BETTER, Metrics
from churn.evaluation.page import address, template
from churn.evaluation.plots import RULE
from churn.evaluation.words import CHURN, Words

HEADLINE_SHARE = 0.1
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

    `rows` are the scored rows of the test dates (as_of, label, score, rule_of_thumb), `judged` their metrics per
    date, the rule's under `rule_of_thumb`. `schedule` holds the as-ofs by what they were used for: train,
    calibrate, test, score. `outcome` ends the sentence "the chance that a customer ...", `population` the sentence
    "it speaks for ...".
    """

    model: str
    version: str
    run_id: str
    as_of: datetime
    outcome: str
    population: str
    lead: int
    horizon: int
    rule: str
    judged: Mapping[str, Metrics]
    rows: pd.DataFrame
    verdicts: Sequence[Verdict]
    leaks: LeakEvidence
    drivers: Sequence[Driver]
    schedule: Mapping[str, Sequence[datetime]]
    sources: Sequence[Source]
    settings: Mapping[str, Any]
    segments: Mapping[str, Metrics] | None = None
    left_out: Sequence[str] = ()
    words: Words = CHURN
    of_transactions: bool = False
    champion: str | None = None
    """The version in use when this one was judged."""
    against_champion: Mapping[str, Any] | None = None
    """What `compare` said of this version and the champion; null where they did not meet."""


def draw(report: Report) -> dict[str, str]:
    """The plots of a report as SVG, by name."""
    rows, words = report.rows, report.words
    figures = {
        "gains": plots.gains(rows, words, mark=HEADLINE_SHARE),
        "lift": plots.lift(rows, words),
        "precision_recall": plots.precision_recall(rows, words),
        "calibration": plots.calibration(rows, words),
        "timeline": plots.timeline(report.schedule, lead=report.lead, horizon=report.horizon),
    }
    return {name: plots.svg(figure) for name, figure in figures.items()}


def render(report: Report, drawn: Mapping[str, str]) -> str:
    """The report, with what `draw` made of it, as one HTML page. The same report makes the same bytes."""
    rows, words = report.rows, report.words
    tops = {column: _mean_top(rows, column) for column in ("score", RULE)}
    slope, intercept = slope_and_intercept(rows["label"], rows["score"])
    return _TEMPLATE.render(
        report=report,
        words=words,
        rule=RULE,
        names=NAMES,
        figures={name: address(svg) for name, svg in drawn.items()},
        tops=tops,
        headline=next(each for each in tops["score"] if each.share == HEADLINE_SHARE),
        headline_rule=next(each for each in tops[RULE] if each.share == HEADLINE_SHARE),
        mean=lambda metric, of=None: _over_dates(report.judged, metric, of, fmean),
        worst=lambda metric, of=None: _over_dates(report.judged, metric, of, max if metric in LOWER_IS_BETTER else min),
        failed=[verdict for verdict in report.verdicts if not verdict.passed],
        said=float(rows["score"].mean()),
        seen=float(rows["label"].mean()),
        slope=slope,
        intercept=intercept,
        first_day=report.as_of + timedelta(days=report.lead),
        last_day=report.as_of + timedelta(days=report.lead + report.horizon - 1),
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


def _over_dates(judged: Mapping[str, Metrics], metric: str, of: str | None, choose: Any) -> float:
    """A metric (`auc`, `lift/0.1`) of the model, or of what is judged under `of`, over the dates."""
    values = []
    for metrics in judged.values():
        value: Any = metrics[of] if of else metrics
        for name in metric.split("/"):
            value = value[name]
        values.append(float(value))
    return float(choose(values))


_TEMPLATE = template(Path(__file__).with_name("report.html.j2"))
