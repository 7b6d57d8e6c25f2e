"""Who becomes champion, and why: by the gates alone. Every decision is recorded on the version, as tags.

An evaluation records a challenger's verdicts on its version, and the promotion reads them: the report and the promotion
cannot differ. Every step may be run again, and one that was cut short is finished by running it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

from churn.errors import BadInputError
from churn.evaluation.by_date import mean_and_worst
from churn.evaluation.gates import GATES
from churn.model_spec import ModelSpec, Verdict
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.registry.tracking import CHALLENGER, CHAMPION, PREVIOUS

DECISION = "promotion"
"""The tag with what was decided on a version, when, and why; one tag, so that it is there whole or not at all."""
ROLLED_BACK = "rolled_back"
"""The tag of a version that was champion and must not be again: to which version it was rolled back, and why."""
MEANS = ("auc", "average_precision", "brier", "calibration_error")
PROMOTED: Final = "promoted"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class EvaluationRecord:
    """What an evaluation found: the verdicts, the champion it compared with, and the metrics' means over test dates."""

    run_id: str
    champion: str | None
    gates: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    means: Mapping[str, float]

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        by_date: Mapping[str, Mapping[str, Any]],
        verdicts: tuple[Verdict, ...],
        *,
        run_id: str,
        champion: str | None,
    ) -> EvaluationRecord:
        means = {metric: mean_and_worst(by_date, metric)[0] for metric in MEANS}
        return cls(run_id, champion, _gates(spec), verdicts, means)

    @property
    def failed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.passed]


def record(registry: ModelRegistry, version: str, as_of: datetime, evaluation: EvaluationRecord) -> None:
    """Record an evaluation on the version, in one tag: all of it is there, or nothing."""
    with tracking.registering(registry.tracking_uri, registry.model):
        registry.tag(version, **{_tag(as_of): json.dumps(asdict(evaluation))})


def recorded(
    tags: Mapping[str, str], as_of: datetime | None = None, *, until: datetime | None = None
) -> EvaluationRecord | None:
    """The evaluation among a version's tags: the one at `as_of`, else the newest, or the newest `until` an as-of."""
    dated = sorted(name for name in tags if name.startswith(_TAG) and (until is None or name <= _tag(until)))
    name = _tag(as_of) if as_of else (dated or [""])[-1]
    if name not in tags:
        return None
    values = json.loads(tags[name])
    verdicts = tuple(Verdict(**verdict) for verdict in values.pop("verdicts"))
    return EvaluationRecord(**values | {"verdicts": verdicts, "gates": tuple(values["gates"])})


@dataclass(frozen=True)
class Decision:
    """What was decided on a version, and why, in words."""

    version: str
    outcome: Literal["promoted", "refused", "already champion"]
    why: str


def promote(registry: ModelRegistry, spec: ModelSpec, as_of: datetime) -> Decision:
    """Make the challenger champion if it passed its gates at this as-of, and the champion `previous`.

    Raises BadInputError where it was not evaluated at this as-of, by these gates, against the champion of now.
    """
    with tracking.registering(registry.tracking_uri, registry.model):
        return _promoted(registry, spec, as_of)


def _promoted(registry: ModelRegistry, spec: ModelSpec, as_of: datetime) -> Decision:
    known = registry.aliases()
    version, champion = registry.version(CHALLENGER), known.get(CHAMPION)
    tags = registry.tags(version)
    found = _checked(registry, spec, version, as_of, recorded(tags, as_of))
    passed = ", ".join(f"{verdict.name} ({verdict.seen})" for verdict in found.verdicts)
    if champion == version:
        if not tags.get(DECISION, "").startswith(PROMOTED):  # cut short between the alias and the tag
            _decide(registry, version, PROMOTED, as_of, f"passed {passed}")
        return Decision(version, "already champion", registry.tags(version)[DECISION])
    if found.champion != champion:
        raise BadInputError(
            f"{spec.name} version {version} was evaluated against {_named(found.champion)}, and now there is "
            f"{_named(champion)}; evaluate it again for as-of {as_of:%Y-%m-%d}, then promote"
        )
    if found.failed or ROLLED_BACK in tags:
        failed = [f"{verdict.name}: {verdict.seen}, want {verdict.wanted}" for verdict in found.failed]
        why = "; ".join(failed) or f"it was rolled back ({tags[ROLLED_BACK]}); train another"
        _decide(registry, version, REFUSED, as_of, why)
        return Decision(version, REFUSED, why)
    # In this order: cut short in between, the old champion is still in use, and running it again completes it.
    if champion:
        registry.point(PREVIOUS, champion)
    registry.point(CHAMPION, version)
    _decide(registry, version, PROMOTED, as_of, f"passed {passed}")
    return Decision(version, PROMOTED, f"passed {passed}")


def rollback(registry: ModelRegistry, why: str) -> tuple[str, str]:
    """Make `previous` the champion again: (the version rolled back, the champion now).

    A version that was rolled back is never promoted again. Raises BadInputError where there is none to go back to.
    """
    with tracking.registering(registry.tracking_uri, registry.model):
        return _rolled_back(registry, why)


def _rolled_back(registry: ModelRegistry, why: str) -> tuple[str, str]:
    champion = registry.version(CHAMPION)
    previous = registry.aliases().get(PREVIOUS)
    if previous is None:
        raise BadInputError(
            f"model {registry.model!r}: version {champion} is the champion, and there is no {PREVIOUS} to go back to"
        )
    if previous == champion:
        back = f"to version {champion}: "
        rolled_back = [one for one, tags in registry.versions().items() if tags.get(ROLLED_BACK, "").startswith(back)]
        registry.drop(PREVIOUS)
        if not rolled_back:
            raise BadInputError(
                f"model {registry.model!r}: version {champion} is the champion and the {PREVIOUS} one: a promotion was "
                "cut short, and the champion before it is not known any more; run promote again to finish it"
            )
        return rolled_back[0], champion
    registry.tag(champion, **{ROLLED_BACK: f"to version {previous}: {why}"})
    registry.point(CHAMPION, previous)
    registry.drop(PREVIOUS)
    return champion, previous


_TAG = "verdicts."


def _tag(as_of: datetime) -> str:
    return f"{_TAG}{as_of:%Y-%m-%d}"


def _gates(spec: ModelSpec) -> tuple[str, ...]:
    return tuple(str(gate) for gate in spec.gates or GATES)


def _checked(
    registry: ModelRegistry, spec: ModelSpec, version: str, as_of: datetime, found: EvaluationRecord | None
) -> EvaluationRecord:
    again = f"evaluate it for as-of {as_of:%Y-%m-%d}, then promote"
    if found is None:
        raise BadInputError(f"{spec.name} version {version} was not evaluated at {as_of:%Y-%m-%d}; {again}")
    if not registry.finished(found.run_id):
        raise BadInputError(
            f"{spec.name} version {version}: the evaluation at {as_of:%Y-%m-%d} (run {found.run_id}) did not end well; "
            + again
        )
    if found.gates != _gates(spec):
        raise BadInputError(
            f"{spec.name} version {version} was evaluated by {', '.join(found.gates)}, and the model's gates are "
            f"{', '.join(_gates(spec))}; {again}"
        )
    return found


def _decide(registry: ModelRegistry, version: str, outcome: str, as_of: datetime, why: str) -> None:
    registry.tag(version, **{DECISION: f"{outcome} as of {as_of:%Y-%m-%d}: {why}"})


def _named(champion: str | None) -> str:
    return f"champion version {champion}" if champion else "no champion"
