"""The plan of most profit, against every plan there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.decisions.assignment import NOBODY, Assignment, _solved, assign, by_price, within_reach

PROFIT = st.one_of(st.just(float("nan")), st.integers(-5, 20).map(float), st.floats(-5, 20))


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, int, np.ndarray]:
    customers, offers = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    row = st.lists(PROFIT, min_size=offers, max_size=offers)
    profit = np.array(draw(st.lists(row, min_size=customers, max_size=customers)))
    limits = draw(st.lists(st.integers(0, 4), min_size=offers, max_size=offers))
    return profit, draw(st.integers(0, 5)), np.array(limits)


def earned(profit: np.ndarray, plan: tuple[int, ...] | np.ndarray) -> float:
    return float(sum(profit[customer, offer] for customer, offer in enumerate(plan) if offer != NOBODY))


def is_allowed(profit: np.ndarray, plan: tuple[int, ...] | np.ndarray, capacity: int, limits: np.ndarray) -> bool:
    contacted = [(customer, offer) for customer, offer in enumerate(plan) if offer != NOBODY]
    return (
        len(contacted) <= capacity
        and all(not np.isnan(profit[one]) for one in contacted)
        and all(sum(offer == one for _, offer in contacted) <= limit for one, limit in enumerate(limits))
    )


@settings(max_examples=150, deadline=None)
@given(problems())
def test_it_is_the_best_of_all_plans(problem: tuple[np.ndarray, int, np.ndarray]) -> None:
    """Every customer with every offer or none: the plan keeps every limit, and none that does earns more."""
    profit, capacity, limits = problem
    found = assign(profit, capacity, limits).offer
    assert is_allowed(profit, found, capacity, limits)
    every = product(range(NOBODY, profit.shape[1]), repeat=len(profit))
    best = max(earned(profit, plan) for plan in every if is_allowed(profit, plan, capacity, limits))
    assert earned(profit, found) == pytest.approx(best, abs=1e-6)
    assert all(profit[customer, offer] > 0 for customer, offer in enumerate(found) if offer != NOBODY)


@settings(max_examples=50, deadline=None)
@given(problems())
def test_customers_out_of_reach_change_nothing(problem: tuple[np.ndarray, int, np.ndarray]) -> None:
    profit, capacity, limits = problem
    near = within_reach(profit, capacity)
    some = assign(profit[near], capacity, limits).offer
    assert earned(profit[near], some) == pytest.approx(earned(profit, assign(profit, capacity, limits).offer), abs=1e-6)


def test_the_price_of_capacity_by_hand() -> None:
    """Three customers worth 9, 5 and 3, room for two: one more contact would earn 3, at most; a limit that does not
    bind has no price."""
    found = assign(np.array([[9.0], [5.0], [3.0]]), 2, np.array([10]))
    assert found.offer.tolist() == [0, 0, NOBODY]
    assert 3 <= found.capacity_price <= 5
    assert found.offer_prices.tolist() == [0]
    assert assign(np.array([[9.0], [5.0]]), 3, np.array([10])).capacity_price == 0


def test_a_cheap_offer_that_is_short_goes_where_it_earns_most() -> None:
    """Offer 0 is better for both, and there is one: the one who loses more without it has it."""
    found = assign(np.array([[9.0, 8.0], [9.0, 2.0]]), 2, np.array([1, 5]))
    assert found.offer.tolist() == [1, 0]


def test_held_out_customers_are_chosen_at_the_same_prices() -> None:
    prices = Assignment(np.array([0]), 4.0, np.array([0.0, 3.0]))
    profit = np.array([[5.0, 7.5], [3.9, 6.9], [np.nan, 9.0], [np.nan, np.nan]])
    assert by_price(profit, prices).tolist() == [0, NOBODY, 1, NOBODY]


@pytest.mark.parametrize("limits", [[900, 900, 100], [4000, 4000, 4000], [50, 0, 700]])
def test_many_customers_have_the_best_plan_too(limits: list[int]) -> None:
    """3,000 customers, most of them decided by prices: as much as the program earns for all of them at once."""
    rng = np.random.default_rng(sum(limits))
    profit = np.where(rng.random((3000, 3)) < 0.1, np.nan, rng.gamma(1, 10, (3000, 3)) - 5)
    found = assign(profit, 1200, np.array(limits))
    usable = np.where(np.nan_to_num(profit, nan=-1) > 0, profit, -np.inf)
    whole = _solved(usable, np.arange(3000), 1200, np.array(limits))
    assert is_allowed(profit, found.offer, 1200, np.array(limits))
    assert earned(profit, found.offer) == pytest.approx(earned(profit, whole.offer), abs=1e-6)
