"""How what becomes of a row travels through a stream, beside the rows themselves."""

from __future__ import annotations

from typing import Final

from pyspark.sql import types as T

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
