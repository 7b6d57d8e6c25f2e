"""One fit in one task: from packed rows to a fitted candidate. Executors import no more than this."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn.sampling import DRAWS
from churn.training.algorithms import AlgorithmFit, FitOptions, Single, Trees, Validation
from churn.training.preparation import DRAW, ORDER, Preparation, Rows

Floats = npt.NDArray[np.float64]

MOST_MARGINS: Final = 50_000
"""Rows by which the level of probabilities is set."""


@dataclass(frozen=True)
class FitResult:
    """A candidate fitted on the train slice of a fold, and its margins on rows of it and on the later slice, in the
    order of rows. `weight` is how many rows each training row stands for.
    """

    candidate: Single
    preparation: Preparation
    model: Any
    """`Linear` or `Trees`, or a model of MLlib."""
    rounds: int | None
    label: Floats
    weight: Floats
    margin: Floats
    later_as_of: npt.NDArray[np.int64]
    later_label: Floats
    later_margin: Floats
    centre: Floats
    """The mean of each slot of the vector, in training."""
    deviation: Floats
    """Of each slot of the vector, in training."""

    @property
    def unit_slope(self) -> float:
        """The slope that turns the margin into log-odds, near the share of 1."""
        kind = self.model.kind if isinstance(self.model, Trees) else type(self.model).__name__
        if kind == "boosting" or kind.startswith("GBT"):
            return 2.0
        if kind == "forest" or kind.startswith("RandomForest"):
            rate = float(np.clip(self.later_label.mean(), 1e-3, 1 - 1e-3))
            return 1 / (rate * (1 - rate))
        return 1.0


def on_blocks(batches: Iterable[pa.RecordBatch], of: Callable[[Rows], Any], share: float) -> Iterator[pa.RecordBatch]:
    """The result of a function of the rows of all blocks, or of a share of them, pickled."""
    result = of(Rows.unpacked(batches, lambda block: block[ORDER].to_numpy() % DRAWS < share * DRAWS))
    yield pa.RecordBatch.from_pydict({"result": pa.array([pickle.dumps(result)], pa.binary())})


@dataclass(frozen=True)
class Task:
    """One fit. `negatives`, `sample` and `later_sample` are shares of the rows: of 0 and of all to train on, and of the
    later ones. The rows of 0 that are drawn are weighted for those that are not (King & Zeng 2001, Logistic Regression
    in Rare Events Data, 4.1)."""

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
        """Whether boosting is stopped early, on the later rows."""
        return bool(self.later) and self.rounds is None and hasattr(self.candidate, "patience")

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """In one task: from blocks to a FitResult, pickled."""
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - the driver need not have it

        with threadpool_limits(1):
            result = self._fit(Rows.unpacked(batches, self._is_drawn))
        yield pa.RecordBatch.from_pydict({"result": pa.array([pickle.dumps(result)], pa.binary())})

    def _is_drawn(self, block: pa.Table) -> npt.NDArray[np.bool_]:
        as_of, label, order, draw = (block[name].to_numpy() for name in ("as_of", "label", ORDER, DRAW))
        is_later = np.isin(as_of, self.later)
        within = order % DRAWS < np.where(is_later, self.later_sample, self.sample) * DRAWS
        mask: npt.NDArray[np.bool_] = within & (is_later | (label == 1) | (draw < self.negatives))
        return mask

    def _fit(self, rows: Rows) -> FitResult:
        is_later = np.isin(rows.as_of, self.later)
        train, after = rows.where(~is_later), rows.where(is_later)
        matrix, later = train.matrix(self.preparation), after.matrix(self.preparation)
        candidate = cast("Any", self.candidate)
        validation = Validation(later, after.label) if self.may_stop else None
        fitted: AlgorithmFit = candidate.fit(matrix, train.label, FitOptions(self.seed, validation, self.rounds))
        some = slice(None, None, -(-len(matrix) // MOST_MARGINS) or 1) if self.margins else slice(0)
        label = train.label[some]
        return FitResult(
            candidate=self.candidate,
            preparation=self.preparation,
            model=fitted.model,
            rounds=fitted.rounds,
            label=label,
            weight=np.where(label == 1, 1.0, 1 / self.negatives),
            margin=fitted.margin(matrix[some]) if self.margins else np.zeros(0),
            later_as_of=after.as_of,
            later_label=after.label,
            later_margin=fitted.margin(later) if len(later) else np.zeros(0),
            centre=matrix.mean(axis=0, dtype=np.float64),
            deviation=matrix.std(axis=0, dtype=np.float64),
        )
