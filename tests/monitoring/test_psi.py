"""The stability index by hand, and its noise by chance alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from churn.monitoring.psi import noise, psi


def test_by_hand() -> None:
    # Shares of 0.5, 0.3, 0.2 become 0.4, 0.3, 0.3.
    assert psi([50, 30, 20], [400, 300, 300]) == pytest.approx(-0.1 * np.log(0.8) + 0.1 * np.log(1.5))


@pytest.mark.parametrize(
    ("reference", "now", "wanted"),
    [
        ([5, 5], [500, 500], 0),  # the same, at any size
        ([90, 10, 0], [90, 10, 0], 0),  # empty on both sides
        ([100, 0], [0, 100], 2 * 0.995 * np.log(199) - 2 * (0.995 - 0.99 - 0.005)),  # an empty bin counts half a row
        ([1, 1], [0, 0], None),  # no rows
        ([0, 0], [1, 1], None),
    ],
)
def test_edges(reference: list[int], now: list[int], wanted: float | None) -> None:
    assert psi(reference, now) == (None if wanted is None else pytest.approx(wanted, abs=1e-2))


def test_chance_stays_below_the_noise_in_all_but_one_of_a_thousand() -> None:
    dice = np.random.default_rng(7)
    shares = np.full(10, 0.1)
    drawn = np.array([psi(dice.multinomial(800, shares), dice.multinomial(300, shares)) for _ in range(4000)])
    limit = noise(10, 800, 300)
    assert (drawn > limit).mean() < 0.003  # 1 in 1,000, and some more for so few rows
    assert (drawn > 0.6 * limit).mean() > 0.01  # not so wide that no drift would show


@pytest.mark.parametrize(("bins", "wanted"), [(2, 0.0217), (3, 0.0276), (10, 0.0558), (20, 0.0876)])
def test_noise_is_a_quantile_of_chi_squared(bins: int, wanted: float) -> None:
    assert noise(bins, 1000, 1000) == pytest.approx(chi2.ppf(0.999, bins - 1) * 2 / 1000, rel=1e-12)
    assert noise(bins, 1000, 1000) == pytest.approx(wanted, abs=5e-5)


def test_one_bin_cannot_drift() -> None:
    assert noise(1, 100, 100) == noise(10, 0, 100) == 0
