"""How alike two arms are, by small matrices."""

from __future__ import annotations

import numpy as np
import pytest

from churn.decisions.uplift_balance import balance, balance_sentences

FEATURES = ("age", "opened", "opened", "same")  # of `opened` its value, and whether it is null


def test_arms_that_differ_are_named_with_their_difference() -> None:
    """Of 400 rows: age is drawn without regard to the arm, `opened` is filled for half of the treated alone."""
    rng = np.random.default_rng(1)
    treated = np.arange(400) % 2 == 0
    is_missing = ~(treated & (np.arange(400) % 4 == 0))
    age, same = rng.normal(40, 10, 400), np.ones(400)
    matrix = np.column_stack([age, np.full(400, 5.0), is_missing, same]).astype(np.float32)
    found = balance(matrix, treated, FEATURES)
    assert found["unbalanced"] == ["opened"]
    # Missing in half of the treated and in all held out: 0.5 - 1, of a rate of 0.75.
    assert found["differences"]["opened"] == pytest.approx(-0.5 / np.sqrt(0.75 * 0.25))
    assert found["differences"]["age"] == pytest.approx((age[treated].mean() - age[~treated].mean()) / age.std(), 1e-4)
    assert found["differences"]["same"] == 0.0
    (sentence,) = balance_sentences(found)
    assert sentence.startswith("warning: the arms differ, in standard deviations, in opened (-1.15). A column that")


def test_a_few_rows_differ_by_chance() -> None:
    """A difference of 0.4 deviations is nothing in 40 rows, and is something in 4,000."""
    column = np.tile([0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 4)
    treated = np.tile([True] * 5 + [False] * 5, 4)
    for times, unbalanced in ((1, []), (100, ["age"])):
        matrix = np.tile(column, times)[:, None].astype(np.float32)
        assert balance(matrix, np.tile(treated, times), ["age"])["unbalanced"] == unbalanced
