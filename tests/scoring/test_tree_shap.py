"""Shapley values of trees, against their definition: every set of known features."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.scoring.tree_shap import TooDeepError, Tree, TreeShap


def grown(seed: int, depth: int, features: int) -> Tree:
    """A tree with splits at random, some branches shorter than others, features met again on the way."""
    rng = np.random.default_rng(seed)
    nodes: list[list[float]] = []

    def grow(level: int, rows: int) -> int:
        place = len(nodes)
        nodes.append([-1, 0.0, -1, -1, rows, float(rng.normal())])
        if level < depth and rows >= 2 and (level == 0 or rng.random() < 0.85):
            left = int(rng.integers(1, rows))
            nodes[place][:2] = [int(rng.integers(features)), float(rng.normal())]
            nodes[place][2] = grow(level + 1, left)
            nodes[place][3] = grow(level + 1, rows - left)
        return place

    grow(0, 200)
    table = np.array(nodes)
    return Tree(
        table[:, 0].astype(int), table[:, 1], table[:, 2].astype(int), table[:, 3].astype(int), table[:, 4], table[:, 5]
    )


def expected(tree: Tree, row: np.ndarray, known: frozenset[int], node: int = 0) -> float:
    """The tree's value where some features are known; the others take each branch by its share of the rows."""
    if tree.left[node] < 0:
        return float(tree.value[node])
    left, right = int(tree.left[node]), int(tree.right[node])
    if tree.feature[node] in known:
        return expected(tree, row, known, left if row[tree.feature[node]] <= tree.threshold[node] else right)
    share = tree.rows[left] / (tree.rows[left] + tree.rows[right])
    return float(share * expected(tree, row, known, left) + (1 - share) * expected(tree, row, known, right))


def by_definition(tree: Tree, row: np.ndarray, features: int) -> np.ndarray:
    found = np.zeros(features)
    for feature in range(features):
        remaining = [one for one in range(features) if one != feature]
        for size in range(features):
            weight = factorial(size) * factorial(features - size - 1) / factorial(features)
            for known in map(frozenset, combinations(remaining, size)):
                found[feature] += weight * (expected(tree, row, known | {feature}) - expected(tree, row, known))
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 5))
def test_they_are_those_of_the_definition(seed: int, depth: int, features: int) -> None:
    trees = [grown(seed, depth, features), grown(seed + 1, depth, features)]
    rows = np.random.default_rng(seed).normal(size=(4, features))
    found = TreeShap(trees, range(features))
    values = found.values(rows)
    wanted = np.array([sum(by_definition(tree, row, features) for tree in trees) for row in rows])
    assert values == pytest.approx(wanted, abs=1e-9)
    sums = [sum(expected(tree, row, frozenset(range(features))) for tree in trees) for row in rows]
    assert found.base + values.sum(axis=1) == pytest.approx(np.array(sums), abs=1e-9)


def test_a_stump_by_hand() -> None:
    """A quarter of the rows go left, to 8, the others to 0: 2 is expected, so a row that goes left is worth 6 more."""
    columns = ([1, -1, -1], [0.5, 0, 0], [1, -1, -1], [2, -1, -1], [100.0, 25.0, 75.0], [0.0, 8.0, 0.0])
    stump = Tree(*map(np.array, columns))
    found = TreeShap([stump], [0, 1])
    assert found.base == 2.0
    assert found.values(np.array([[9.0, 0.5], [9.0, 0.6]])).tolist() == [[0.0, 6.0], [0.0, -2.0]]


def test_features_of_one_group_are_added_up() -> None:
    tree, rows = grown(3, 5, 4), np.random.default_rng(1).normal(size=(20_000, 4))
    apart = TreeShap([tree], range(4)).values(rows)
    together = TreeShap([tree], [0, 1, 0, 1]).values(rows)
    assert together == pytest.approx(np.column_stack([apart[:, 0] + apart[:, 2], apart[:, 1] + apart[:, 3]]), abs=1e-12)


def test_a_deep_tree_is_exact_too() -> None:
    """Ten levels of eight features: the values add up to the leaf that each row reaches."""
    tree, rows = grown(11, 10, 8), np.random.default_rng(2).normal(size=(50, 8))
    found = TreeShap([tree], range(8))
    leaves = [expected(tree, row, frozenset(range(8))) for row in rows]
    assert found.base + found.values(rows).sum(axis=1) == pytest.approx(np.array(leaves), abs=1e-9)


def test_a_tree_that_is_too_deep_is_refused() -> None:
    chain = np.arange(29)
    inner = chain % 2 == 0
    tree = Tree(  # each comparison is of another feature, and its right branch is a leaf
        feature=np.where(inner, chain // 2, 0),
        threshold=np.zeros(29),
        left=np.where(inner & (chain < 28), chain + 2, -1),
        right=np.where(inner & (chain < 28), chain + 1, -1),
        rows=np.ones(29),
        value=np.ones(29),
    )
    with pytest.raises(TooDeepError, match="compares 13 features on the way to a leaf"):
        TreeShap([tree], range(14))
