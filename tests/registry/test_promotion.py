"""Aliases and tags in a real SQLite store: every state a promotion or a rollback may find, or leave when cut short."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from churn.registry import tracking
from churn.errors import BadInputError
from churn.evaluation.gates import AtMost
from churn.model_spec import Verdict
from churn.registry.promotion import Decision, Noted, note, noted, promote, rollback
from churn.registry.model_registry import Registry
from churn.training.algorithms import Logistic
from churn.model_spec import ModelSpec

SPEC = ModelSpec(name="churn", candidates={"logistic": Logistic()})
AS_OF = datetime(2026, 10, 1)
JUDGED = {"2026-08-01": {"auc": 0.7, "average_precision": 0.3, "brier": 0.1, "calibration_error": 0.02}}
GOOD = (Verdict("calibrated", True, "0.05 or less", "0.020"), Verdict("no leak", True, "none", "none"))
BAD = (GOOD[0], Verdict("no leak", False, "no feature of 0.95", "closed_flag 0.990"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def registry(store: str, request: pytest.FixtureRequest) -> Registry:
    """A model of its own for each test."""
    return Registry(store, request.node.name)


def trained(registry: Registry, key: str) -> str:
    with tracking.run(registry.tracking_uri, "tests", key, key=f"{key} {registry.model}") as run:
        return run.register(registry.model)


def evaluated(
    registry: Registry, version: str, champion: str | None, verdicts: tuple[Verdict, ...] = GOOD, spec: ModelSpec = SPEC
) -> None:
    with tracking.run(registry.tracking_uri, "tests", "evaluate", key=f"evaluate {registry.model}") as run:
        note(registry, version, AS_OF, Noted.of(spec, JUDGED, verdicts, run_id=run.id, champion=champion))


def state(registry: Registry) -> dict[str, str]:
    return registry.aliases()


def two(registry: Registry) -> None:
    """Version 1 is the champion; version 2 wants to be, and has passed its gates."""
    trained(registry, "train September")
    evaluated(registry, "1", None)
    assert promote(registry, SPEC, AS_OF).outcome == "promoted"
    trained(registry, "train October")
    evaluated(registry, "2", "1")


def test_the_first_has_nobody_to_replace(registry: Registry) -> None:
    trained(registry, "train")
    evaluated(registry, "1", None)
    why = "passed calibrated (0.020), no leak (none)"
    assert promote(registry, SPEC, AS_OF) == Decision("1", "promoted", why)
    assert state(registry) == {"challenger": "1", "champion": "1"}
    assert registry.tags("1")["promotion"] == f"promoted as of 2026-10-01: {why}"
    found = noted(registry.tags("1"))
    assert found is not None
    assert (found.verdicts, found.means["auc"]) == (GOOD, 0.7)


def test_a_better_one_replaces_the_champion_once(registry: Registry) -> None:
    two(registry)
    assert promote(registry, SPEC, AS_OF).outcome == "promoted"
    after, tags = state(registry), registry.tags("2")
    assert after == {"challenger": "2", "champion": "2", "previous": "1"}
    assert promote(registry, SPEC, AS_OF).outcome == "champion already"
    assert (state(registry), registry.tags("2")) == (after, tags)


def test_one_that_fails_a_gate_is_refused_with_the_reason(registry: Registry) -> None:
    two(registry)
    evaluated(registry, "2", "1", BAD)
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
    registry: Registry, cut_short: Callable[[Registry], object], wanted: dict[str, str]
) -> None:
    two(registry)
    cut_short(registry)
    promote(registry, SPEC, AS_OF)
    assert state(registry) == wanted
    assert registry.tags("2")["promotion"].startswith("promoted as of 2026-10-01: passed calibrated")


def _unevaluated(registry: Registry) -> None:
    trained(registry, "train November")


def _failed_evaluation(registry: Registry) -> None:
    """Told to end after the verdicts were noted, before the run had ended."""
    with (  # noqa: PT012
        pytest.raises(SystemExit),
        tracking.run(registry.tracking_uri, "tests", "evaluate", key="evaluate cut short") as run,
    ):
        note(registry, "2", AS_OF, Noted.of(SPEC, JUDGED, GOOD, run_id=run.id, champion="1"))
        os.kill(os.getpid(), signal.SIGTERM)


def _another_champion(registry: Registry) -> None:
    evaluated(registry, "2", None)


def _other_gates(registry: Registry) -> None:
    evaluated(registry, "2", "1", spec=ModelSpec(name="churn", candidates=SPEC.candidates, gates=(AtMost(0.9),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unevaluated, "version 3 was not judged at 2026-10-01; evaluate it for as-of 2026-10-01, then promote"),
        (_failed_evaluation, r"the evaluation at 2026-10-01 \(run .*\) did not end well"),
        (_another_champion, "was judged against no champion, and now there is champion version 1; evaluate it again"),
        (_other_gates, r"was judged by AtMost\(.*\), and the model's gates are Beats\("),
    ],
    ids=["never", "evaluation failed", "another champion", "other gates"],
)
def test_what_was_not_judged_as_it_must_be_is_not_promoted(
    registry: Registry, change: Callable[[Registry], None], message: str
) -> None:
    two(registry)
    change(registry)
    with pytest.raises(BadInputError, match=message):
        promote(registry, SPEC, AS_OF)
    assert registry.aliases()["champion"] == "1"


def test_a_rollback_restores_and_what_it_took_away_stays_away(registry: Registry) -> None:
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


@pytest.mark.parametrize("moved", [False, True])
def test_a_rollback_that_was_cut_short_is_finished_by_the_next(registry: Registry, moved: bool) -> None:
    two(registry)
    promote(registry, SPEC, AS_OF)
    registry.tag("2", rolled_back="to version 1: complaints")
    if moved:
        registry.point("champion", "1")
    assert rollback(registry, "complaints") == ("2", "1")
    assert state(registry) == {"challenger": "2", "champion": "1"}


def test_there_is_no_going_back_from_a_promotion_that_was_cut_short(registry: Registry) -> None:
    two(registry)
    registry.point("previous", "1")
    with pytest.raises(BadInputError, match=r"a promotion was cut short.*run promote again"):
        rollback(registry, "complaints")
    assert registry.aliases()["champion"] == "1"


def test_who_is_in_use_is_said_or_why_nobody_is(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"has no challenger; .*train one first"):
        registry.in_use()
    with pytest.raises(BadInputError, match="there is no store yet"):
        Registry(f"sqlite:///{tmp_path / 'none.db'}", "churn").in_use()
    assert not (tmp_path / "none.db").exists()  # asking makes none
    trained(registry, "train")
    assert registry.in_use() == ("challenger", "1")
    registry.point("champion", "1")
    trained(registry, "train again")
    assert registry.in_use() == ("champion", "1")
