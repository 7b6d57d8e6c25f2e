"""What tests share: one Spark session, in UTC wherever the tests run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from churn.session import session

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
