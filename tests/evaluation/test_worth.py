"""Lift, profit and calibration, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from churn.evaluation.calibration import reliability, slope_and_intercept, wilson
from churn.evaluation.lift import gains, top
from churn.evaluation.profit import expected_profit

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


def test_the_best_campaign() -> None:
    # A leaver called earns 0.5 * (100 - 10) - 5 = 40, anybody else costs 15: 40, 80, 65, 105, 90, 75, 60, 100, ...
    best = expected_profit(LABEL, SCORE, value=100, contact_cost=5, offer_cost=10, accept_rate=0.5)
    assert (best.total, best.per_entity, best.fraction, best.threshold) == (105, 10.5, 0.4, 0.6)


def test_each_customer_may_have_a_value_of_their_own() -> None:
    value = np.where(np.arange(10) == 7, 1000, 100)  # the leaver in the eighth place is worth the way there
    best = expected_profit(LABEL, SCORE, value=value, contact_cost=5, offer_cost=10, accept_rate=0.5)
    assert (best.total, best.fraction) == (60 + 0.5 * 990 - 5, 0.8)


def test_a_campaign_that_cannot_pay_is_not_run() -> None:
    best = expected_profit(LABEL, SCORE, value=10, contact_cost=5, offer_cost=10, accept_rate=0.5)
    assert (best.total, best.fraction, best.threshold) == (0, 0, None)


def test_equal_scores_are_contacted_together() -> None:
    best = expected_profit([1, 0], [0.5, 0.5], value=100, contact_cost=5, offer_cost=10, accept_rate=0.5)
    assert (best.total, best.fraction) == (25, 1.0)


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


def test_wilson() -> None:
    # Newcombe 1998 (Stat Med 17:857-872), table I: 81 of 263, 15 of 148, 0 of 20.
    low, high = wilson([81 / 263, 15 / 148, 0], [263, 148, 20])
    assert low == pytest.approx([0.2553, 0.0624, 0], abs=1e-4)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611], abs=1e-4)


def test_slope_and_intercept_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-1, 1, 5000)
    label = rng.random(5000) < 1 / (1 + np.exp(-truth))
    said = 1 / (1 + np.exp(-(2 * truth + 1)))  # too extreme, and too high
    slope, intercept = slope_and_intercept(label, said)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit((2 * truth + 1).reshape(-1, 1), label)
    assert (slope, intercept) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=1e-6)
    assert (slope, intercept) == pytest.approx((0.5, -0.5), abs=0.05)


@pytest.mark.parametrize("score", [[0.1, 0.2, 0.8, 0.9], [0.5] * 4])
def test_no_line_where_none_fits_best(score: list[float]) -> None:
    assert np.isnan(slope_and_intercept([0, 0, 1, 1], score)).all()
