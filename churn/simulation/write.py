"""Files with fixed names and bytes: a row goes to the file of its arrival, and files are sorted."""

from __future__ import annotations

import shutil
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Final, Literal

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from churn.simulation.world import SECONDS_PER_DAY, World

Format = Literal["csv", "csv.gz", "parquet"]
Layout = Literal["single", "daily"]
ROWS_PER_FILE: Final = 500_000


def file_names(world: World, layout: Layout, rows: float) -> list[str]:
    """The names of a source's files, in order of time: one per day, or one per ROWS_PER_FILE expected rows."""
    if layout == "daily":
        return [str(world.start + timedelta(days=number)) for number in range(world.days)]
    return [f"part-{number:05d}" for number in range(max(1, ceil(rows / ROWS_PER_FILE)))]


def file_number(world: World, arrived: Column, files: int) -> Column:
    """The number of a row's file, by its time of arrival; rows from before the period are in the first file."""
    seconds = F.unix_seconds(arrived) - F.unix_seconds(world.time(F.lit(0.0)))
    return F.greatest(F.floor(seconds * files / (world.days * SECONDS_PER_DAY)), F.lit(0)).cast("int")


def write(df: DataFrame, folder: Path, names: list[str], number: Column, file_format: Format) -> int:
    """Write each row to the file with its `number` in `names`, sorted; replaces the folder. Returns how many rows.

    Rows are sorted by a column `arrived`, which is not written, then by all others, so that only equal rows tie. A file
    without rows has its header: a day without calls is not a missing day.
    """
    columns = [name for name in df.columns if name != "arrived"]
    observation = Observation()
    partitioned = df.observe(observation, F.count(F.lit(1)).alias("rows")).repartitionById(len(names), number)
    ordered = partitioned.sortWithinPartitions(*sorted(df.columns, key=lambda name: name != "arrived")).select(*columns)
    scratch = folder.with_name(f".{folder.name}.part")
    parts = _parts(ordered, scratch, file_format)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for partition, part in parts.items():
        part.replace(folder / f"{names[partition]}.{file_format}")
    if missing := [name for partition, name in enumerate(names) if partition not in parts]:
        (empty,) = _parts(ordered.limit(0), scratch, file_format).values()
        for name in missing:
            shutil.copyfile(empty, folder / f"{name}.{file_format}")
    shutil.rmtree(scratch)
    return int(observation.get["rows"])


def _parts(df: DataFrame, scratch: Path, file_format: Format) -> dict[int, Path]:
    """Write a frame, one file per partition, and return the files by partition number; empty ones may have none."""
    writer = df.write.mode("overwrite")
    if file_format == "parquet":
        writer.parquet(str(scratch))
    else:
        writer.csv(str(scratch), header=True, compression="gzip" if file_format == "csv.gz" else "none")
    return {int(part.name.split("-")[1]): part for part in scratch.glob("part-*")}
