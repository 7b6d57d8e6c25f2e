"""A company's files, one per day of arrival."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

from churn.simulation.daily import by_day


def test_rows_go_to_the_file_of_the_day_they_arrived(tmp_path: Path) -> None:
    (tmp_path / "all" / "calls").mkdir(parents=True)
    (tmp_path / "all" / "churn.toml").write_text('[sources.calls]\nformat = "csv"\npath = "calls"\nzone = "UTC"\n')
    with gzip.open(tmp_path / "all" / "calls" / "part-00000.csv.gz", "wt") as file:
        file.write("id,note,loaded_at\n")
        file.write('1,"known before, with a comma",2025-12-30 08:00:00\n')
        file.write("2,,2026-01-01 09:00:00\n")
        file.write("3,,2026-01-03 00:00:00\n")

    by_day(tmp_path / "all", tmp_path / "daily", start=date(2026, 1, 1), end=date(2026, 1, 4))

    assert {place.name: place.read_text() for place in (tmp_path / "daily" / "calls").iterdir()} == {
        "2026-01-01.csv": (
            'id,note,loaded_at\n1,"known before, with a comma",2025-12-30 08:00:00\n2,,2026-01-01 09:00:00\n'
        ),
        "2026-01-02.csv": "id,note,loaded_at\n",
        "2026-01-03.csv": "id,note,loaded_at\n3,,2026-01-03 00:00:00\n",
    }
    assert (tmp_path / "daily" / "churn.toml").read_text() == (
        '[sources.calls]\nformat = "csv"\npath = "calls/${day}.csv"\nlook_back = 3\nzone = "UTC"\n'
    )
