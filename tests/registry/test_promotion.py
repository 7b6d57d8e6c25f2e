"""Aliases and tags in a real SQLite store: every state a promotion or rollback may start from, or be cut short in."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from churn.errors import BadInputError, NoChampionError
from churn.evaluation.gates import AtMost
from churn.labels.closure import Closure
from churn.model_spec import ModelSpec, Verdict
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.registry.promotion import Decision, EvaluationRecord, promote, record, recorded, rollback
from churn.training.algorithms import Logistic

SPEC = ModelSpec(name="churn", label=Closure(), candidates={"logistic": Logistic()})
AS_OF = datetime(2026, 10, 1)
BY_DATE = {"2026-08-01": {"auc": 0.7, "average_precision": 0.3, "brier": 0.1, "calibration_error": 0.02}}
GOOD = (Verdict("calibrated", True, "0.05 or less", "0.020"), Verdict("no leak", True, "none", "none"))
BAD = (GOOD[0], Verdict("no leak", False, "no feature of 0.95", "closed_flag 0.990"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def registry(store: str, request: pytest.FixtureRequest) -> ModelRegistry:
    """A model of its own for each test."""
    return ModelRegistry(store, request.node.name)


def trained(registry: ModelRegistry, key: str) -> str:
    with tracking.run(registry.tracking_uri, "tests", key, key=f"{key} {registry.model}") as run:
        return run.register(registry.model)


def evaluated(
    registry: ModelRegistry,
    version: str,
    champion: str | None,
    verdicts: tuple[Verdict, ...] = GOOD,
    spec: ModelSpec = SPEC,
) -> None:
    with tracking.run(registry.tracking_uri, "tests", "evaluate", key=f"evaluate {registry.model}") as run:
        found = EvaluationRecord.of(spec, BY_DATE, verdicts, run_id=run.id, champion=champion)
        record(registry, version, AS_OF, found)


def state(registry: ModelRegistry) -> dict[str, str]:
    return registry.aliases()


def two(registry: ModelRegistry) -> None:
    """Version 1 is the champion; version 2 is the challenger, and has passed its gates."""
    trained(registry, "train September")
    evaluated(registry, "1", None)
    assert promote(registry, SPEC, AS_OF).outcome == "promoted"
    trained(registry, "train October")
    evaluated(registry, "2", "1")


def test_a_promotion_waits_for_a_training_that_registers(registry: ModelRegistry) -> None:
    """Else the version that becomes champion could be the one that the training deletes."""
    trained(registry, "train")
    evaluated(registry, "1", None)
    promotion = threading.Thread(target=promote, args=(registry, SPEC, AS_OF))
    with tracking.registering(registry.tracking_uri, registry.model):
        promotion.start()
        promotion.join(timeout=1)
        assert state(registry) == {"challenger": "1"}
    promotion.join()
    assert state(registry) == {"challenger": "1", "champion": "1"}


def test_the_first_version_replaces_none(registry: ModelRegistry) -> None:
    trained(registry, "train")
    evaluated(registry, "1", None)
    why = "passed calibrated (0.020), no leak (none)"
    assert promote(registry, SPEC, AS_OF) == Decision("1", "promoted", why)
    assert state(registry) == {"challenger": "1", "champion": "1"}
    assert registry.tags("1")["promotion"] == f"promoted as of 2026-10-01: {why}"
    found = recorded(registry.tags("1"))
    assert found is not None
    assert (found.verdicts, found.means["auc"]) == (GOOD, 0.7)


def test_a_better_one_replaces_the_champion_once(registry: ModelRegistry) -> None:
    two(registry)
    assert promote(registry, SPEC, AS_OF).outcome == "promoted"
    after, tags = state(registry), registry.tags("2")
    assert after == {"challenger": "2", "champion": "2", "previous": "1"}
    assert promote(registry, SPEC, AS_OF).outcome == "already champion"
    assert (state(registry), registry.tags("2")) == (after, tags)


@pytest.mark.parametrize("verdicts", [BAD, BAD[::-1]], ids=["the_last", "the_first"])
def test_one_that_fails_a_gate_is_refused_with_the_reason(
    registry: ModelRegistry, verdicts: tuple[Verdict, ...]
) -> None:
    two(registry)
    evaluated(registry, "2", "1", verdicts)
    why = "no leak: closed_flag 0.990, want no feature of 0.95"
    for _ in range(2):
        assert promote(registry, SPEC, AS_OF) == Decision("2", "refused", why)
        assert state(registry) == {"challenger": "2", "champion": "1"}
        assert registry.tags("2")["promotion"] == f"refused as of 2026-10-01: {why}"


@pytest.mark.parametrize(
    ("cut_short", "wanted"),
    [
        (lambda registry: registry.point("previous", "1"), {"challenger": "2", "champion": "2", "previous": "1"}),
        (
            lambda registry: (registry.point("previous", "1"), registry.point("champion", "2")),
            {"challenger": "2", "champion": "2", "previous": "1"},
        ),
    ],
    ids=["after_previous", "after_champion"],
)
def test_a_promotion_that_was_cut_short_is_finished_by_the_next(
    registry: ModelRegistry, cut_short: Callable[[ModelRegistry], object], wanted: dict[str, str]
) -> None:
    two(registry)
    cut_short(registry)
    promote(registry, SPEC, AS_OF)
    assert state(registry) == wanted
    assert registry.tags("2")["promotion"].startswith("promoted as of 2026-10-01: passed calibrated")


def _unevaluated(registry: ModelRegistry) -> None:
    trained(registry, "train November")


def _failed_evaluation(registry: ModelRegistry) -> None:
    """Terminated after the verdicts were recorded, before the run had ended."""
    with (  # noqa: PT012
        pytest.raises(SystemExit),
        tracking.run(registry.tracking_uri, "tests", "evaluate", key="evaluate cut short") as run,
    ):
        record(registry, "2", AS_OF, EvaluationRecord.of(SPEC, BY_DATE, GOOD, run_id=run.id, champion="1"))
        os.kill(os.getpid(), signal.SIGTERM)


def _another_champion(registry: ModelRegistry) -> None:
    evaluated(registry, "2", None)


def _other_gates(registry: ModelRegistry) -> None:
    evaluated(registry, "2", "1", spec=SPEC.model_copy(update={"gates": (AtMost(0.9),)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unevaluated, "version 3 was not evaluated at 2026-10-01; evaluate it for as-of 2026-10-01, then promote"),
        (_failed_evaluation, r"the evaluation at 2026-10-01 \(run .*\) did not end well"),
        (
            _another_champion,
            "was evaluated against no champion, and now there is champion version 1; evaluate it again",
        ),
        (_other_gates, r"was evaluated by AtMost\(.*\), and the model's gates are Beats\("),
    ],
    ids=["never", "evaluation failed", "another champion", "other gates"],
)
def test_a_version_without_a_valid_evaluation_is_not_promoted(
    registry: ModelRegistry, change: Callable[[ModelRegistry], None], message: str
) -> None:
    two(registry)
    change(registry)
    with pytest.raises(BadInputError, match=message):
        promote(registry, SPEC, AS_OF)
    assert registry.aliases()["champion"] == "1"


def test_a_version_that_was_rolled_back_is_never_promoted_again(registry: ModelRegistry) -> None:
    two(registry)
    promote(registry, SPEC, AS_OF)
    assert rollback(registry, "complaints") == ("2", "1")
    assert state(registry) == {"challenger": "2", "champion": "1"}
    assert registry.tags("2")["rolled_back"] == "to version 1: complaints"
    evaluated(registry, "2", "1")
    assert promote(registry, SPEC, AS_OF) == Decision(
        "2", "refused", "it was rolled back (to version 1: complaints); train another"
    )
    with pytest.raises(BadInputError, match="version 1 is the champion, and there is no previous to go back to"):
        rollback(registry, "more complaints")
    assert state(registry) == {"challenger": "2", "champion": "1"}


@pytest.mark.parametrize("alias_was_set", [False, True])
def test_a_rollback_that_was_cut_short_is_finished_by_the_next(registry: ModelRegistry, alias_was_set: bool) -> None:
    two(registry)
    promote(registry, SPEC, AS_OF)
    registry.tag("2", rolled_back="to version 1: complaints")
    if alias_was_set:
        registry.point("champion", "1")
    assert rollback(registry, "complaints") == ("2", "1")
    assert state(registry) == {"challenger": "2", "champion": "1"}


def test_a_promotion_that_was_cut_short_cannot_be_rolled_back(registry: ModelRegistry) -> None:
    two(registry)
    registry.point("previous", "1")
    with pytest.raises(BadInputError, match=r"a promotion was cut short.*run promote again"):
        rollback(registry, "complaints")
    assert registry.aliases()["champion"] == "1"


def test_the_version_in_use_or_why_there_is_none(registry: ModelRegistry, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"has no challenger; .*train one first"):
        registry.in_use()
    with pytest.raises(BadInputError, match="there is no store yet"):
        ModelRegistry(f"sqlite:///{tmp_path / 'none.db'}", "churn").in_use()
    assert not (tmp_path / "none.db").exists()  # a look-up creates none
    trained(registry, "train")
    with pytest.raises(NoChampionError, match=r"has no champion; version 1, the challenger, has not been promoted"):
        registry.in_use()
    assert registry.in_use(challenger=True) == ("challenger", "1")
    registry.point("champion", "1")
    trained(registry, "train again")
    assert registry.in_use() == ("champion", "1")
