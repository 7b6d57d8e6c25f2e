"""Features of transactions: a dozen worked out by hand, and what transaction_features() refuses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.features import HOUR, MINUTE, customer_features, derived, features, transaction_features, windowed
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.fraud_reports import FRAUD_REPORTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.versions import reported_transactions
from churn.testing import frame

pytestmark = pytest.mark.usefixtures("_restored_catalogue")

ROWS = (
    "transaction_id string, customer_id string, merchant_id string, amount decimal(18,4), "
    "event_time timestamp, known_time timestamp, superseded_at timestamp"
)
TWELVE = [
    # Ann and Bob at the merchants M and N; t6 has no merchant.
    ("t01", "ann", "M", "10", "2026-03-01 09:00", "2026-03-01 09:00", None),
    ("t02", "ann", "M", "20", "2026-03-01 09:10", "2026-03-01 09:10", None),
    ("t03", "bob", "M", "40", "2026-03-01 09:10", "2026-03-01 09:10", None),  # the same instant as t02
    ("t04", "ann", "N", "30", "2026-03-01 09:20", "2026-03-01 11:00", None),  # known late
    ("t05", "ann", "M", "50", "2026-03-01 10:00", "2026-03-01 10:00", None),  # exactly an hour after t01
    ("t06", "bob", None, "60", "2026-03-01 10:00", "2026-03-01 10:00", None),
    ("t07", "ann", "N", "70", "2026-03-01 11:00", "2026-03-01 11:00", None),  # at the time t04 is known
    ("t08", "bob", "N", "80", "2026-03-02 09:10", "2026-03-02 09:10", "2026-03-02 10:00"),  # corrected later
    ("t08", "bob", "N", "8", "2026-03-02 09:10", "2026-03-02 10:00", None),
    ("t09", "bob", "N", "90", "2026-03-02 09:40", "2026-03-02 09:40", None),
    ("t10", "bob", "N", "15", "2026-03-02 10:00", "2026-03-02 10:00", None),
    ("t11", "ann", "M", "25", "2026-03-04 09:00", "2026-03-04 09:00", None),
    ("t12", "bob", "M", "35", "2026-03-05 09:00", "2026-03-05 09:00", None),
]
REPORTS = [
    ("t02", "ann", "2026-03-03 12:00", "2026-03-03 12:00", None, True),
    ("t03", "bob", "2026-03-01 12:00", "2026-03-01 12:00", "2026-03-04 20:00", True),
    ("t03", "bob", "2026-03-01 12:00", "2026-03-04 20:00", None, False),  # cleared after all
]


@pytest.fixture
def transactions(spark: SparkSession) -> DataFrame:
    return frame(spark, TWELVE, ROWS)


@pytest.fixture
def sources(spark: SparkSession, transactions: DataFrame) -> dict[str, DataFrame]:
    schema = (
        "transaction_id string, customer_id string, event_time timestamp, known_time timestamp, "
        "superseded_at timestamp, is_fraud boolean"
    )
    return {
        "transactions": transactions,
        "fraud_reports": reported_transactions(transactions, frame(spark, REPORTS, schema)),
    }


def by_transaction(rows: DataFrame, *columns: str) -> dict[str, tuple[Any, ...]]:
    """The values of each transaction; of t08 those of its current version."""
    current = rows.where("superseded_at is null").collect()
    return {row["transaction_id"]: tuple(row[column] for column in columns) for row in sorted(current)}


def test_the_customer_in_short_windows(transactions: DataFrame, sources: dict[str, DataFrame]) -> None:
    @windowed(TRANSACTIONS, agg="count", days=(15 * MINUTE, HOUR, 1), unit="transactions", fill=0)
    def paid_often() -> Column:
        """Transactions."""
        return F.col("amount")

    @windowed(TRANSACTIONS, agg="sum", days=(1,), unit="money", fill=0)
    def paid_much() -> Column:
        """Money."""
        return F.col("amount")

    @windowed(TRANSACTIONS, agg="days_since_last", unit="days", fill=None)
    def ago() -> Column:
        """Days since the last one."""
        return F.col("amount")

    computed = transaction_features(transactions, sources, [paid_often, paid_much, ago])
    minutes = F.round(F.col("ago") * 1440, 6).alias("minutes")
    computed = computed.select("*", minutes)
    assert by_transaction(computed, "paid_often_15m", "paid_often_1h", "paid_often_1d", "paid_much_1d", "minutes") == {
        "t01": (0, 0, 0, 0.0, None),
        "t02": (1, 1, 1, 10.0, 10.0),
        "t03": (0, 0, 0, 0.0, None),
        "t04": (1, 2, 2, 30.0, 10.0),
        "t05": (0, 2, 2, 30.0, 50.0),  # t01 at the window's very edge counts; t04 is not known yet
        "t06": (0, 1, 1, 40.0, 50.0),
        "t07": (0, 1, 4, 110.0, 60.0),  # now t04 is known; of the last hour only t05
        "t08": (0, 0, 2, 100.0, 1390.0),
        "t09": (0, 1, 2, 140.0, 30.0),  # t03 has left the day, t08 is 80
        "t10": (0, 2, 3, 158.0, 20.0),  # t08 is corrected to 8 at this very time; t06 is at the edge
        "t11": (0, 0, 0, 0.0, 4200.0),
        "t12": (0, 0, 0, 0.0, 4260.0),
    }


def test_a_window_ends_a_microsecond_after_its_edge(spark: SparkSession) -> None:
    @windowed(TRANSACTIONS, agg="count", days=(HOUR,), unit="transactions", fill=0)
    def paid_last_hour() -> Column:
        """Transactions."""
        return F.col("amount")

    times = {("ann", "first"): "09:00", ("ann", "at_edge"): "10:00"}
    times |= {("bob", "first"): "09:00", ("bob", "after_edge"): "10:00:00.000001"}
    at = {who: f"2026-03-01 {time}" for who, time in times.items()}
    rows = [(" ".join(who), who[0], "M", "10", time, time, None) for who, time in at.items()]
    transactions = frame(spark, rows, ROWS)
    computed = transaction_features(transactions, {"transactions": transactions}, [paid_last_hour])
    (column,) = set(computed.columns) - set(transactions.columns)
    assert by_transaction(computed, column) == {
        "ann first": (0,),
        "ann at_edge": (1,),
        "bob first": (0,),
        "bob after_edge": (0,),
    }


def test_the_merchant_and_its_fraud_reports(transactions: DataFrame, sources: dict[str, DataFrame]) -> None:
    @windowed(TRANSACTIONS, agg="count", days=(7,), by="merchant_id", unit="transactions", fill=0)
    def at_merchant() -> Column:
        """Transactions at the merchant."""
        return F.col("amount")

    @windowed(TRANSACTIONS, agg="max", days=(7,), by="merchant_id", unit="money", fill=None)
    def largest_there() -> Column:
        """The largest of those."""
        return F.col("amount")

    @windowed(FRAUD_REPORTS, agg="count", days=(7,), by="merchant_id", unit="transactions", fill=0)
    def frauds_there() -> Column:
        """Known frauds."""
        return F.when(F.col("is_fraud"), F.lit(1))

    @windowed(FRAUD_REPORTS, agg="count", days=(7,), by="merchant_id", delayed=True, unit="transactions", fill=0)
    def old_frauds_there() -> Column:
        """Known frauds of more than three days ago."""
        return F.when(F.col("is_fraud"), F.lit(1))

    @windowed(TRANSACTIONS, agg="count", by=("customer_id", "merchant_id"), unit="transactions", fill=0)
    def been_there() -> Column:
        """The customer's own transactions there."""
        return F.col("amount")

    chosen = [at_merchant, largest_there, frauds_there, old_frauds_there, been_there]
    computed = transaction_features(transactions, sources, chosen, delay=3)
    columns = ("at_merchant_7d", "largest_there_7d", "frauds_there_7d", "old_frauds_there_7d", "been_there")
    assert by_transaction(computed, *columns) == {
        "t01": (0, None, 0, 0, 0),
        "t02": (1, 10.0, 0, 0, 1),
        "t03": (1, 10.0, 0, 0, 0),
        "t04": (0, None, 0, 0, 0),
        "t05": (3, 40.0, 0, 0, 2),
        "t06": (0, None, 0, 0, 0),  # no merchant
        "t07": (1, 30.0, 0, 0, 1),
        "t08": (2, 70.0, 0, 0, 0),
        "t09": (3, 80.0, 0, 0, 1),
        "t10": (4, 90.0, 0, 0, 2),
        "t11": (4, 50.0, 2, 0, 3),  # both reports are in, on transactions of less than three days ago
        "t12": (5, 50.0, 1, 1, 1),  # t03 has been cleared
    }


def test_own_columns_and_calls(spark: SparkSession, transactions: DataFrame, sources: dict[str, DataFrame]) -> None:
    calls = frame(
        spark,
        [
            ("ann", "password", "2026-03-01 09:05", "2026-03-01 09:15"),
            ("bob", "bill", "2026-03-01 09:05", "2026-03-01 09:06"),
        ],
        "customer_id string, reason string, event_time timestamp, known_time timestamp",
    )

    @windowed(CALLS, agg="count", days=(1,), unit="calls", fill=0)
    def password_calls() -> Column:
        """Calls about a password."""
        return F.when(F.col("reason") == "password", F.lit(1))

    @derived(unit="money", fill=0)
    def risked(amount: Column, password_calls_1d: Column) -> Column:
        """The amount, where a call was about a password in the last day."""
        return F.when(password_calls_1d > 0, amount.cast("double"))

    computed = transaction_features(transactions, {**sources, "calls": calls}, [risked])
    risked_amounts = {name: value for name, (value,) in by_transaction(computed, "risked").items() if value}
    assert risked_amounts == {"t04": 30.0, "t05": 50.0, "t07": 70.0}
    assert computed.columns == [*transactions.columns, "risked"]
    alone = transaction_features(transactions, {}, ["hour_of_day"])
    assert by_transaction(alone, "hour_of_day")["t10"] == (10,)


def test_no_row_is_lost_and_buckets_make_no_difference(transactions: DataFrame, sources: dict[str, DataFrame]) -> None:
    chosen = [feature for feature in features("velocity") if feature.sources <= set(sources)]
    with_all = transactions.selectExpr(
        "*", "'d' device_id", "'NL' country", "'purchase' kind", "'web' channel", "null status"
    )
    given = {
        "transactions": with_all,
        "fraud_reports": sources["fraud_reports"].selectExpr("*", "'d' device_id", "'NL' country", "'purchase' kind"),
    }
    one, other = (
        sorted(
            map(tuple, transaction_features(with_all.repartition(count), given, chosen, buckets=count).collect()),
            key=str,
        )
        for count in (1, 5)
    )
    assert one == other
    assert len(one) == len(TWELVE)


def test_refused(transactions: DataFrame, sources: dict[str, DataFrame]) -> None:
    @windowed(TRANSACTIONS, agg="entropy", days=(7,), unit="bits", fill=None)
    def mixed() -> Column:
        """What does not add up."""
        return F.col("merchant_id")

    @windowed(TRANSACTIONS, agg="sum", days=(7,), unit="money", fill=0)
    def loose() -> Column:
        """Fractions."""
        return F.col("amount").cast("double")

    @windowed(TRANSACTIONS, agg="count", days=(7,), by="device_id", unit="transactions", fill=0)
    def by_device() -> Column:
        """A key that is not there."""
        return F.col("amount")

    with pytest.raises(BadInputError, match="mixed_7d: entropy of a text does not add up"):
        transaction_features(transactions, sources, [mixed])
    with pytest.raises(BadInputError, match="loose_7d: sum of a double does not add up"):
        transaction_features(transactions, sources, [loose])
    with pytest.raises(BadInputError, match="transactions has no device_id to group by"):
        transaction_features(transactions, sources, [by_device])
    with pytest.raises(BadInputError, match="no source named 'calls'"):
        transaction_features(transactions, sources, ["access_calls"])
    with pytest.raises(BadInputError, match="follows a cause"):
        transaction_features(transactions, sources, ["calls_after_charge"])
    with pytest.raises(BadInputError, match="of transactions, not of customers"):
        customer_features(transactions, sources, [by_device], as_ofs=[datetime(2026, 3, 1)])
