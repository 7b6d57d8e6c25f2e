"""What a challenger must show before it may become champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as declaration

from churn.errors import ConfigError, nearest
from churn.evaluation.leakage import LeakEvidence
from churn.evaluation.metrics import Metrics
from churn.model_spec import DECLARATION, Gate, Verdict

NAMES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "empc": "expected maximum profit",
}
"""Metrics by the name they have in a sentence."""


@dataclass(frozen=True)
class Unmatched:
    """Why the challenger was not compared with an opponent, and whether it passes all the same."""

    passes: bool
    why: str


@dataclass(frozen=True)
class Evidence:
    """What gates check: metrics on later dates, on which the model was not trained, chosen or calibrated.

    `dates` holds the challenger's metrics per date, `against` the result of `compare` with each opponent; an opponent
    that does not exist yet is in neither `against` nor `unmatched`.
    """

    dates: Mapping[str, Metrics]
    against: Mapping[str, Mapping[str, Any]]
    leaks: LeakEvidence
    unmatched: Mapping[str, Unmatched] = field(default_factory=dict)
    """Opponents that exist, and with which the challenger was not compared."""


@declaration(frozen=True, config=DECLARATION)
class Beats(Gate):
    """Better than an opponent on the same rows and dates, by more than chance: the interval lies above 0."""

    opponent: Literal["baseline", "champion"]
    metric: str = "average_precision"

    def check(self, evidence: Evidence) -> Verdict:
        gate, name = f"beats the {self.opponent}", NAMES.get(self.metric, self.metric)
        wanted = f"a higher {name} than the {self.opponent}, the 95 % interval of the difference above 0"
        if unmatched := evidence.unmatched.get(self.opponent):
            return Verdict(gate, unmatched.passes, wanted, unmatched.why)
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


@declaration(frozen=True, config=DECLARATION)
class AtMost(Gate):
    """An error whose mean over the dates is no greater than `limit`."""

    limit: Annotated[float, Field(ge=0)]
    metric: str = "calibration_error"

    def check(self, evidence: Evidence) -> Verdict:
        seen = float(np.mean([metrics[self.metric] for metrics in evidence.dates.values()]))
        name = NAMES.get(self.metric, self.metric)
        gate = "calibrated" if self.metric == "calibration_error" else f"{name} in bounds"
        return Verdict(gate, seen <= self.limit, f"a mean {name} of {self.limit:g} or less", f"{seen:.3f}")


@declaration(frozen=True, config=DECLARATION)
class NoLeak(Gate):
    """No feature gives the outcome away by itself."""

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
    """The verdict of every gate, in their order; without gates, of GATES."""
    return tuple(gate.check(evidence) for gate in gates or GATES)
