"""Files with fixed names and fixed bytes: rows go to the file of their time, and are sorted inside it."""

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
ROWS_A_FILE: Final = 500_000


def file_names(world: World, layout: Layout, rows: float) -> list[str]:
    """The files of a source, in order of time: a day each, or as few as hold about so many rows."""
    if layout == "daily":
        return [str(world.start + timedelta(days=number)) for number in range(world.days)]
    return [f"part-{number:05d}" for number in range(max(1, ceil(rows / ROWS_A_FILE)))]


def place_in_time(world: World, arrived: Column, files: int) -> Column:
    """The number of the file for what arrives then; what came before the period is in the first."""
    seconds = F.unix_seconds(arrived) - F.unix_seconds(world.time(F.lit(0.0)))
    return F.greatest(F.floor(seconds * files / (world.days * SECONDS_PER_DAY)), F.lit(0)).cast("int")


def write(df: DataFrame, folder: Path, names: list[str], place: Column, form: Format) -> int:
    """Write each row to the file whose place in `names` it has, sorted, and say how many rows; replaces the folder.

    A column `arrived` sorts the rows first and is not written; the rest only break ties, so equal rows need no order.
    A file without rows still has its header: a day without calls is not a day that is missing.
    """
    columns = [name for name in df.columns if name != "arrived"]
    counted = Observation()
    placed = df.observe(counted, F.count(F.lit(1)).alias("rows")).repartitionById(len(names), place)
    ordered = placed.sortWithinPartitions(*sorted(df.columns, key=lambda name: name != "arrived")).select(*columns)
    scratch = folder.with_name(f".{folder.name}.part")
    parts = _parts(ordered, scratch, form)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, part in parts.items():
        part.replace(folder / f"{names[number]}.{form}")
    if missing := [name for number, name in enumerate(names) if number not in parts]:
        (empty,) = _parts(ordered.limit(0), scratch, form).values()
        for name in missing:
            shutil.copyfile(empty, folder / f"{name}.{form}")
    shutil.rmtree(scratch)
    return int(counted.get["rows"])


def _parts(df: DataFrame, scratch: Path, form: Format) -> dict[int, Path]:
    """Write the frame, one file a partition, and find the file of each by its number; partitions may have none."""
    writer = df.write.mode("overwrite")
    if form == "parquet":
        writer.parquet(str(scratch))
    else:
        writer.csv(str(scratch), header=True, compression="gzip" if form == "csv.gz" else "none")
    return {int(part.name.split("-")[1]): part for part in scratch.glob("part-*")}
