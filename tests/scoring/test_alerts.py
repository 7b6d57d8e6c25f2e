"""Which transactions become alerts: those of the highest score, and a few at random."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import SparkSession

from churn.labels.fraud import Fraud
from churn.model_spec import Alerts, ModelSpec, Training
from churn.scoring.alerts import new_alerts
from churn.testing import frame
from churn.training.algorithms import Logistic

SPEC = ModelSpec(name="fraud", label=Fraud(), candidates={"logistic": Logistic()})
SETTINGS = Alerts(alert_budget=10, random_audit=4)
SCHEMA = (
    "transaction_id string, customer_id string, as_of timestamp, score double, rank int, decile int,"
    " scored_on timestamp, model_version string, scored_as string"
)


def _chosen(
    spark: SparkSession,
    settings: Alerts = SETTINGS,
    spec: ModelSpec = SPEC,
    partitions: int = 3,
    raised: Sequence[tuple[str, int, str]] = (),
) -> dict[str, set[str]]:
    """The transactions of each day and way of being chosen."""
    rows = [
        (f"t{number}", f"c{number % 7}", day, 1 / number, number, 1, day, "3", "champion")
        for day in ("2026-03-01", "2026-03-02")
        for number in range(1, 101)
    ]
    chosen: dict[str, set[str]] = {}
    before = [(f"t{number}", f"c{number % 7}", day, day, how) for day, number, how in raised]
    schema = "transaction_id string, customer_id string, as_of timestamp, scored_on timestamp, chosen_by string"
    scores = frame(spark, rows, SCHEMA, partitions=partitions)
    for row in new_alerts(spec, settings, scores, frame(spark, before, schema) if raised else None).collect():
        chosen.setdefault(f"{row['as_of']:%d} {row['chosen_by']}", set()).add(row["transaction_id"])
    return chosen


def test_a_budget_a_day_and_an_audit_among_the_rest(spark: SparkSession) -> None:
    chosen = _chosen(spark)
    best = {f"t{number}" for number in range(1, 11)}
    assert chosen["01 score"] == chosen["02 score"] == best
    assert len(chosen["01 audit"]) == len(chosen["02 audit"]) == 4
    assert not (chosen["01 audit"] | chosen["02 audit"]) & best
    assert chosen["01 audit"] != chosen["02 audit"]


def test_the_audit_depends_on_the_seed_alone(spark: SparkSession) -> None:
    assert _chosen(spark, partitions=5) == _chosen(spark)
    other = SPEC.model_copy(update={"training": Training(seed=18)})
    assert _chosen(spark, spec=other)["01 audit"] != _chosen(spark)["01 audit"]


def test_no_audit_and_no_budget(spark: SparkSession) -> None:
    assert set(_chosen(spark, Alerts(alert_budget=10, random_audit=0))) == {"01 score", "02 score"}
    assert set(_chosen(spark, Alerts(alert_budget=0, random_audit=4))) == {"01 audit", "02 audit"}


def test_an_alert_that_was_raised_stays_and_has_its_part_of_the_budget(spark: SparkSession) -> None:
    # On the first day a stream has alerted on the best row and on one far down; on the second the budget is spent.
    first = [("2026-03-01", 1, "score"), ("2026-03-01", 60, "score"), ("2026-03-01", 70, "audit")]
    second = [("2026-03-02", number, "score") for number in range(41, 51)]
    chosen = _chosen(spark, raised=[*first, *second])
    assert chosen["01 score"] == {f"t{number}" for number in range(2, 10)}  # 8 of the 10, without the best
    assert len(chosen["01 audit"]) == 3
    assert not chosen["01 audit"] & {"t1", "t60", "t70", *chosen["01 score"]}
    assert "02 score" not in chosen
    assert len(chosen["02 audit"]) == 4
