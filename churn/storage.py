"""Where tables live: Delta Lake under one root, local or on any Hadoop file system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError


class Lake:
    """Named Delta tables under `root`; every write is one commit, so a reader sees all of it or none."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = root.rstrip("/")

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @property
    def scratch(self) -> str:
        """A folder for what is soon removed again, which every node can reach."""
        return self.path("_scratch")

    def exists(self, name: str) -> bool:
        """Whether the table was ever written. Raises BadInputError if something else is in its place."""
        path = self.path(name)
        if DeltaTable.isDeltaTable(self.spark, path):
            return True
        # What a first write that was killed leaves is a folder of files without a log: not a table yet, and not a loss.
        files = [entry.getPath().getName() for entry in self._entries(path) if entry.isFile()]
        if any(not file.startswith(".") and not file.endswith(".parquet") for file in files):
            raise BadInputError(
                f"{path} is not a Delta table, but there are files; move them, or choose another [storage] root"
            )
        return False

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The table as it is, or as it was at a version."""
        if not self.exists(name):
            raise BadInputError(f"no table {name!r} at {self.path(name)}; write it first, or fix [storage] root")
        reader = self.spark.read.format("delta")
        if version is None:
            return reader.load(self.path(name))
        if not 0 <= version <= (latest := self.version(name) or 0):
            raise BadInputError(f"table {name!r} has versions 0 to {latest}, not {version}")
        return reader.option("versionAsOf", version).load(self.path(name))

    def version(self, name: str) -> int | None:
        """The newest version, null before the first write."""
        if not self.exists(name):
            return None
        log = java(self.spark, "org.apache.spark.sql.delta.DeltaLog")
        return int(log.forTableWithSnapshot(self.spark._jsparkSession, self.path(name))._2().version())

    def replace(self, df: DataFrame, name: str, where: Mapping[str, object], *, widen: bool = False) -> None:
        """Put `df` in the place of the rows whose columns have these values; an empty `where` is the whole table.

        A list means any of its values. Every row of `df` must have them. A new table is partitioned by the columns
        of `where`. `widen` adds columns of `df` that the table lacks, null in its other rows.
        """
        writer = df.write.format("delta").mode("overwrite").option("mergeSchema", str(widen).lower())
        if where:
            writer = writer.option("replaceWhere", " AND ".join(_among(*pair) for pair in where.items()))
        if not self.exists(name):
            writer = writer.partitionBy(*where)
        writer.save(self.path(name))

    def append(self, df: DataFrame, name: str, *, writer: str, number: int, partition: Sequence[str] = ()) -> None:
        """Add rows, once: the same or a lower `number` of the same `writer` adds nothing again. New columns are
        added to the table."""
        (
            df.write.format("delta")
            .mode("append")
            .option("txnAppId", writer)
            .option("txnVersion", number)
            .option("mergeSchema", "true")
            .partitionBy(*partition)
            .save(self.path(name))
        )

    def merge(
        self,
        df: DataFrame,
        name: str,
        key: Sequence[str],
        *,
        delete: str | None = None,
        within: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Update the rows that have the same key, insert the others.

        Rows whose flag `delete` is true remove their match instead. `within` says which values of partition columns
        are concerned; no other file is read. The key must be unique in `df` and never null.
        """
        flag = F.col(f"new.{delete}") if delete else F.lit(False)
        same = [f"old.`{column}` = new.`{column}`" for column in key]
        pruned = [f"old.{_among(column, values)}" for column, values in (within or {}).items()]
        columns: dict[str, str | Column] = {column: F.col(f"new.{column}") for column in df.columns if column != delete}
        (
            DeltaTable.forPath(self.spark, self.path(name))
            .alias("old")
            .merge(df.alias("new"), " AND ".join(pruned + same))
            .whenMatchedDelete(flag)
            .whenMatchedUpdate(~flag, columns)
            .whenNotMatchedInsert(~flag, columns)
            .execute()
        )

    def is_empty(self, path: str) -> bool:
        """Whether a folder, wherever it is, is not there or has no files."""
        return not any(entry.isFile() for entry in self._entries(path))

    def _entries(self, path: str) -> list[Any]:
        place = java(self.spark, "org.apache.hadoop.fs.Path")(path)
        files = place.getFileSystem(self.spark._jsparkSession.sessionState().newHadoopConf())
        return list(files.listStatus(place)) if files.exists(place) else []


def java(spark: SparkSession, name: str) -> Any:
    """A class of the JVM by its whole name. Part by part, Py4J would look for each package in every jar first."""
    return getattr(spark.sparkContext._jvm, name)


def _among(column: str, values: object) -> str:
    """The condition that a column has the value, or one of the values of a list."""
    several = values if isinstance(values, list | tuple) else [values]
    return f"`{column}` IN ({', '.join(map(literal, several))})"


def literal(value: object) -> str:
    """A value as a SQL literal; times are UTC."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, datetime):
        instant = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        return f"TIMESTAMP '{instant:%Y-%m-%d %H:%M:%S.%f}Z'"
    if isinstance(value, date):
        return f"DATE '{value}'"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    raise TypeError(f"cannot compare a column with {value!r}; want text, a whole number, a date or a time")
