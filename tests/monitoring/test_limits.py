"""Which limits are exceeded, and the texts of their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from churn.dataset.examples import examples
from churn.labels.fraud import Fraud
from churn.model_spec import LabelWindow, Limit, ModelSpec
from churn.monitoring.drift import Bins, Drift
from churn.monitoring.limits import (
    LIMITS,
    PSI,
    Evidence,
    FeatureDrift,
    MissingValues,
    OutcomeDrop,
    OutcomeFloor,
    ScoreDrift,
    check_limits,
    drifted_share,
    limit_of,
)
from churn.training.algorithms import Logistic

STILL, SHIFTED = (500, 500), (900, 100)
IMPORTANCE = {"calls_30d": 0.8, "spend_30d": 0.2}


def one(feature: str, reference: str, now: tuple[int, int] = STILL, *, nulls: int = 0) -> Drift:
    return Drift(feature, reference, Bins(edges=(1.0,)), STILL, now, 0, nulls)


def outcome(auc: float | None, high: float | None = None, version: str = "1") -> dict[str, Any]:
    return {"as_of": datetime(2026, 6, 1), "version": version, "auc": auc, "auc_high": high}


def exceeded(
    drifts: list[Drift], outcomes: list[dict[str, Any]] | None = None, limits: Sequence[Limit] = ()
) -> dict[str, str]:
    found = check_limits(Evidence(drifts, IMPORTANCE, outcomes or [], {"1": {"auc": 0.75}}), limits)
    assert len(found) == 5
    return {verdict.name: verdict.seen for verdict in found if not verdict.passed}


ALL_STILL = [
    one(name, of) for name in ("score", "calls_30d", "spend_30d") for of in ("training", "last_period", "year_ago")
]


def test_without_drift_no_limit_is_exceeded() -> None:
    assert exceeded(ALL_STILL, [outcome(0.74, 0.79)]) == {}


def test_the_texts_of_verdicts() -> None:
    found = check_limits(Evidence(ALL_STILL, IMPORTANCE, [outcome(0.74, 0.79)], {"1": {"auc": 0.75}}))
    assert [(verdict.name, verdict.wanted, verdict.seen) for verdict in found] == [
        (
            "score",
            "a stability index of 0.25 or less, or no more than chance would make it",
            "0.000 against training, 0.000 against a year ago",
        ),
        ("features", "features that have drifted carry 30% of the score or less", "none has drifted"),
        ("missing values", "no feature null in 25 points more of the rows than it was", "none is"),
        ("outcomes", "an AUC of 0.5 or more, within its interval", "0.740 at 2026-06-01"),
        (
            "outcomes as evaluated",
            "an AUC no more than 0.1 below what the evaluation found, within its interval",
            "0.740 for 0.750 at 2026-06-01",
        ),
    ]
    nothing = check_limits(Evidence([], IMPORTANCE, [], {}))
    assert [verdict.seen for verdict in nothing] == [
        "nothing to compare with",
        "none has drifted",
        "none is",
        "no labels have matured since the last monitoring run",
        "no labels have matured since the last monitoring run",
    ]
    assert all(verdict.passed for verdict in nothing)


@pytest.mark.parametrize(
    ("drifts", "wanted"),
    [
        ([one("score", "training", SHIFTED)], {"score": "0.879 against training"}),
        # It was so in the same season: the season recurs, the customers are the same.
        ([one("score", "training", SHIFTED), one("score", "year_ago")], {}),
        (
            [one("score", "training", SHIFTED), one("score", "year_ago", SHIFTED)],
            {"score": "0.879 against training, 0.879 against a year ago"},
        ),
        # Sudden, and still as in training.
        ([one("score", "training"), one("score", "last_period", SHIFTED)], {}),
        ([one("spend_30d", "training", SHIFTED)], {}),  # carries 20 %
        (
            [one("calls_30d", "training", SHIFTED)],
            {"features": "1 has drifted and carries 80% of the score: calls_30d 0.88"},
        ),
        (
            [one("calls_30d", "training", SHIFTED), one("spend_30d", "training", SHIFTED)],
            {"features": "2 have drifted and carry 100% of the score: calls_30d 0.88, spend_30d 0.88"},
        ),
        ([one("calls_30d", "training", nulls=500)], {"missing values": "calls_30d 0.0% then, 33.3% now"}),
        ([one("calls_30d", "training", nulls=300)], {}),  # 23.1 points
        ([one("calls_30d", "training", nulls=500), one("calls_30d", "year_ago", nulls=300)], {}),
        (
            [one(name, "training", nulls=500) for name in "abcde"],
            {"missing values": ("a 0.0% then, 33.3% now, b 0.0% then, 33.3% now, c 0.0% then, 33.3% now and 2 more")},
        ),
    ],
)
def test_drift(drifts: list[Drift], wanted: dict[str, str]) -> None:
    assert exceeded(drifts) == wanted


def test_a_few_days_of_transactions_exceed_no_limit_of_drift() -> None:
    fraud = ModelSpec(
        name="fraud",
        label=Fraud(),
        window=LabelWindow(horizon=1, maturity=7),
        candidates={"logistic": Logistic()},
    )
    shifted = [one("score", "training", SHIFTED), one("calls_30d", "training", nulls=500)]
    days = [datetime(2026, 6, day) for day in range(1, 15)]
    few, enough = (
        check_limits(Evidence(shifted, IMPORTANCE, [], {}, examples(fraud).too_few(as_ofs)))
        for as_ofs in (days[:13], days)
    )
    assert [verdict.name for verdict in few if not verdict.passed] == ["missing values"]
    assert few[0].seen == "13 of 28 days have been scored: too few to tell; so far 0.879 against training"
    assert few[1].seen == "13 of 28 days have been scored: too few to tell; so far none has drifted"
    assert [verdict.name for verdict in enough if not verdict.passed] == ["score", "missing values"]


def test_chance_exceeds_no_limit() -> None:
    few = Drift("score", "training", Bins(edges=(1.0,)), (10, 10), (15, 5), 0, 0)
    assert few.psi is not None
    assert PSI < few.psi < few.noise
    assert exceeded([few]) == {}


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([outcome(0.62, 0.64)], {"outcomes as evaluated": "0.620 for 0.750 at 2026-06-01"}),
        ([outcome(0.62, 0.66)], {}),  # within its interval
        ([outcome(0.62, 0.64, version="9")], {}),  # that version was not evaluated
        ([outcome(0.40, 0.49, version="9")], {"outcomes": "0.400 at 2026-06-01"}),
        ([outcome(None)], {}),  # all had one outcome
    ],
)
def test_outcomes(outcomes: list[dict[str, Any]], wanted: dict[str, str]) -> None:
    assert exceeded(ALL_STILL, outcomes) == wanted


def test_the_limits_are_the_models() -> None:
    drifts = [one("score", "training", SHIFTED), one("calls_30d", "training", SHIFTED, nulls=600)]
    assert drifted_share(drifts, IMPORTANCE, PSI) == 0.8
    wider = (ScoreDrift(psi=1.0), FeatureDrift(psi=1.0), MissingValues(rise=0.4), OutcomeFloor(), OutcomeDrop())
    assert exceeded(drifts, limits=wider) == {}
    higher_floor = (*LIMITS[:3], OutcomeFloor(auc=0.8), OutcomeDrop())
    assert set(exceeded(drifts, [outcome(0.7, 0.72)], higher_floor)) == {
        "score", "features", "missing values", "outcomes",
    }  # fmt: skip


def test_a_limit_is_the_declared_one_else_the_default() -> None:
    declared = (OutcomeFloor(auc=0.8),)
    assert limit_of(declared, OutcomeFloor) == OutcomeFloor(auc=0.8)
    assert limit_of(declared, ScoreDrift) == ScoreDrift(psi=0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ScoreDrift(psi=-0.1),
        lambda: FeatureDrift(share=-0.1),
        lambda: MissingValues(rise=-0.1),
        lambda: OutcomeFloor(auc=-0.1),
        lambda: OutcomeDrop(auc=-0.1),
    ],
)
def test_a_bound_below_0_is_refused(wrong: Callable[[], Limit]) -> None:
    with pytest.raises(ValidationError, match="Input should be greater than or equal to 0"):
        wrong()
