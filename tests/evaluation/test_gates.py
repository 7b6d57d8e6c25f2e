"""What lets a challenger through, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from churn.errors import ConfigError
from churn.evaluation.gates import AtMost, Beats, Evidence, NoLeak, judge
from churn.evaluation.leakage import LeakEvidence, single_feature_auc

GOOD = Evidence(
    dates={"2026-01-01": {"calibration_error": 0.02}, "2026-02-01": {"calibration_error": 0.04}},
    against={"rule of thumb": {"average_precision": {"difference": 0.1, "interval": [0.05, 0.15]}}},
    leaks=LeakEvidence({"recency": 0.7}),
)


def test_all_gates_pass_and_say_what_they_saw() -> None:
    assert [(verdict.gate, verdict.passed, verdict.seen) for verdict in judge(GOOD)] == [
        ("beats the rule of thumb", True, "+0.100 [+0.050 to +0.150]"),
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
        (NoLeak(), replace(GOOD, leaks=LeakEvidence({}))),  # no evidence is no proof
    ],
)
def test_a_gate_fails(gate: Beats | AtMost | NoLeak, evidence: Evidence) -> None:
    assert not gate.judge(evidence).passed


def test_an_unknown_metric_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no metric 'average_precison' to compare; did you mean 'average_precision'"):
        Beats("rule of thumb", "average_precison").judge(GOOD)


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
