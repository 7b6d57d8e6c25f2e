"""A source in a database: a real PostgreSQL, started on loopback for the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.errors import BadInputError
from churn.sources.ingest import ingest
from churn.storage import Lake
from tests.postgresql import missing, postgresql

TABLE = """
create table tx (id bigint, account text, made_at timestamptz, booked timestamp, cents bigint);
insert into tx values
  (1, 'ann', '2026-01-01 08:00:00+00', '2026-01-01 12:00:00', 950),
  (2, 'bob', '2026-07-01 08:00:00+02', '2026-07-01 12:00:00', 100),
  (3, null, '2026-07-01 08:00:00+02', '2026-07-01 12:00:00', 100);
"""


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    """The port of a database of ours that holds TABLE."""
    if why := missing():
        pytest.skip(why)
    with postgresql("shop") as running:
        running.sql(TABLE)
        yield running.port


@pytest.fixture
def configured(spark: SparkSession, tmp_path: Path, database: int) -> Callable[[str], Path]:
    """Write a configuration of a table of the database."""
    loader = spark.sparkContext._jvm.java.lang.Thread.currentThread().getContextClassLoader()  # type: ignore[union-attr]
    if loader.getResource("org/postgresql/Driver.class") is None:
        pytest.skip("no PostgreSQL driver among Spark's jars; add org.postgresql:postgresql")

    def write(table: str) -> Path:
        path = tmp_path / "churn.toml"
        path.write_text(
            f"""
            [sources.transactions]
            format = "jdbc"
            zone = "Europe/Berlin"
            [sources.transactions.options]
            url = "jdbc:postgresql://127.0.0.1:{database}/postgres"
            dbtable = "{table}"
            user = "shop"
            password = "secret"
            [sources.transactions.columns]
            transaction_id = "id"
            customer_id = "account"
            event_time = "made_at"
            known_time = "booked"
            kind = "'purchase'"
            amount = "cents / 100"
            """
        )
        return path

    return write


def test_rows_of_a_database_are_ingested(
    spark: SparkSession, tmp_path: Path, configured: Callable[[str], Path]
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))

    [row] = ingest(spark, lake, load(configured("tx")), batch="b")

    assert (row.rows_in, row.accepted, row.duplicate, row.rules) == (3, 2, 0, {"customer_id_missing": 1})
    columns = ("transaction_id", "customer_id", "event_time", "known_time", "amount")
    assert [tuple(one) for one in lake.read("transactions").select(*columns).orderBy("transaction_id").collect()] == [
        ("1", "ann", datetime(2026, 1, 1, 8), datetime(2026, 1, 1, 11), Decimal("9.5000")),
        ("2", "bob", datetime(2026, 7, 1, 6), datetime(2026, 7, 1, 10), Decimal("1.0000")),
    ]


def test_a_missing_table_is_one_line(spark: SparkSession, tmp_path: Path, configured: Callable[[str], Path]) -> None:
    with pytest.raises(BadInputError) as error:
        ingest(spark, Lake(spark, str(tmp_path / "lake")), load(configured("sales")), batch="b")
    assert "cannot be read as jdbc: " in str(error.value)
    assert 'relation "sales" does not exist' in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
