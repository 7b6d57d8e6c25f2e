"""Which limits are broken, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from churn.monitoring.drift import Bins, Moved
from churn.monitoring.limits import moved_share, verdicts
from churn.training.algorithms import Logistic
from churn.model_spec import ModelSpec

SPEC = ModelSpec(name="churn", candidates={"logistic": Logistic()})
STILL, SHIFTED = (500, 500), (900, 100)
IMPORTANCE = {"calls_30d": 0.8, "spend_30d": 0.2}


def one(feature: str, reference: str, now: tuple[int, int] = STILL, *, nulls: int = 0) -> Moved:
    return Moved(feature, reference, Bins(edges=(1.0,)), STILL, now, 0, nulls)


def outcome(auc: float | None, high: float | None = None, version: str = "1") -> dict[str, Any]:
    return {"as_of": datetime(2026, 6, 1), "version": version, "auc": auc, "auc_high": high}


def broken(moved: list[Moved], outcomes: list[dict[str, Any]] | None = None, spec: ModelSpec = SPEC) -> dict[str, str]:
    found = verdicts(spec, moved, IMPORTANCE, outcomes or [], {"1": {"auc": 0.75}}, days=1)
    assert len(found) == 5
    return {verdict.gate: verdict.seen for verdict in found if not verdict.passed}


ALL_STILL = [
    one(name, of) for name in ("score", "calls_30d", "spend_30d") for of in ("training", "last_period", "year_ago")
]


def test_what_stands_still_breaks_nothing() -> None:
    assert broken(ALL_STILL, [outcome(0.74, 0.79)]) == {}


@pytest.mark.parametrize(
    ("moved", "wanted"),
    [
        ([one("score", "training", SHIFTED)], {"score": "0.879 against training"}),
        # The same season had it so: the year moves, not the customers.
        ([one("score", "training", SHIFTED), one("score", "year_ago")], {}),
        (
            [one("score", "training", SHIFTED), one("score", "year_ago", SHIFTED)],
            {"score": "0.879 against training, 0.879 against a year ago"},
        ),
        # Sudden, and still within what is usual.
        ([one("score", "training"), one("score", "last_period", SHIFTED)], {}),
        ([one("spend_30d", "training", SHIFTED)], {}),  # carries 20 %
        (
            [one("calls_30d", "training", SHIFTED)],
            {"features": "1 has moved and carries 80% of the score: calls_30d 0.88"},
        ),
        ([one("calls_30d", "training", nulls=500)], {"missing values": "calls_30d 0.0% then, 33.3% now"}),
        ([one("calls_30d", "training", nulls=300)], {}),  # 23.1 points
        ([one("calls_30d", "training", nulls=500), one("calls_30d", "year_ago", nulls=300)], {}),
    ],
)  # fmt: skip
def test_drift(moved: list[Moved], wanted: dict[str, str]) -> None:
    assert broken(moved) == wanted


def test_a_few_days_of_transactions_break_no_limit() -> None:
    fraud = ModelSpec(name="fraud", label="fraud", horizon=1, maturity=7, candidates=SPEC.candidates)
    shifted = [one("score", "training", SHIFTED), one("calls_30d", "training", nulls=500)]
    few, enough = (verdicts(fraud, shifted, IMPORTANCE, [], {}, days=days) for days in (13, 14))
    assert [verdict.gate for verdict in few if not verdict.passed] == ["missing values"]
    assert few[0].seen == "13 of 28 days have been scored: too few to tell; so far 0.879 against training"
    assert [verdict.gate for verdict in enough if not verdict.passed] == ["score", "missing values"]


def test_chance_breaks_no_limit() -> None:
    few = Moved("score", "training", Bins(edges=(1.0,)), (10, 10), (15, 5), 0, 0)
    assert few.psi is not None
    assert SPEC.psi_limit < few.psi < few.noise
    assert broken([few]) == {}


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([outcome(0.62, 0.64)], {"outcomes as judged": "0.620 for 0.750 at 2026-06-01"}),
        ([outcome(0.62, 0.66)], {}),  # within its interval
        ([outcome(0.62, 0.64, version="9")], {}),  # nobody judged that one
        ([outcome(0.40, 0.49, version="9")], {"outcomes": "0.400 at 2026-06-01"}),
        ([outcome(None)], {}),  # all had one outcome
    ],
)
def test_outcomes(outcomes: list[dict[str, Any]], wanted: dict[str, str]) -> None:
    assert broken(ALL_STILL, outcomes) == wanted


def test_the_limits_are_the_models() -> None:
    moved = [one("score", "training", SHIFTED), one("calls_30d", "training", SHIFTED, nulls=600)]
    assert moved_share(SPEC, moved, IMPORTANCE) == 0.8
    assert broken(moved, spec=replace(SPEC, psi_limit=1.0, missing_limit=0.4)) == {}
    assert set(broken(moved, [outcome(0.7, 0.72)], replace(SPEC, auc_floor=0.8))) == {
        "score", "features", "missing values", "outcomes",
    }  # fmt: skip
