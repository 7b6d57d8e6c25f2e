"""One page that says whether a model may go live, to somebody who was not there: self-contained, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from churn.evaluation import plots
from churn.evaluation.calibration import slope_and_intercept
from churn.evaluation.gates import NAMES, Verdict
from churn.evaluation.leaks import LeakEvidence
from churn.evaluation.lift import Top, top
from churn.evaluation.metrics import LOWER_IS_BETTER, Metrics
from churn.evaluation.plots import RULE
from churn.evaluation.words import CHURN, Words

HEADLINE_SHARE = 0.1
_NO_FIGURE = "\N{EN DASH}"
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


def render(report: Report) -> str:
    """The report as one HTML page. The same report makes the same bytes."""
    rows, words = report.rows, report.words
    tops = {column: _mean_top(rows, column) for column in ("score", RULE)}
    slope, intercept = slope_and_intercept(rows["label"], rows["score"])
    return _TEMPLATE.render(
        report=report,
        words=words,
        rule=RULE,
        names=NAMES,
        figures={
            "gains": _picture(plots.gains(rows, words, mark=HEADLINE_SHARE)),
            "lift": _picture(plots.lift(rows, words)),
            "precision_recall": _picture(plots.precision_recall(rows, words)),
            "calibration": _picture(plots.calibration(rows, words)),
            "timeline": _picture(plots.timeline(report.schedule, lead=report.lead, horizon=report.horizon)),
        },
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


def _picture(figure: Any) -> str:
    """The figure as an image's address that needs no request; inside images, one's names cannot meet another's."""
    return f"data:image/svg+xml;base64,{base64.b64encode(plots.svg(figure).encode()).decode()}"


def _number(value: float | None, digits: int = 3) -> str:
    return _NO_FIGURE if value is None or isnan(value) else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float | None, digits: int = 0) -> str:
    return _NO_FIGURE if value is None or isnan(value) else f"{100 * value:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _day(value: datetime) -> str:
    return f"{value.day} {value:%B %Y}"


def _template_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, percent=_percent, count=_count, day=_day)
    return environment


_TEMPLATE = _template_environment().get_template("report.html.j2")
