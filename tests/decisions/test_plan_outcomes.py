"""What a plan changed: contacted customers against those held out, when their labels have matured."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from churn.decisions.plan_outcomes import plan_outcome, plan_outcomes
from churn.labels.closure import Closure
from churn.model_spec import LabelWindow, ModelSpec
from churn.storage import Lake
from churn.training.algorithms import Logistic

AS_OF = datetime(2026, 6, 1)
ARMS = ("treated", "treated", "held_out", "held_out", "treated")
SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    window=LabelWindow(lead=7, horizon=30),
    candidates={"logistic": Logistic()},
)


def arms(treated: list[int], held: list[int], value: float = 100.0, cost: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": ["treated"] * len(treated) + ["held_out"] * len(held),
            "label": treated + held,
            "value": value,
            "cost": cost,
        }
    )


def test_retained_and_earned_by_hand() -> None:
    """Of 10 contacted 1 left, of 10 held out 3: 2 were retained, worth 200; the contacts cost 20."""
    found = plan_outcome(AS_OF, arms([1] + [0] * 9, [1] * 3 + [0] * 7))
    assert found is not None
    assert (found.left_treated, found.left_held_out) == (0.1, 0.3)
    assert found.retained[0] == pytest.approx(2)
    assert found.earned[0] == pytest.approx(180)
    # Agresti & Caffo: shares of 2/12 and 4/12.
    spread = 1.96 * np.sqrt((2 / 12 * 10 / 12 + 4 / 12 * 8 / 12) / 12)
    assert found.retained[1:] == pytest.approx((10 * (2 / 12 - spread), 10 * (2 / 12 + spread)))
    # Each arm's worth is 0 or 100: variances of 1000 and 2333.3, means of ten.
    error = 10 * np.sqrt(1000 / 10 + 7000 / 3 / 10)
    assert found.earned[1:] == pytest.approx((180 - 1.96 * error, 180 + 1.96 * error))


def test_the_interval_holds_what_contacts_do() -> None:
    """Of 400 plans with 150 contacted and 50 held out, of whom 10 % and 20 % leave, 95 % hold the 15 retained."""
    rng = np.random.default_rng(6)
    inside = []
    for _ in range(400):
        found = plan_outcome(AS_OF, arms(rng.binomial(1, 0.1, 150).tolist(), rng.binomial(1, 0.2, 50).tolist()))
        assert found is not None
        inside.append(found.retained[1] <= 15 <= found.retained[2])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_an_arm_of_one_tells_nothing() -> None:
    assert plan_outcome(AS_OF, arms([0, 1, 0], [1])) is None


def test_only_matured_plans_are_measured(spark: SparkSession, tmp_path: Path) -> None:
    """Closures in the label window count, as they are known by then; a plan is measured 37 days later, no sooner. Who
    had left before the plan, as was known after it, is in no arm."""
    lake = Lake(spark, str(tmp_path))
    assert plan_outcomes(lake, SPEC, {}, AS_OF) == []
    rows = [(name, AS_OF, arm, 100.0, 2.0) for name, arm in zip("abcde", ARMS, strict=True)]
    schema = "customer_id string, as_of timestamp, arm string, value double, cost double"
    lake.replace(spark.createDataFrame(rows, schema), "plan_churn", {"as_of": AS_OF})
    after = [AS_OF + timedelta(days=days) for days in (10, 10, 60)]
    closures = spark.createDataFrame(
        [
            ("c", "1", after[0], after[0], None, None),
            ("d", "1", after[1], after[2], None, None),  # known too late
            ("a", "1", after[2], after[2], None, None),  # after the window
            ("e", "1", AS_OF - timedelta(days=1), after[0], None, None),
        ],
        "customer_id string, closure_id string, event_time timestamp, known_time timestamp, superseded_at timestamp,"
        " kind string",
    )
    sources = {"closures": closures}
    assert plan_outcomes(lake, SPEC, sources, AS_OF + timedelta(days=36)) == []
    (found,) = plan_outcomes(lake, SPEC, sources, AS_OF + timedelta(days=37))
    assert (found.as_of, found.treated, found.held_out) == (AS_OF, 2, 2)
    assert (found.left_treated, found.left_held_out) == (0.0, 0.5)
    assert found.retained[0] == pytest.approx(1)


def test_who_had_come_back_before_the_plan_is_measured(spark: SparkSession, tmp_path: Path) -> None:
    """An old closure that became known after the plan decides nothing, as the account was opened again before it; one
    that was corrected after the outcomes are measured still counts then."""
    lake = Lake(spark, str(tmp_path))
    names = ["back", "left", "held 1", "held 2"]
    rows = [(name, AS_OF, arm, 100.0, 2.0) for name, arm in zip(names, sorted(ARMS[:4], reverse=True), strict=True)]
    schema = "customer_id string, as_of timestamp, arm string, value double, cost double"
    lake.replace(spark.createDataFrame(rows, schema), "plan_churn", {"as_of": AS_OF})
    before, after, later = (AS_OF + timedelta(days=days) for days in (-700, 10, 60))
    closures = spark.createDataFrame(
        [("back", "1", before, after, None, None), ("left", "1", after, after, later, None)],
        "customer_id string, closure_id string, event_time timestamp, known_time timestamp, superseded_at timestamp,"
        " kind string",
    )
    opened = [("back", before + timedelta(days=9), before + timedelta(days=9), None, before + timedelta(days=9))]
    customers = spark.createDataFrame(
        opened,
        "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp, opened_at timestamp",
    )
    sources = {"closures": closures, "customers": customers}
    (found,) = plan_outcomes(lake, SPEC, sources, AS_OF + timedelta(days=37))
    assert (found.treated, found.held_out, found.left_treated, found.left_held_out) == (2, 2, 0.5, 0.0)
