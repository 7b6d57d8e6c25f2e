"""EMPC by hand, by published examples and by integrating its definition."""

from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaincc
from scipy.stats import beta

from churn.errors import ConfigError
from churn.evaluation.lift import gains
from churn.evaluation.metrics import compare, evaluate
from churn.evaluation.profit import profit, profit_of_share
from churn.model_spec import Campaign, ModelSpec, Training
from churn.training.profit import row_profits
from models.churn import SPEC

UNIFORM = Campaign(clv=100.0, offer_cost=20.0, contact_cost=4.0, alpha=1.0, beta=1.0)
"""Every acceptance rate g is as likely, so that integrals are polynomials. A leaver who is reached earns 80 g - 4, a
customer who stays costs 24."""


def test_a_perfect_ranking_by_hand() -> None:
    """Half leave and all are ranked first, so they are contacted where 80 g > 4, from g = 0.05 on.

    EMPC = 1/2 * integral over g from 0.05 to 1 of (80 g - 4) = 1/2 * [40 g^2 - 4 g] = 1/2 * (36 - (-0.1)) = 18.05;
    half of the customers in 95 % of cases, 0.475. At g = 0.5: 1/2 * (40 - 4) = 18, with half contacted.
    """
    found = profit([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], UNIFORM)
    assert astuple(found) == pytest.approx((18.05, 0.475, 18.0, 0.5), abs=1e-6)


def test_a_hull_of_two_segments_by_hand() -> None:
    """Ranked: one leaves; of the next three, two leave and one stays; two stay. Shares p: 1, 2/3, 0.

    The first is contacted from 80 g = 4 on, g = 0.05. The next three where 2/3 (80 g - 4) > 1/3 * 24, g > 0.2. The last
    two never. EMPC = 1/6 * [36.1 + 2 * integral from 0.2 to 1 of (80 g - 4) - 24 * 0.8]
    = 1/6 * [36.1 + 2 * (36 - 0.8) - 19.2] = 1/6 * 87.3 = 14.55. Contacted: (0.95 + 3 * 0.8) / 6 = 0.558333.
    MPC at g = 0.5: (36 + 2 * 36 - 24) / 6 = 14, with 4 of 6 contacted.
    """
    label, score = [1, 0, 1, 1, 0, 0], [6, 5, 4, 3, 2, 1]  # 5, 4 and 3 lie on one edge of the hull
    assert astuple(profit(label, score, UNIFORM)) == pytest.approx((14.55, 3.35 / 6, 14.0, 4 / 6), abs=1e-6)


def test_published_example_with_the_published_parameters() -> None:
    """The documentation of empulse, `empc`: score and fraction for clv 200, d 10, f 1 and Beta(6, 14)."""
    label, score = [0, 1, 0, 1, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9]
    found = profit(label, score, Campaign())
    assert (found.empc, found.empc_fraction) == pytest.approx((23.875593418348124, 0.8743700763487141), abs=1e-6)


def test_a_worked_example_with_the_published_parameters() -> None:
    """A perfect ranking of half leavers: 1/2 * (190 * E[g; g > 1/190] - P(g > 1/190)), and E[g] = 0.3, so nearly 28."""
    by_hand = (190 * 0.3 * betaincc(7, 14, 1 / 190) - betaincc(6, 14, 1 / 190)) / 2
    assert profit([1, 0], [2, 1], Campaign()).empc == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(28.0, abs=1e-6)


def test_a_ranking_by_chance_contacts_all_or_nobody() -> None:
    """Equal scores are one step: with p leavers, all are contacted where p (80 g - 4) > (1 - p) 24."""
    assert astuple(profit([1, 0], [5, 5], UNIFORM)) == pytest.approx(
        # g > 0.35: 1/2 * [36 - (40 * 0.1225 - 1.4)] - 1/2 * 24 * 0.65 = 16.25 - 7.8
        (8.45, 0.65, 6.0, 1.0),
        abs=1e-6,
    )
    assert astuple(profit([1] + [0] * 9, [5] * 10, UNIFORM)) == (0.0, 0.0, 0.0, 0.0)  # g > 2.75 never happens


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=25).filter(
        lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
    ),
    st.sampled_from([UNIFORM, Campaign(), Campaign(clv=30.0, offer_cost=0.0, contact_cost=0.0, alpha=2.0, beta=3.0)]),
)
def test_it_is_the_integral_of_the_best_threshold(rows: list[tuple[int, int]], campaign: Campaign) -> None:
    """The definition: for each acceptance rate the best of all thresholds, integrated over the rate's distribution."""
    label, score = map(np.array, zip(*rows, strict=True))
    thresholds = [np.inf, *np.unique(score)]
    leavers = np.array([label[score >= at].sum() for at in thresholds])
    stayers = np.array([(1 - label[score >= at]).sum() for at in thresholds])

    def best(rate: float) -> float:
        of_leaver = rate * (campaign.clv - campaign.offer_cost) - campaign.contact_cost
        return float(np.max(leavers * of_leaver - stayers * (campaign.offer_cost + campaign.contact_cost)))

    kinks = np.unique(row_profits(label, score, campaign).least_acceptance)
    edges = np.unique([0, *kinks, 1])
    whole = sum(
        quad(lambda g: best(g) * beta.pdf(g, campaign.alpha, campaign.beta), low, high)[0]
        for low, high in pairwise(edges)
    )
    found = profit(label, score, campaign)
    assert found.empc == pytest.approx(whole / len(rows), abs=1e-6)
    assert found.mpc == pytest.approx(best(campaign.mean_acceptance) / len(rows), abs=1e-9)


def test_the_profit_curve_by_hand() -> None:
    """At the mean acceptance 0.5 a leaver earns 36 and a stayer costs 24, per customer of four."""
    share, reached = gains([1, 0, 1, 0], [4, 3, 2, 1], points=4)
    earned = profit_of_share(UNIFORM, share, reached, 0.5)
    assert share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert earned == pytest.approx([0, 36 / 4, 12 / 4, 48 / 4, 24 / 4])


def test_evaluation_gives_it_an_interval_and_compares_it() -> None:
    """The interval is a bootstrap of customers; without a campaign there is no profit."""
    rng = np.random.default_rng(2)
    score = rng.random(400)
    label, noise = (rng.random(400) < score).astype(int), rng.random(400)
    seen = evaluate(label, score, seed=1, resamples=200, campaign=Campaign())
    low, high = seen["intervals"]["empc"]
    assert low < seen["empc"] < high
    # The bootstrap anew: the thresholds are found again in each resample.
    draws = [np.random.default_rng(n).integers(0, 400, 400) for n in range(200)]
    anew = np.percentile([profit(label[d], score[d], Campaign()).empc for d in draws], (2.5, 97.5))
    assert (low, high) == pytest.approx(tuple(anew), rel=0.06)
    difference = compare(label, score, noise, seed=1, resamples=50, campaign=Campaign())["empc"]
    expected = profit(label, score, Campaign()).empc - profit(label, noise, Campaign()).empc
    assert difference["difference"] == pytest.approx(expected)
    assert "empc" not in evaluate(label, score, seed=1, resamples=0)


def test_settings_that_cannot_be_are_refused() -> None:
    """An offer that costs what a customer is worth, and a selection by a profit that has no settings."""
    with pytest.raises(ValueError, match="offer_cost 200, want less than clv"):
        Campaign(offer_cost=200.0)
    with pytest.raises(ConfigError, match=r"add \[model.churn.campaign\]"):
        ModelSpec(name="churn", label=SPEC.label, candidates=SPEC.candidates, training=Training(select_by="empc"))
