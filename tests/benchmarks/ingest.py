"""The time of ingest against Spark's own read, cast and write: `python -m tests.benchmarks.ingest`.

One run measures two things on the same CSV files of transactions: the floor, which is Spark's own reader, a cast of
each column and a write to a Delta table, and ingest with the default mapping, which also checks every rule, finds
duplicates and versions, and writes the ledger. With `--query` both read lines of orders: a join to the customers and a
sum for each order, by a staging query and by the same query in Spark. The last line is ratio_to_floor, of medians over
alternating repeats.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from time import perf_counter

from pyspark.sql import DataFrame, SparkSession

from churn.config import Config, load
from churn.runtime.session import session
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.ingest import ingest
from churn.storage import Lake
from tests.benchmarks.customer_features import transactions

AS_OF = datetime(2030, 1, 1)
FILES = 8
COLUMNS = {
    "transaction_id": "transaction_id",
    "customer_id": "customer_id",
    "event_time": "date_format(event_time, 'yyyy-MM-dd HH:mm:ss')",
    "known_time": "date_format(known_time, 'yyyy-MM-dd HH:mm:ss')",
    "kind": "'purchase'",
    "amount": "cast(cast(amount as decimal(18,2)) as string)",
    "currency": "'EUR'",
    "channel": "if(pmod(xxhash64(transaction_id), 3) = 0, 'web', 'branch')",
    "merchant_id": "'M' || pmod(xxhash64(transaction_id, 1), 10000)",
    "device_id": "'D' || pmod(xxhash64(customer_id, 2), 100000)",
    "country": "'DE'",
    "status": "if(pmod(xxhash64(transaction_id, 3), 50) = 0, 'declined', 'approved')",
}
QUERY = """
select order_id as transaction_id, person_id as customer_id, min(made_at) as event_time, max(loaded_at) as known_time,
  'purchase' as kind, sum(cast(price as decimal(18,4))) as amount, 'EUR' as currency
from order_lines join persons on order_lines.account = persons.account
group by order_id, person_id
"""
MAPPED = '[sources.transactions]\npath = "{folder}/transactions"\n'
STAGED = (
    '[inputs.order_lines]\npath = "{folder}/lines"\n'
    '[inputs.persons]\npath = "{folder}/persons"\n'
    f'[sources.transactions]\nquery = """{QUERY}"""\n'
)


def written(spark: SparkSession, folder: Path, rows: int, customers: int) -> None:
    """The files of a run, kept for the next one."""
    if (folder / "persons" / "_SUCCESS").exists():
        return
    made = transactions(spark, rows, customers).where("superseded_at is null")
    texts = made.selectExpr(*(f"{sql} AS {name}" for name, sql in COLUMNS.items())).coalesce(FILES)
    texts.write.mode("overwrite").csv(str(folder / "transactions"), header=True)
    order = f"pmod(xxhash64(transaction_id, 4), {rows // 3})"
    texts.selectExpr(
        f"'O' || {order} AS order_id",
        f"'A' || pmod(xxhash64({order}), {customers}) AS account",  # all lines of an order are one customer's
        "event_time AS made_at",
        "known_time AS loaded_at",
        "amount AS price",
    ).write.mode("overwrite").csv(str(folder / "lines"), header=True)
    persons = spark.range(customers).selectExpr("'A' || id AS account", "'P' || (id DIV 2) AS person_id")
    persons.coalesce(1).write.mode("overwrite").csv(str(folder / "persons"), header=True)


def floor_mapped(spark: SparkSession, folder: Path) -> DataFrame:
    read = spark.read.csv(str(folder / "transactions"), header=True)
    return read.selectExpr(
        *(
            f"cast({field.name} as {field.type}) as {field.name}"
            for field in TRANSACTIONS.columns
            if field.name in COLUMNS
        )
    )


def floor_staged(spark: SparkSession, folder: Path) -> DataFrame:
    spark.read.csv(str(folder / "lines"), header=True).createOrReplaceTempView("order_lines")
    spark.read.csv(str(folder / "persons"), header=True).createOrReplaceTempView("persons")
    return spark.sql(QUERY).selectExpr(
        "*", "cast(event_time as timestamp) as event", "cast(known_time as timestamp) as known"
    )


def seconds(action: Callable[[Path], None], target: Path) -> float:
    shutil.rmtree(target, ignore_errors=True)
    start = perf_counter()
    action(target)
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--query", action="store_true", help="a staging query of one join and one aggregate")
    args = parser.parse_args()
    settings = {"spark.master": "local[2]", "spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "8"}
    spark = session("ingest benchmark", conf=settings)
    folder = Path(tempfile.gettempdir()) / f"churn-ingest-{args.rows}-{args.customers}"
    written(spark, folder, args.rows, args.customers)
    (folder / "churn.toml").write_text((STAGED if args.query else MAPPED).format(folder=folder))
    config: Config = load(folder / "churn.toml")
    made = (floor_staged if args.query else floor_mapped)(spark, folder)

    def floor(target: Path) -> None:
        made.write.format("delta").save(str(target))

    def engine(target: Path) -> None:
        [row] = ingest(spark, Lake(spark, str(target)), config, batch="b", as_of=AS_OF)
        print(row.rows_in, row.accepted, dict(row.rules), flush=True)

    timed: dict[str, list[float]] = {"floor": [], "engine": []}
    for _ in range(args.repeats):
        for name, action in (("floor", floor), ("engine", engine)):
            timed[name].append(seconds(action, folder / "lake"))
    for name, repeats in timed.items():
        print(f"{name}: {', '.join(f'{taken:.1f}' for taken in repeats)} s", flush=True)
    print(f"ratio_to_floor={median(timed['engine']) / median(timed['floor']):.2f}")
    spark.stop()


if __name__ == "__main__":
    main()
