"""The checkpoint of a stream: it may go on only with the settings that its state was made for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyspark.sql import SparkSession

from churn.errors import BadInputError
from churn.storage import Lake


def is_new(lake: Lake, checkpoint: str) -> bool:
    """Whether no micro-batch has been committed yet."""
    return lake.is_empty(f"{checkpoint}/commits")


def check_settings(spark: SparkSession, checkpoint: str, settings: Mapping[str, Any]) -> None:
    """Records the settings of a new checkpoint. Raises BadInputError where one was made with other settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    beside = Lake(spark, f"{checkpoint}/churn")
    if not beside.exists("settings"):
        beside.replace(spark.createDataFrame([(text,)], "settings string"), "settings", {})
        return
    before = json.loads(beside.read("settings").collect()[0]["settings"])
    now = json.loads(text)
    if changed := sorted(name for name in now if now[name] != before.get(name)):
        raise BadInputError(
            f"the checkpoint {checkpoint} was made with other {', '.join(changed)}; name a new one in [stream] "
            "checkpoint: it begins from what is accepted in the lake"
        )
