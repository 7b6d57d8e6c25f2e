"""Whom to contact with which offer: the assignment of most expected profit, exact. numpy and scipy, no Spark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import coo_array

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NOBODY: Final = -1
"""The offer of a customer who is not contacted."""
EXACT: Final = 1000
"""Customers that are left to the linear program at first."""


@dataclass(frozen=True)
class Assignment:
    """`offer` is the column of each customer's offer, or NOBODY.

    `capacity_price` is what one more contact would earn, `offer_prices` what one more of each offer would: the dual
    prices of the linear program, 0 where a limit does not bind.
    """

    offer: Ints
    capacity_price: float
    offer_prices: Floats


def assign(profit: Floats, capacity: int, limits: Ints) -> Assignment:
    """The offers that earn most: at most one a customer, `capacity` in all, and `limits` of each offer.

    `profit` is (customers, offers); NaN where an offer does not suit. Contacts that earn nothing are not made. A
    customer is either contacted or not in the program's optimum, as its matrix is totally unimodular (a transportation
    problem with a bound on the total flow; Hoffman & Kruskal 1956).

    Where customers are many, those whose choice is clear at about the right prices are decided first, and the program
    is solved for the rest. If its prices confirm what was decided, the whole is the optimum (complementary slackness);
    else more customers are left to the program.
    """
    usable = np.where(np.nan_to_num(profit, nan=-1.0) > 0, profit, -np.inf)
    candidates = np.flatnonzero(np.isfinite(usable).any(axis=1))
    undecided = EXACT
    while undecided < len(candidates):
        found = _mostly_decided(usable, candidates, capacity, limits, undecided)
        if found is not None:
            return found
        undecided *= 2
    return _solved(usable, candidates, capacity, limits)


def _mostly_decided(profit: Floats, candidates: Ints, capacity: int, limits: Ints, undecided: int) -> Assignment | None:
    """The optimum, with so many customers left to the program; None where it is not found, or not confirmed."""
    sample = candidates[:: -(-len(candidates) // EXACT)]
    part = len(sample) / len(candidates)
    about = _solved(profit, sample, round(capacity * part), np.ceil(limits * part).astype(np.int64))
    choice, clear = _choice(profit[candidates], about)
    order = np.argsort(clear, kind="stable")
    open_, decided = candidates[np.sort(order[:undecided])], order[undecided:]
    chosen = np.full(len(profit), NOBODY, np.int64)
    chosen[candidates[decided]] = choice[decided]
    taken = np.bincount(choice[decided][choice[decided] != NOBODY], minlength=profit.shape[1])
    if taken.sum() > capacity or (taken > limits).any():
        return None
    rest = _solved(profit, open_, capacity - int(taken.sum()), limits - taken)
    chosen[open_] = rest.offer[open_]
    confirmed, _ = _choice(profit[candidates[decided]], rest)
    if not (confirmed == choice[decided]).all():
        return None
    return Assignment(chosen, rest.capacity_price, rest.offer_prices)


def _choice(profit: Floats, prices: Assignment) -> tuple[Ints, Floats]:
    """The best offer of each customer at some prices, or NOBODY, and by how much it is better than the next choice."""
    left = np.column_stack([profit - prices.capacity_price - prices.offer_prices, np.zeros(len(profit))])
    two_best = np.sort(left, axis=1)[:, -2:]
    best = left.argmax(axis=1)
    return np.where(best == profit.shape[1], NOBODY, best).astype(np.int64), two_best[:, 1] - two_best[:, 0]


def _solved(profit: Floats, customers: Ints, capacity: int, limits: Ints) -> Assignment:
    """The optimum for some of the customers; the others have nobody's offer."""
    offers = profit.shape[1]
    place, columns = np.nonzero(np.isfinite(profit[customers]))
    rows = customers[place]
    chosen = np.full(len(profit), NOBODY, np.int64)
    if not len(rows):
        return Assignment(chosen, 0.0, np.zeros(offers))
    number = np.arange(len(rows))
    matrix = coo_array(
        (
            np.ones(3 * len(rows)),
            (
                np.concatenate([place, len(customers) + columns, np.full(len(rows), len(customers) + offers)]),
                np.concatenate([number, number, number]),
            ),
        ),
        shape=(len(customers) + offers + 1, len(rows)),
    ).tocsr()
    bounds = np.concatenate([np.ones(len(customers)), limits.astype(np.float64), [float(capacity)]])
    # The simplex method ends in a corner, where every customer is contacted or not.
    found = linprog(-profit[rows, columns], A_ub=matrix, b_ub=bounds, bounds=(0, 1), method="highs-ds")
    if found.status != 0:
        raise RuntimeError(f"the assignment was not solved: {found.message}")
    taken = found.x > 0.5
    chosen[rows[taken]] = columns[taken]
    prices = np.maximum(-np.asarray(found.ineqlin.marginals, np.float64), 0.0)
    return Assignment(chosen, float(prices[-1]), prices[len(customers) : -1])


def by_price(profit: Floats, found: Assignment) -> Ints:
    """The offer that each customer would have at the prices of an assignment, NOBODY where none earns more than its
    price: for customers whose contact takes nothing of the capacity."""
    left = np.nan_to_num(profit - found.capacity_price - found.offer_prices, nan=-np.inf)
    best = left.argmax(axis=1)
    earns = (left.max(axis=1) > 0) & (np.take_along_axis(profit, best[:, None], axis=1)[:, 0] > 0)
    return np.where(earns, best, NOBODY).astype(np.int64)


def within_reach(profit: Floats, capacity: int) -> npt.NDArray[np.bool_]:
    """The customers who may have an offer in the best assignment: those among the `capacity` most profitable of some
    offer. Another can be exchanged for one of these who has none, at no loss."""
    if len(profit) <= capacity:
        return np.ones(len(profit), bool)
    ranks = np.argsort(np.argsort(-np.nan_to_num(profit, nan=-np.inf), axis=0, kind="stable"), axis=0)
    return np.asarray((ranks < capacity).any(axis=1), np.bool_)
