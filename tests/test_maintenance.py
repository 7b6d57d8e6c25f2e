"""What maintenance deletes, and that nothing else changes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pyspark.sql import SparkSession

from churn.config import Maintenance
from churn.maintenance import Maintained, maintain
from churn.storage import Lake

AS_OF, OLD, NEW = datetime(2026, 10, 1), datetime(2026, 8, 1), datetime(2026, 9, 30)
SETTINGS = Maintenance(feature_days=30, version_days=7)


def filled(spark: SparkSession, folder: Path) -> Lake:
    """Tables of which two days were written in two commits, and an old one before."""
    lake = Lake(spark, str(folder / "lake"))
    for name in ("features_fraud", "scores_fraud", "transactions"):
        for at, cell in ((OLD, 1), (NEW, 2), (NEW, 3)):
            rows = spark.createDataFrame([(at, cell)], "as_of timestamp, cell int").coalesce(1)
            lake.append(rows, name, writer=f"{name} {cell}", number=0, partition=["as_of"])
    return lake


def cells(lake: Lake, name: str) -> list[int]:
    return sorted(row["cell"] for row in lake.read(name).collect())


def test_old_features_go_and_all_else_stays_in_fewer_files(spark: SparkSession, tmp_path: Path) -> None:
    lake = filled(spark, tmp_path)
    assert list(maintain(lake, SETTINGS, AS_OF)) == [
        Maintained("features_fraud", files_before=3, files=1, deleted=1),
        Maintained("scores_fraud", files_before=3, files=2, deleted=0),
        Maintained("transactions", files_before=3, files=2, deleted=0),
    ]
    assert {name: cells(lake, name) for name in lake.names()} == {
        "features_fraud": [2, 3],
        "scores_fraud": [1, 2, 3],
        "transactions": [1, 2, 3],
    }


def test_scores_go_after_score_days(spark: SparkSession, tmp_path: Path) -> None:
    lake = filled(spark, tmp_path)
    deleted = {one.table: one.deleted for one in maintain(lake, Maintenance(score_days=30), AS_OF)}
    assert deleted == {"features_fraud": 0, "scores_fraud": 1, "transactions": 0}
    again = list(maintain(lake, Maintenance(score_days=30), AS_OF))
    assert [(one.deleted, one.files) for one in again] == [(0, 2), (0, 1), (0, 2)]
