"""One fit in one task: from packed rows to what a candidate learnt of them. Executors import no more than this."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn.sampling import DRAWS
from churn.training.algorithms import Conditions, Fit, Later, Single, Trees
from churn.training.preparation import DRAW, ORDER, Preparation, Rows

Floats = npt.NDArray[np.float64]

MOST_MARGINS: Final = 50_000
"""Rows by which the level of probabilities is set."""


@dataclass(frozen=True)
class Learnt:
    """A candidate fitted on the train slice of a fold, and its margins on rows of it and on the later slice, in the
    order of rows. `weight` is how many rows each training row stands for.
    """

    candidate: Single
    preparation: Preparation
    learnt: Any
    """`Linear` or `Trees`, or a model of MLlib."""
    rounds: int | None
    label: Floats
    weight: Floats
    margin: Floats
    later_as_of: npt.NDArray[np.int64]
    later_label: Floats
    later_margin: Floats
    deviation: Floats
    """Of each slot of the vector, in training."""

    @property
    def unit(self) -> float:
        """The slope that makes log-odds of the margin, near the share of 1."""
        kind = self.learnt.kind if isinstance(self.learnt, Trees) else type(self.learnt).__name__
        if kind == "boosting" or kind.startswith("GBT"):
            return 2.0
        if kind == "forest" or kind.startswith("RandomForest"):
            rate = float(np.clip(self.later_label.mean(), 1e-3, 1 - 1e-3))
            return 1 / (rate * (1 - rate))
        return 1.0


def on_blocks(batches: Iterable[pa.RecordBatch], of: Callable[[Rows], Any], share: float) -> Iterator[pa.RecordBatch]:
    """What a function makes of the rows of all blocks, or of a share of them."""
    found = of(Rows.unpacked(batches, lambda block: block[ORDER].to_numpy() % DRAWS < share * DRAWS))
    yield pa.RecordBatch.from_pydict({"found": pa.array([pickle.dumps(found)], pa.binary())})


@dataclass(frozen=True)
class Task:
    """One fit. `negatives`, `sample` and `later_sample` are shares of the rows: of 0 and of all to train on, and of the
    later ones. Rows of 0 that are left out are stood for by the others (King & Zeng 2001, Logistic Regression in Rare
    Events Data, 4.1)."""

    candidate: Single
    preparation: Preparation
    train: tuple[int, ...]
    later: tuple[int, ...]
    negatives: float
    sample: float
    later_sample: float
    seed: int
    rounds: int | None
    margins: bool
    """Whether the margins of the rows that were trained on are wanted, up to MOST_MARGINS of them."""

    @property
    def may_stop(self) -> bool:
        """Whether the later rows say when there are trees enough."""
        return bool(self.later) and self.rounds is None and hasattr(self.candidate, "patience")

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """In one task: from blocks to what was learnt."""
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - the driver need not have it

        with threadpool_limits(1):
            found = self._learn(Rows.unpacked(batches, self._kept))
        yield pa.RecordBatch.from_pydict({"learnt": pa.array([pickle.dumps(found)], pa.binary())})

    def _kept(self, block: pa.Table) -> npt.NDArray[np.bool_]:
        as_of, label, order, draw = (block[name].to_numpy() for name in ("as_of", "label", ORDER, DRAW))
        is_later = np.isin(as_of, self.later)
        within = order % DRAWS < np.where(is_later, self.later_sample, self.sample) * DRAWS
        kept: npt.NDArray[np.bool_] = within & (is_later | (label == 1) | (draw < self.negatives))
        return kept

    def _learn(self, rows: Rows) -> Learnt:
        is_later = np.isin(rows.as_of, self.later)
        train, after = rows.where(~is_later), rows.where(is_later)
        matrix, later = train.matrix(self.preparation), after.matrix(self.preparation)
        candidate = cast("Any", self.candidate)
        stop = Later(later, after.label) if self.may_stop else None
        fitted: Fit = candidate.fit(matrix, train.label, Conditions(self.seed, stop, self.rounds))
        some = slice(None, None, -(-len(matrix) // MOST_MARGINS) or 1) if self.margins else slice(0)
        label = train.label[some]
        return Learnt(
            candidate=self.candidate,
            preparation=self.preparation,
            learnt=fitted.learnt,
            rounds=fitted.rounds,
            label=label,
            weight=np.where(label == 1, 1.0, 1 / self.negatives),
            margin=fitted.margin(matrix[some]) if self.margins else np.zeros(0),
            later_as_of=after.as_of,
            later_label=after.label,
            later_margin=fitted.margin(later) if len(later) else np.zeros(0),
            deviation=matrix.std(axis=0, dtype=np.float64),
        )
