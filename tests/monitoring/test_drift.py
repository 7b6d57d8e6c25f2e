"""How far features have drifted, on rows that can be counted by hand."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from churn.dataset.examples import examples
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.model_spec import ModelSpec, Monitoring, Schedule
from churn.monitoring.drift import LAST_PERIOD, SCORE, TRAINING, YEAR_AGO, Bins, Drift, drift, references
from churn.monitoring.psi import psi
from churn.testing import frame
from churn.training.algorithms import Logistic

SPEC = ModelSpec(name="churn", label=Closure(), candidates={"logistic": Logistic()})
THEN, NOW = datetime(2026, 8, 1), datetime(2026, 9, 1)
SCHEMA = "customer_id string, as_of timestamp, calls int, spend double, plan string, q double, p double"

# Calls are 0 to 9 and then all 9; spend is missing for one and then for three of ten; a plan is new.
ROWS = [
    (f"c{n}", THEN, n, None if n == 0 else 10.0 * n, "basic" if n < 7 else "gold", 1 - n / 10, n / 10)
    for n in range(10)
] + [
    (f"c{n}", NOW, 9, None if n < 3 else 10.0 * n, "basic" if n < 5 else "new", 1 - n / 10, n / 10)
    for n in range(10)
]  # fmt: skip


@pytest.fixture(scope="module", params=[1, 5])
def drifts(spark: SparkSession, request: pytest.FixtureRequest) -> dict[str, Drift]:
    """The score is `p`; in one partition and in five."""
    model = VectorAssembler(inputCols=["q", "p"], outputCol="probability")
    rows = frame(spark, ROWS, SCHEMA, partitions=request.param)
    found = drift(model, rows, ["calls", "spend", "plan"], [NOW], {TRAINING: [THEN]})
    assert {one.reference for one in found} == {TRAINING}
    return {one.feature: one for one in found}


def test_numbers_have_the_references_deciles_as_bins(drifts: dict[str, Drift]) -> None:
    calls = drifts["calls"]
    assert calls.bins == Bins(edges=(0, 1, 2, 3, 4, 5, 6, 7, 8))
    assert (calls.then, calls.now) == ((1,) * 10, (0,) * 9 + (10,))
    assert calls.psi == pytest.approx(psi([1] * 10, [0] * 9 + [10]))
    assert calls.psi > 1
    assert drifts[SCORE].psi == 0


def test_nulls_are_counted_apart(drifts: dict[str, Drift]) -> None:
    spend = drifts["spend"]
    assert (spend.missing_reference, spend.missing) == (0.1, 0.3)
    assert (sum(spend.then), sum(spend.now), spend.n_reference, spend.n) == (9, 7, 10, 10)
    assert spend.then == (*(1,) * 9, 0)  # nothing is above the greatest
    assert spend.now == (0, 0, *(1,) * 7, 0)


def test_texts_are_bins_and_a_new_one_is_among_the_others(drifts: dict[str, Drift]) -> None:
    plan = drifts["plan"]
    assert plan.bins == Bins(texts=("basic", "gold"))
    assert plan.bins.names == ["basic", "gold", "others"]
    assert (plan.then, plan.now) == ((7, 3, 0), (5, 0, 5))


def test_equal_deciles_make_one_bin(spark: SparkSession) -> None:
    """Nine in ten are 0, as most features are: two bins, not ten."""
    model = VectorAssembler(inputCols=["q", "p"], outputCol="probability")
    rows = [(f"c{n}", THEN, 0 if n < 9 else 5, 1.0, "a", 0.5, 0.5) for n in range(10)]
    rows += [(f"c{n}", NOW, 0 if n < 4 else 7, 1.0, "a", 0.5, 0.5) for n in range(10)]
    found = drift(model, frame(spark, rows, SCHEMA), ["calls"], [NOW], {TRAINING: [THEN]})
    calls = next(one for one in found if one.feature == "calls")
    assert (calls.bins.names, calls.then, calls.now) == (["to 0", "above 0"], (9, 1), (4, 6))


def test_the_references_of_a_customer_model() -> None:
    def days(*texts: str) -> list[datetime]:
        return [datetime.fromisoformat(text) for text in texts]

    as_of = datetime(2026, 9, 1)
    built = days("2025-08-20", "2025-09-10", "2026-05-01", "2026-06-01", "2026-08-01", "2026-09-01")
    learnt, scored = days("2026-05-01", "2026-06-01", "2024-01-01"), days("2026-06-01", "2026-08-01")
    found = references(SPEC, as_of, learnt=learnt, built=built, scored=scored)
    assert {name: [f"{one:%m-%d}" for one in as_ofs] for name, as_ofs in found.items()} == {
        TRAINING: ["05-01", "06-01"],  # one was never built
        LAST_PERIOD: ["08-01"],
        YEAR_AGO: ["09-10"],  # 8 days from 52 weeks ago, the other 13
    }
    assert references(SPEC, as_of, learnt=[], built=[as_of], scored=[as_of]) == {}


def test_the_references_of_a_transaction_model_are_several_days() -> None:
    spec = ModelSpec(
        name="fraud",
        label=Fraud(),
        candidates=SPEC.candidates,
        schedule=Schedule(every=1),
        monitoring=Monitoring(window_days=3),
    )
    days = [datetime(2026, 9, day) for day in range(1, 10)]
    last_year = [datetime(2025, 9, day) for day in (7, 8, 9, 10, 11)]
    as_of, scored = days[-1], [*days[2:6], *days[7:]]
    assert examples(spec).monitored(as_of, scored) == (days[7], days[8])  # nobody scored the third
    found = references(spec, as_of, learnt=days[:2], built=[*last_year, *days], scored=scored)
    assert found == {TRAINING: tuple(days[:2]), LAST_PERIOD: tuple(days[3:6]), YEAR_AGO: tuple(last_year[1:4])}
    assert examples(SPEC).monitored(as_of, scored) == (as_of,)
