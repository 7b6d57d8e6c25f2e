"""Split a company's files into one per day of arrival: python -m churn.simulation.daily FROM TO FIRST_DAY END

Reads the csv.gz files of `churn simulate` in layout `single`, and their churn.toml; needs no Spark.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

ARRIVED = "loaded_at"


def by_day(company: Path, out: Path, *, start: date, end: date) -> None:
    """Write `calls/2026-03-01.csv` and so on for each source that churn.toml maps, and the churn.toml that reads them.

    The file of the first day has all rows that arrived before, and a day without rows has a file with a header.
    """
    config = (company / "churn.toml").read_text("utf-8")
    mapped = re.compile(r'^path = "(\w+)"$', re.MULTILINE)
    for source in mapped.findall(config):
        _split(company / source, out / source, start, end)
    (out / "churn.toml").write_text(mapped.sub(r'path = "\1/${day}.csv"\nlook_back = 3', config), "utf-8")


def _split(folder: Path, out: Path, start: date, end: date) -> None:
    days: dict[str, list[dict[str, str]]] = defaultdict(list)
    for part in sorted(folder.glob("*.csv.gz")):
        with gzip.open(part, "rt", encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            names = reader.fieldnames or []
            for row in reader:
                days[max(row[ARRIVED][:10], str(start))].append(row)
    out.mkdir(parents=True, exist_ok=True)
    for number in range((end - start).days):
        day = str(start + timedelta(days=number))
        with (out / f"{day}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(days[day])


if __name__ == "__main__":
    by_day(
        Path(sys.argv[1]), Path(sys.argv[2]), start=date.fromisoformat(sys.argv[3]), end=date.fromisoformat(sys.argv[4])
    )
