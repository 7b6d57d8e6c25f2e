"""The plots of a monitoring report. The same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from churn.errors import printable
from churn.monitoring.drift import Drift
from churn.reporting.plots import FAINT, MODEL, MUTED, OTHER, STYLE, date_axis, day_number, percent_axis

_SIZE = (4.7, 2.9)


def distribution(drift: Drift, reference: str) -> Figure:
    """The share of rows in each bin, at the reference and now; `reference` is its name in the legend."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(drift.bins))
        for counts, label, colour, shift in ((drift.then, reference, FAINT, -0.2), (drift.now, "now", MODEL, 0.2)):
            shares = np.asarray(counts) / max(1, sum(counts))
            axes.bar(places + shift, shares, width=0.4, color=colour, label=label)
        names = [printable(name, lines=False) for name in drift.bins.names]
        axes.set_xticks(places, names, rotation=40, ha="right", fontsize=8)
        axes.grid(visible=False, axis="x")
        percent_axis(axes, "y")
        _legend(axes)
        return figure


def trend(history: Mapping[str, Sequence[tuple[datetime, float]]], *, limit: float) -> Figure:
    """The stability index (PSI) of the score over time, a line for each reference, and the limit."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for (name, points), colour in zip(history.items(), (MODEL, OTHER, MUTED), strict=False):
            days = [day_number(as_of) for as_of, _ in points]
            axes.plot(days, [value for _, value in points], "o-", color=colour, linewidth=1.6, markersize=4, label=name)
        axes.axhline(limit, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="limit")
        axes.set_ylim(0, None)
        axes.set_ylabel("stability index of the score")
        date_axis(axes)
        _legend(axes)
        return figure


def outcomes(
    points: Sequence[tuple[datetime, float, float, float]],
    baseline: Sequence[tuple[datetime, float]],
    *,
    expected: float | None,
) -> Figure:
    """The observed AUC (as-of, AUC, low, high) of past scores, and the baseline's; `expected` is the evaluation's."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.05 * _SIZE[0], _SIZE[1]), layout="constrained")
        axes = figure.subplots()
        days, auc, low, high = np.array([(day_number(as_of), *values) for as_of, *values in points]).T
        axes.errorbar(
            days, auc, yerr=(auc - low, high - auc), fmt="o-", color=MODEL, linewidth=1.6, markersize=4, label="model"
        )
        axes.plot(
            [day_number(as_of) for as_of, _ in baseline],
            [value for _, value in baseline],
            "o-",
            color=OTHER,
            linewidth=1.2,
            markersize=3,
            label="baseline",
        )
        if expected is not None:
            axes.axhline(expected, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="evaluation")
        axes.set_ylabel("observed AUC")
        date_axis(axes)
        _legend(axes)
        return figure


def _legend(axes: Axes) -> None:
    """Above the plot, where it hides no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=9, handlelength=1.4, borderaxespad=0.2)
