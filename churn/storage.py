"""Delta Lake tables under one root, local or on any Hadoop file system."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar, cast
from uuid import uuid4

from delta.exceptions import DeltaConcurrentModificationException
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

from churn.errors import BadInputError, ChurnError, DamageError
from churn.runtime.faults import explained
from churn.runtime.locks import local_path, lock

T = TypeVar("T")

COMMIT = re.compile(r"\d{20}\.json")
"""The name of a file of a log that makes a version."""
_CHECKPOINT = re.compile(r"(?P<version>\d{20})\.checkpoint(\.\d{10}\.(?P<parts>\d{10}))?\.parquet")
_COMPUTED: dict[tuple[str, str, int, Callable[[DataFrame], Any]], Any] = {}
"""By the path and the id of a table, its version, and a function of its rows: the result."""


@dataclass(frozen=True)
class Snapshot:
    """A table at one version: `frame` reads that version, whatever is written while it is in use."""

    table: str
    path: str
    version: int
    frame: DataFrame
    id: str
    """Delta's own id of the table."""

    def once(self, of: Callable[[DataFrame], T]) -> T:
        """The result of a function of the rows, computed once in this process.

        It is cached by the function itself, so give one of a module: a lambda is another one each time.
        """
        key = (self.path, self.id, self.version, of)
        if key not in _COMPUTED:
            _COMPUTED[key] = of(self.frame)
        return cast("T", _COMPUTED[key])


class Lake:
    """Named Delta tables under `root`; every write is one commit, so a reader sees all of it or none."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = root.rstrip("/")

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @property
    def scratch(self) -> str:
        """A folder for temporary files, which every node can reach."""
        return self.path("_scratch")

    @contextmanager
    def temporary(self) -> Iterator[Lake]:
        """A lake of its own in the scratch folder, removed at the end, so that no table of this one changes."""
        lake = Lake(self.spark, f"{self.scratch}/lake-{uuid4().hex}")
        try:
            yield lake
        finally:
            folder, file_system = self._file_system(lake.root)
            file_system.delete(folder, True)

    def exists(self, name: str) -> bool:
        """Whether the table has been written. Raises BadInputError where its folder holds other files, DamageError
        where a commit that its newest version is read from is empty, which Delta would read as one that changed
        nothing."""
        path = self.path(name)
        if empty := self.empty_commits(name):
            raise DamageError(
                f"table {name!r}: version {empty[0]} is empty ({commit_file(path, empty[0])}): bring it back from a "
                f"backup, or go back to the version before with `churn repair {name}`; then run again what came since"
            )
        with self._naming(name):
            if DeltaTable.isDeltaTable(self.spark, path):
                return True
            if self._entries(f"{path}/_delta_log"):  # Delta has kept that the log was empty, during the first commit
                folder, _ = self._file_system(path)
                log = java_class(self.spark, "org.apache.spark.sql.delta.DeltaLog")
                log.invalidateCache(self.spark._jsparkSession, folder)
                if DeltaTable.isDeltaTable(self.spark, path):
                    return True
        # A first write that was killed leaves data files without a log: no table yet, and nothing to lose.
        files = [entry.getPath().getName() for entry in self._entries(path) if entry.isFile()]
        if any(not file.startswith(".") and not file.endswith(".parquet") for file in files):
            raise BadInputError(
                f"{path} is not a Delta table, but there are files; move them, or choose another [storage] root"
            )
        return False

    def snapshot(self, name: str, version: int | None = None) -> Snapshot:
        """The table pinned at its newest or at an older version. Raises BadInputError where there is none, DamageError
        where a commit that it is read from is empty."""
        if not self.exists(name):
            raise BadInputError(f"no table {name!r} at {self.path(name)}; write it first, or fix [storage] root")
        newest = self._newest(name)
        latest = int(newest.version())
        pinned = latest if version is None else version
        if not 0 <= pinned <= latest:
            raise BadInputError(f"table {name!r} has versions 0 to {latest}, not {version}")
        if empty := self.empty_commits(name, pinned):
            raise DamageError(
                f"table {name!r}: version {pinned} is read from version {empty[0]}, which is empty "
                f"({commit_file(self.path(name), empty[0])}): bring it back from a backup, or read a newer version"
            )
        reader = self.spark.read.format("delta").option("versionAsOf", pinned)
        with self._naming(name):
            return Snapshot(name, self.path(name), pinned, reader.load(self.path(name)), str(newest.metadata().id()))

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The table at its newest version of now, or at an older one, whatever is written while the frame is in use.

        Raises BadInputError where there is none.
        """
        return self.snapshot(name, version).frame

    def version(self, name: str) -> int | None:
        """The newest version; None before the first write."""
        return int(self._newest(name).version()) if self.exists(name) else None

    def _newest(self, name: str) -> Any:
        """Delta's own newest snapshot of a table that exists."""
        log = java_class(self.spark, "org.apache.spark.sql.delta.DeltaLog")
        with self._naming(name):
            return log.forTableWithSnapshot(self.spark._jsparkSession, self.path(name))._2()

    def replace(
        self,
        df: DataFrame,
        name: str,
        where: Mapping[str, object],
        *,
        partition: Sequence[str] | None = None,
        widen: bool = False,
    ) -> None:
        """Replace the rows whose columns have these values by `df`, all rows where `where` is empty.

        A list means any of its values. Every row of `df` must have them. A new table is partitioned by the columns
        of `where`, or by those of `partition`. `widen` adds the columns of `df` that the table lacks; they are null in
        its other rows.
        """
        writer = df.write.format("delta").mode("overwrite").option("mergeSchema", str(widen).lower())
        if where:
            writer = writer.option("replaceWhere", " AND ".join(_is_in(*pair) for pair in where.items()))
        with self._committing(name):
            if not self.exists(name):
                writer = writer.partitionBy(*(where if partition is None else partition))
            writer.save(self.path(name))

    def append(self, df: DataFrame, name: str, *, writer: str, number: int, partition: Sequence[str] = ()) -> None:
        """Append rows once: does nothing where `writer` has appended with this `number` or a higher one. New columns
        are added to the table."""
        once = df.write.format("delta").mode("append").option("txnAppId", writer).option("txnVersion", number)
        with self._committing(name):
            once.option("mergeSchema", "true").partitionBy(*partition).save(self.path(name))

    def merge(
        self,
        df: DataFrame,
        name: str,
        key: Sequence[str],
        *,
        widen: bool = False,
        delete: str | None = None,
        within: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Update the rows with the same key, and insert the other rows of `df`.

        A row whose column `delete` is true deletes the row with its key instead. `within` restricts the merge to values
        of partition columns; other files are not read. The key must be unique in `df` and never null. `widen` adds
        columns as in `replace`.
        """
        flag = F.col(f"new.{delete}") if delete else F.lit(False)
        same_key = [f"old.`{column}` = new.`{column}`" for column in key]
        pruned = [f"old.{_is_in(column, values)}" for column, values in (within or {}).items()]
        columns: dict[str, str | Column] = {column: F.col(f"new.{column}") for column in df.columns if column != delete}
        with self._committing(name):
            table = DeltaTable.forPath(self.spark, self.path(name)).alias("old")
            merge = table.merge(df.alias("new"), " AND ".join(pruned + same_key))
            (
                (merge.withSchemaEvolution() if widen else merge)
                .whenMatchedDelete(flag)
                .whenMatchedUpdate(~flag, columns)
                .whenNotMatchedInsert(~flag, columns)
                .execute()
            )

    @contextmanager
    def _committing(self, name: str) -> Iterator[None]:
        """Inside, no other job of this machine commits to the table: on a local disk two can make one version and both
        take it for theirs. Raises ChurnError where a job elsewhere was faster."""
        with lock(self.root, f"commit {name}"):
            try:
                with self._naming(name):
                    yield
            except DeltaConcurrentModificationException as error:
                raise ChurnError(
                    f"another job wrote {self.path(name)} at the same time, and this one lost; run it again"
                ) from error

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Raises DamageError with the table's name for an error inside that says that it, or its place, is damaged."""
        try:
            yield
        except DeltaConcurrentModificationException:
            raise
        except Exception as error:
            if isinstance(found := explained(error), DamageError):
                message = str(found).replace("churn repair TABLE", f"churn repair {name}")
                raise DamageError(f"table {name!r} at {self.path(name)}: {message}") from error
            raise

    def names(self) -> list[str]:
        """The tables there are."""
        entries = [entry.getPath().getName() for entry in self._entries(self.root) if entry.isDirectory()]
        return sorted(name for name in entries if not name.startswith(("_", ".")) and self.exists(name))

    def delete(self, name: str, condition: str) -> None:
        """Delete the rows for which a SQL condition is true."""
        with self._committing(name):
            DeltaTable.forPath(self.spark, self.path(name)).delete(condition)

    def compact(self, name: str) -> None:
        """Rewrite small files of a partition as few large ones; readers see the same rows."""
        with self._committing(name):
            DeltaTable.forPath(self.spark, self.path(name)).optimize().executeCompaction()

    def forget_versions(self, name: str, days: int) -> None:
        """Remove the files that only versions older than some days of the clock read."""
        DeltaTable.forPath(self.spark, self.path(name)).vacuum(24 * days)

    def is_empty(self, path: str) -> bool:
        """Whether a folder, which may be outside the lake, is missing or has no files."""
        return not any(entry.isFile() for entry in self._entries(path))

    def empty_commits(self, name: str, version: int | None = None) -> list[int]:
        """The versions of a table on a local disk whose file in the log has no bytes, as after a power cut, and that a
        reader of a version, None = the newest, reads: those after the newest checkpoint up to it."""
        log = local_path(self.path(name))
        if log is None or not (log / "_delta_log").is_dir():
            return []
        with os.scandir(log / "_delta_log") as entries:
            empty = {entry.name: not entry.stat().st_size for entry in entries}
        last = sys.maxsize if version is None else version
        first = max((at for at in checkpoints(empty) if at <= last), default=-1)
        commits = sorted(int(file[:20]) for file, is_empty in empty.items() if is_empty and COMMIT.fullmatch(file))
        return [commit for commit in commits if first < commit <= last]

    def _entries(self, path: str) -> list[Any]:
        folder, file_system = self._file_system(path)
        return list(file_system.listStatus(folder)) if file_system.exists(folder) else []

    def _file_system(self, path: str) -> tuple[Any, Any]:
        """A Hadoop path, and the file system it is on."""
        folder = java_class(self.spark, "org.apache.hadoop.fs.Path")(path)
        return folder, folder.getFileSystem(self.spark._jsparkSession.sessionState().newHadoopConf())


def commit_file(path: str, version: int) -> str:
    """The file of a table's log that makes a version."""
    return f"{path}/_delta_log/{version:020}.json"


def checkpoints(files: Iterable[str]) -> dict[int, list[str]]:
    """By its version, each checkpoint of a log of which every part is among the names of these files."""
    found = defaultdict[tuple[int, int], list[str]](list)
    for file in sorted(files):
        if match := _CHECKPOINT.fullmatch(file):
            found[int(match["version"]), int(match["parts"] or 1)].append(file)
    return {version: names for (version, parts), names in found.items() if len(names) == parts}


def java_class(spark: SparkSession, name: str) -> Any:
    """A class of the JVM by its full name. Attribute by attribute, Py4J looks for each package in every jar first."""
    return getattr(spark.sparkContext._jvm, name)


def _is_in(column: str, values: object) -> str:
    """A SQL condition: the column has the value, or one of the values of a list."""
    listed = values if isinstance(values, list | tuple) else [values]
    return f"`{column}` IN ({', '.join(map(literal, listed))})"


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return f"`{name.replace('`', '``')}`"


def sql_type(kind: DataType) -> str:
    """A type as SQL, whatever the names of its fields."""
    if isinstance(kind, StructType):
        return f"struct<{', '.join(f'{quoted(field.name)}: {sql_type(field.dataType)}' for field in kind)}>"
    if isinstance(kind, ArrayType):
        return f"array<{sql_type(kind.elementType)}>"
    if isinstance(kind, MapType):
        return f"map<{sql_type(kind.keyType)}, {sql_type(kind.valueType)}>"
    return kind.simpleString()


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
