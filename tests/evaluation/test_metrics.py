"""Metrics computed by hand on a few rows, and compared with scikit-learn's on many."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from churn.errors import BadInputError
from churn.evaluation.metrics import compare, evaluate, metrics
from churn.evaluation.ranking import Ranked

# Ranked: 0.9 left; 0.6 a tie of three, one of whom left; 0.2 left; 0.1 stayed.
LABEL = [1, 0, 1, 0, 1, 0]
SCORE = [0.9, 0.6, 0.6, 0.6, 0.2, 0.1]


def sample(n: int, seed: int = 0, digits: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores with many ties, and keys."""
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 4, n).round(digits)
    return (rng.random(n) < score).astype(int), score, np.array([f"c{i:04d}" for i in range(n)])


def test_by_hand() -> None:
    seen = metrics(LABEL, SCORE)
    assert (seen["n"], seen["positives"]) == (6, 3)
    # Nine pairs: 0.9 beats 3; of the tied, 2 count half and 1 is beaten; 0.2 beats 1.
    assert seen["auc"] == pytest.approx((3 + 2 / 2 + 1 + 1) / 9)
    # Precision at the steps that add a positive: 1/1, 2/4, 3/5.
    assert seen["average_precision"] == pytest.approx((1 / 1 + 2 / 4 + 3 / 5) / 3)
    assert seen["brier"] == pytest.approx((0.1**2 + 0.6**2 + 0.4**2 + 0.6**2 + 0.8**2 + 0.1**2) / 6)
    assert seen["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.6, 0.4, 0.2, 0.9]).mean())
    # Each step is a bin of its own: |0.9 - 1|, three times |0.6 - 1/3|, |0.2 - 1|, |0.1 - 0|.
    assert seen["calibration_error"] == pytest.approx((0.1 + 3 * (0.6 - 1 / 3) + 0.8 + 0.1) / 6)
    # 1, 5 and 10 % of six are one row at least: the first.
    assert seen["lift"] == {"0.01": 2.0, "0.05": 2.0, "0.1": 2.0}
    assert seen["precision"] == {"0.01": 1.0, "0.05": 1.0, "0.1": 1.0}


def test_a_tie_at_the_cut_counts_by_its_expected_value() -> None:
    label = [1, 1, 0, 0] + [0] * 16
    score = [0.9, 0.5, 0.5, 0.5] + [0.1] * 16
    # The top 10 % are two of twenty: the first left, the second is one of three of whom one left.
    assert metrics(label, score)["precision"]["0.1"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics(label, score)["lift"]["0.1"] == pytest.approx((1 + 1 / 3) / 2 / (2 / 20))


def test_a_constant_score() -> None:
    seen = metrics([0, 1, 0, 1], [0.5] * 4)
    assert (seen["auc"], seen["average_precision"], seen["lift"]["0.1"]) == (0.5, 0.5, 1.0)
    assert (seen["brier"], seen["calibration_error"]) == (0.25, 0.0)


def test_a_baseline_is_evaluated_by_its_ranking_alone() -> None:
    seen = evaluate(LABEL, [300, 40, 40, 40, 2, 0], seed=1, probability=False)
    assert seen["auc"] == metrics(LABEL, SCORE)["auc"]
    for error in ("brier", "log_loss", "calibration_error"):
        assert seen[error] is None
        assert seen["intervals"][error] is None


@pytest.mark.parametrize("digits", [1, 2, 15])
def test_as_scikit_learn(digits: int) -> None:
    label, score, _ = sample(3000, digits=digits)
    seen = metrics(label, score)
    assert seen["auc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert seen["average_precision"] == pytest.approx(average_precision_score(label, score), abs=1e-12)
    assert seen["brier"] == pytest.approx(brier_score_loss(label, score), abs=1e-12)
    assert seen["log_loss"] == pytest.approx(log_loss(label, score), abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=30).filter(
        lambda rows: {label for label, _ in rows} == {0, 1}
    )
)
def test_weights_are_rows_written_out(rows: list[tuple[int, int]]) -> None:
    """Bootstraps depend on it: a row of weight 2 counts as two rows."""
    label, score = np.array(rows).T
    weight = np.arange(len(rows)) % 3 + 1
    ranked = Ranked.of(label, score)
    weighted = ranked.steps(weight[ranked.order])
    written_out = Ranked.of(np.repeat(label, weight), np.repeat(score, weight)).steps()
    assert weighted.rows.tolist() == written_out.rows.tolist()
    assert weighted.positives.tolist() == written_out.positives.tolist()
    assert weighted.auc() == pytest.approx(roc_auc_score(label, score, sample_weight=weight))


def test_intervals_hold_the_figure_and_are_of_the_right_width() -> None:
    label, score, key = sample(2000)
    seen = evaluate(label, score, seed=1, key=key)
    for name in ("auc", "average_precision", "brier", "log_loss", "calibration_error"):
        low, high = seen["intervals"][name]
        assert low < seen[name] < high
    for name in ("lift", "precision"):
        for share, (low, high) in seen["intervals"][name].items():
            assert low < seen[name][share] < high
    # The spread of the AUC over samples drawn anew from the same company.
    drawn_anew = [metrics(*sample(2000, seed=seed)[:2])["auc"] for seed in range(1, 201)]
    low, high = seen["intervals"]["auc"]
    assert high - low == pytest.approx(2 * 1.96 * np.std(drawn_anew), rel=0.25)


def test_intervals_depend_on_the_customers_and_the_seed_not_on_the_order_of_rows() -> None:
    label, score, key = sample(500)
    shuffled = np.random.default_rng(9).permutation(500)
    once = evaluate(label, score, seed=1, resamples=50, key=key)
    assert evaluate(label[shuffled], score[shuffled], seed=1, resamples=50, key=key[shuffled]) == once
    assert evaluate(label, score, seed=2, resamples=50, key=key)["intervals"] != once["intervals"]
    without_key = evaluate(label, score, seed=1, resamples=50)
    assert evaluate(label[shuffled], score[shuffled], seed=1, resamples=50) == without_key
    assert json.loads(json.dumps(once)) == once


def test_rows_of_one_customer_are_drawn_together() -> None:
    label, score, key = sample(300)
    thrice = [np.tile(column, 3) for column in (label, score, key)]
    # The same customers three times over are no new information, so the interval must not shrink.
    alone, repeated = (
        evaluate(*rows[:2], seed=1, key=rows[2])["intervals"]["auc"] for rows in ((label, score, key), thrice)
    )
    assert repeated == pytest.approx(alone)


def test_a_difference_is_paired() -> None:
    label, score, key = sample(1500)
    worse = np.random.default_rng(3).permutation(score)
    against_worse = compare(label, score, worse, seed=1, key=key, probability=True)
    assert against_worse["auc"]["difference"] == pytest.approx(
        metrics(label, score)["auc"] - metrics(label, worse)["auc"]
    )
    assert against_worse["auc"]["interval"][0] > 0
    assert against_worse["brier"]["difference"] > 0  # a lower error is better, and better is above 0
    # Against itself there is no difference, and so no noise in it either.
    assert compare(label, score, score, seed=1, key=key)["auc"] == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_a_difference_over_dates_is_the_mean_of_theirs() -> None:
    (one, first, key), (two, later, _) = sample(800, seed=1), sample(400, seed=2)
    label, score, keys = np.concatenate([one, two]), np.concatenate([first, later]), np.concatenate([key, key[:400]])
    other = np.roll(score, 7)
    dates = np.repeat(["2026-01-01", "2026-02-01"], [800, 400])
    seen = compare(label, score, other, seed=1, key=keys, date=dates)["average_precision"]["difference"]
    want = [
        metrics(label[rows], score[rows])["average_precision"] - metrics(label[rows], other[rows])["average_precision"]
        for rows in (dates == "2026-01-01", dates == "2026-02-01")
    ]
    assert seen == pytest.approx(np.mean(want))


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0] * 57, [0.1] * 57, r"all 57 customers of 2026-01-01 stayed: .* some that left; choose another as-of"),
        ([1] * 3, [0.1] * 3, r"all 3 customers of 2026-01-01 left: .* some that stayed"),
        ([0, 1, 1], [0.1, np.nan, np.nan], r"2 of 3 customers of 2026-01-01 have no score"),
        ([0, 1, 2], [0.1, 0.2, 0.3], r"1 of 3 customers of 2026-01-01 have a label that is neither 0 nor 1"),
        ([0, 1], [0.0, 40.0], r"scores of 2026-01-01 run from 0 to 40, .* calibrate the model"),
        ([], [], r"no customers of 2026-01-01"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(label: list[int], score: list[float], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        metrics(label, score, as_of=date(2026, 1, 1))
