"""Learners of effects: on rows whose true effect is known, and in the form in which they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from churn.decisions.uplift import LEARNERS, _draws, choose
from churn.decisions.uplift_learners import Learner, TLearner, XLearner, ridge
from churn.training.algorithms import Boosting, Linear, Logistic

ROWS = 6_000
_SMALL = Boosting(max_trees=40, learning_rate=0.1, max_depth=2, min_rows_per_leaf=50, slots_per_split=1.0)


def campaign(treated_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A matrix of three slots, the arm, the outcome, and the true effect: 0.3 where the first slot is above 0, else
    -0.1. The second slot moves the outcome of both arms alike."""
    dice = np.random.default_rng(3)
    matrix = dice.normal(size=(ROWS, 3)).astype(np.float32)
    treated = dice.random(ROWS) < treated_share
    effect = np.where(matrix[:, 0] > 0, 0.3, -0.1)
    rate = 0.3 + 0.2 * (matrix[:, 1] > 0) + treated * effect
    return matrix, treated, (dice.random(ROWS) < rate).astype(float), effect


@pytest.mark.parametrize("treated_share", [0.5, 0.85])
@pytest.mark.parametrize(
    "learner",
    [
        TLearner(Logistic(reg_param_total=10.0)),
        XLearner(Logistic(reg_param_total=10.0)),
        TLearner(_SMALL),
        XLearner(_SMALL),
        LEARNERS["additive"],
    ],
    ids=["T logistic", "X logistic", "T boosting", "X boosting", "default"],
)
def test_a_learner_finds_whom_the_treatment_moves(learner: Learner, treated_share: float) -> None:
    matrix, treated, outcome, effect = campaign(treated_share)
    found = learner.fit(matrix, treated, outcome, seed=1).of(matrix)
    assert np.corrcoef(found, effect)[0, 1] > 0.7
    assert found[effect > 0].mean() > found[effect < 0].mean() + 0.05


def test_swapped_arms_give_the_opposite_effect() -> None:
    matrix, treated, outcome, _ = campaign(0.5)
    learner = XLearner(Logistic(reg_param_total=10.0))
    one, other = (learner.fit(matrix, arm, outcome, seed=1).of(matrix) for arm in (treated, ~treated))
    assert np.abs(one + other).max() < 1e-9


def test_the_x_learner_weighs_the_held_out_arm_by_the_share_treated() -> None:
    """Künzel et al. 2019, equation 9: of 85 % treated, the regression on the few held out, whose other outcome is known
    best, counts 0.85."""
    matrix, treated, outcome, _ = campaign(0.85)
    parts = XLearner(Logistic(reg_param_total=10.0)).fit(matrix, treated, outcome, seed=1).parts
    assert [weight for weight, _ in parts] == pytest.approx([1 - treated.mean(), treated.mean()])


def test_a_ridge_without_l2_is_least_squares() -> None:
    matrix = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]], np.float32)
    fitted = ridge(matrix, matrix @ np.array([2.0, -1.0]) + 0.5, l2=0.0)
    assert isinstance(fitted, Linear)
    assert [*fitted.coefficients, fitted.intercept] == pytest.approx([2.0, -1.0, 0.5], abs=1e-6)


def test_another_learner_must_beat_the_first_by_more_than_the_noise() -> None:
    assert choose({"first": [1.0, 1.1, 0.9, 1.0], "other": [1.5, 1.7, 1.4, 1.6]}) == "other"
    assert choose({"first": [1.0, 1.1, 0.9, 1.0], "other": [2.0, 0.4, 2.5, 0.9]}) == "first"
    assert choose({"first": [1.0, 1.0], "second": [1.2, 1.2], "third": [1.4, 1.4]}) == "third"


def test_halves_have_equal_shares_of_arms_and_outcomes_and_do_not_divide_a_customer() -> None:
    """Of 40 customers with two rows each, 8 have the outcome, 10 are treated with and without it in one row."""
    number = np.arange(40).repeat(2)
    treated = (number % 4 == 0) & (np.arange(80) % 2 == 0)
    outcome = ((number % 5 == 0) & (np.arange(80) % 2 == 1)).astype(float)
    draws = _draws(number, treated, outcome, (1, 2))
    first = draws < 0.5
    assert (first[::2] == first[1::2]).all()
    assert (first[treated].sum(), first.sum(), first[outcome == 1].sum()) == (5, 40, 4)
    assert (_draws(number, treated, outcome, (1, 2)) == draws).all()
    assert (_draws(number, treated, outcome, (1, 3)) != draws).any()
