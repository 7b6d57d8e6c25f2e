"""Evidence that a model knows no more than it could have known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from churn.evaluation.ranking import Floats, Ranked
from churn.training.preparation import Rows

SUSPICIOUS_AUC = 0.95


def single_feature_auc(label: ArrayLike, features: Mapping[str, ArrayLike]) -> dict[str, float]:
    """The AUC that each feature reaches alone, the best first: 0.5 holds nothing of the label, 1 gives it away.

    A feature counts in the direction in which it is stronger. Nulls (NaN) are ranked together below all values or above
    them, whichever is stronger: being null can give a label away too.
    """
    labels = np.asarray(label)
    found = {name: _strongest(labels, np.asarray(values, dtype=np.float64)) for name, values in features.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def auc_alone(rows: Rows, columns: Sequence[str]) -> dict[str, float]:
    """`single_feature_auc` of columns of packed rows; a task imports this module, so it imports little itself."""
    table = rows.columns(columns)
    return single_feature_auc(rows.label, {name: table[name].to_numpy() for name in columns})


def _strongest(label: NDArray[np.generic], values: Floats) -> float:
    reached = (Ranked.of(label, np.nan_to_num(values, nan=null)).steps().auc() for null in (-np.inf, np.inf))
    return max(max(auc, 1 - auc) for auc in reached)


@dataclass(frozen=True)
class LeakEvidence:
    """What an evaluation found that shows a leak, or none.

    `alone` is `single_feature_auc` over rows that the model was not trained on. `with_after_intent` and
    `without_after_intent` are the metrics of the model with and without the signals that follow a decision to
    leave; None where the model has none of those.
    """

    alone: Mapping[str, float]
    after_intent: tuple[str, ...] = ()
    with_after_intent: Mapping[str, float] | None = None
    without_after_intent: Mapping[str, float] | None = None
    limit: float = SUSPICIOUS_AUC

    @property
    def suspects(self) -> dict[str, float]:
        """Features that give the label away by themselves, or nearly."""
        return {name: auc for name, auc in self.alone.items() if auc >= self.limit}

    @property
    def green(self) -> bool:
        return not self.suspects
