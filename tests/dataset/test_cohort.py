"""Which customers belong to a cohort at an as-of, by what was known then."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession

from churn.dataset.cohort import active, as_of_frame, open_accounts, spine
from churn.model_spec import Cohort
from churn.testing import frame

AS_OF = datetime(2026, 3, 1)
TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
CLOSURE = f"{TIMES}, kind string"
OPENED = f"{TIMES}, opened_at timestamp"


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
            ("closed", datetime(2026, 2, 1), datetime(2026, 2, 1), None, None),
            ("closing not known", datetime(2026, 2, 28), datetime(2026, 3, 5), None, None),
        ],
        CLOSURE,
    )
    rows = open_accounts({"customers": customers, "closures": closures}, as_of_frame(spark, [AS_OF]))
    assert cohort(rows) == {"open", "closing not known"}


def test_an_account_closes_when_its_closure_takes_effect_not_when_it_is_announced(spark: SparkSession) -> None:
    customers = frame(spark, [(who, "2025-01-01", "2025-01-01", None, "2025-01-01") for who in "abcd"], OPENED)
    closures = frame(
        spark,
        [
            ("a", "2026-03-01", "2026-02-10", None, None),  # takes effect at as-of itself: not before it
            ("b", "2026-02-28 23:59", "2026-02-10", None, "voluntary"),
            ("c", "2026-02-20", "2026-02-10", None, "retracted"),
            ("d", "2026-02-20", "2026-02-10", "2026-02-15", None),  # moved to a day after as-of
            ("d", "2026-03-20", "2026-02-15", None, None),
        ],
        CLOSURE,
    )
    sources = {"customers": customers, "closures": closures}
    assert cohort(open_accounts(sources, as_of_frame(spark, [AS_OF]))) == {"a", "c", "d"}
    assert cohort(open_accounts(sources, as_of_frame(spark, [datetime(2026, 3, 2)]))) == {"c", "d"}
    assert cohort(open_accounts(sources, as_of_frame(spark, [datetime(2026, 2, 5)]))) == set("abcd")


def test_an_opening_that_is_announced_is_none_yet(spark: SparkSession) -> None:
    customers = frame(
        spark,
        [
            ("a", "2026-03-10", "2026-02-10", None, None),  # signed in February, a customer from 10 March on
            ("b", "2026-02-10", "2026-02-10", None, "2026-03-10"),
            ("c", "2026-03-10", "2026-02-10", None, "2026-02-01"),  # the row is not in effect yet
        ],
        OPENED,
    )
    assert cohort(open_accounts({"customers": customers}, as_of_frame(spark, [AS_OF]))) == set()
    assert cohort(open_accounts({"customers": customers}, as_of_frame(spark, [datetime(2026, 3, 11)]))) == set("abc")


def test_who_comes_back_is_a_customer_again(spark: SparkSession) -> None:
    customers = frame(
        spark,
        [
            *(
                (who, "2020-01-01", "2020-01-01", None, "2020-01-01")
                for who in ("back", "state", "late", "day", "wrong")
            ),
            ("back", "2025-06-01", "2025-06-01", None, "2025-06-01"),
            ("state", "2025-06-01", "2025-06-01", None, "2020-01-01"),  # a new address for the last bill
            ("late", "2025-06-01", "2026-03-02", None, "2025-06-01"),  # nobody knows it yet
            ("day", "2025-01-01", "2025-01-01", None, "2025-01-01"),  # closed and opened on the same day
            ("once", "2025-01-01", "2025-01-01", None, "2025-01-01"),  # opened and closed on the same day
            ("wrong", "2025-06-01", "2025-06-01", "2025-07-01", "2025-06-01"),  # an opening that was corrected
            ("wrong", "2025-06-01", "2025-07-01", None, "2020-01-01"),
            *(("again", day, day, None, day) for day in ("2020-01-01", "2025-06-01")),
        ],
        OPENED,
    )
    everybody = ("back", "state", "late", "day", "once", "wrong", "again")
    closures = frame(
        spark,
        [
            *((who, "2025-01-01", "2025-01-01", None, None) for who in everybody),
            ("again", "2026-01-01", "2026-01-01", None, None),
        ],
        CLOSURE,
    )
    sources = {"customers": customers, "closures": closures}
    assert cohort(open_accounts(sources, as_of_frame(spark, [AS_OF]))) == {"back", "day"}
    assert cohort(open_accounts(sources, as_of_frame(spark, [datetime(2025, 3, 1)]))) == {"day"}
    assert cohort(open_accounts(sources, as_of_frame(spark, [datetime(2025, 12, 1)]))) == {"back", "day", "again"}


def test_without_customers_a_purchase_shows_who_returned(spark: SparkSession) -> None:
    transactions = frame(
        spark,
        [
            *((who, "2025-01-01", "2025-01-01", None, "purchase", None) for who in ("back", "fee", "declined", "gone")),
            ("back", "2026-02-10", "2026-02-10", None, "purchase", None),
            ("fee", "2026-02-10", "2026-02-10", None, "fee", None),  # the last bill comes late
            ("declined", "2026-02-10", "2026-02-10", None, "purchase", "declined"),
        ],
        f"{TIMES}, kind string, status string",
    )
    everybody = ("back", "fee", "declined", "gone")
    closures = frame(spark, [(who, "2026-02-01", "2026-02-01", None, None) for who in everybody], CLOSURE)
    sources = {"transactions": transactions, "closures": closures}
    assert cohort(open_accounts(sources, as_of_frame(spark, [AS_OF]))) == {"back"}
    of_active = Cohort(kind="active", active_days=500, activity=("purchase",))
    assert cohort(spine(spark, of_active, sources, [AS_OF])) == {"back"}  # who bought before they left is not active
    calls = frame(spark, [("fee", "2025-01-01", "2025-01-01", None)], TIMES)
    assert cohort(open_accounts({"calls": calls, "closures": closures}, as_of_frame(spark, [AS_OF]))) == set()


def test_customers_are_derived_from_activity_where_there_is_no_source_of_them(spark: SparkSession) -> None:
    calls = frame(spark, [("a", datetime(2026, 2, 1), datetime(2026, 2, 1), None), ("b", AS_OF, AS_OF, None)], TIMES)
    assert cohort(open_accounts({"calls": calls}, as_of_frame(spark, [AS_OF]))) == {"a"}
