"""Fixtures of all tests: a Spark session, in UTC wherever the tests run, and a Kafka broker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from churn.errors import ChurnError
from churn.runtime.session import session, with_settings
from tests.broker import broker, broker_jars

os.environ["TZ"] = "UTC"
time.tzset()
# A worker of pytest-xdist has no main file, and pyspark takes such a process for a doctest of its own.
sys.modules["__main__"].__dict__.setdefault("__file__", __file__)

WORKER_MIB = 6_000
"""The memory of each process of tests: a JVM with its Python workers, and the jobs that a test submits."""


@pytest.hookimpl(optionalhook=True)  # also without xdist
def pytest_xdist_auto_num_workers() -> int:
    """Two where there are the cores and the memory; two sessions keep all cores of a small machine busy."""
    mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return min(2, os.cpu_count() or 1, max(1, mib // WORKER_MIB))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One session for all tests of a process; a test must not stop it."""
    conf = {
        "spark.master": "local[2]",
        "spark.driver.memory": "4g",
        # Both compilers, as it lives long; the default collector marks all the time, a tenth of the JVM's CPU seconds.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=4 -XX:+UseParallelGC",
        # Nobody reads the plans and stages of earlier tests, and a thousand of each are much of the heap.
        "spark.sql.ui.retainedExecutions": "10",
        "spark.ui.retainedJobs": "50",
        "spark.ui.retainedStages": "50",
        # By default small data have one partition, which would hide a missing shuffle.
        "spark.sql.shuffle.partitions": "2",
        # For frames of ten rows code generation costs more than it saves; tests/jobs/test_chain.py tests with it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    with session("tests", conf=conf, lean=True) as running:
        yield running


@pytest.fixture(scope="module")
def compiled(spark: SparkSession) -> Iterator[None]:
    """Code generation, for a module with larger frames."""
    settings = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "FALLBACK"}
    with with_settings(spark, settings):
        yield


@pytest.fixture(scope="session")
def kafka_jars() -> None:
    """Skip where the jars of a broker are neither installed nor can be downloaded."""
    try:
        broker_jars()
    except ChurnError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def kafka(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host:port of one broker for the whole run; each test uses topics of its own."""
    with broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address
