"""Uplift at k, the Qini curve and the effect of a campaign, on rows small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from churn.decisions.uplift_curve import Ranking, difference, over_halves

EFFECT = np.array([0.4, 0.3, 0.2, 0.1])
TREATED = np.array([True, False, True, False])
OUTCOME = np.array([1.0, 0.0, 0.0, 1.0])


def test_gains_are_treated_outcomes_minus_scaled_outcomes_of_those_held_out() -> None:
    """Per treated row of all, 2: after one row 1/2, two 1/2, three 1/2, and all (1 - 1) / 2."""
    ranking = Ranking.of(EFFECT, TREATED, OUTCOME)
    assert [ranking.gain(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.5, 0.5, 0.5, 0.0]
    # Trapezoids of a quarter each: 0.0625 + 0.125 + 0.125 + 0.0625; the straight line ends at 0.
    assert ranking.qini() == pytest.approx(0.375)


def test_uplift_is_the_difference_of_rates_in_the_top_share() -> None:
    ranking = Ranking.of(EFFECT, TREATED, OUTCOME)
    assert [ranking.uplift(share) for share in (0.25, 0.5, 0.75, 1.0)] == [None, 1.0, 0.5, 0.0]


def test_the_arms_are_not_swapped() -> None:
    """An effect that is all in the treated arm is positive; swapped, it is as negative."""
    outcome = np.array([1.0, 0.0, 1.0, 0.0])
    assert Ranking.of(EFFECT, TREATED, outcome).uplift(1.0) == 1.0
    assert Ranking.of(EFFECT, ~TREATED, outcome).uplift(1.0) == -1.0


def test_rows_that_tie_count_by_their_expectation_whatever_their_order() -> None:
    """A learner that tells no rows apart has a Qini of 0 and the campaign's effect everywhere."""
    ranking = Ranking.of(np.zeros(4), TREATED, OUTCOME)
    assert ranking.qini() == 0.0
    outcome = np.array([1.0, 0.0, 1.0, 0.0])
    reordered = [3, 1, 0, 2]
    for order in (slice(None), reordered):
        same = Ranking.of(np.zeros(4), TREATED[order], outcome[order])
        assert [same.uplift(share) for share in (0.25, 0.5, 1.0)] == [1.0, 1.0, 1.0]


def test_unbalanced_arms_are_scaled() -> None:
    """Three treated with one outcome and one held out with one: 1 - 1 * 3 outcomes, per three treated."""
    treated = np.array([True, True, True, False])
    ranking = Ranking.of(np.zeros(4), treated, np.array([1.0, 0.0, 0.0, 1.0]))
    assert ranking.gain(1.0) == pytest.approx(-2 / 3)


def test_the_interval_over_halves_widens_for_their_overlap() -> None:
    """Two halves 1 apart: deviation 0.7071, t with one degree of freedom 12.7062, times sqrt(1/2 + 1)."""
    found = over_halves([1.0, 2.0], test_rows=50, train_rows=50)
    assert found["mean"] == 1.5
    assert found["deviation"] == pytest.approx(0.70711, abs=1e-5)
    assert found["interval"] == pytest.approx([1.5 - 11.0039, 1.5 + 11.0039], abs=1e-3)


def test_a_half_without_a_figure_leaves_the_mean_open() -> None:
    nothing = {"mean": None, "interval": None, "deviation": None}
    assert over_halves([0.1, None], test_rows=5, train_rows=5) == nothing
    assert over_halves([0.1], test_rows=5, train_rows=5) == {"mean": 0.1, "interval": None, "deviation": None}


def test_the_effect_of_a_campaign_has_the_published_interval() -> None:
    """Newcombe 1998, table II, (a) by method 10: 56 of 70 against 48 of 80."""
    found = difference((70, 56), (80, 48))
    assert found["mean"] == pytest.approx(0.2)
    assert found["interval"] == pytest.approx([0.0524, 0.3339], abs=5e-5)
    assert difference((0, 0), (80, 48)) == {"mean": None, "interval": None}
