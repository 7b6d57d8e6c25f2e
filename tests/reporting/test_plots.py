"""The data of the plots; their look is not tested."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from churn.monitoring.drift import Bins, Drift
from churn.reporting import plots
from churn.reporting.monitoring_plots import distribution

ROWS = pd.DataFrame(
    {
        "as_of": np.repeat(["2026-05-01", "2026-06-01"], 10),
        "label": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0] * 2,
        "score": np.tile(np.linspace(0.9, 0.1, 10), 2),
        "baseline": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 2,
    }
)


def lines(figure: plots.Figure) -> dict[str, tuple[list[float], list[float]]]:
    """The points of every named line."""
    drawn = figure.axes[0].get_lines()
    named = [line for line in drawn if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in named}


def test_gains() -> None:
    figure = plots.gains(ROWS)
    share, reached = lines(figure)["model"]
    assert reached[share.index(0.1)] == pytest.approx(0.5)
    assert reached[share.index(0.2)] == pytest.approx(1)
    assert lines(figure)["baseline"][1][share.index(0.5)] == 0
    assert figure.axes[0].get_title("left") == "top 10%: 50% of leavers"
    assert figure.axes[0].get_xlabel() == "customers called, best score first"


def test_lift_and_precision_follow_from_gains() -> None:
    share, lift = lines(plots.lift(ROWS))["model"]
    assert (share[0], lift[0]) == pytest.approx((0.01, 5))
    recall, precision = lines(plots.precision_recall(ROWS))["model"]
    assert precision == pytest.approx([0.2 * each for each in lift])
    assert (recall[-1], precision[-1]) == pytest.approx((1, 0.2))


def test_importance_lists_the_greatest_first() -> None:
    axes = plots.importance({"b": 0.2, "a": 0.2, "c": 0.5, "d": 0.1}, most=3).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a", "c"]  # from the bottom up


def test_the_timeline_names_each_slice_and_its_as_ofs() -> None:
    schedule = {"train": [datetime(2026, 1, 1, tzinfo=UTC)], "test": [datetime(2026, 5, 1, tzinfo=UTC)] * 3}
    axes = plots.timeline(schedule, lead=7, horizon=30).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train (1)", "test (3)"]


def test_the_same_rows_give_the_same_bytes() -> None:
    assert plots.svg(plots.calibration(ROWS)) == plots.svg(plots.calibration(ROWS))


def test_a_name_is_drawn_as_it_is() -> None:
    """A plan named $}{$ is no formula, and a control character no part of a picture."""
    names = ("$}{$", "\x1b[2J")
    drift = Drift("plan", "training", Bins(texts=names), (5, 3, 2), (4, 4, 2), 0, 0)
    drawn = plots.svg(distribution(drift, "training"))
    assert "$}{$" in drawn
    assert "\x1b" not in drawn
    assert "\\x1b[2J" in drawn
