"""The time of customer features against a scan and groupBy: `python -m tests.benchmarks.customer_features`.

One run measures three things on one simulated table of transactions: the floor (scan, group by customer, one sum), the
naive way (for each as-of a pass of conditional aggregates), and the engine behind the declarations; it checks that the
engine's values are the naive ones, and prints as its last line ratio_to_floor, of medians over alternating repeats.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from statistics import median

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.features import customer_features, windowed
from churn.runtime.session import session
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.versions import known_by

START = datetime(2024, 1, 1)
SPAN = 540
"""Days of history: twelve as-ofs, 30 days apart, see 180 days each."""
WINDOWS = (7, 30, 90, 180)


@windowed(TRANSACTIONS, agg="count", days=WINDOWS, unit="transactions", fill=0)
def bench_count() -> Column:
    """Transactions."""
    return F.col("amount")


@windowed(TRANSACTIONS, agg="sum", days=WINDOWS, unit="money", fill=0)
def bench_sum() -> Column:
    """The amount."""
    return F.col("amount")


@windowed(TRANSACTIONS, agg="mean", days=WINDOWS, unit="money", fill=None)
def bench_mean() -> Column:
    """The mean transaction."""
    return F.col("amount")


@windowed(TRANSACTIONS, agg="std", days=WINDOWS, unit="money", fill=None)
def bench_std() -> Column:
    """The standard deviation of transactions."""
    return F.col("amount")


@windowed(TRANSACTIONS, agg="min", days=WINDOWS, unit="money", fill=None)
def bench_min() -> Column:
    """The smallest transaction."""
    return F.col("amount")


@windowed(TRANSACTIONS, agg="max", days=WINDOWS, unit="money", fill=None)
def bench_max() -> Column:
    """The largest transaction."""
    return F.col("amount")


FEATURES = (bench_count, bench_sum, bench_mean, bench_std, bench_min, bench_max)
NAIVE: dict[str, Callable[[Column], Column]] = {
    "bench_count": F.count,
    "bench_sum": F.sum,
    "bench_mean": lambda amount: F.avg(amount.cast("double")),
    "bench_std": lambda amount: F.stddev_samp(amount.cast("double")),
    "bench_min": F.min,
    "bench_max": F.max,
}
EXACT = ("bench_count", "bench_sum", "bench_min", "bench_max")


def transactions(spark: SparkSession, rows: int, customers: int) -> DataFrame:
    """Accepted transactions in the order of their arrival: 2 % come up to 40 days late, 1 % are later corrected."""
    id_ = F.col("id")

    def draw(name: str) -> Column:
        """A number in [0, 1) that depends on the row alone."""
        return F.pmod(F.xxhash64(id_, F.lit(name)), F.lit(1 << 20)) / (1 << 20)

    micros = F.lit(SPAN * 86_400_000_000)
    event_time = F.lit(int(START.timestamp() * 1e6)) + (id_ / F.lit(rows) * micros).cast("bigint")
    delay = F.when(draw("late") < 0.02, draw("delay") * 40 * 86_400).otherwise(draw("delay") * 3_600)
    known = F.col("event_time") + F.make_dt_interval(secs=delay.cast("decimal(18,6)"))
    who = (draw("who") * draw("whose") * customers).cast("bigint")
    kind = F.element_at(
        F.array(*map(F.lit, ("purchase", "purchase", "payment", "fee", "refund"))), 1 + (id_ % 5).cast("int")
    )
    return (
        spark.range(0, rows, 1, 8)
        .withColumn("event_time", F.timestamp_micros(event_time))
        .withColumn("known_time", known)
        .select(
            F.format_string("T%010d", id_).alias("transaction_id"),
            F.format_string("C%07d", F.pmod(who * 7919, F.lit(customers))).alias("customer_id"),
            "event_time",
            "known_time",
            kind.alias("kind"),
            F.exp(draw("amount") * 6).cast("decimal(18,4)").alias("amount"),
            F.lit("EUR").alias("currency"),
            F.element_at(F.array(*map(F.lit, ("web", "card", "branch"))), 1 + (id_ % 3).cast("int")).alias("channel"),
            F.format_string("M%05d", (draw("merchant") * 20_000).cast("int")).alias("merchant_id"),
            F.format_string("D%06d", (draw("device") * 300_000).cast("int")).alias("device_id"),
            F.lit("DE").alias("country"),
            F.when(draw("status") < 0.03, "declined").otherwise("approved").alias("status"),
            F.when(draw("corrected") < 0.01, F.col("known_time") + F.expr("interval 20 days")).alias("superseded_at"),
            F.lit("b1").alias("batch"),
        )
    )


def every_customer(spark: SparkSession, customers: int, as_ofs: list[datetime]) -> DataFrame:
    """The spine: every customer at every as-of."""
    dates = spark.createDataFrame([(as_of,) for as_of in as_ofs], "as_of timestamp")
    names = spark.range(customers).select(F.format_string("C%07d", "id").alias("customer_id"))
    return names.crossJoin(dates)


def stored(spark: SparkSession, place: Path, rows: DataFrame) -> DataFrame:
    """The same rows, from files."""
    if not (place / "_SUCCESS").exists():
        rows.write.mode("overwrite").parquet(str(place))
    return spark.read.parquet(str(place))


def floor(rows: DataFrame) -> DataFrame:
    return rows.groupBy("customer_id").agg(F.sum("amount").alias("total"))


def naive(rows: DataFrame, as_ofs: list[datetime]) -> DataFrame:
    """One pass an as-of: what is visible then, each measure in each window by a condition."""

    def one(as_of: datetime) -> DataFrame:
        at, happened = F.lit(as_of), F.col("event_time")
        seen = rows.where(known_by(at) & (happened < at) & (happened >= F.lit(as_of - timedelta(days=max(WINDOWS)))))
        measures = [
            aggregate(F.when(happened >= F.lit(as_of - timedelta(days=days)), F.col("amount"))).alias(f"{name}_{days}d")
            for name, aggregate in NAIVE.items()
            for days in WINDOWS
        ]
        return seen.groupBy("customer_id").agg(*measures).withColumn("as_of", at)

    return reduce(DataFrame.unionByName, map(one, as_ofs))


def seconds(rows: DataFrame) -> float:
    started = time.perf_counter()
    rows.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - started


def differences(engine: DataFrame, plain: DataFrame) -> int:
    """How many values differ: counts and money at all, the rest by more than 1e-9 of them."""
    columns = [(name, f"{name}_{days}d") for name in NAIVE for days in WINDOWS]
    plain = plain.select(
        "customer_id", "as_of", *(F.col(column).cast("double").alias(f"{column}_n") for _, column in columns)
    )

    def differ(name: str, column: str) -> Column:
        made, wanted = F.col(column).cast("double"), F.col(f"{column}_n")
        if name in ("bench_count", "bench_sum"):
            wanted = F.coalesce(wanted, F.lit(0.0))
        same = made.eqNullSafe(wanted)
        close = F.abs(made - wanted) <= 1e-9 * F.greatest(F.abs(wanted), F.lit(1.0))
        return (~(same if name in EXACT else same | F.coalesce(close, F.lit(False)))).cast("int")

    joined = engine.join(plain, on=["customer_id", "as_of"], how="left")
    counted = reduce(Column.__add__, (differ(*column) for column in columns))
    return int(joined.agg(F.sum(counted)).first()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--as-ofs", type=int, default=12)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--naive", action=argparse.BooleanOptionalAction, default=True, help="measure and compare it")
    args = parser.parse_args()
    settings = {
        "spark.master": "local[2]",
        "spark.driver.memory": "3g",
        "spark.sql.shuffle.partitions": "8",
    }
    spark = session("customer features benchmark", conf=settings)
    cache = Path(tempfile.gettempdir()) / f"churn-customer-features-{args.rows}-{args.customers}"
    rows = stored(spark, cache / "transactions", transactions(spark, args.rows, args.customers))
    last = START + timedelta(days=SPAN)
    as_ofs = [last - timedelta(days=30 * step) for step in reversed(range(args.as_ofs))]
    spine = stored(spark, cache / f"spine-{args.as_ofs}", every_customer(spark, args.customers, as_ofs))

    def engine() -> DataFrame:
        return customer_features(spine, {"transactions": rows}, FEATURES, as_ofs=as_ofs)

    small = rows.limit(10_000)
    (
        seconds(floor(small)),
        seconds(customer_features(spine.limit(1000), {"transactions": small}, FEATURES, as_ofs=as_ofs)),
    )
    timed: dict[str, list[float]] = {"floor": [], "engine": []}
    for _ in range(args.repeats):
        timed["floor"].append(seconds(floor(rows)))
        timed["engine"].append(seconds(engine()))
    for name, repeats in timed.items():
        print(f"{name}: {', '.join(f'{taken:.2f}' for taken in repeats)} s")
    if args.naive:
        taken = seconds(naive(rows, as_ofs))
        print(f"naive, a pass an as-of: {taken:.2f} s, {taken / median(timed['floor']):.2f} times the floor")
        wrong = differences(engine(), naive(rows, as_ofs))
        print(f"values that differ from the naive ones: {wrong}", flush=True)
        if wrong:
            raise SystemExit("the engine is wrong")
    print(f"ratio_to_floor={median(timed['engine']) / median(timed['floor']):.2f}")
    spark.stop()


if __name__ == "__main__":
    main()
