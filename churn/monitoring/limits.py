"""Limits on a model's inputs and scores, and on the outcomes of earlier scores.

Drift counts against a reference that is long (the training) or of the same season (a year ago). The last period shows
since when something has drifted, and exceeds no limit by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass as declaration

from churn.model_spec import DECLARATION, Limit, Verdict
from churn.monitoring.drift import SCORE, TRAINING, YEAR_AGO, Drift
from churn.monitoring.tables import Row

Bound = Annotated[float, Field(ge=0)]

LONG: Final = (TRAINING, YEAR_AGO)
PSI: Final = 0.25
"""The customary limit of the population stability index (Siddiqi 2006, Credit Risk Scorecards, ch. 9)."""
_NAMED: Final = 3
"""The most features, or outcomes, that a verdict names."""
_REFERENCES: Final = {TRAINING: "training", YEAR_AGO: "a year ago"}


@dataclass(frozen=True)
class Evidence:
    """What a monitoring run found: every feature against every reference, and the outcomes evaluated now.

    `importance` is each feature's share in the score, `expected` the evaluation's metrics by version. `too_few` is why
    there are too few days to tell whether something drifted; None = there are enough.
    """

    drifts: Sequence[Drift]
    importance: Mapping[str, float]
    outcomes: Sequence[Row]
    expected: Mapping[str, Mapping[str, float]]
    too_few: str | None = None


def has_drifted(one: Drift, limit: float) -> bool:
    """Whether a distribution has drifted by more than the limit, and by more than chance would make of it."""
    return one.psi is not None and one.psi > max(limit, one.noise)


def rise(one: Drift) -> float:
    """By how much the share of nulls is greater than at the reference."""
    return one.missing - one.missing_reference


def long_references(drifts: Sequence[Drift]) -> dict[str, list[Drift]]:
    """By feature, its drift from the training and from a year ago, whichever there are."""
    by_feature: dict[str, list[Drift]] = {}
    for one in drifts:
        if one.reference in LONG:
            by_feature.setdefault(one.feature, []).append(one)
    return by_feature


def drifted(drifts: Sequence[Drift], limit: float) -> dict[str, float]:
    """The features that have drifted from every long reference, with the least index: a season that recurs is none."""
    return {
        feature: min(one.psi or 0.0 for one in against)
        for feature, against in long_references(drifts).items()
        if all(has_drifted(one, limit) for one in against)
    }


def drifted_share(drifts: Sequence[Drift], importance: Mapping[str, float], limit: float) -> float:
    """The share of the score that is carried by features which have drifted."""
    return sum(importance.get(feature, 0.0) for feature in drifted(drifts, limit))


def lost_features(drifts: Sequence[Drift], limit: float) -> dict[str, Drift]:
    """The features that are null in more rows than at every long reference, by more than the limit; greatest first."""
    least = {feature: min(against, key=rise) for feature, against in long_references(drifts).items()}
    lost = {feature: one for feature, one in least.items() if rise(one) > limit}
    return dict(sorted(lost.items(), key=lambda item: (-rise(item[1]), item[0])))


@declaration(frozen=True, config=DECLARATION)
class ScoreDrift(Limit):
    """The stability index of the score is at most `psi`, or what chance alone would make it."""

    psi: Bound = PSI

    def check(self, evidence: Evidence) -> Verdict:
        wanted = f"a stability index of {self.psi:g} or less, or no more than chance would make it"
        scores = [one for one in evidence.drifts if one.feature == SCORE and one.reference in LONG]
        figures = ", ".join(
            f"{one.psi:.3f} against {_REFERENCES[one.reference]}" for one in scores if one.psi is not None
        )
        passed = SCORE not in drifted(evidence.drifts, self.psi)
        return _if_enough(evidence, Verdict("score", passed, wanted, figures or "nothing to compare with"))


@declaration(frozen=True, config=DECLARATION)
class FeatureDrift(Limit):
    """The features that have drifted, by more than `psi`, together carry at most `share` of the score."""

    psi: Bound = PSI
    share: Bound = 0.3

    def check(self, evidence: Evidence) -> Verdict:
        wanted = f"features that have drifted carry {self.share:.0%} of the score or less"
        indices = {name: value for name, value in drifted(evidence.drifts, self.psi).items() if name != SCORE}
        carried = drifted_share(evidence.drifts, evidence.importance, self.psi)
        heaviest = sorted(indices, key=lambda name: (-evidence.importance.get(name, 0.0), name))[:_NAMED]
        figures = ", ".join(f"{name} {indices[name]:.2f}" for name in heaviest)
        verb = ("has drifted and carries", "have drifted and carry")[len(indices) > 1]
        seen = f"{len(indices)} {verb} {carried:.0%} of the score: {figures}" if indices else "none has drifted"
        return _if_enough(evidence, Verdict("features", carried <= self.share, wanted, seen))


@declaration(frozen=True, config=DECLARATION)
class MissingValues(Limit):
    """No feature's share of nulls is more than `rise` greater than it was."""

    rise: Bound = 0.25

    def check(self, evidence: Evidence) -> Verdict:
        wanted = f"no feature null in {100 * self.rise:g} points more of the rows than it was"
        lost = list(lost_features(evidence.drifts, self.rise).values())
        figures = ", ".join(
            f"{one.feature} {one.missing_reference:.1%} then, {one.missing:.1%} now" for one in lost[:_NAMED]
        )
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        return Verdict("missing values", not lost, wanted, f"{figures}{more}" if lost else "none is")


@declaration(frozen=True, config=DECLARATION)
class OutcomeFloor(Limit):
    """Past scores whose labels have matured reach this AUC, at least with the upper end of its interval."""

    auc: Bound = 0.5

    def check(self, evidence: Evidence) -> Verdict:
        wanted = f"an AUC of {self.auc:g} or more, within its interval"
        known = [row for row in evidence.outcomes if row["auc"] is not None]
        low = [row for row in known if _high(row) < self.auc]
        return Verdict("outcomes", not low, wanted, _figures(low or known))


@declaration(frozen=True, config=DECLARATION)
class OutcomeDrop(Limit):
    """Their AUC is at most `auc` below that of the version's evaluation, likewise by the upper end of its interval."""

    auc: Bound = 0.1

    def check(self, evidence: Evidence) -> Verdict:
        wanted = f"an AUC no more than {self.auc:g} below what the evaluation found, within its interval"
        expected = evidence.expected
        known = [
            row for row in evidence.outcomes if row["auc"] is not None and "auc" in expected.get(row["version"], {})
        ]
        low = [row for row in known if _high(row) < expected[row["version"]]["auc"] - self.auc]
        return Verdict("outcomes as evaluated", not low, wanted, _figures(low or known, expected))


LIMITS: Final[tuple[Limit, ...]] = (ScoreDrift(), FeatureDrift(), MissingValues(), OutcomeFloor(), OutcomeDrop())
"""The limits of a model that names none of its own."""

_Kind = TypeVar("_Kind", bound=Limit)


def check_limits(evidence: Evidence, limits: Sequence[Limit] = ()) -> tuple[Verdict, ...]:
    """The verdict of every limit, in their order; without limits, of LIMITS."""
    return tuple(limit.check(evidence) for limit in limits or LIMITS)


def limit_of(limits: Sequence[Limit], kind: type[_Kind]) -> _Kind:
    """The limit of a kind that a model names, else the default one."""
    return next((limit for limit in limits if isinstance(limit, kind)), kind())


def _if_enough(evidence: Evidence, verdict: Verdict) -> Verdict:
    if evidence.too_few is None:
        return verdict
    return replace(verdict, passed=True, seen=f"{evidence.too_few}; so far {verdict.seen}")


def _high(row: Row) -> float:
    return float(row["auc"] if row["auc_high"] is None else row["auc_high"])


def _figures(rows: Sequence[Row], expected: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """The newest few outcomes in words."""
    figures = [
        f"{row['auc']:.3f}"
        + (f" for {expected[row['version']]['auc']:.3f}" if expected is not None else "")
        + f" at {row['as_of']:%Y-%m-%d}"
        for row in rows[-_NAMED:]
    ]
    return ", ".join(figures) or "no labels have matured since the last monitoring run"
