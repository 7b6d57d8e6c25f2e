"""Write a batch of every source to the lake: accepted rows, quarantined rows with their rules, and the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.config import Config, Source
from churn.errors import BadInputError, ChurnError, ConfigError, nearest
from churn.runtime.faults import damage_below
from churn.runtime.locks import locks
from churn.runtime.session import side_by_side, with_settings
from churn.sources.classification import (
    DUPLICATES,
    Batch,
    Cache,
    classify_batch,
    duplicates,
    map_batch,
    with_conflicts,
)
from churn.sources.doubts import doubts
from churn.sources.holds import Report, hold, refuse, report
from churn.sources.ledger import LEDGER, LedgerRow, balance, has_batch, ledger_frame
from churn.sources.mapping import RAW, RULES, bound
from churn.sources.spark_errors import unlogged
from churn.storage import Lake, literal

QUARANTINE: Final = "quarantine"
_UNCOMPRESSED: Final = {"spark.sql.inMemoryColumnarStorage.compressed": "false"}
"""A persisted batch is read three times: to choose an encoding for each column costs more than it saves."""
_AT_ONCE: Final = 4
"""How many small sources are worked on at a time: planning their queries takes one core, and longer than running them.
The jobs of large ones would wait for each other's tasks, until a broadcast times out."""


def validate(
    spark: SparkSession, config: Config, *, as_of: datetime | None = None, sources: Collection[str] | None = None
) -> list[Report]:
    """What a first ingest of each source would do; nothing is written."""
    chosen = _chosen(config, sources)
    with _naming_inputs(chosen), _cached(spark) as cache:
        batches = _classified(spark, None, config, chosen, batch="", as_of=as_of, cache=cache)
        notes = list(doubts(batches))
        return [
            replace(made, notes=(*made.notes, *(note for name, note in notes if name == made.row.source)))
            for made in map(report, batches)
        ]


def ingest(
    spark: SparkSession,
    lake: Lake,
    config: Config,
    *,
    batch: str,
    as_of: datetime | None = None,
    sources: Collection[str] | None = None,
) -> list[LedgerRow]:
    """Write a batch of each source to its accepted table, then the quarantine, then the ledger.

    A version is a row's content from a known time on; the accepted table holds them all. A row with the content of the
    version before it is a duplicate; one with other content is a correction and supersedes it. Rows that differ, with
    nothing to say which came later, are all quarantined. Where known time is not mapped, what a later batch corrects is
    known from that batch's as-of on.

    The same batch again replaces what it wrote, so a run that was killed is finished by running it again. A row that it
    brings no more is handed to the next batch that delivered it too, whose ledger counts it then. Raises
    HoldError or BadInputError before anything of any source is written.
    """
    if not batch:
        raise ConfigError("a batch needs a name; the day it was delivered is a good one")
    chosen = _chosen(config, sources)
    # What becomes of a row depends on those that are there, so batches of a source are written one after the other.
    names = [f"ingest {source.name}" for source in chosen]
    with locks(lake.root, names), _naming_inputs(chosen), _cached(spark) as cache:
        batches = _classified(spark, lake, config, chosen, batch=batch, as_of=as_of, cache=cache)
        # A hold first: rows that are still to come may change which share is broken.
        for check in (hold, refuse):
            for one in batches:
                check(one)
        _write(spark, lake, config, batches)
        return [one.row for one in batches]


def _classified(
    spark: SparkSession,
    lake: Lake | None,
    config: Config,
    sources: Sequence[Source],
    *,
    batch: str,
    as_of: datetime | None,
    cache: Cache,
) -> list[Batch]:
    made = [map_batch(spark, source, lake, batch=batch, as_of=as_of, cache=cache) for source in sources]
    with unlogged():  # around all: each restores what it finds, which another may have changed
        classify = partial(classify_batch, lake=lake, cache=cache)
        batches = side_by_side(spark, classify, made, at_once=_at_once(config))
    return [with_conflicts(spark, one, cache=cache) for one in batches]


def _at_once(config: Config) -> int:
    return _AT_ONCE if config.is_small else 1


def _chosen(config: Config, names: Collection[str] | None) -> list[Source]:
    known = {name: source for name, (_, source) in bound(config).items()}
    if not known:
        raise ConfigError(f"{config.path.name}: no sources; add one, such as [sources.transactions]")
    for name in names or ():
        if name not in known:
            raise ConfigError(f"{config.path.name}: no source {name!r}{nearest(name, known)}")
    return [source for name, source in known.items() if names is None or name in names]


@contextmanager
def _naming_inputs(sources: Sequence[Source]) -> Iterator[None]:
    """Raises BadInputError for a file of an input that turns out to be damaged when its rows are read."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, ChurnError) else error
        for one in (raw for source in sources for raw in (source, *source.inputs.values()) if raw.path):
            if cause is not None and (damage := damage_below(cause, one.place())):
                raise BadInputError(
                    f"{one.section()} cannot be read as {one.format}: {damage}; fetch the file again, or write it anew"
                ) from error
        raise


@contextmanager
def _cached(spark: SparkSession) -> Iterator[Cache]:
    """Persist frames, in memory or on disk, until the work that needs them is done."""
    frames: list[DataFrame] = []

    def cache(df: DataFrame) -> DataFrame:
        frames.append(df.persist())
        return df

    try:
        with with_settings(spark, _UNCOMPRESSED):
            yield cache
    finally:
        for df in frames:
            df.unpersist()


def _write(spark: SparkSession, lake: Lake, config: Config, batches: Sequence[Batch]) -> None:
    """The accepted rows, a commit a source; then duplicates and quarantined rows; then the ledger, which says it is
    done."""
    side_by_side(spark, partial(_write_accepted, lake), batches, at_once=_at_once(config))
    where = {"source": [one.row.source for one in batches], "batch": [batches[0].row.batch]}
    if any(one.row.duplicate for one in batches) or lake.exists(DUPLICATES):
        lake.replace(reduce(DataFrame.unionByName, map(duplicates, batches)), DUPLICATES, where)
    columns = (f"{literal(batches[0].row.batch)} AS batch", f"{RULES} AS rules", f"{RAW} AS raw")
    quarantined = [
        one.quarantined.selectExpr(f"{literal(one.row.source)} AS source", *columns)
        for one in batches
        if one.quarantined is not None
    ]
    lake.replace(reduce(DataFrame.unionByName, quarantined or [_no_rows(spark)]), QUARANTINE, where)
    is_again = has_batch(lake, where)
    lake.replace(ledger_frame(spark, [one.row for one in batches]), LEDGER, where, widen=True)
    if is_again and lake.exists(DUPLICATES):
        balance(lake, where["source"])


def _no_rows(spark: SparkSession) -> DataFrame:
    columns = {"source": "string", "batch": "string", "rules": "array<string>", "raw": "string"}
    return spark.range(0).selectExpr(*(f"cast(null AS {kind}) AS {name}" for name, kind in columns.items()))


def _write_accepted(lake: Lake, batch: Batch) -> None:
    contract, row = batch.mapped.contract, batch.row
    table = contract.name
    columns = [*contract.schema.names, "superseded_at"]
    accepted = batch.rows.where("_status = 'accepted'").selectExpr(*columns, f"{literal(row.batch)} AS batch")
    if not batch.updated_batches:
        lake.replace(accepted, table, {"batch": row.batch}, widen=True)
        return
    key = [*contract.key, "known_time", "batch"]
    is_updated = F.col("_updated_batch").isNotNull()
    updated = batch.rows.where(is_updated).select(*columns, F.col("_updated_batch").alias("batch"))
    written = contract.widened(lake.read(table)).where(F.col("batch") == row.batch)
    gone = written.join(accepted, on=key, how="left_anti").withColumn("_gone", F.lit(True))
    changes = accepted.unionByName(updated).withColumn("_gone", F.lit(False)).unionByName(gone)
    lake.merge(changes, table, key, widen=True, delete="_gone", within={"batch": [row.batch, *batch.updated_batches]})
