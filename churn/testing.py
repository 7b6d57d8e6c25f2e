"""Help for tests, of this library and of code that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def frame(spark: SparkSession, rows: Sequence[tuple[Any, ...]], schema: str, partitions: int = 3) -> DataFrame:
    """A frame of literal rows in several partitions, so that no test passes by the order of its rows.

    Text in a timestamp, date or decimal column is cast as in SQL: "2026-10-01 09:30" is in UTC.
    """
    wanted = spark.createDataFrame([], schema).schema
    as_text = [field.name for i, field in enumerate(wanted) if any(isinstance(row[i], str) for row in rows)]
    uncast = ", ".join(
        f"`{field.name}` {'string' if field.name in as_text else field.dataType.simpleString()}" for field in wanted
    )
    df = spark.createDataFrame(list(rows), uncast)
    cast = [F.col(f"`{field.name}`").cast(field.dataType).alias(field.name) for field in wanted]
    return df.repartition(partitions).select(cast)
