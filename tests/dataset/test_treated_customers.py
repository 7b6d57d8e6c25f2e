"""Customers whom a contact treated before their label was known."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.dataset.examples import examples
from churn.labels.closure import Closure
from churn.labels.sales import Upgrade
from churn.model_spec import Label, LabelWindow, ModelSpec, Training
from churn.testing import frame
from churn.training.algorithms import Logistic

AS_OF = datetime(2026, 3, 1)


def spec(label: Label, **training: str) -> ModelSpec:
    window = LabelWindow(lead=7, horizon=30)
    settings = Training.model_validate(training)
    return ModelSpec(name="m", label=label, window=window, training=settings, candidates={"logistic": Logistic()})


@pytest.fixture(scope="module")
def sources(spark: SparkSession) -> dict[str, DataFrame]:
    contacts = [
        ("a", "2026-03-01", "2026-03-01", None, "treated"),  # the first instant after as-of
        ("b", "2026-04-06 23:59:59", "2026-04-07", None, None),  # the last second of the window; no arm is treated
        ("c", "2026-04-07", "2026-04-07", None, "treated"),  # after the window
        ("d", "2026-03-10", "2026-03-10", None, "held_out"),
        ("e", "2026-02-28 23:59:59", "2026-03-01", None, "treated"),  # before: a feature, not a treatment
        ("f", "2026-03-10", "2026-03-10", "2026-03-11", "treated"),  # was retracted later
    ]
    times = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
    closure = ("z", "2026-03-10", "2026-03-10", None, "voluntary")
    return {
        "contacts": frame(spark, contacts, f"{times}, arm string"),
        "closures": frame(spark, [closure], f"{times}, kind string"),
    }


def test_treated_customers_are_left_out_of_labels_that_contacts_prevent(
    spark: SparkSession, sources: dict[str, DataFrame]
) -> None:
    rows = frame(spark, [(c, AS_OF) for c in "abcdef"], "customer_id string, as_of timestamp")
    rows_of = examples(spec(Closure()))
    flagged = rows_of.with_treated(sources, rows)
    assert flagged is not None
    assert {row["customer_id"]: row["treated"] for row in flagged.collect()} == {
        "a": True, "b": True, "c": False, "d": False, "e": False, "f": False,
    }  # fmt: skip
    assert sorted(row["customer_id"] for row in rows_of.labels(sources, rows).collect()) == ["c", "d", "e", "f"]
    assert rows_of.count_treated(sources, rows) == {"rows": 6, "treated": 2}
    # A contact that is not known yet cannot be seen; the one retracted on the 11th still was.
    early = rows_of.with_treated(sources, rows, known_until=datetime(2026, 3, 10, 12))
    assert early is not None
    assert sorted(row["customer_id"] for row in early.where("treated").collect()) == ["a", "f"]


def test_they_stay_where_the_model_wants_them_or_contacts_prevent_nothing(
    spark: SparkSession, sources: dict[str, DataFrame]
) -> None:
    rows = frame(spark, [(c, AS_OF) for c in "ab"], "customer_id string, as_of timestamp")
    assert examples(spec(Closure(), treated="included")).labels(sources, rows).count() == 2
    assert examples(spec(Upgrade())).with_treated(sources, rows) is None
    without = {"closures": sources["closures"]}
    assert examples(spec(Closure())).count_treated(without, rows) is None
