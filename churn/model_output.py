"""What every model of this library gives for a row, whoever fitted it and wherever it scores."""

from __future__ import annotations

from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column
from pyspark.sql import functions as F


def probability() -> Column:
    """The probability of a 1, from a pipeline's output column `probability`."""
    return vector_to_array(F.col("probability"))[1]
