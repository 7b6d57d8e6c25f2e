"""Whether Spark can read the value of each option: its readers would say so only in the middle of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pyspark.sql import SparkSession

from churn.config import RawInput
from churn.errors import BadInputError
from churn.sources.spark_errors import SPARK_ERRORS, plain_line
from churn.storage import java_class

_OWN: Final = ("sep", "encoding")
"""Options that are read here before Spark reads them."""
_UNREADABLE: Final = ("For input string", "java.lang.NumberFormatException")
"""What Scala says of a text that is no number or no truth value."""


def check_options(spark: SparkSession, source: RawInput) -> None:
    """Raises BadInputError for options whose values Spark cannot read, such as `multiLine = 0`: one message for all."""
    make = _MAKERS.get(source.format)
    if make is None:
        return
    problems = [
        f"{name} = {value!r} cannot be read: {problem}"
        for name, value in source.options.items()
        if name not in _OWN and (problem := _problem(spark, make, name, value))
    ]
    if problems:
        raise BadInputError(f"{source.section('options')} {'; '.join(problems)}; correct it, or drop it")


def _problem(spark: SparkSession, make: Callable[[SparkSession, Any], Any], name: str, value: str) -> str | None:
    """What Spark says of one option; None = it can be read."""
    try:
        make(spark, java_class(spark, "org.apache.spark.api.python.PythonUtils").toScalaMap({name: value}))
    except SPARK_ERRORS as error:
        message = plain_line(error).rstrip(".")
        if not message.startswith(_UNREADABLE):
            return message
        takes_true = value != "true" and _problem(spark, make, name, "true") is None
        return "want true or false" if takes_true else "want a number"
    return None


def _csv(spark: SparkSession, options: Any) -> Any:
    return java_class(spark, "org.apache.spark.sql.catalyst.csv.CSVOptions")(options, False, "UTC")


def _json(spark: SparkSession, options: Any) -> Any:
    return java_class(spark, "org.apache.spark.sql.catalyst.json.JSONOptions")(options, "UTC", "_")


def _parquet(spark: SparkSession, options: Any) -> Any:
    conf = spark._jsparkSession.sessionState().conf()
    return java_class(spark, "org.apache.spark.sql.execution.datasources.parquet.ParquetOptions")(options, conf)


_MAKERS: Final[Mapping[str, Callable[[SparkSession, Any], Any]]] = {"csv": _csv, "json": _json, "parquet": _parquet}
