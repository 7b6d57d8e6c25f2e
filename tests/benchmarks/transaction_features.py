"""The time of transaction features against two sorts: `python -m tests.benchmarks.transaction_features`.

One run measures two things on one simulated table: the floor, which is a sort by time with a lag for each of the two
keys, and the engine behind the declarations. Both carry all columns of the transaction through. A merchant holds 5 % of
all rows. A sample of transactions is checked against joins; the last line is ratio_to_floor, of medians over
alternating repeats.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from churn.features import derived, transaction_features, windowed
from churn.runtime.session import session
from churn.sources.catalog.fraud_reports import FRAUD_REPORTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.versions import reported_transactions
from tests.benchmarks.customer_features import bench_count, bench_mean, seconds, stored, transactions

DAYS = (1, 7, 30)
DELAY = 7
MICROS = 86_400_000_000
SAMPLE = 8_000
"""Transactions, about, that are compared with a join."""


@windowed(TRANSACTIONS, agg="count", days=DAYS, by="merchant_id", delayed=True, unit="transactions", fill=0)
def bench_merchants() -> Column:
    """The merchant's transactions, until a week ago."""
    return F.col("amount")


@windowed(FRAUD_REPORTS, agg="count", days=DAYS, by="merchant_id", delayed=True, unit="transactions", fill=0)
def bench_merchants_frauds() -> Column:
    """The frauds among them."""
    return F.when(F.col("is_fraud"), F.lit(1))


@derived(days=DAYS, unit="share", fill=0)
def bench_share(bench_merchants_frauds: Column, bench_merchants: Column) -> Column:
    """The merchant's share of frauds, until a week ago."""
    return F.try_divide(bench_merchants_frauds, bench_merchants)


FEATURES = (bench_count, bench_mean, bench_merchants, bench_share)


def skewed(rows: DataFrame, merchants: int) -> DataFrame:
    """A merchant that has every twentieth transaction, the others among the rest."""
    draw = F.pmod(F.xxhash64("transaction_id", F.lit("merchant")), F.lit(1 << 20))
    other = F.format_string("M%05d", 1 + draw % (merchants - 1))
    return rows.withColumn("merchant_id", F.when(draw < (1 << 20) / 20, "M00000").otherwise(other))


def reports(rows: DataFrame) -> DataFrame:
    """A report on every hundredth transaction, known within a week."""
    draw = F.pmod(F.xxhash64("transaction_id", F.lit("report")), F.lit(1 << 20)) / (1 << 20)
    made = F.col("known_time") + F.make_dt_interval(secs=(draw * 100 * 6 * 86_400).cast("decimal(18,6)"))
    return rows.where((draw < 0.01) & F.col("superseded_at").isNull()).select(
        "transaction_id",
        "customer_id",
        made.alias("event_time"),
        made.alias("known_time"),
        F.lit(None).cast("timestamp").alias("superseded_at"),
        F.lit(True).alias("is_fraud"),
    )


def floor(rows: DataFrame) -> DataFrame:
    for key in ("customer_id", "merchant_id"):
        before = F.lag("event_time").over(Window.partitionBy(key).orderBy("event_time"))
        rows = rows.withColumn(f"before_{key}", before)
    return rows


def engine(rows: DataFrame, reported: DataFrame) -> DataFrame:
    sources = {"transactions": rows, "fraud_reports": reported_transactions(rows, reported)}
    return transaction_features(rows, sources, FEATURES, delay=DELAY, windows=DAYS)


def differences(rows: DataFrame, reported: DataFrame, of: int) -> int:
    """How many values differ from those of joins by the rule of time, for one transaction in so many."""
    sources = {"transactions": rows, "fraud_reports": reported_transactions(rows, reported)}
    chosen = (*FEATURES, bench_merchants_frauds)
    made = transaction_features(rows, sources, chosen, delay=DELAY, windows=DAYS).drop(
        "customer_id", "merchant_id", "event_time", "amount"
    )
    few = rows.where(F.pmod(F.xxhash64("transaction_id"), F.lit(of)) == 0)
    at = few.select("transaction_id", "known_time", "customer_id", "merchant_id", F.col("event_time").alias("at"))
    wrong = 0
    for key, names, source, delay in (
        ("customer_id", ("bench_count", "bench_mean"), rows, 0),
        ("merchant_id", ("bench_merchants",), rows, DELAY),
        ("merchant_id", ("bench_merchants_frauds",), reported_transactions(rows, reported), DELAY),
    ):
        other = source.select(
            F.col(key).alias("k"),
            F.col("amount").cast("double").alias("amount"),
            F.col("event_time").alias("e"),
            F.col("known_time").alias("n"),
            "superseded_at",
        )
        back = (F.unix_micros("at") - F.unix_micros("e")) / MICROS - delay
        seen = (
            (F.col("k") == F.col(key))
            & (F.col("n") <= F.col("at"))
            & (F.col("superseded_at").isNull() | (F.col("superseded_at") > F.col("at")))
            & (back > 0)
            & (back <= max(DAYS))
        )
        columns = {f"{name}_{days}d": (name, days) for name in names for days in DAYS}
        plain = (
            other.join(F.broadcast(at), on=seen)
            .groupBy("transaction_id", "known_time")
            .agg(
                *(
                    (F.avg if name.endswith("_mean") else F.count)(F.when(back <= days, F.col("amount"))).alias(
                        f"plain_{column}"
                    )
                    for column, (name, days) in columns.items()
                )
            )
        )
        both = made.join(
            F.broadcast(at.select("transaction_id", "known_time")), on=["transaction_id", "known_time"]
        ).join(plain, on=["transaction_id", "known_time"], how="left")
        for column, (name, _) in columns.items():
            one, two = F.col(column).cast("double"), F.col(f"plain_{column}").cast("double")
            two = two if name.endswith("_mean") else F.coalesce(two, F.lit(0.0))
            close = F.coalesce(F.abs(one - two) <= 1e-9 * F.greatest(F.abs(two), F.lit(1.0)), F.lit(False))
            both = both.withColumn(f"wrong_{column}", (~(one.eqNullSafe(two) | close)).cast("int"))
        counts = both.agg(*(F.sum(f"wrong_{column}") for column in columns)).collect()[0]
        wrong += sum(counts)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--merchants", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compare", action=argparse.BooleanOptionalAction, default=True, help="check a sample")
    args = parser.parse_args()
    settings = {"spark.master": "local[2]", "spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "8"}
    spark: SparkSession = session("transaction features benchmark", conf=settings)
    cache = Path(tempfile.gettempdir()) / f"churn-transaction-features-{args.rows}-{args.customers}-{args.merchants}"
    made = skewed(transactions(spark, args.rows, args.customers), args.merchants)
    rows = stored(spark, cache / "transactions", made)
    reported = stored(spark, cache / "reports", reports(rows))
    few = rows.limit(10_000)
    seconds(floor(few)), seconds(engine(few, reported.limit(100)))
    timed: dict[str, list[float]] = {"floor": [], "engine": []}
    for _ in range(args.repeats):
        timed["floor"].append(seconds(floor(rows)))
        timed["engine"].append(seconds(engine(rows, reported)))
    for name, repeats in timed.items():
        print(f"{name}: {', '.join(f'{taken:.2f}' for taken in repeats)} s", flush=True)
    if args.compare:
        wrong = differences(rows, reported, max(1, args.rows // SAMPLE))
        print(f"values of a sample that differ from those of a join: {wrong}", flush=True)
        if wrong:
            raise SystemExit("the engine is wrong")
    print(f"ratio_to_floor={median(timed['engine']) / median(timed['floor']):.2f}")
    spark.stop()


if __name__ == "__main__":
    main()
