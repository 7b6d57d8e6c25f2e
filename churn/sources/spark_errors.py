"""What Spark throws, as one line for a user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger

SPARK_ERRORS: Final = (PySparkException, Py4JJavaError)
"""What a query that Spark cannot analyse or run raises."""
_IN_TASK: Final = re.compile(r"Lost task [^\n]*?\): (java\.(?:lang|time|util)\.(?:\w+\.)*(\w+Exception)(?:: [^\n]*)?)")


@contextmanager
def unlogged() -> Iterator[None]:
    """PySpark does not print the stack trace of an error, with the cells it names; it is explained in one line."""
    loggers = [PySparkLogger.getLogger(f"{kind}QueryContextLogger") for kind in ("SQL", "DataFrame")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was_disabled in zip(loggers, before, strict=True):
            logger.disabled = was_disabled


def failed_on_value(error: BaseException) -> str | None:
    """What Java raised on a value, such as a time outside its range, which Spark passes on; None = another error."""
    found = _IN_TASK.search(str(error))
    return found[1] if found else None


def first_line(error: BaseException) -> str:
    """The message of an error without the stack traces that Spark puts behind it."""
    java = getattr(error, "java_exception", None)
    text = str(error if java is None else java.getMessage() or "")
    if java is not None and " " not in text.strip():
        text = str(java.toString())  # with its class, as of a name of a host or a file alone
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def plain_line(error: BaseException) -> str:
    """The first line of an error without Spark's name of its condition, and without its SQLSTATE."""
    return first_line(error).split("] ", 1)[-1].split(" SQLSTATE")[0]
