"""Which challengers pass which gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from churn.errors import ConfigError
from churn.evaluation.gates import GATES, AtMost, Beats, Evidence, NoLeak, Unmatched, check_gates
from churn.evaluation.leakage import LeakEvidence, single_feature_auc

GOOD = Evidence(
    dates={"2026-01-01": {"calibration_error": 0.02}, "2026-02-01": {"calibration_error": 0.04}},
    against={"baseline": {"average_precision": {"difference": 0.1, "interval": [0.05, 0.15]}}},
    leaks=LeakEvidence({"recency": 0.7}),
)


def test_all_gates_pass_and_give_the_figures() -> None:
    assert [(verdict.name, verdict.passed, verdict.seen) for verdict in check_gates(GOOD)] == [
        ("beats the baseline", True, "+0.100 [+0.050 to +0.150]"),
        ("beats the champion", True, "there is no champion yet"),
        ("calibrated", True, "0.030"),
        ("no leak", True, "the strongest is recency with 0.700"),
    ]


@pytest.mark.parametrize(
    ("gate", "evidence"),
    [
        # Better, but by no more than the noise.
        (
            Beats("champion"),
            replace(GOOD, against={"champion": {"average_precision": {"difference": 0.01, "interval": [-0.01, 0.03]}}}),
        ),
        (
            Beats("champion"),
            replace(GOOD, against={"champion": {"average_precision": {"difference": 0, "interval": None}}}),
        ),
        (AtMost(0.029), GOOD),
        (NoLeak(), replace(GOOD, leaks=LeakEvidence({"closed_flag": 0.999, "recency": 0.7}))),
        (NoLeak(), replace(GOOD, leaks=LeakEvidence({}))),  # no evidence proves nothing
    ],
)
def test_a_gate_fails(gate: Beats | AtMost | NoLeak, evidence: Evidence) -> None:
    assert not gate.check(evidence).passed


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no metric 'average_precison' to compare; did you mean 'average_precision'"):
        Beats("baseline", "average_precison").check(GOOD)


@pytest.mark.parametrize("passes", [True, False])
def test_the_verdict_gives_the_reason_for_no_comparison(passes: bool) -> None:
    verdict = Beats("champion").check(replace(GOOD, unmatched={"champion": Unmatched(passes, "version 3 is it")}))
    assert (verdict.passed, verdict.seen) == (passes, "version 3 is it")


def test_gates_are_named_with_their_settings() -> None:
    assert [str(gate) for gate in GATES] == [
        "Beats(opponent='baseline', metric='average_precision')",
        "Beats(opponent='champion', metric='average_precision')",
        "AtMost(limit=0.05, metric='calibration_error')",
        "NoLeak()",
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Beats("nobody"), "Input should be 'baseline' or 'champion'"),
        (lambda: Beats("champion", metric=1), "Input should be a valid string"),
        (lambda: AtMost("0.05"), "Input should be a valid number"),
        (lambda: AtMost(-0.1), "Input should be greater than or equal to 0"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        wrong()


def test_single_features() -> None:
    label = [0, 0, 0, 1, 1, 1]
    features = {
        "noise": [1, 2, 3, 1, 2, 3],
        "upside_down": [6, 5, 3, 4, 2, 1],  # eight of nine pairs the other way round
        "null_when_left": [4, 4, 4, np.nan, np.nan, np.nan],
        "constant": [1] * 6,
        "null_anyway": [np.nan, 4, np.nan, np.nan, 4, np.nan],
    }
    alone = single_feature_auc(label, features)
    assert list(alone) == ["null_when_left", "upside_down", "constant", "noise", "null_anyway"]
    assert list(alone.values()) == pytest.approx([1, 8 / 9, 0.5, 0.5, 0.5])
    assert LeakEvidence(alone).suspects == {"null_when_left": 1.0}
