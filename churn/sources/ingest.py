"""Bring a batch of every source into the lake: each row is accepted, a duplicate, or quarantined with its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime, timedelta
from functools import reduce
from typing import Final

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from churn.config import Config, Source
from churn.errors import BadInputError, ChurnError, ConfigError, HoldError, nearest
from churn.sources.contract import Contract
from churn.sources.mapping import (
    RAW,
    RULES,
    Mapped,
    bound,
    first_line,
    map_source,
    newest_rows,
    of_batch,
    unlogged,
    utc,
)
from churn.storage import Lake, literal

CONFLICT: Final = "conflicting_id"
LEDGER: Final = "ledger"
QUARANTINE: Final = "quarantine"

_LEDGER = {
    "source": "string",
    "batch": "string",
    "as_of": "timestamp",
    "rows_in": "bigint",
    "accepted": "bigint",
    "duplicate": "bigint",
    "quarantined": "bigint",
    "rules": "map<string,bigint>",
    "first_event": "timestamp",
    "last_event": "timestamp",
}
_SLOT = "_slot"
_EXAMPLES = 3
_TOP_RULES = 3


@dataclass(frozen=True)
class LedgerRow:
    """What became of the rows of one source in one batch; `rows_in` is the sum of the other three.

    `rules` counts the quarantined rows by rule; one that breaks two rules is in both. `first_event` and `last_event`
    span the rows that were not quarantined.
    """

    source: str
    batch: str
    as_of: datetime | None
    rows_in: int
    accepted: int
    duplicate: int
    quarantined: int
    rules: Mapping[str, int]
    first_event: datetime | None
    last_event: datetime | None


@dataclass(frozen=True)
class Report:
    """What a first ingest would make of a source: `examples` are up to three raw rows of each rule that was broken.

    `problem` is why ingest would hold or refuse the batch; null = it would not.
    """

    row: LedgerRow
    examples: Mapping[str, tuple[str, ...]]
    problem: str | None


@dataclass(frozen=True)
class _Batch:
    """One source of a batch, judged but not yet written."""

    mapped: Mapped
    judged: DataFrame
    """Every sound row with what becomes of it, and the rows of other batches that stand beside one."""
    quarantined: DataFrame | None
    """The raw rows that are not accepted, with the rules they broke; null = there are none."""
    row: LedgerRow
    declared: int
    """Quarantined rows that the owner's own `reject` rules name."""
    came: int
    """The rows that are held against those expected: of a source that comes daily, those of the last day."""
    missing_days: tuple[date, ...]
    touched: tuple[str, ...]
    """Other batches with a version that one of this batch supersedes, or no longer does."""


def validate(
    spark: SparkSession, config: Config, *, as_of: datetime | None = None, sources: Collection[str] | None = None
) -> list[Report]:
    """What a first ingest of each source would do; nothing is written."""
    reports = []
    for source in _chosen(config, sources):
        with _kept() as keep:
            batch = _judge(spark, source, None, batch="", as_of=as_of, keep=keep)
            reports.append(Report(batch.row, _examples(batch), _problem(batch)))
    return reports


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

    A version is a row's content from a known time on; the accepted table holds them all. A row that says what the
    version before it says is a duplicate; one that says something else is a correction and supersedes it. Rows that
    differ, with nothing to say which came later, are all quarantined. Where known time is not told, what a later batch
    corrects is known from that batch's as-of on.

    The same batch again replaces what it wrote, so a run that was killed is finished by running it again. Raises
    HoldError or BadInputError before anything of any source is written.
    """
    if not batch:
        raise ConfigError("a batch needs a name; the day it was delivered is a good one")
    with _kept() as keep:
        batches = [
            _judge(spark, source, lake, batch=batch, as_of=as_of, keep=keep) for source in _chosen(config, sources)
        ]
        # A hold first: rows that are still to come may change which share is broken.
        for refuse in (_hold, _refuse):
            for one in batches:
                refuse(one)
        _write(spark, lake, batches)
        return [one.row for one in batches]


def _chosen(config: Config, names: Collection[str] | None) -> list[Source]:
    known = {name: source for name, (_, source) in bound(config).items()}
    if not known:
        raise ConfigError(f"{config.path.name}: no sources; add one, such as [sources.transactions]")
    for name in names or ():
        if name not in known:
            raise ConfigError(f"{config.path.name}: no source {name!r}{nearest(name, known)}")
    return [source for name, source in known.items() if names is None or name in names]


@contextmanager
def _kept() -> Iterator[Callable[[DataFrame], DataFrame]]:
    """Keep frames, in memory or on disk, until the work that needs them is done."""
    frames: list[DataFrame] = []

    def keep(df: DataFrame) -> DataFrame:
        frames.append(df.persist())
        return df

    try:
        yield keep
    finally:
        for df in frames:
            df.unpersist()


# --- judging ----------------------------------------------------------------------------------------------------------


def versions(
    incoming: DataFrame, others: DataFrame | None, contract: Contract, *, known_is_told: bool, as_of: datetime | None
) -> DataFrame:
    """Judge rows of one batch beside each other and beside the versions of their keys that other batches brought.

    Adds `_status` (accepted, duplicate, quarantined; null for the others' rows), `_rules`, `superseded_at`, and
    `_touched`: the batch of another's row whose `superseded_at` changes.
    """
    content = [name for name in contract.schema.names if name != "known_time"]
    # A hash passes over nulls; with which are null beside it, a value that moves to another column is a change.
    says = f"xxhash64({', '.join([*content, *(f'{name} IS NULL' for name in content)])}) AS _says"
    rows = _side_by_side(incoming, others).selectExpr("*", says)
    by = f"PARTITION BY {', '.join(contract.key)}"
    if others is not None and not known_is_told and as_of is not None:
        moment = literal(utc(as_of))
        is_later = f"max(NOT _mine AND known_time < {moment}) OVER ({by})"
        known = f"if(_mine AND {is_later}, greatest(event_time, {moment}), known_time) AS known_time"
        rows = rows.selectExpr(*(name for name in rows.columns if name != "known_time"), known)

    # All windows ask for one order, so rows are sorted once.
    every = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
    of_moment = f"OVER ({by}, known_time ORDER BY _mine {every})"
    differs = f"min(_says) {of_moment} != max(_says) {of_moment}"
    in_order = f"{by} ORDER BY known_time, _mine"
    if not known_is_told:
        # Nothing orders two rows of one batch, and without an as-of not even two batches.
        rivals = "_says" if as_of is None else "if(_mine, _says, null)"
        of_key = f"OVER ({in_order} {every})"
        differs = f"({differs} OR coalesce(min({rivals}) {of_key} != max({rivals}) {of_key}, false))"
    rows = rows.selectExpr("*", f"_mine AND {differs} AS _conflict")

    before = f"OVER ({in_order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    said_before = f"last_value(if(_conflict, null, _says)) IGNORE NULLS {before}"
    rows = rows.selectExpr(
        "*",
        "CASE WHEN _conflict THEN 'quarantined'"
        f" WHEN _mine AND coalesce({said_before} = _says, false) THEN 'duplicate' WHEN _mine THEN 'accepted' END"
        " AS _status",
    )
    rows = rows.selectExpr("*", "if(NOT _mine OR _status = 'accepted', known_time, null) AS _stays")
    following = f"lead(_stays) IGNORE NULLS OVER ({in_order})"
    rows = rows.selectExpr("*", f"if(_stays IS NOT NULL, {following}, null) AS superseded_at")
    return rows.selectExpr(
        *contract.schema.names,
        "superseded_at",
        "_status",
        f"cast(if(_conflict, array('{CONFLICT}'), array()) AS array<string>) AS {RULES}",
        "if(NOT _mine AND NOT superseded_at <=> _was_superseded_at, _batch, null) AS _touched",
    )


def _side_by_side(incoming: DataFrame, others: DataFrame | None) -> DataFrame:
    none = ("cast(null AS timestamp) AS _was_superseded_at", "cast(null AS string) AS _batch")
    mine = incoming.selectExpr("*", *none, "true AS _mine")
    if others is None:
        return mine
    renamed = others.withColumnsRenamed({"superseded_at": "_was_superseded_at", "batch": "_batch"})
    return mine.unionByName(renamed.selectExpr("*", "false AS _mine"))


@dataclass(frozen=True)
class _Rows:
    """The rows of a source, and of them those that do not stand alone."""

    all: DataFrame
    """With `_slot`, a hash of the key; null where a rule is broken."""
    counts: list[Row]
    """By `_rules`: how many rows, and the first and last event time; under null those that share a slot."""
    slots: DataFrame | None
    """The slots that more than one row has, here or in another batch; null = none."""
    others: DataFrame | None
    """The rows of other batches that stand beside one."""


def _read(lake: Lake | None, mapped: Mapped, *, batch: str, keep: Callable[[DataFrame], DataFrame]) -> _Rows:
    """Read once: the frame serves the search, the counts and every write.

    Nearly all rows share their key with no other and are sorted where they lie: only hashes of keys are shuffled to
    find the rest, and only the rest is.
    """
    slot = f"xxhash64({', '.join(mapped.contract.key)})"
    rows = keep(mapped.rows.selectExpr("*", f"if(size({RULES}) = 0, {slot}, null) AS {_SLOT}"))
    counted = keep(
        rows.groupingSets([[F.col(_SLOT)], [F.col(RULES)]], _SLOT, RULES)
        .agg(F.expr("count(*) AS n"), F.expr("min(event_time) AS first"), F.expr("max(event_time) AS last"))
        .where(f"{RULES} IS NOT NULL OR (n > 1 AND {_SLOT} IS NOT NULL)")
    )
    # Counted first, so that how to join is chosen by its size, and no broadcast times out over reading the source.
    counts = (
        counted.groupBy(RULES)
        .agg(F.expr("sum(n) AS n"), F.expr("min(first) AS first"), F.expr("max(last) AS last"))
        .collect()
    )
    crowded = counted.where(f"{RULES} IS NULL").select(_SLOT)
    if lake is not None and _has_others(lake, mapped.contract, batch):
        table = lake.read(mapped.contract.name).selectExpr("*", f"{slot} AS {_SLOT}")
        concerned = rows.select(_SLOT).unionByName(table.where(F.col("batch") == batch).select(_SLOT))
        others = keep(table.where(F.col("batch") != batch).join(concerned, on=_SLOT, how="left_semi"))
        crowded = keep(crowded.unionByName(others.select(_SLOT)).distinct())
        return _Rows(rows, counts, crowded if crowded.count() else None, others.drop(_SLOT))
    return _Rows(rows, counts, crowded if any(one[RULES] is None for one in counts) else None, None)


def _judged(
    rows: _Rows, mapped: Mapped, *, as_of: datetime | None, keep: Callable[[DataFrame], DataFrame]
) -> tuple[DataFrame, DataFrame | None]:
    """Every sound row with what becomes of it and the rows of other batches beside one; those not alone once more."""
    contract = mapped.contract
    sound = rows.all.where(f"{_SLOT} IS NOT NULL")
    alone = [
        *contract.schema.names,
        "cast(null AS timestamp) AS superseded_at",
        "'accepted' AS _status",
        RULES,
        "cast(null AS string) AS _touched",
    ]
    if rows.slots is None:
        return sound.selectExpr(*alone), None
    together = sound.join(rows.slots, on=_SLOT, how="left_semi").select(*contract.schema.names)
    sorted_out = keep(versions(together, rows.others, contract, known_is_told=mapped.known_is_told, as_of=as_of))
    return sound.join(rows.slots, on=_SLOT, how="left_anti").selectExpr(*alone).unionByName(sorted_out), sorted_out


def _has_others(lake: Lake, contract: Contract, batch: str) -> bool:
    if not lake.exists(contract.name):
        return False
    return not contract.check(lake.read(contract.name)).where(F.col("batch") != batch).isEmpty()


def _judge(
    spark: SparkSession,
    source: Source,
    lake: Lake | None,
    *,
    batch: str,
    as_of: datetime | None,
    keep: Callable[[DataFrame], DataFrame],
) -> _Batch:
    if source.expect.days and as_of is None and lake is not None:
        raise ConfigError(f"{source.section('expect')} days counts back from an as-of; give one, or drop days")
    if source.is_daily and as_of is None and lake is not None:
        raise ConfigError(f"{source.section()} comes daily, so a batch of it needs an as-of")
    first = source.is_daily and as_of is not None and _is_first(lake, source, as_of)
    mapped = map_source(spark, of_batch(spark, source, as_of, first=first), as_of=as_of)
    with _explained(source):
        rows = _read(lake, mapped, batch=batch, keep=keep)
        judged, sorted_out = _judged(rows, mapped, as_of=as_of, keep=keep)
        fates = _fates(sorted_out)
        row = _ledger_row(source, batch, as_of, rows.counts, fates)
        if CONFLICT in row.rules:  # rows in conflict do not count for the first and the last event
            usable = judged.where("_status IN ('accepted', 'duplicate')")
            first, last = usable.selectExpr("min(event_time)", "max(event_time)").collect()[0]
            row = replace(row, first_event=_utc(first), last_event=_utc(last))
        return _Batch(
            mapped=mapped,
            judged=judged,
            quarantined=_quarantined(spark, mapped, rows.all, sorted_out, row, as_of=as_of, keep=keep),
            row=row,
            declared=sum(one["n"] for one in rows.counts if set(one[RULES] or ()) & set(source.reject)),
            came=_came(spark, source, row, as_of),
            missing_days=_missing_days(judged, source, as_of),
            touched=tuple(sorted({one["_touched"] for one in fates if one["_touched"] is not None})),
        )


def _fates(sorted_out: DataFrame | None) -> list[Row]:
    """How many of the rows that do not stand alone have each status, and which other batches are touched."""
    return (
        [] if sorted_out is None else sorted_out.groupBy("_status", "_touched").agg(F.expr("count(*) AS n")).collect()
    )


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turn what Spark throws on a row or a file that it cannot read into one message."""
    try:
        with unlogged():
            yield
    except PySparkException as error:
        condition, state = error.getCondition() or "", error.getSqlState() or ""
        if not (state.startswith("22") or condition.startswith("FAILED_READ_FILE")):
            raise
        raise BadInputError(
            f"{source.section()} failed on a row: {first_line(error)}; where an expression may meet a bad cell, write"
            " try_cast(...), try_to_timestamp(...) or try_divide(...)"
        ) from error


def _ledger_row(source: Source, batch: str, as_of: datetime | None, counts: list[Row], fates: list[Row]) -> LedgerRow:
    n: Counter[str] = Counter()
    for fate in fates:
        n[fate["_status"]] += fate["n"]
    rules: Counter[str] = Counter({CONFLICT: n["quarantined"]} if n["quarantined"] else {})
    together = n["accepted"] + n["duplicate"] + n["quarantined"]
    first = last = None
    for one in counts:
        if one[RULES] is None:
            continue
        if not one[RULES]:
            n["accepted"] += one["n"] - together
            first, last = one["first"], one["last"]
        else:
            n["quarantined"] += one["n"]
            rules.update(dict.fromkeys(one[RULES], one["n"]))
    return LedgerRow(
        source=source.name,
        batch=batch,
        as_of=utc(as_of) if as_of else None,
        rows_in=n["accepted"] + n["duplicate"] + n["quarantined"],
        accepted=n["accepted"],
        duplicate=n["duplicate"],
        quarantined=n["quarantined"],
        rules=dict(sorted(rules.items(), key=lambda item: (-item[1], item[0]))),
        first_event=_utc(first),
        last_event=_utc(last),
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)


def _quarantined(
    spark: SparkSession,
    mapped: Mapped,
    rows: DataFrame,
    sorted_out: DataFrame | None,
    row: LedgerRow,
    *,
    as_of: datetime | None,
    keep: Callable[[DataFrame], DataFrame],
) -> DataFrame | None:
    """The raw rows that are not accepted, with the rules they broke.

    A sound row leaves its raw row behind when it is mapped, so those that turn out to contradict each other are read
    again; ChurnError if the source has changed since.
    """
    conflicts = row.rules.get(CONFLICT, 0)
    broken = rows.where(f"{_SLOT} IS NULL").select(RULES, RAW) if row.quarantined > conflicts else None
    if not conflicts or sorted_out is None:
        return broken
    key = [*mapped.contract.key, *(["known_time"] if mapped.known_is_told else [])]
    conflicting = sorted_out.where("_status = 'quarantined'").select(*key).distinct()
    again = map_source(spark, mapped.source, as_of=as_of, raw=True).rows.where(F.size(RULES) == 0)
    found = keep(again.join(conflicting, on=key, how="left_semi").select(F.array(F.lit(CONFLICT)).alias(RULES), RAW))
    if found.count() != conflicts:
        raise ChurnError(
            f"{mapped.source.name}: the source changed while it was read; nothing was written, run it again"
        )
    return broken.unionByName(found) if broken is not None else found


def _is_first(lake: Lake | None, source: Source, as_of: datetime) -> bool:
    """Whether no batch of the source has an earlier as-of."""
    if lake is None or not lake.exists(LEDGER):
        return True
    earlier = (F.col("source") == source.name) & (F.col("as_of") < F.lit(utc(as_of)))
    return lake.read(LEDGER).where(earlier).isEmpty()


def _came(spark: SparkSession, source: Source, row: LedgerRow, as_of: datetime | None) -> int:
    """Days before the last were held against what is expected by the batches of their own."""
    if not source.expect.rows or not source.is_daily or as_of is None:
        return row.rows_in
    return newest_rows(spark, source, as_of)


def _missing_days(judged: DataFrame, source: Source, as_of: datetime | None) -> tuple[date, ...]:
    """The days before as-of, of those that are expected, on which nothing usable happened."""
    if not source.expect.days or as_of is None:
        return ()
    wanted = [(utc(as_of) - timedelta(days=back)).date() for back in range(source.expect.days, 0, -1)]
    usable = judged.where(F.col("_status").isin("accepted", "duplicate") & (F.col("event_time") >= F.lit(wanted[0])))
    seen = {one["day"] for one in usable.select(F.to_date("event_time").alias("day")).distinct().collect()}
    return tuple(day for day in wanted if day not in seen)


# --- holding, refusing, writing ---------------------------------------------------------------------------------------


def _hold(batch: _Batch) -> None:
    """Raise HoldError if what is expected has not come."""
    source, row, missing = batch.mapped.source, batch.row, batch.missing_days
    if batch.came < source.expect.rows:
        raise HoldError(
            f"{row.source}: {batch.came} rows have come, at least {source.expect.rows} are expected; nothing was"
            " written, try again when the rest has come"
        )
    if missing:
        more = f" and {len(missing) - _EXAMPLES} more days" if len(missing) > _EXAMPLES else ""
        raise HoldError(
            f"{row.source}: no rows on {', '.join(map(str, missing[:_EXAMPLES]))}{more}; nothing was written, try again"
            " when they have come"
        )


def _refuse(batch: _Batch) -> None:
    """Raise BadInputError if so many rows break the contract that the mapping is to be doubted, not the rows."""
    source, row = batch.mapped.source, batch.row
    broken = row.quarantined - batch.declared
    if broken <= source.max_quarantined * row.rows_in:
        return
    examples = _examples(batch)
    worst = [rule for rule in row.rules if rule not in source.reject][:_TOP_RULES]
    shown = "; ".join(f"{rule} {row.rules[rule]} times, such as {examples[rule][0]}" for rule in worst)
    raise BadInputError(
        f"{row.source}: {broken} of {row.rows_in} rows break the contract, more than max_quarantined ="
        f" {source.max_quarantined:g}: {shown}; nothing was written; fix {source.section('columns')} or its options,"
        f" name rows to leave out in [sources.{row.source}.reject], or raise max_quarantined"
    )


def _problem(batch: _Batch) -> str | None:
    try:
        _hold(batch)
        _refuse(batch)
    except ChurnError as error:
        return str(error)
    return None


def _examples(batch: _Batch) -> dict[str, tuple[str, ...]]:
    """The first raw rows of each broken rule, in the order of their text."""
    if batch.quarantined is None:
        return {}
    each = batch.quarantined.select(F.explode(RULES).alias("rule"), F.col(RAW).alias("raw"))
    ranked = each.withColumn("place", F.row_number().over(Window.partitionBy("rule").orderBy("raw")))
    found: dict[str, tuple[str, ...]] = dict.fromkeys(batch.row.rules, ())
    for one in ranked.where(F.col("place") <= _EXAMPLES).orderBy("rule", "place").collect():
        found[one["rule"]] += (one["raw"],)
    return found


def _write(spark: SparkSession, lake: Lake, batches: Sequence[_Batch]) -> None:
    """The accepted rows, a commit a source; then all quarantined rows; then the ledger, which says it is done."""
    for one in batches:
        _write_accepted(lake, one)
    place = {"source": [one.row.source for one in batches], "batch": batches[0].row.batch}
    named = (f"{literal(place['batch'])} AS batch", f"{RULES} AS rules", f"{RAW} AS raw")
    quarantined = [
        one.quarantined.selectExpr(f"{literal(one.row.source)} AS source", *named)
        for one in batches
        if one.quarantined is not None
    ]
    lake.replace(reduce(DataFrame.unionByName, quarantined or [_no_rows(spark)]), QUARANTINE, place)
    lake.replace(_ledger(spark, [one.row for one in batches]), LEDGER, place)


def _no_rows(spark: SparkSession) -> DataFrame:
    columns = {"source": "string", "batch": "string", "rules": "array<string>", "raw": "string"}
    return spark.range(0).selectExpr(*(f"cast(null AS {kind}) AS {name}" for name, kind in columns.items()))


def _ledger(spark: SparkSession, rows: Sequence[LedgerRow]) -> DataFrame:
    """The rows as literals: from a list of Python's, Spark would start a Python worker for them."""
    structs = (
        "named_struct("
        + ", ".join(
            f"'{name}', cast({_cell(cell)} AS {kind})"
            for (name, kind), cell in zip(_LEDGER.items(), astuple(row), strict=True)
        )
        + ")"
        for row in rows
    )
    return spark.range(1).selectExpr(f"inline(array({', '.join(structs)}))")


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return f"map({', '.join(literal(one) for item in value.items() for one in item)})"
    return "null" if value is None else literal(value)


def _write_accepted(lake: Lake, batch: _Batch) -> None:
    contract, row = batch.mapped.contract, batch.row
    table = contract.name
    columns = [*contract.schema.names, "superseded_at"]
    accepted = batch.judged.where("_status = 'accepted'").selectExpr(*columns, f"{literal(row.batch)} AS batch")
    if not batch.touched:
        lake.replace(accepted, table, {"batch": row.batch})
        return
    key = [*contract.key, "known_time", "batch"]
    touched = batch.judged.where(F.col("_touched").isNotNull()).select(*columns, F.col("_touched").alias("batch"))
    written = lake.read(table).where(F.col("batch") == row.batch)
    gone = written.join(accepted, on=key, how="left_anti").withColumn("_gone", F.lit(True))
    changes = accepted.unionByName(touched).withColumn("_gone", F.lit(False)).unionByName(gone)
    lake.merge(changes, table, key, delete="_gone", within={"batch": [row.batch, *batch.touched]})
