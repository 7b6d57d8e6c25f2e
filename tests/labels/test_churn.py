"""What churn means, on rows that show each case."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.errors import LeakageError
from churn.model_spec import LabelWindow
from churn.labels import closure, inactivity
from churn.testing import frame

AS_OF = datetime(2026, 3, 1)
WINDOW = LabelWindow(lead=7, horizon=30)


def test_closure_counts_only_what_the_window_and_the_kind_hold(spark: SparkSession) -> None:
    spine = frame(spark, [(c, AS_OF) for c in "abcdef"], "customer_id string, as_of timestamp")
    closures = frame(
        spark,
        [
            ("b", datetime(2026, 3, 8), "voluntary"),  # the first moment of the window
            ("c", datetime(2026, 4, 7), "voluntary"),  # the first moment after it
            ("d", datetime(2026, 3, 7, 23, 59), "voluntary"),  # gone before anyone could have called
            ("e", datetime(2026, 3, 20), "involuntary"),  # what it would have done is not known
            ("f", datetime(2026, 3, 20), None),  # no kind is voluntary
        ],
        "customer_id string, event_time timestamp, kind string",
    )
    labelled = closure(spine, closures, window=WINDOW, kinds=("voluntary",))
    assert {row["customer_id"]: row["label"] for row in labelled.collect()} == {"a": 0, "b": 1, "c": 0, "f": 1}


def test_inactivity_is_no_active_transaction_in_the_window(spark: SparkSession) -> None:
    spine = frame(spark, [(c, AS_OF) for c in "abcde"], "customer_id string, as_of timestamp")
    transactions = frame(
        spark,
        [
            ("a", datetime(2026, 3, 8), "purchase"),  # the first moment of the window
            ("a", datetime(2026, 3, 9), "purchase"),  # once is enough
            ("b", datetime(2026, 4, 7), "purchase"),  # too late
            ("c", datetime(2026, 3, 7), "purchase"),  # in the lead, which is not judged
            ("d", datetime(2026, 3, 10), "fee"),  # shows no activity
        ],
        "customer_id string, event_time timestamp, kind string",
    )
    labelled = inactivity(spine, transactions, window=WINDOW, active=F.col("kind") == "purchase")
    told = {row["customer_id"]: row["label"] for row in labelled.collect()}
    assert told == {"a": 0, "b": 1, "c": 1, "d": 1, "e": 1}


def test_a_window_cut_by_the_end_of_data_is_refused() -> None:
    window = LabelWindow(lead=7, horizon=30, maturity=10)
    window.check_ripe([AS_OF], datetime(2026, 4, 17))
    with pytest.raises(LeakageError, match=r"complete on 2026-04-17 .* use as-ofs until 2026-02-28"):
        window.check_ripe([AS_OF], datetime(2026, 4, 16))
