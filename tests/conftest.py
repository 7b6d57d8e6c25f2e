"""What tests share: one Spark session, in UTC wherever the tests run, and one Kafka for those that ask."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from churn.errors import ChurnError
from churn.session import session
from tests.broker import broker, broker_jars

os.environ["TZ"] = "UTC"
time.tzset()


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One session for the whole run; a test must not stop it."""
    conf = {
        "spark.master": "local[2]",
        "spark.driver.memory": "3g",
        "spark.sql.shuffle.partitions": "3",
    }
    with session("tests", conf=conf, lean=True) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_jars() -> None:
    """Skip where a broker's jars are neither kept nor to be fetched."""
    try:
        broker_jars()
    except ChurnError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def kafka(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host:port of one broker for the whole run; a test takes topics of its own."""
    with broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address
