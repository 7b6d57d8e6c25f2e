"""Read a source as its rows arrive: new files of a folder, or messages of a Kafka topic, mapped like the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, StringType, StructField, StructType

from churn.config import Config, Source
from churn.errors import ConfigError
from churn.sources.daily_files import of_batch
from churn.sources.mapping import Mapped, bound, mapped, rates_of
from churn.sources.readers import read
from churn.sources.readers.csv_files import dialect
from churn.sources.readers.declared_types import declared_types, with_types
from churn.sources.readers.files import FILE, UNPARSED
from churn.sources.readers.json_documents import CONTENT
from churn.sources.readers.json_files import Keys, document_records, json_keys, json_rows, json_texts, text_records
from churn.sources.readers.option_values import check_options
from churn.sources.readers.partitions import is_folder, with_streamed_file_columns

StreamPlace = Literal["files", "kafka"]
"""Where rows arrive: as new files of folders, or as messages of topics."""

SCHEMA_FILES: Final = 50
"""From so many files, the last by their names, a stream learns its columns."""
_STREAMED: Final = ("csv", "json", "parquet", "delta")


def read_stream(spark: SparkSession, config: Config, name: str, place: StreamPlace) -> Mapped | None:
    """A source as a stream, mapped to its contract; None where it has no such place in its `stream` section.

    Its raw columns are those of the last SCHEMA_FILES of the source's other files, at its own `path`, however many
    there are, and those under `types`; a column that only earlier ones have is not in the stream.
    A row that is more than `ahead_minutes` ahead of its micro-batch breaks the rule in_future: the time of a
    micro-batch is in the checkpoint, so a rerun gives the same.
    The rates that convert amounts are those that were there when the stream started.
    Raises ConfigError where the place cannot be read as a stream.
    """
    if name not in bound(config):
        return None
    source = config.sources[name]
    address = source.arrivals.path if place == "files" else source.arrivals.topic
    if address is None:
        return None
    if source.format == "json":
        raw = _json(spark, config, source, address, place)
    elif place == "files":
        raw = _files(spark, config, source, address, _raw_schema(spark, source))
    else:
        raw = _topic(spark, config, source, address, _raw_schema(spark, source))
    ahead = config.stream.ahead // timedelta(microseconds=1)
    raw = with_types(raw, source)
    latest = f"timestamp_micros(unix_micros(current_timestamp()) + {ahead})"
    return mapped(raw, source, latest=latest, rates=rates_of(spark, source))


def _raw_schema(spark: SparkSession, source: Source) -> StructType:
    read_once = read(spark, replace(_last_files(spark, source), types={})).schema
    fields = [field for field in read_once if field.name not in (UNPARSED, FILE)]
    names = {field.name.lower() for field in fields}
    absent = [StructField(name, kind) for name, kind in declared_types(source).items() if name.lower() not in names]
    if source.format == "csv":
        absent = []  # the schema is the header
    return StructType([*fields, *absent, StructField(UNPARSED, StringType())])


def _last_files(spark: SparkSession, source: Source) -> Source:
    return replace(of_batch(spark, source, None), last_files=SCHEMA_FILES)


def _files(spark: SparkSession, config: Config, source: Source, folder: str, schema: StructType) -> DataFrame:
    if source.format not in _STREAMED:
        raise ConfigError(
            f"{source.section('stream')} path is set, but the format is {source.format!r}, which has no files that "
            f"arrive; want one of {', '.join(_STREAMED)}, or a topic"
        )
    _check_folder(source, folder)
    reader = spark.readStream.format(source.format).options(**source.options)
    reader = reader.option("maxFilesPerTrigger", config.stream.files)
    if source.format == "delta":
        return reader.load(folder)
    if source.format == "csv":
        # A header that is not the expected one fails the stream: its columns would fill the wrong places.
        reader = reader.options(**dialect(spark, source)).options(
            mode="PERMISSIVE",
            columnPruning="false",
            enforceSchema="false",
        )
    own = [field for field in schema if not is_folder(field)]
    if len(own) < len(schema):
        reader = reader.option("recursiveFileLookup", "true")  # or Spark would make numbers of the folders' values
    if source.format == "parquet":
        rows = reader.schema(StructType(own[:-1])).load(folder)
    else:
        rows = reader.option("columnNameOfCorruptRecord", UNPARSED).schema(StructType(own)).load(folder)
    return with_streamed_file_columns(rows, schema, folder)


def _check_folder(source: Source, folder: str) -> None:
    if "://" not in folder and not Path(folder).is_dir():
        raise ConfigError(f"{source.section('stream')} path {folder} is no folder; make it, or name another")


def _json(spark: SparkSession, config: Config, source: Source, address: str, place: StreamPlace) -> DataFrame:
    """The records of whole files or of messages, with the keys of the source's other files."""
    check_options(spark, source)
    texts = json_texts(spark, _last_files(spark, source))
    keys = replace(json_keys(spark, texts, source), may_repeat=True)
    if place == "kafka":
        messages = _messages(spark, config, address).selectExpr(f"cast(value AS string) AS {CONTENT}")
        return json_rows(text_records(messages, source), source, keys)
    _check_folder(source, address)
    reader = spark.readStream.format("text").options(wholetext="true", recursiveFileLookup="true")
    files = reader.option("maxFilesPerTrigger", config.stream.files).load(address).selectExpr(f"value AS {CONTENT}")
    documents = with_streamed_file_columns(files, texts.schema, address)
    return json_rows(document_records(documents, source), source, keys)


def _topic(spark: SparkSession, config: Config, source: Source, topic: str, schema: StructType) -> DataFrame:
    """The messages of a topic; one that is no JSON object becomes an unparsed line."""
    messages = _messages(spark, config, topic)
    own = schema.fields[:-1]
    if all(isinstance(field.dataType, StringType) for field in own):
        keys = Keys(StructType([StructField(field.name, BooleanType()) for field in own]))
        texts = text_records(messages.selectExpr(f"cast(value AS string) AS {CONTENT}"), source)
        return json_rows(texts, source, keys)
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNPARSED}
    row = F.from_json(F.col("value").cast("string"), schema, options)
    return messages.select(row.alias("row")).select("row.*")


def _messages(spark: SparkSession, config: Config, topic: str) -> DataFrame:
    """The messages of a topic, from its beginning."""
    if config.stream.servers is None:
        raise ConfigError(f'{config.path.name}: [stream] lacks servers; add servers = "host:9092" to read {topic!r}')
    return (
        spark.readStream.format("kafka")
        .options(**{"startingOffsets": "earliest", **config.stream.options})
        .option("kafka.bootstrap.servers", config.stream.servers)
        .option("subscribe", topic)
        .option("maxOffsetsPerTrigger", config.stream.rows)
        .load()
    )
