"""The plots of an evaluated model, for MLflow and the report. The same rows give the same bytes.

`rows` are those the model was evaluated on: as_of, label, score and baseline. A curve is drawn for each date (thin)
and for the unweighted mean of the dates (thick).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from churn.evaluation.by_date import BASELINE
from churn.evaluation.calibration import reliability
from churn.evaluation.lift import POINTS
from churn.evaluation.lift import gains as gains_curve
from churn.evaluation.profit import profit_of_share
from churn.evaluation.ranking import Floats
from churn.model_spec import Campaign
from churn.vocabulary import CHURN, Vocabulary

INK, MUTED, FAINT, LINE = "#17212b", "#55636f", "#98a3ad", "#e3e7eb"
MODEL, OTHER = "#1a5f9e", "#b4531a"
ROLES: Mapping[str, str] = {"train": "#6f9bc4", "calibrate": "#8a6fae", "test": "#1a5f9e", "score": "#b4531a"}

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollars is a name
    "svg.fonttype": "none",
    "svg.hashsalt": "churn",
}
_SIZE = (4.7, 3.5)
_FORTNIGHT = 14
_READER_FONTS = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SHOWN = slice(POINTS // 100, None)
"""Lift and precision are drawn from the top 1 % on; a smaller share has too few rows."""

Curve = tuple[Floats, Floats]
Place = Literal["lower right", "lower left", "upper right", "upper left"]


def gains(rows: pd.DataFrame, vocabulary: Vocabulary = CHURN, *, mark: float = 0.1) -> Figure:
    """Of all positives, the share reached by acting on the top of the ranking; the top `mark` is highlighted."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        share, reached = _each_date(axes, rows, lambda share, reached, _rate: (share, reached))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="by chance")
        here = float(np.interp(mark, share, reached))
        axes.plot([mark, mark, 0], [0, here, here], color=MODEL, linewidth=0.9, linestyle=":")
        axes.plot(mark, here, "o", color=MODEL, markersize=5)
        axes.set_title(f"top {mark:.0%}: {here:.0%} of {vocabulary.positives}", loc="left", fontsize=9.5, color=MODEL)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=f"{vocabulary.entities} {vocabulary.acted}, best score first")
        axes.set_ylabel(f"share of all {vocabulary.positives} reached")
        percent_axis(axes, "xy")
        _legend(axes, "lower right")
        return figure


def lift(rows: pd.DataFrame, vocabulary: Vocabulary = CHURN) -> Figure:
    """How many times as many positives as by chance, over the share acted on."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        _each_date(axes, rows, lambda share, reached, _rate: (share[_SHOWN], reached[_SHOWN] / share[_SHOWN]))
        axes.axhline(1, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="by chance")
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel=f"{vocabulary.entities} {vocabulary.acted}, best score first")
        axes.set_ylabel("lift")
        percent_axis(axes, "x")
        _legend(axes, "upper right")
        return figure


def precision_recall(rows: pd.DataFrame, vocabulary: Vocabulary = CHURN) -> Figure:
    """Of those acted on, the share that is positive, over the share of all positives reached."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        _each_date(axes, rows, lambda share, reached, rate: (reached[_SHOWN], rate * reached[_SHOWN] / share[_SHOWN]))
        axes.axhline(rows["label"].mean(), color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="by chance")
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=f"share of all {vocabulary.positives} reached (recall)")
        axes.set_ylabel(f"of the {vocabulary.acted}, share that {vocabulary.happened} (precision)")
        percent_axis(axes, "xy")
        _legend(axes, "upper right")
        return figure


def profit(rows: pd.DataFrame, campaign: Campaign, vocabulary: Vocabulary = CHURN) -> Figure:
    """The profit per customer of the cohort over the share acted on, at the mean acceptance rate."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        share, earned = _each_date(
            axes, rows, lambda share, reached, rate: (share, profit_of_share(campaign, share, reached, rate))
        )
        axes.axhline(0, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="no campaign")
        best = int(np.argmax(earned))
        axes.plot(share[best], earned[best], "o", color=MODEL, markersize=5)
        axes.set_title(f"most at {share[best]:.0%}: {earned[best]:,.2f}", loc="left", fontsize=9.5, color=MODEL)
        axes.set(xlim=(0, 1), xlabel=f"{vocabulary.entities} {vocabulary.acted}, best score first")
        axes.set_ylabel(f"profit per {vocabulary.entity}")
        percent_axis(axes, "x")
        _legend(axes, "lower left")
        return figure


def calibration(rows: pd.DataFrame, vocabulary: Vocabulary = CHURN) -> Figure:
    """Mean score against observed share, in bins of equal mass with 95 % intervals; below, the scores' distribution."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
        table = reliability(rows["label"], rows["score"])
        score, observed = np.array([b.score for b in table]), np.array([b.observed for b in table])
        errors = np.maximum([observed - [b.low for b in table], [b.high for b in table] - observed], 0)
        end = min(1.0, 1.05 * max(rows["score"].quantile(0.995), *(b.high for b in table)))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        axes.errorbar(
            score, observed, errors, fmt="o-", color=MODEL, markersize=4.5, linewidth=1.4, elinewidth=1, label="model"
        )
        axes.set(xlim=(0, end), ylim=(0, end), ylabel=f"share that {vocabulary.happened}")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        _legend(axes, "upper left")
        strip.hist(rows["score"], bins=40, range=(0, end), color=MODEL, alpha=0.55)
        strip.set(xlabel="score", yticks=[])
        strip.spines["left"].set_visible(False)
        strip.grid(visible=False)
        percent_axis(axes, "xy")
        return figure


def importance(shares: Mapping[str, float], *, most: int = 15) -> Figure:
    """The share of each feature in the score, the greatest first."""
    with mpl.rc_context(STYLE):
        largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:most][::-1]
        figure = Figure(figsize=(_SIZE[0] * 1.25, 0.6 + 0.25 * len(largest)), layout="constrained")
        axes = figure.subplots()
        names, values = [name for name, _ in largest], [value for _, value in largest]
        bars = axes.barh(names, values, color=MODEL, height=0.66)
        axes.bar_label(bars, [f"{value:.1%}" for value in values], padding=4, color=MUTED, fontsize=8.5)
        axes.set(xlim=(0, 1.14 * max(values, default=1.0)), xticks=[])
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.grid(visible=False)
        axes.tick_params(axis="y", labelcolor=INK, pad=2)
        return figure


def timeline(schedule: Mapping[str, Sequence[datetime]], *, lead: int, horizon: int) -> Figure:
    """Every as-of (dot) with its lead (thin) and label window (thick), one line each, grouped by slice."""
    with mpl.rc_context(STYLE):
        lines = [(role, as_of) for role, as_ofs in schedule.items() for as_of in sorted(as_ofs)]
        figure = Figure(
            figsize=(2.05 * _SIZE[0], 0.75 + 0.115 * len(lines) + 0.12 * len(schedule)), layout="constrained"
        )
        axes = figure.subplots()
        y, middles = 0.0, {}
        for role, as_ofs in schedule.items():
            first = y
            for as_of in sorted(as_ofs):
                begins = as_of + timedelta(days=lead)
                colour = ROLES.get(role, MUTED)
                axes.plot([day_number(as_of), day_number(begins)], [y, y], color=colour, linewidth=0.8)
                if role != "score":
                    ends = begins + timedelta(days=horizon)
                    axes.plot(
                        [day_number(begins), day_number(ends)],
                        [y, y],
                        color=colour,
                        linewidth=4,
                        solid_capstyle="butt",
                        alpha=0.45,
                    )
                axes.plot(day_number(as_of), y, "o", color=colour, markersize=4)
                y += 1
            middles[role] = (first + y - 1) / 2
            y += 1.1
        axes.set_yticks(list(middles.values()), [f"{role} ({len(schedule[role])})" for role in middles])
        axes.set_ylim(y - 0.4, -1)
        date_axis(axes)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelcolor=INK)
        return figure


def svg(figure: Figure) -> str:
    """The figure as SVG, in the reader's fonts."""
    drawn = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return drawn.getvalue().replace("'DejaVu Sans'", _READER_FONTS.replace("'", "&apos;"))


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.subplots()


def _each_date(axes: Axes, rows: pd.DataFrame, curve: Callable[[Floats, Floats, float], Curve]) -> Curve:
    """Draws `curve(share, reached, rate)` of the model and of the baseline; the model's mean over the dates."""
    means: dict[str, Curve] = {}
    dates = [part for _, part in rows.groupby("as_of", sort=True)]
    for column, name, colour in ((BASELINE, "baseline", OTHER), ("score", "model", MODEL)):
        curves = []
        for part in dates:
            share, reached = gains_curve(part["label"], part[column])
            curves.append(curve(share, reached, float(part["label"].mean())))
            if len(dates) > 1:
                axes.plot(*curves[-1], color=colour, linewidth=0.7, alpha=0.35)
        means[name] = (np.mean([x for x, _ in curves], axis=0), np.mean([y for _, y in curves], axis=0))
        axes.plot(*means[name], color=colour, linewidth=2, label=name)
    return means["model"]


def date_axis(axes: Axes) -> None:
    """Days as dates; a single one, or some that are close together, with a fortnight around them."""
    axes.xaxis_date()
    first, last = axes.dataLim.intervalx
    if 0 <= last - first < _FORTNIGHT:
        axes.set_xlim(first - _FORTNIGHT / 2, last + _FORTNIGHT / 2)
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]


def percent_axis(axes: Axes, which: str) -> None:
    for name in which:
        (axes.xaxis if name == "x" else axes.yaxis).set_major_formatter(PercentFormatter(1, decimals=0))


def _legend(axes: Axes, place: Place) -> None:
    handles, labels = axes.get_legend_handles_labels()
    by_name = dict(sorted(zip(labels, handles, strict=True), key=lambda each: each[0] != "model"))
    axes.legend(by_name.values(), by_name.keys(), loc=place, fontsize=9, handlelength=1.6)


def day_number(timestamp: datetime) -> float:
    """As matplotlib counts days on an axis of dates."""
    return float(date2num(timestamp))  # type: ignore[no-untyped-call]
