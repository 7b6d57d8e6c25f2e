"""The stability index by hand, and what chance makes of it."""

from __future__ import annotations

import numpy as np
import pytest

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
        ([1, 1], [0, 0], None),  # nobody to speak of
        ([0, 0], [1, 1], None),
    ],
)
def test_edges(reference: list[int], now: list[int], wanted: float | None) -> None:
    assert psi(reference, now) == (None if wanted is None else pytest.approx(wanted, abs=1e-2))


def test_chance_stays_below_the_noise_as_often_as_it_says() -> None:
    dice = np.random.default_rng(7)
    shares = np.full(10, 0.1)
    drawn = np.array([psi(dice.multinomial(800, shares), dice.multinomial(300, shares)) for _ in range(4000)])
    limit = noise(10, 800, 300)
    assert (drawn > limit).mean() < 0.003  # 1 in 1,000, and what few rows add
    assert (drawn > 0.6 * limit).mean() > 0.01  # not so wide that nothing would ever be seen


def test_one_bin_cannot_move() -> None:
    assert noise(1, 100, 100) == noise(10, 0, 100) == 0
