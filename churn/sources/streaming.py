"""Read a source as its rows arrive: new files of a folder, or messages of a Kafka topic, mapped like the others."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from churn.config import Config, Source
from churn.errors import ConfigError
from churn.sources.daily_files import of_batch
from churn.sources.mapping import Mapped, bound, mapped
from churn.sources.readers import UNPARSED, read

StreamPlace = Literal["files", "kafka"]
"""Where rows arrive: as new files of folders, or as messages of topics."""

_STREAMED: Final = ("csv", "json", "parquet", "delta")


def read_stream(spark: SparkSession, config: Config, name: str, place: StreamPlace) -> Mapped | None:
    """A source as a stream, mapped to its contract; None where it has no such place in its `stream` section.

    Its raw columns are those of the source's other files, at its own `path`. A row that is more than a day ahead of its
    micro-batch breaks the rule in_future: the time of a micro-batch is in the checkpoint, so a rerun gives the same.
    Raises ConfigError where the place cannot be read as a stream.
    """
    if name not in bound(config):
        return None
    source = config.sources[name]
    address = source.arrivals.path if place == "files" else source.arrivals.topic
    if address is None:
        return None
    schema = _raw_schema(spark, source)
    raw = _files(spark, config, source, address, schema) if place == "files" else _topic(spark, config, address, schema)
    return mapped(raw, source, latest="current_timestamp() + INTERVAL 1 DAY")


def _raw_schema(spark: SparkSession, source: Source) -> StructType:
    fields = [field for field in read(spark, of_batch(spark, source, None)).schema if field.name != UNPARSED]
    return StructType([*fields, StructField(UNPARSED, StringType())])


def _files(spark: SparkSession, config: Config, source: Source, folder: str, schema: StructType) -> DataFrame:
    if source.format not in _STREAMED:
        raise ConfigError(
            f"{source.section('stream')} path is set, but the format is {source.format!r}, which has no files that "
            f"arrive; want one of {', '.join(_STREAMED)}, or a topic"
        )
    if "://" not in folder and not Path(folder).is_dir():
        raise ConfigError(f"{source.section('stream')} path {folder} is no folder; make it, or name another")
    reader = spark.readStream.format(source.format).options(**source.options)
    reader = reader.option("maxFilesPerTrigger", config.stream.files)
    if source.format == "delta":
        return reader.load(folder)
    if source.format == "csv":
        # A header that is not the expected one fails the stream: its columns would fill the wrong places.
        reader = reader.options(
            header=source.options.get("header", "true"),
            mode="PERMISSIVE",
            columnPruning="false",
            enforceSchema="false",
        )
    if source.format == "json":
        reader = reader.option("primitivesAsString", "true")
    if source.format == "parquet":
        return reader.schema(StructType(schema.fields[:-1])).load(folder)
    return reader.option("columnNameOfCorruptRecord", UNPARSED).schema(schema).load(folder)


def _topic(spark: SparkSession, config: Config, topic: str, schema: StructType) -> DataFrame:
    """The messages of a topic, from its beginning; one that is no JSON object becomes an unparsed line."""
    if config.stream.servers is None:
        raise ConfigError(f'{config.path.name}: [stream] lacks servers; add servers = "host:9092" to read {topic!r}')
    messages = (
        spark.readStream.format("kafka")
        .options(**{"startingOffsets": "earliest", **config.stream.options})
        .option("kafka.bootstrap.servers", config.stream.servers)
        .option("subscribe", topic)
        .option("maxOffsetsPerTrigger", config.stream.rows)
        .load()
    )
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNPARSED}
    row = F.from_json(F.col("value").cast("string"), schema, options)
    return messages.select(row.alias("row")).select("row.*")
