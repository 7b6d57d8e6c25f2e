"""Help for tests, of this library and of code that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def frame(spark: SparkSession, rows: Sequence[tuple[Any, ...]], schema: str, partitions: int = 3) -> DataFrame:
    """A frame of literal rows, dealt out over several partitions so that no test passes by an order it was given.

    Text goes into a timestamp, date or decimal column as SQL casts it: "2026-10-01 09:30" is in UTC.
    """
    wanted = spark.createDataFrame([], schema).schema
    texts = [field.name for i, field in enumerate(wanted) if any(isinstance(row[i], str) for row in rows)]
    loose = ", ".join(
        f"`{field.name}` {'string' if field.name in texts else field.dataType.simpleString()}" for field in wanted
    )
    made = spark.createDataFrame(list(rows), loose)
    cast = [F.col(f"`{field.name}`").cast(field.dataType).alias(field.name) for field in wanted]
    return made.repartition(partitions).select(cast)
