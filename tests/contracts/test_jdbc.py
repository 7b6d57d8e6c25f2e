"""A source in a database: a real PostgreSQL, started on loopback for the test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import mkdtemp

import pytest
from pyspark.sql import SparkSession

from churn.config import load
from churn.contracts.ingest import ingest
from churn.errors import BadInputError
from churn.storage import Lake

TABLE = """
create table tx (id bigint, account text, made_at timestamptz, booked timestamp, cents bigint);
insert into tx values
  (1, 'ann', '2026-01-01 08:00:00+00', '2026-01-01 12:00:00', 950),
  (2, 'bob', '2026-07-01 08:00:00+02', '2026-07-01 12:00:00', 100),
  (3, null, '2026-07-01 08:00:00+02', '2026-07-01 12:00:00', 100);
"""


def unprivileged() -> list[str]:
    """A prefix that runs a command as somebody whom PostgreSQL lets run it: it refuses root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    """The port of a database of ours that holds TABLE."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql; on Debian: apt-get install postgresql")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv to become somebody else")
    # Not below pytest's own folder, which only its owner may enter.
    home = Path(mkdtemp(prefix="churn-postgresql-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(home, "nobody", "nogroup")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(program: str, *args: str, stdin: str | None = None) -> None:
        command = [*unprivileged(), str(programs / program), *args]
        environment = {**os.environ, "HOME": str(home)}
        subprocess.run(command, input=stdin, text=True, check=True, capture_output=True, cwd=home, env=environment)

    data, log = str(home / "data"), str(home / "log")
    settings = f"-p {port} -h 127.0.0.1 -k {home} -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "shop", "--auth=trust", "--encoding=UTF8", "--locale=C")
        run("pg_ctl", "-D", data, "-l", log, "-w", "-o", settings, "start")
        try:
            run("psql", "-h", "127.0.0.1", "-p", str(port), "-U", "shop", "postgres", stdin=TABLE)
            yield port
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home)


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


def test_a_table_that_is_not_there_is_said_in_one_line(
    spark: SparkSession, tmp_path: Path, configured: Callable[[str], Path]
) -> None:
    with pytest.raises(BadInputError) as error:
        ingest(spark, Lake(spark, str(tmp_path / "lake")), load(configured("sales")), batch="b")
    assert "cannot be read as jdbc: " in str(error.value)
    assert 'relation "sales" does not exist' in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
