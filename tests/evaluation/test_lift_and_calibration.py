"""Lift and calibration, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from churn.evaluation.calibration import reliability, slope_and_intercept
from churn.evaluation.lift import gains, top

# Ten customers, the best ranked first; four left.
LABEL = [1, 1, 0, 1, 0, 0, 0, 1, 0, 0]
SCORE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def test_lift_table() -> None:
    (third,) = top(LABEL, SCORE, shares=(0.3,))
    assert (third.rows, third.positives) == (3, 2)
    assert (third.precision, third.reached) == pytest.approx((2 / 3, 2 / 4))
    assert third.lift == pytest.approx((2 / 3) / (4 / 10))


def test_gains_run_from_nobody_to_everybody() -> None:
    share, reached = gains(LABEL, SCORE, points=10)
    assert share == pytest.approx(np.arange(11) / 10)
    assert reached == pytest.approx([0, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 1, 1, 1])


def test_reliability() -> None:
    low, high = reliability(LABEL, SCORE, bins=2)
    assert (low.n, low.score, low.observed) == pytest.approx((5, 0.2, 1 / 5))
    assert (high.n, high.score, high.observed) == pytest.approx((5, 0.7, 3 / 5))
    assert (low.low, low.high) == pytest.approx((0.0362, 0.6245), abs=1e-4)


def test_equal_scores_share_a_bin() -> None:
    assert [(each.n, each.score) for each in reliability(LABEL, [0.4] * 9 + [0.1])] == [
        (1, 0.1),
        (9, pytest.approx(0.4)),
    ]


def test_intervals_are_wilsons() -> None:
    # Newcombe 1998 (Stat Med 17:857-872), table I: 81 of 263, 15 of 148, 0 of 20.
    cases = {0.9: (81, 263), 0.5: (15, 148), 0.1: (0, 20)}
    label = [int(row < positives) for positives, rows in cases.values() for row in range(rows)]
    table = reliability(label, [score for score, (_, rows) in cases.items() for _ in range(rows)])[::-1]
    assert [(each.n, each.observed) for each in table] == [(263, 81 / 263), (148, 15 / 148), (20, 0.0)]
    assert [each.low for each in table] == pytest.approx([0.2553, 0.0624, 0], abs=1e-4)
    assert [each.high for each in table] == pytest.approx([0.3662, 0.1605, 0.1611], abs=1e-4)


def test_slope_and_intercept_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-1, 1, 5000)
    label = rng.random(5000) < 1 / (1 + np.exp(-truth))
    score = 1 / (1 + np.exp(-(2 * truth + 1)))  # too extreme, and too high
    slope, intercept = slope_and_intercept(label, score)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit((2 * truth + 1).reshape(-1, 1), label)
    assert (slope, intercept) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=1e-6)
    assert (slope, intercept) == pytest.approx((0.5, -0.5), abs=0.05)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), min_size=3, max_size=60))
def test_the_line_is_where_the_gradient_is_0(rows: list[tuple[bool, int]]) -> None:
    label, score = np.array([left for left, _ in rows]), np.array([mills / 1000 for _, mills in rows])
    slope, intercept = slope_and_intercept(label, score)
    log_odds = logit(np.clip(score, 1e-15, 1 - 1e-15))
    if np.isnan(slope):  # a cut separates the classes, or there is one class or one score
        above, below = score[label], score[~label]
        assert not len(above) or not len(below) or above.max() <= below.min() or below.max() <= above.min()
    else:
        residual = expit(slope * log_odds + intercept) - label
        assert abs(residual.sum()) < 1e-6
        assert abs((residual * log_odds).sum()) < 1e-6


@pytest.mark.parametrize(
    ("label", "score"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),  # all but the score on the cut
        ([0, 0, 1, 1], [0.5] * 4),
        ([1, 1, 1, 1], [0.1, 0.2, 0.8, 0.9]),
    ],
)
def test_no_line_where_none_fits_best(label: list[int], score: list[float]) -> None:
    assert np.isnan(slope_and_intercept(label, score)).all()
