"""The raw rows of an input: its files found, their headers and types read, text kept as text. A module a format."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame, SparkSession

from churn.config import RawInput
from churn.errors import BadInputError, ChurnError
from churn.sources.readers.csv_files import read_csv
from churn.sources.readers.declared_types import with_types
from churn.sources.readers.files import existing_files
from churn.sources.readers.json_files import read_json
from churn.sources.readers.option_values import check_options
from churn.sources.readers.parquet_files import read_parquet
from churn.sources.spark_errors import first_line

_ADD_DRIVER = (
    'set "spark.jars" = "/path/to/driver.jar" under [spark], and driver = "its.class.Name" among the options; or mend'
    " url"
)
_ADD_FILE_SYSTEM = (
    'set "spark.jars" = "/path/to/jars of that file system" under [spark], such as hadoop-aws for s3a; or mend path'
)
_FILES = {"csv": read_csv, "json": read_json, "parquet": read_parquet}


def read(spark: SparkSession, source: RawInput) -> DataFrame:
    """The raw rows: text as text, with `UNPARSED` where a line of csv or json does not fit its header or syntax, or a
    value does not have its type under `types`, and `FILE` where they come from files.

    Raises BadInputError, or HoldError where rows are expected, for an input that is not there or cannot be read.
    """
    try:
        check_options(spark, source)
        return with_types(_FILES.get(source.format, _read_by_spark)(spark, source), source)
    except ChurnError:
        raise
    except Exception as error:  # Spark wraps what a driver or a codec throws in many types.
        reason = first_line(error)
        if "No suitable driver" in reason:
            reason += f"; {_ADD_DRIVER}"
        if re.search(r"ClassNotFoundException: Class org\.apache\.hadoop\.fs|No FileSystem for scheme", reason):
            reason += f"; {_ADD_FILE_SYSTEM}"
        raise BadInputError(f"{source.section()} cannot be read as {source.format}: {reason}") from error


def _read_by_spark(spark: SparkSession, source: RawInput) -> DataFrame:
    reader = spark.read.format(source.format).options(**source.options)
    if source.format == "jdbc":
        # A column without a zone is local time, as in a file; the driver would call it an instant.
        return reader.option("preferTimestampNTZ", source.options.get("preferTimestampNTZ", "true")).load()
    existing_files(spark, source)
    return reader.load(source.path)
