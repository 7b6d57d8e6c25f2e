"""Shapley values of trees, exact, for many rows at once: numpy, no Spark.

They are those of path-dependent TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2:56-67, algorithm 2): a
feature that is not known takes each branch by its share of the training rows. A row's values depend on which
comparisons it passes alone, so the values of every combination are computed once and looked up (as in FastTreeSHAP v2,
Yang 2021, arXiv:2109.09847); here a combination is of a small subtree with the path to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from churn.errors import BadInputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SUBTREE_LEVELS: Final = 2
"""Levels of comparisons that are looked up together."""
MOST_BITS: Final = 12
"""Of a table; a deeper path has a table for each of its leaves."""
CHUNK: Final = 8192
"""Rows that are worked on together, so that they stay in the processor's cache."""


class TooDeepError(BadInputError):
    """A tree is too deep for its Shapley values to be computed."""


@dataclass(frozen=True)
class Tree:
    """A binary tree, an array a column; the first node is the root. `left` is where x[feature] <= threshold; a leaf has
    -1 for both branches. `rows` are the training rows of each node, `value` what a leaf adds."""

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    rows: Floats
    value: Floats


@dataclass(frozen=True)
class _Step:
    """A comparison on the way to a leaf: its node, whether the left branch is taken, and that branch's share."""

    node: int
    goes_left: bool
    share: float


@dataclass(frozen=True)
class _Table:
    """What a subtree adds: bits of the features of the path to it, then of its own comparisons, are the index."""

    path: tuple[tuple[_Step, ...], ...]
    """For each feature of the path the comparisons that must all go its way."""
    own: tuple[int, ...]
    """The nodes of the subtree; a bit is set where the left branch is taken."""
    groups: Ints
    values: Floats
    """(groups, combinations)."""


class TreeShap:
    """Shapley values of the sum of trees, added up by groups of features; `groups` is the group of each feature."""

    def __init__(self, trees: Sequence[Tree], groups: Sequence[int]) -> None:
        self._groups = np.asarray(groups, np.int64)
        self._count = int(self._groups.max()) + 1 if len(self._groups) else 0
        self._trees = [(tree, list(_tables(tree, self._groups))) for tree in trees]
        self.base = float(sum(_expected(tree) for tree in trees))
        """The expected sum where no feature is known."""

    def values(self, matrix: npt.NDArray[Any]) -> Floats:
        """(rows, groups): with `base` each row adds up to the sum of its leaves."""
        found = np.empty((len(matrix), self._count))
        for start in range(0, len(matrix), CHUNK):
            found[start : start + CHUNK] = self._chunk(matrix[start : start + CHUNK]).T
        return found

    def _chunk(self, matrix: npt.NDArray[Any]) -> Floats:
        total = np.zeros((self._count, len(matrix)))
        columns = np.ascontiguousarray(matrix.T, dtype=np.float64)
        of_rows = np.empty(len(matrix))
        for tree, tables in self._trees:
            inner = np.flatnonzero(tree.left >= 0)
            is_left = {int(node): columns[tree.feature[node]] <= tree.threshold[node] for node in inner}
            is_right = {node: ~passed for node, passed in is_left.items()}
            for table in tables:
                bits = np.zeros(len(matrix), np.uint16)
                for bit, steps in enumerate(table.path):
                    passed = _passed(steps[0], is_left, is_right)
                    for step in steps[1:]:
                        passed = passed & _passed(step, is_left, is_right)
                    bits |= passed.astype(np.uint16) << bit
                for bit, node in enumerate(table.own, start=len(table.path)):
                    bits |= is_left[node].astype(np.uint16) << bit
                index = bits.astype(np.intp)
                for group, values in zip(table.groups, table.values, strict=True):
                    # No index is out of range, and checking each costs as much as taking it.
                    total[group] += values.take(index, out=of_rows, mode="clip")
        return total


def _passed(
    step: _Step, is_left: dict[int, npt.NDArray[np.bool_]], is_right: dict[int, npt.NDArray[np.bool_]]
) -> npt.NDArray[np.bool_]:
    return (is_left if step.goes_left else is_right)[step.node]


def _expected(tree: Tree, node: int = 0) -> float:
    if tree.left[node] < 0:
        return float(tree.value[node])
    left, right = int(tree.left[node]), int(tree.right[node])
    share = _share(tree, node, goes_left=True)
    return share * _expected(tree, left) + (1 - share) * _expected(tree, right)


def _share(tree: Tree, node: int, *, goes_left: bool) -> float:
    left, right = float(tree.rows[tree.left[node]]), float(tree.rows[tree.right[node]])
    share = left / (left + right) if left + right > 0 else 0.5
    return share if goes_left else 1 - share


def _tables(tree: Tree, groups: Ints) -> Iterator[_Table]:
    """The tables of a tree, which together cover its leaves."""
    waiting: list[tuple[int, tuple[_Step, ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        own = _inner(tree, node)
        if _height(tree, node) <= SUBTREE_LEVELS and _bits(tree, path) + len(own) <= MOST_BITS:
            if own or path:
                yield _table(tree, node, path, own, groups)
        elif tree.left[node] < 0:
            raise TooDeepError(
                f"a tree of the model compares {_bits(tree, path)} features on the way to a leaf, and reasons can be "
                f"given for up to {MOST_BITS}; fit a candidate with max_depth = {MOST_BITS} or less"
            )
        else:
            for goes_left in (True, False):
                child = int((tree.left if goes_left else tree.right)[node])
                waiting.append((child, (*path, _Step(node, goes_left, _share(tree, node, goes_left=goes_left)))))


def _bits(tree: Tree, path: Sequence[_Step]) -> int:
    return len({int(tree.feature[step.node]) for step in path})


def _height(tree: Tree, node: int) -> int:
    if tree.left[node] < 0:
        return 0
    return 1 + max(_height(tree, int(tree.left[node])), _height(tree, int(tree.right[node])))


def _inner(tree: Tree, node: int) -> list[int]:
    """The comparisons below a node, itself first."""
    if tree.left[node] < 0:
        return []
    return [node, *_inner(tree, int(tree.left[node])), *_inner(tree, int(tree.right[node]))]


def _leaves(tree: Tree, node: int, path: tuple[_Step, ...]) -> Iterator[tuple[int, tuple[_Step, ...]]]:
    if tree.left[node] < 0:
        yield node, path
        return
    for goes_left in (True, False):
        child = int((tree.left if goes_left else tree.right)[node])
        yield from _leaves(tree, child, (*path, _Step(node, goes_left, _share(tree, node, goes_left=goes_left))))


def _by_feature(tree: Tree, path: Sequence[_Step]) -> dict[int, tuple[_Step, ...]]:
    found: dict[int, tuple[_Step, ...]] = {}
    for step in path:
        feature = int(tree.feature[step.node])
        found[feature] = (*found.get(feature, ()), step)
    return found


def _table(tree: Tree, node: int, path: tuple[_Step, ...], own: Sequence[int], groups: Ints) -> _Table:
    of_path = _by_feature(tree, path)
    bits = {feature: bit for bit, feature in enumerate(of_path)}
    own_bits = {inner: bit for bit, inner in enumerate(own, start=len(of_path))}
    combinations = np.arange(1 << (len(of_path) + len(own)))
    is_set = [(combinations >> bit) & 1 == 1 for bit in range(len(of_path) + len(own))]
    used = sorted({*of_path, *(int(tree.feature[inner]) for inner in own)})
    touched = sorted({int(groups[feature]) for feature in used})
    place = {group: row for row, group in enumerate(touched)}
    values = np.zeros((len(touched), len(combinations)))
    for leaf, steps_to in _leaves(tree, node, path):
        of_leaf = _by_feature(tree, steps_to)
        pattern = np.zeros(len(combinations), np.int64)
        for bit, (feature, steps) in enumerate(of_leaf.items()):
            passed = is_set[bits[feature]] if feature in bits else np.ones(len(combinations), bool)
            for step in steps:
                if step.node in own_bits:
                    passed = passed & (is_set[own_bits[step.node]] == step.goes_left)
            pattern += passed.astype(np.int64) << bit
        shares = np.array([np.prod([step.share for step in steps]) for steps in of_leaf.values()])
        of_patterns = float(tree.value[leaf]) * shapley(shares)
        for row, feature in enumerate(of_leaf):
            values[place[int(groups[feature])]] += of_patterns[row].take(pattern)
    return _Table(tuple(of_path.values()), tuple(own), np.array(touched, np.int64), values)


def shapley(shares: Floats) -> Floats:
    """The Shapley values of a leaf of value 1, (features, combinations): bit k of a combination is set where feature k
    goes the leaf's way.

    Where each feature is known with probability x, the leaf counts prod over k of (bit_k x + share_k (1 - x)). The
    Shapley value of a feature j is the integral over x from 0 to 1 of that product's derivative by j (Owen 1972,
    Multilinear extensions of games, Management Science 18(5):P64-P79), a polynomial of x: Gauss-Legendre quadrature
    is exact.
    """
    count = len(shares)
    nodes, weights = _quadrature((count + 1) // 2)
    unset = shares[:, None] * (1 - nodes)
    is_set = unset + nodes
    product = weights[:, None]
    for feature in range(count):  # a column a combination of the features so far
        product = np.hstack([product * unset[feature, :, None], product * is_set[feature, :, None]])
    # The derivative divides by the feature's own factor: where its bit is not set, its share cancels.
    bits = np.arange(1 << count) >> np.arange(count)[:, None] & 1
    return np.where(bits == 1, ((1 - shares)[:, None] / is_set) @ product, (-1 / (1 - nodes)) @ product)


@cache
def _quadrature(count: int) -> tuple[Floats, Floats]:
    """Nodes and weights on 0 to 1 that integrate polynomials of a degree below 2 * count exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2
