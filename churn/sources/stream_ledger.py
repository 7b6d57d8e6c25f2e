"""How what becomes of a row travels through a stream, beside the rows themselves."""

from __future__ import annotations

from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.sources.mapping import RAW, RULES

LEDGER_ROW: Final = "ledger"
"""The `row_of` of a row that only carries what became of another, in LEDGER_COLUMNS."""
LEDGER_COLUMNS: Final = T.StructType(
    [
        T.StructField("of_source", T.StringType()),
        T.StructField("row_status", T.StringType()),
        T.StructField("rules", T.ArrayType(T.StringType())),
        T.StructField("raw", T.StringType()),
    ]
)
"""The source of a row, its status (accepted, duplicate, quarantined), the rules it broke, and if it was quarantined the
row as it arrived."""


def with_ledger_rows(rows: DataFrame, source: str) -> DataFrame:
    """Rows of a source that is not deduplicated: each sound one as a row, and each as a row of the ledger."""
    is_sound = F.size(RULES) == 0
    row_of = F.when(is_sound, F.array(F.lit(source), F.lit(LEDGER_ROW))).otherwise(F.array(F.lit(LEDGER_ROW)))
    return rows.withColumn("row_of", F.explode(row_of)).withColumns(
        {
            "requested": F.lit(False),
            "retracted": F.lit(False),
            "superseded_at": F.lit(None).cast("timestamp"),
            "of_source": F.lit(source),
            "row_status": F.when(is_sound, "accepted").otherwise("quarantined"),
            "rules": F.col(RULES),
            "raw": F.col(RAW),
        }
    )
