"""The simulated company: the same bytes for a seed, errors at their rates, and events that follow from each other."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

import churn.simulation
from churn.errors import BadInputError
from churn.simulation import CLEAN, Dirt, company, simulate
from churn.simulation.draw import Draws
from churn.simulation.noise import with_delivery_errors
from churn.sources import CONTRACTS

SAMPLE = Path(__file__).parents[2] / "sample_data"
SIMULATION = Path(churn.simulation.__file__).parent
HALF_A_YEAR = {"start": date(2026, 4, 1), "end": date(2026, 10, 1)}


def _digests(folder: Path) -> dict[str, str]:
    """The digest of every file by its name."""
    files = sorted(file for file in folder.rglob("*.csv*"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def small(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The files of 120 customers over half a year, and the number of rows of each source."""
    out = tmp_path_factory.mktemp("simulated") / "company"
    return out, simulate(spark, customers=120, seed=5, out=out, **HALF_A_YEAR)


def test_the_same_seed_gives_the_same_bytes_however_spark_divides_the_work(
    spark: SparkSession, small: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        simulate(spark, customers=120, seed=5, out=tmp_path / "again", **HALF_A_YEAR)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", str(before))
    assert _digests(tmp_path / "again") == _digests(small[0])


def test_the_numbers_of_rows_returned_are_those_written(small: tuple[Path, dict[str, int]]) -> None:
    out, rows = small
    lines = {name: sum(len(file.read_text().splitlines()) - 1 for file in (out / name).glob("*.csv")) for name in rows}
    assert lines == rows
    assert set(rows) >= {"customers", "calls", "transactions", "closures", "fraud_reports", "contacts"}


@pytest.fixture(scope="module")
def clean(spark: SparkSession, compiled: None) -> Mapping[str, DataFrame]:
    """2,000 customers over two years, without data quality problems."""
    return {name: table.persist() for name, table in company(spark, customers=2_000, seed=3).items()}


def test_tables_have_the_columns_types_and_keys_of_the_contracts(clean: Mapping[str, DataFrame]) -> None:
    for name, contract in CONTRACTS.items():
        if name == "rates":  # the company has one currency
            continue
        rows = contract.with_defaults(clean[name])
        columns = dict(rows.dtypes)
        wanted = {field.name: field.type for field in contract.columns}
        assert {column: columns[column] for column in wanted} == wanted
        key = rows.groupBy(*contract.key).count().where("count > 1")
        assert key.isEmpty(), name


def test_nothing_happens_outside_an_open_account(clean: Mapping[str, DataFrame]) -> None:
    opened = clean["customers"].groupBy("customer_id").agg(F.min("opened_at").alias("opened"))
    closed = clean["closures"].select("customer_id", F.col("event_time").alias("closed"))
    happened = F.col("event_time")
    outside = F.col("opened").isNull() | (happened < F.col("opened")) | (happened > F.col("closed"))
    for name in ("calls", "transactions"):
        late = (
            clean[name]
            .join(opened, on="customer_id", how="left")
            .join(closed, on="customer_id", how="left")
            .where(outside)
        )
        assert late.isEmpty(), name


def test_customers_about_to_leave_complain_more_and_buy_less(clean: Mapping[str, DataFrame]) -> None:
    """The signal for a model: the last month of customers who leave soon against that of all others."""
    closed = clean["closures"].where("kind = 'voluntary'").select("customer_id", F.col("event_time").alias("closed"))
    as_of = F.lit(datetime(2026, 7, 1))
    month = F.expr("interval 30 days")
    soon = (F.col("closed") >= as_of) & (F.col("closed") < as_of + F.expr("interval 60 days"))
    leaves_soon = F.coalesce(soon, F.lit(False))
    stay = F.col("closed").isNull() | (F.col("closed") >= as_of)
    cohort = (
        clean["customers"]
        .where(F.col("opened_at") < as_of - month)
        .select("customer_id")
        .distinct()
        .join(closed, on="customer_id", how="left")
        .where(stay)
        .select("customer_id", leaves_soon.alias("leaving"))
    )

    def per_customer(name: str, condition: str) -> dict[bool, float]:
        recent = (F.col("event_time") >= as_of - month) & (F.col("event_time") < as_of)
        counts = clean[name].where(recent).where(condition).groupBy("customer_id").count()
        joined = cohort.join(counts, on="customer_id", how="left")
        means = joined.groupBy("leaving").agg(F.avg(F.coalesce("count", F.lit(0))))
        return {row[0]: row[1] for row in means.collect()}

    complaints = per_customer("calls", "reason = 'complaint'")
    purchases = per_customer("transactions", "kind = 'purchase'")
    assert complaints[True] > 1.5 * complaints[False]
    assert purchases[True] < 0.9 * purchases[False]


def test_no_single_attribute_identifies_frauds(clean: Mapping[str, DataFrame]) -> None:
    """For every channel, hour and country, and for new devices, most transactions are the customers' own."""
    frauds = clean["fraud_reports"].where("is_fraud").select("transaction_id", F.lit(1.0).alias("is_fraud"))
    earlier = Window.partitionBy("customer_id", "device_id").orderBy("event_time", "transaction_id")
    labelled = (
        clean["transactions"]
        .where("kind in ('purchase', 'transfer')")
        .join(frauds, on="transaction_id", how="left")
        .select(
            F.coalesce("is_fraud", F.lit(0.0)).alias("is_fraud"),
            F.concat_ws(" by ", "kind", "channel").alias("channel"),
            F.hour("event_time").cast("string").alias("hour"),
            "country",
            (F.row_number().over(earlier) == 1).cast("string").alias("new device"),
        )
        .toPandas()
    )
    shares = pd.concat({column: labelled.groupby(column)["is_fraud"].mean() for column in labelled.columns[1:]})
    assert shares.max() < 0.3, shares[shares >= 0.3]
    new_device = labelled.loc[labelled["is_fraud"] == 1, "new device"].value_counts(normalize=True)
    assert new_device["false"] > 0.5


def test_errors_come_at_their_rates(spark: SparkSession) -> None:
    rows = spark.range(40_000).select(
        F.col("id").cast("string").alias("call_id"),
        F.lit(datetime(2026, 1, 1)).alias("known_time"),
        F.lit(True).alias("resolved"),
    )
    dirt = Dirt(late=0.1, corrected=0.05, duplicated=0.02, broken=0)
    arriving = with_delivery_errors(rows, ("call_id",), {"resolved": "NOT resolved"}, Draws(1), dirt)
    counts = arriving.agg(
        F.avg((F.col("copy") == 0).cast("int")).alias("first"),
        F.sum((F.col("copy") == 1).cast("int")).alias("corrected"),
        F.sum((F.col("copy") == 2).cast("int")).alias("duplicated"),
        F.sum(((F.col("copy") == 0) & (F.col("known_time") >= datetime(2026, 1, 2))).cast("int")).alias("late"),
    ).collect()[0]
    assert counts["corrected"] / 40_000 == pytest.approx(0.05, rel=0.1)
    assert counts["duplicated"] / 40_000 == pytest.approx(0.02, rel=0.15)
    assert counts["late"] / 40_000 == pytest.approx(0.1, rel=0.1)
    assert with_delivery_errors(rows, ("call_id",), {}, Draws(1), CLEAN).count() == 40_000


def test_the_sample_company_is_what_its_command_makes(spark: SparkSession, compiled: None, tmp_path: Path) -> None:
    """It is simulated again only where the code of the simulation differs from the one recorded in `made_by.json`."""
    record = json.loads((SAMPLE / "made_by.json").read_text())
    sample = _texts(SAMPLE)
    assert _digest(sample) == record["files"], "a file of the sample company was changed by hand"
    simulation = {file.name: _code(file) for file in sorted(SIMULATION.glob("*.py"))}
    if _digest(simulation) == record["simulation"]:
        return
    simulate(
        spark,
        customers=4_000,
        seed=2026,
        out=tmp_path,
        start=date(2025, 4, 1),
        transactions_per_month=2.5,
        format="csv.gz",
    )
    made = _texts(tmp_path)
    assert {name for name in {*made, *sample} if made.get(name) != sample.get(name)} == set()
    new = json.dumps({"simulation": _digest(simulation), "files": _digest(made)})
    pytest.fail(f"the changed simulation makes the same files: write {new} into sample_data/made_by.json")


def _code(file: Path) -> bytes:
    """The lines of a Python file without its docstrings and blank lines, the same under each version of Python."""
    text = file.read_text()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            for number in range(docstring.lineno - 1, docstring.end_lineno or docstring.lineno):
                lines[number] = ""
    return "\n".join(filter(str.strip, lines)).encode()


def _texts(folder: Path) -> dict[str, bytes]:
    """The content of each compressed file by its name."""
    files = sorted(folder.rglob("*.csv.gz"))
    return {str(file.relative_to(folder)): gzip.decompress(file.read_bytes()) for file in files}


def _digest(files: Mapping[str, bytes]) -> str:
    """A digest of names and contents, in order."""
    digest = hashlib.sha256()
    for name, text in files.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(text).digest())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"customers": 0}, "0 customers, want 1 to"),
        ({"start": date(2026, 9, 20)}, "too short"),
        ({"transactions_per_month": -1.0}, "transactions a month"),
        ({"format": "cvs"}, "no format 'cvs'; did you mean 'csv'"),
        ({"layout": "dayly"}, "did you mean 'daily'"),
    ],
)
def test_wrong_arguments_are_refused(
    spark: SparkSession, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        simulate(spark, **({"customers": 10, "seed": 1, "out": tmp_path / "none"} | arguments))
    assert not (tmp_path / "none").exists()
