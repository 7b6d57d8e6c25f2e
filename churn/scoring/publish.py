"""Where alerts of a stream go beside their table: a folder of JSON files, or a topic of Kafka's."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.config import Stream
from churn.sources.streaming import StreamPlace


def publish(alerts: DataFrame, settings: Stream, place: StreamPlace, *, stream: str, micro_batch: int) -> None:
    """Alerts as JSON. A micro-batch that is tried again replaces its files; a topic may get its messages again, with
    the same key."""
    if place == "kafka" and settings.alerts_topic:
        (
            alerts.select(F.col("transaction_id").alias("key"), F.to_json(F.struct("*")).alias("value"))
            .write.format("kafka")
            .options(**settings.options)
            .option("kafka.bootstrap.servers", str(settings.servers))
            .option("topic", settings.alerts_topic)
            .save()
        )
        return
    folder = f"{settings.alerts}/stream={stream}/micro_batch={micro_batch}"
    alerts.write.mode("overwrite").json(folder)
