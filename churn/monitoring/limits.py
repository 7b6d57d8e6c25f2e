"""What may not happen unseen: limits on what a model sees and on how its scores turned out, and which are broken.

A reference that is long (the training) or of the same season (a year ago) says whether something is unusual; the last
period says since when, and breaks no limit by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from churn.evaluation.gates import Verdict
from churn.monitoring.drift import SCORE, TRAINING, YEAR_AGO, Moved
from churn.monitoring.tables import Row
from churn.training.spec import ModelSpec

LONG = (TRAINING, YEAR_AGO)
_NAMED = 3
"""Features that a sentence names."""


def has_moved(spec: ModelSpec, one: Moved) -> bool:
    """Whether a distribution has moved by more than the limit, and by more than chance would make of it."""
    return one.psi is not None and one.psi > max(spec.psi_limit, one.noise)


def rise(one: Moved) -> float:
    """By how much the share of nulls is greater than at the reference."""
    return one.missing - one.missing_reference


def long_references(moved: Sequence[Moved]) -> dict[str, list[Moved]]:
    """By feature, how it stands against the training and a year ago, whichever are there."""
    found: dict[str, list[Moved]] = {}
    for one in moved:
        if one.reference in LONG:
            found.setdefault(one.feature, []).append(one)
    return found


def moved_features(spec: ModelSpec, moved: Sequence[Moved]) -> dict[str, float]:
    """What has moved against every long reference, and its least index: a season that comes again has not."""
    return {
        feature: min(one.psi or 0.0 for one in against)
        for feature, against in long_references(moved).items()
        if all(has_moved(spec, one) for one in against)
    }


def lost_features(spec: ModelSpec, moved: Sequence[Moved]) -> dict[str, Moved]:
    """What is null in more rows than at any long reference, by more than the limit; the most lost first."""
    least = {feature: min(against, key=rise) for feature, against in long_references(moved).items()}
    lost = {feature: one for feature, one in least.items() if rise(one) > spec.missing_limit}
    return dict(sorted(lost.items(), key=lambda item: (-rise(item[1]), item[0])))


def moved_share(spec: ModelSpec, moved: Sequence[Moved], importance: Mapping[str, float]) -> float:
    """The share of the score that is carried by features which have moved."""
    return sum(importance.get(feature, 0.0) for feature in moved_features(spec, moved))


def verdicts(
    spec: ModelSpec,
    moved: Sequence[Moved],
    importance: Mapping[str, float],
    outcomes: Sequence[Row],
    expected: Mapping[str, Mapping[str, float]],
    *,
    days: int,
) -> tuple[Verdict, ...]:
    """Each limit and whether it holds; `outcomes` are those that were judged now.

    Of transactions, `days` are how many were looked at: what moved is not judged until they are half of `watched_days`.
    """
    drifts: tuple[Verdict, ...] = (_score(spec, moved), _features(spec, moved, importance))
    if spec.of_transactions and 2 * days < spec.watched_days:
        few = f"{days} of {spec.watched_days} days have been scored: too few to tell; so far "
        drifts = tuple(replace(one, passed=True, seen=few + one.seen) for one in drifts)
    return (
        *drifts,
        _missing(spec, moved),
        _floor(spec, outcomes),
        _drop(spec, outcomes, expected),
    )


def _score(spec: ModelSpec, moved: Sequence[Moved]) -> Verdict:
    wanted = f"a stability index of {spec.psi_limit:g} or less, or no more than chance would make it"
    seen = [one for one in moved if one.feature == SCORE and one.reference in LONG]
    words = ", ".join(f"{one.psi:.3f} against {_NAMES[one.reference]}" for one in seen if one.psi is not None)
    return Verdict("score", SCORE not in moved_features(spec, moved), wanted, words or "nothing to compare with")


def _features(spec: ModelSpec, moved: Sequence[Moved], importance: Mapping[str, float]) -> Verdict:
    wanted = f"features that have moved carry {spec.moved_limit:.0%} of the score or less"
    found = {name: value for name, value in moved_features(spec, moved).items() if name != SCORE}
    carried = moved_share(spec, moved, importance)
    heaviest = sorted(found, key=lambda name: (-importance.get(name, 0.0), name))[:_NAMED]
    words = ", ".join(f"{name} {found[name]:.2f}" for name in heaviest)
    verb = ("has moved and carries", "have moved and carry")[len(found) > 1]
    seen = f"{len(found)} {verb} {carried:.0%} of the score: {words}" if found else "none has moved"
    return Verdict("features", carried <= spec.moved_limit, wanted, seen)


def _missing(spec: ModelSpec, moved: Sequence[Moved]) -> Verdict:
    wanted = f"no feature null in {100 * spec.missing_limit:g} points more of the rows than it was"
    lost = list(lost_features(spec, moved).values())
    words = ", ".join(f"{one.feature} {one.missing_reference:.1%} then, {one.missing:.1%} now" for one in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return Verdict("missing values", not lost, wanted, f"{words}{more}" if lost else "none is")


def _floor(spec: ModelSpec, outcomes: Sequence[Row]) -> Verdict:
    wanted = f"an AUC of {spec.auc_floor:g} or more, within its interval"
    judged = [row for row in outcomes if row["auc"] is not None]
    low = [row for row in judged if _high(row) < spec.auc_floor]
    return Verdict("outcomes", not low, wanted, _told(low or judged))


def _drop(spec: ModelSpec, outcomes: Sequence[Row], expected: Mapping[str, Mapping[str, float]]) -> Verdict:
    wanted = f"an AUC no more than {spec.auc_drop:g} below what the evaluation found, within its interval"
    judged = [row for row in outcomes if row["auc"] is not None and "auc" in expected.get(row["version"], {})]
    low = [row for row in judged if _high(row) < expected[row["version"]]["auc"] - spec.auc_drop]
    return Verdict("outcomes as judged", not low, wanted, _told(low or judged, expected))


def _high(row: Row) -> float:
    return float(row["auc"] if row["auc_high"] is None else row["auc_high"])


def _told(rows: Sequence[Row], expected: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """The outcomes in words, the newest few."""
    words = [
        f"{row['auc']:.3f}"
        + (f" for {expected[row['version']]['auc']:.3f}" if expected is not None else "")
        + f" at {row['as_of']:%Y-%m-%d}"
        for row in rows[-_NAMED:]
    ]
    return ", ".join(words) or "nothing has turned out since the last look"


_NAMES = {TRAINING: "training", YEAR_AGO: "a year ago"}
