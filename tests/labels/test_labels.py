"""What churn and fraud mean, on rows that show each case."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.errors import ConfigError, LeakageError
from churn.labels import LABELS
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.labels.inactivity import Inactivity
from churn.model_spec import LabelWindow
from churn.testing import frame

AS_OF = datetime(2026, 3, 1)
WINDOW = LabelWindow(lead=7, horizon=30)


def labels(labelled: DataFrame) -> dict[str, int]:
    return {row[0]: row["label"] for row in labelled.collect()}


def test_closure_counts_only_what_the_window_and_the_kind_hold(spark: SparkSession) -> None:
    spine = frame(spark, [(c, AS_OF) for c in "abcdef"], "customer_id string, as_of timestamp")
    closures = frame(
        spark,
        [
            ("b", datetime(2026, 3, 8), "voluntary"),  # the first instant of the window
            ("c", datetime(2026, 4, 7), "voluntary"),  # the first instant after it
            ("d", datetime(2026, 3, 7, 23, 59), "voluntary"),  # gone before anyone could have called
            ("e", datetime(2026, 3, 20), "involuntary"),  # what it would have done is not known
            ("f", datetime(2026, 3, 20), None),  # no kind is voluntary
        ],
        "customer_id string, event_time timestamp, kind string",
    )
    labelled = Closure().compute(spine, {"closures": closures}, WINDOW)
    assert labelled.columns == ["customer_id", "as_of", "label"]
    assert labels(labelled) == {"a": 0, "b": 1, "c": 0, "f": 1}
    both = Closure(kinds=("voluntary", "involuntary")).compute(spine, {"closures": closures}, WINDOW)
    assert labels(both) == {"a": 0, "b": 1, "c": 0, "e": 1, "f": 1}


def test_closure_is_of_the_present_membership(spark: SparkSession) -> None:
    spine = frame(spark, [(c, AS_OF) for c in "abc"], "customer_id string, as_of timestamp")
    closures = frame(
        spark,
        [
            ("a", datetime(2024, 3, 8), "voluntary"),  # came back since
            ("a", datetime(2026, 3, 20), "voluntary"),
            ("a", datetime(2026, 3, 25), "involuntary"),  # after the first one from as-of on
            ("b", datetime(2024, 3, 8), "voluntary"),  # came back to stay
            ("c", datetime(2026, 3, 20), "retracted"),
        ],
        "customer_id string, event_time timestamp, kind string",
    )
    assert labels(Closure().compute(spine, {"closures": closures}, WINDOW)) == {"a": 1, "b": 0, "c": 0}


def test_who_has_decided_is_neither_1_nor_0(spark: SparkSession) -> None:
    spine = frame(spark, [(c, AS_OF) for c in "abcdefg"], "customer_id string, as_of timestamp")
    versions = frame(
        spark,
        [
            ("a", "2026-03-20", "2026-03-01", None, None),  # announced by as-of
            ("b", "2026-03-20", "2026-03-01 00:00:01", None, None),  # a second later
            ("c", "2026-03-20", "2026-02-01", "2026-03-05", None),  # announced by as-of, and moved since
            ("c", "2026-04-20", "2026-03-05", None, None),
            ("d", "2026-03-20", "2026-02-01", "2026-02-20", None),  # retracted before as-of
            ("d", "2026-03-20", "2026-02-20", None, "retracted"),
            ("e", "2026-02-27", "2026-03-02", None, None),  # had left, and nobody knew it
            ("f", "2024-02-27", "2024-03-02", None, None),  # came back since
            ("g", "2026-03-01", "2026-02-01", None, None),  # takes effect at as-of itself
        ],
        "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp, kind string",
    )
    undecided = Closure().undecided(spine, {"closures": versions})
    assert undecided.columns == spine.columns
    assert {row["customer_id"] for row in undecided.collect()} == {"b", "d", "f"}


def test_who_left_unknown_and_returned_has_not_decided(spark: SparkSession) -> None:
    """By openings, as the cohort has it; of closures known late only those that are still valid count."""
    names = ("mistake", "back", "back later", "gone", "changed")
    spine = frame(spark, [(name, AS_OF) for name in names], "customer_id string, as_of timestamp")
    times = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
    closures = frame(
        spark,
        [
            ("mistake", "2026-02-05", "2026-03-10", "2026-03-12", "voluntary"),
            ("mistake", "2026-02-05", "2026-03-12", None, "retracted"),
            ("back", "2024-03-01", "2026-03-10", None, "voluntary"),
            ("back later", "2024-03-01", "2026-03-10", None, "voluntary"),
            ("gone", "2024-03-01", "2026-03-10", None, "voluntary"),
            ("changed", "2026-02-05", "2026-03-10", "2026-03-12", "involuntary"),
            ("changed", "2026-02-05", "2026-03-12", None, "voluntary"),
        ],
        f"{times}, kind string",
    )
    openings = {
        "back": ("2024-06-01", "2026-03-20", None),
        "back later": ("2026-03-05", "2026-03-05", None),  # after as-of
        "gone": ("2024-06-01", "2024-06-01", "2024-06-02"),  # it was none
    }
    rows = [(name, opened, *known, opened) for name, (opened, *known) in openings.items()]
    sources = {"closures": closures, "customers": frame(spark, rows, f"{times}, opened_at timestamp")}
    left = Closure().undecided(spine, sources)
    assert {row["customer_id"] for row in left.collect()} == {"mistake", "back"}
    alone = Closure().undecided(spine, {"closures": closures})
    assert {row["customer_id"] for row in alone.collect()} == {"mistake"}


def test_inactivity_is_no_active_transaction_in_the_window(spark: SparkSession) -> None:
    spine = frame(spark, [(c, AS_OF) for c in "abcdef"], "customer_id string, as_of timestamp")
    transactions = frame(
        spark,
        [
            ("a", datetime(2026, 3, 8), "purchase", None),  # the first instant of the window
            ("a", datetime(2026, 3, 9), "purchase", "approved"),  # once is enough
            ("b", datetime(2026, 4, 7), "purchase", None),  # too late
            ("c", datetime(2026, 3, 7), "purchase", None),  # in the lead, which does not count
            ("d", datetime(2026, 3, 10), "fee", None),  # shows no activity
            ("f", datetime(2026, 3, 10), "purchase", "declined"),  # nothing was bought
        ],
        "customer_id string, event_time timestamp, kind string, status string",
    )
    labelled = Inactivity().compute(spine, {"transactions": transactions}, WINDOW)
    assert labelled.columns == ["customer_id", "as_of", "label"]
    assert labels(labelled) == {"a": 0, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}
    with_fees = Inactivity(activity=("purchase", "fee")).compute(spine, {"transactions": transactions}, WINDOW)
    assert labels(with_fees) == {"a": 0, "b": 1, "c": 1, "d": 0, "e": 1, "f": 1}


def test_fraud_is_what_a_report_confirms(spark: SparkSession) -> None:
    transactions = frame(spark, [("t1", 5.0), ("t2", 6.0), ("t3", 7.0)], "transaction_id string, amount double")
    reports = frame(spark, [("t1", True), ("t2", False)], "transaction_id string, is_fraud boolean")
    labelled = Fraud().compute(transactions, {"fraud_reports": reports}, LabelWindow(lead=0, horizon=1, maturity=7))
    assert labelled.columns == ["transaction_id", "amount", "label"]
    assert labels(labelled) == {"t1": 1, "t2": 0, "t3": 0}  # cleared, and never reported


def test_labels_are_found_by_their_name() -> None:
    assert (LABELS["closure"], LABELS["fraud"], LABELS["inactivity"]) == (Closure, Fraud, Inactivity)
    with pytest.raises(ConfigError, match=r"^churn.toml: no label 'closures'; did you mean 'closure'\?$"):
        LABELS.named("closures", "churn.toml")


def test_labels_end_the_sentence_of_a_report() -> None:
    assert Closure(kinds=("voluntary", "moved")).outcome == "closes the account (voluntary, moved)"
    assert Inactivity(activity=("purchase", "payment")).outcome == "makes no purchase or payment"
    assert Fraud().outcome == "is a fraud"


def test_a_window_cut_by_the_end_of_data_is_refused() -> None:
    window = LabelWindow(lead=7, horizon=30, maturity=10)
    window.check_matured([AS_OF], datetime(2026, 4, 17))
    with pytest.raises(LeakageError, match=r"complete on 2026-04-17 .* use as-ofs until 2026-02-28"):
        window.check_matured([AS_OF], datetime(2026, 4, 16))
