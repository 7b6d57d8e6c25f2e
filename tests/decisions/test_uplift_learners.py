"""Learners of effects: on rows whose true effect is known, and in the form in which they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from churn.decisions.uplift import _NOT_CHOSEN, LEARNERS, WITH_NOT_CHOSEN, _draws, choose
from churn.decisions.uplift_learners import Contacts, Learner, NotChosen, ResponseLearner, TLearner, XLearner, ridge
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
    found = learner.fit(Contacts(matrix, treated, outcome), seed=1).of(matrix)
    assert np.corrcoef(found, effect)[0, 1] > 0.7
    assert found[effect > 0].mean() > found[effect < 0].mean() + 0.05


def stays(dice: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matrix of three slots, and the chance to stay without a treatment and with one: the first two slots both make
    customers leave, and a treatment takes away what the first does."""
    matrix = dice.normal(size=(rows, 3)).astype(np.float32)
    for_money, for_service = 2.0 * (matrix[:, 0] > 1), 2.0 * (matrix[:, 1] > 1)
    untreated, treated = (1 / (1 + np.exp(gone - 3)) for gone in (for_money + for_service, for_service))
    return matrix, untreated, treated


def test_who_was_not_chosen_shows_what_happens_without_a_treatment() -> None:
    """Of 400 held out few leave; of 20,000 not chosen enough, so that the treated show whose reason is taken away."""
    dice = np.random.default_rng(5)
    matrix, without, with_it = stays(dice, 4_400)
    treated = np.arange(len(matrix)) >= 400
    outcome = (dice.random(len(matrix)) < np.where(treated, with_it, without)).astype(float)
    of_others, without_others, _ = stays(dice, 20_000)
    unchosen = NotChosen(of_others, (dice.random(len(of_others)) < without_others).astype(float))
    learner = WITH_NOT_CHOSEN["response"]
    alone, together = (
        learner.fit(Contacts(matrix, treated, outcome, more), seed=1).of(matrix) for more in (None, unchosen)
    )
    effect = with_it - without
    assert np.corrcoef(together, effect)[0, 1] > 0.9
    assert np.corrcoef(together, effect)[0, 1] > np.corrcoef(alone, effect)[0, 1] + 0.1
    assert together[matrix[:, 0] > 1].mean() > together[matrix[:, 0] <= 1].mean() + 0.1


def test_a_response_that_the_treated_do_not_show_is_alike_for_all() -> None:
    """Without trees of the response an intercept and a slope are left: the effect has the order of the chance."""
    dice = np.random.default_rng(5)
    matrix, without, with_it = stays(dice, ROWS)
    treated = np.arange(len(matrix)) % 2 == 0
    outcome = (dice.random(len(matrix)) < np.where(treated, with_it, without)).astype(float)
    untreated = Boosting(max_trees=50, learning_rate=0.1, max_depth=1, min_rows_per_leaf=100)
    alike = untreated.model_copy(update={"max_depth": 2, "max_trees": 1, "learning_rate": 1e-9})
    learner = ResponseLearner(untreated, alike)
    (_, if_treated), (_, if_held_out) = learner.fit(Contacts(matrix, treated, outcome), seed=1).parts
    log_odds = [np.log(part.values(matrix) / (1 - part.values(matrix))) for part in (if_treated, if_held_out)]
    assert np.corrcoef(*log_odds)[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_swapped_arms_give_the_opposite_effect() -> None:
    matrix, treated, outcome, _ = campaign(0.5)
    learner = XLearner(Logistic(reg_param_total=10.0))
    one, other = (learner.fit(Contacts(matrix, arm, outcome), seed=1).of(matrix) for arm in (treated, ~treated))
    assert np.abs(one + other).max() < 1e-9


def test_the_x_learner_weighs_the_held_out_arm_by_the_share_treated() -> None:
    """Künzel et al. 2019, equation 9: of 85 % treated, the regression on the few held out, whose other outcome is known
    best, counts 0.85."""
    matrix, treated, outcome, _ = campaign(0.85)
    parts = XLearner(Logistic(reg_param_total=10.0)).fit(Contacts(matrix, treated, outcome), seed=1).parts
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


def test_rows_of_those_not_chosen_are_in_the_half_of_their_customer_and_change_no_other() -> None:
    number = np.arange(40)
    arms, outcome = number % 2, (number % 5 == 0).astype(float)
    more, unchosen = np.concatenate([number, number[:20]]), np.full(20, _NOT_CHOSEN)
    draws = _draws(more, np.concatenate([arms, unchosen]), np.concatenate([outcome, np.ones(20)]), (1, 2))
    assert (draws[40:] == draws[:20]).all()
    assert (draws[:40] == _draws(number, arms, outcome, (1, 2))).all()
