"""Which customers belong to a cohort at an as-of, by what was known then."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.dataset.cohort import active, as_of_frame, open_accounts, spine
from churn.errors import BadInputError
from churn.model_spec import Cohort
from churn.sources.completeness import complete_until, coverage, span
from churn.testing import frame

AS_OF = datetime(2026, 3, 1)
TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"


def cohort(rows: DataFrame) -> set[str]:
    return {row["customer_id"] for row in rows.collect()}


def test_active_sees_the_window_as_it_was_known(spark: SparkSession) -> None:
    rows = frame(
        spark,
        [
            ("first", datetime(2026, 2, 1), datetime(2026, 2, 1), None, "purchase"),  # the first instant of 28 days
            ("early", datetime(2026, 1, 31, 23), datetime(2026, 2, 1), None, "purchase"),
            ("at", AS_OF, AS_OF, None, "purchase"),  # as-of itself is not before as-of
            ("late", datetime(2026, 2, 10), datetime(2026, 3, 2), None, "purchase"),  # known only afterwards
            ("retracted", datetime(2026, 2, 10), datetime(2026, 2, 10), datetime(2026, 2, 20), "purchase"),
            ("fee", datetime(2026, 2, 10), datetime(2026, 2, 10), None, "fee"),  # no activity
        ],
        TIMES + ", kind string",
    ).selectExpr("*", "null AS status")
    assert cohort(active(rows, as_of_frame(spark, [AS_OF]), days=28, activity=("purchase",))) == {"first"}
    of_fees = Cohort(kind="active", active_days=28, activity=("fee",))
    assert cohort(spine(spark, of_fees, {"transactions": rows}, [AS_OF])) == {"fee"}


def test_open_accounts_are_opened_known_and_not_closed(spark: SparkSession) -> None:
    customers = frame(
        spark,
        [
            ("open", datetime(2026, 2, 1), datetime(2026, 2, 1), None, None),
            ("known later", datetime(2026, 2, 1), datetime(2026, 3, 2), None, None),
            ("opened at as-of", AS_OF, AS_OF, None, AS_OF),
            ("closed", datetime(2026, 1, 1), datetime(2026, 1, 1), None, None),
            ("closing not known", datetime(2026, 1, 1), datetime(2026, 1, 1), None, None),
        ],
        TIMES + ", opened_at timestamp",
    )
    closures = frame(
        spark,
        [
            ("closed", datetime(2026, 2, 1), datetime(2026, 2, 1), None),
            ("closing not known", datetime(2026, 2, 28), datetime(2026, 3, 5), None),
        ],
        TIMES,
    )
    rows = open_accounts({"customers": customers, "closures": closures}, as_of_frame(spark, [AS_OF]))
    assert cohort(rows) == {"open", "closing not known"}


def test_customers_are_derived_from_activity_where_there_is_no_source_of_them(spark: SparkSession) -> None:
    calls = frame(spark, [("a", datetime(2026, 2, 1), datetime(2026, 2, 1), None), ("b", AS_OF, AS_OF, None)], TIMES)
    assert cohort(open_accounts({"calls": calls}, as_of_frame(spark, [AS_OF]))) == {"a"}


def test_coverage_ends_with_the_day_of_the_last_row(spark: SparkSession) -> None:
    calls = frame(
        spark,
        [
            ("a", datetime(2026, 2, 1, 9), datetime(2026, 2, 1, 9), None),
            ("a", datetime(2026, 2, 20, 9), datetime(2026, 2, 25), None),
        ],
        TIMES,
    )
    assert coverage({"calls": calls}) == datetime(2026, 2, 21)
    assert coverage({"calls": calls}, known_until=datetime(2026, 2, 22)) == datetime(2026, 2, 2)
    assert span({"calls": calls})[0] == datetime(2026, 2, 1, 9)
    with pytest.raises(BadInputError, match="known before 2026-01-01"):
        coverage({"calls": calls}, known_until=datetime(2026, 1, 1))


def test_labels_of_reports_are_complete_until_the_newest_report(spark: SparkSession) -> None:
    transactions = frame(spark, [("a", datetime(2026, 2, 1, 9), datetime(2026, 2, 1, 9), None)], TIMES)
    reports = frame(spark, [("a", datetime(2026, 2, 1, 9), datetime(2026, 2, 25, 8), None)], TIMES)
    sources = {"transactions": transactions, "fraud_reports": reports}
    assert complete_until(sources, ()) == datetime(2026, 2, 2)
    assert complete_until(sources, ("fraud_reports",)) == datetime(2026, 2, 26)
    none_yet = {"transactions": transactions, "fraud_reports": reports.limit(0)}
    assert complete_until(none_yet, ("fraud_reports",)) == datetime(2026, 2, 2)
