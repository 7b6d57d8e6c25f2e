"""What a challenger has to show before it may become champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from churn.errors import ConfigError, nearest
from churn.evaluation.leakage import LeakEvidence
from churn.evaluation.metrics import Metrics
from churn.model_spec import Gate, Verdict

NAMES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}
"""Metrics by the name they have in a sentence."""


@dataclass(frozen=True)
class Unmatched:
    """Why the challenger was not compared with an opponent, and whether it passes all the same."""

    passes: bool
    why: str


@dataclass(frozen=True)
class Evidence:
    """What gates check: later dates, the same for all, that the model was not trained, chosen or calibrated on.

    `dates` holds the challenger's metrics per date. `against` holds what `compare` found for the challenger and its
    opponents; an opponent that does not exist yet is in neither `against` nor `unmatched`.
    """

    dates: Mapping[str, Metrics]
    against: Mapping[str, Mapping[str, Any]]
    leaks: LeakEvidence
    unmatched: Mapping[str, Unmatched] = field(default_factory=dict)
    """Opponents that there are, and that the challenger was not compared with."""


@dataclass(frozen=True)
class Beats(Gate):
    """Better than an opponent on the same customers and dates, by more than the noise: the interval lies above 0."""

    opponent: Literal["baseline", "champion"]
    metric: str = "average_precision"

    def check(self, evidence: Evidence) -> Verdict:
        gate, name = f"beats the {self.opponent}", NAMES.get(self.metric, self.metric)
        wanted = f"a higher {name} than the {self.opponent}, the 95 % interval of the difference above 0"
        if none := evidence.unmatched.get(self.opponent):
            return Verdict(gate, none.passes, wanted, none.why)
        if self.opponent not in evidence.against:
            return Verdict(gate, True, wanted, f"there is no {self.opponent} yet")
        compared = evidence.against[self.opponent]
        if self.metric not in compared:
            raise ConfigError(f"gate {gate!r}: no metric {self.metric!r} to compare{nearest(self.metric, compared)}")
        difference, interval = compared[self.metric]["difference"], compared[self.metric]["interval"]
        if interval is None:
            return Verdict(gate, False, wanted, "too few customers of both classes for an interval")
        low, high = interval
        return Verdict(gate, low > 0, wanted, f"{difference:+.3f} [{low:+.3f} to {high:+.3f}]")


@dataclass(frozen=True)
class AtMost(Gate):
    """An error that is no greater than `limit`, on the mean of the dates."""

    limit: float
    metric: str = "calibration_error"

    def check(self, evidence: Evidence) -> Verdict:
        seen = float(np.mean([metrics[self.metric] for metrics in evidence.dates.values()]))
        name = NAMES.get(self.metric, self.metric)
        gate = "calibrated" if self.metric == "calibration_error" else f"{name} in bounds"
        return Verdict(gate, seen <= self.limit, f"a mean {name} of {self.limit:g} or less", f"{seen:.3f}")


@dataclass(frozen=True)
class NoLeak(Gate):
    """No feature that gives the outcome away alone."""

    def check(self, evidence: Evidence) -> Verdict:
        leaks = evidence.leaks
        wanted = f"no feature with an AUC of {leaks.limit:g} or more by itself"
        strongest = next(iter(leaks.alone.items()), None)
        if leaks.suspects:
            seen = ", ".join(f"{name} {auc:.3f}" for name, auc in leaks.suspects.items())
        else:
            seen = f"the strongest is {strongest[0]} with {strongest[1]:.3f}" if strongest else "there are no features"
        return Verdict("no leak", leaks.green and strongest is not None, wanted, seen)


GATES: tuple[Gate, ...] = (Beats("baseline"), Beats("champion"), AtMost(0.05), NoLeak())
"""The gates of a model that names none of its own."""


def check_gates(evidence: Evidence, gates: Sequence[Gate] = ()) -> tuple[Verdict, ...]:
    """The verdict of every gate, in their order; without gates, of GATES. A challenger may be promoted if all have
    passed."""
    return tuple(gate.check(evidence) for gate in gates or GATES)
