"""What becomes of each row of a batch: accepted, duplicate, or quarantined.

Nearly all rows share their key with no other and need no comparison. Only hashes of keys are shuffled to find the rest,
and only the rest is sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from churn.config import Source
from churn.errors import BadInputError, ChurnError, ConfigError
from churn.sources.contract import Contract
from churn.sources.daily_files import first_instant, newest_rows, of_batch
from churn.sources.ledger import LEDGER, LedgerRow
from churn.sources.mapping import RAW, RULES, Mapped, map_source
from churn.sources.privacy import form
from churn.sources.spark_errors import first_line, unlogged
from churn.sources.staging import PARTIAL, account
from churn.sources.versions import CONFLICT, resolve
from churn.sources.zones import utc
from churn.storage import Lake, literal

Cache = Callable[[DataFrame], DataFrame]
"""Persists a frame until the batch is done."""

_KEY_HASH = "_key_hash"


@dataclass(frozen=True)
class Batch:
    """One source of a batch, classified but not yet written."""

    mapped: Mapped
    rows: DataFrame
    """Every sound row with `_status` and `superseded_at`, and the existing versions of the same keys."""
    quarantined: DataFrame | None
    """The raw rows that are not accepted, with the rules they broke; None = there are none."""
    row: LedgerRow
    declared: int
    """Quarantined rows that the owner's own `reject` rules name, or that are part of a row which the lake has."""
    notes: tuple[str, ...]
    """What the owner of the inputs of a query should know of them."""
    received: int
    """The rows that are compared with those expected: of a source that comes daily, those of the last day."""
    missing_days: tuple[date, ...]
    currencies: tuple[str, ...]
    """Those of its amounts, where there are several, here and in the lake."""
    updated_batches: tuple[str, ...]
    """Other batches with a version that one of this batch supersedes, or no longer does."""


@dataclass(frozen=True)
class _KeyedRows:
    """The rows of a source, and of them those that share their key with another."""

    all: DataFrame
    """With `_key_hash`; null where a rule is broken."""
    counts: list[Row]
    """By `_rules`: how many rows, and the first and last event time; under null those that share a key's hash."""
    shared: DataFrame | None
    """The hashes that more than one row has, in this batch or in another; None = there are none."""
    existing: DataFrame | None
    """The rows of other batches with one of these hashes."""


def classify_batch(
    spark: SparkSession, source: Source, lake: Lake | None, *, batch: str, as_of: datetime | None, cache: Cache
) -> Batch:
    """Read a source and classify its rows beside those of the lake, if there is one.

    Raises ConfigError where the source needs an as-of, and there is none; BadInputError for a row that Spark cannot
    read.
    """
    if source.expect.days and as_of is None and lake is not None:
        raise ConfigError(f"{source.section('expect')} days counts back from an as-of; give one, or drop days")
    if source.is_daily and as_of is None and lake is not None:
        raise ConfigError(f"{source.section()} comes daily, so a batch of it needs an as-of")
    first = source.is_daily and as_of is not None and _is_first(lake, source, as_of)
    with _explained(source):
        mapped = map_source(spark, of_batch(spark, source, as_of, first=first), as_of=as_of)
        if mapped.staged and mapped.staged.measured:
            cache(mapped.staged.rows)  # for `account`
        is_regrouped = mapped.staged is not None and mapped.staged.has_groups and not first
        since = first_instant(source, as_of) if is_regrouped and as_of is not None else None
        keyed = _read(lake, mapped, batch=batch, cache=cache)
        rows, compared = _classified(keyed, mapped, as_of=as_of, since=since, cache=cache)
        statuses = _statuses(compared)
        row = _ledger_row(source, batch, as_of, keyed.counts, statuses)
        inputs, notes = account(mapped.staged) if mapped.staged else ((), ())
        row = replace(row, inputs=inputs)
        if CONFLICT in row.rules:  # rows in conflict do not count for the first and the last event
            usable = rows.where("_status IN ('accepted', 'duplicate')")
            first_event, last_event = usable.selectExpr("min(event_time)", "max(event_time)").collect()[0]
            row = replace(row, first_event=_utc(first_event), last_event=_utc(last_event))
        return Batch(
            mapped=mapped,
            rows=rows,
            quarantined=_quarantined(spark, mapped, keyed.all, compared, row, as_of=as_of, cache=cache),
            row=row,
            declared=sum(count["n"] for count in keyed.counts if set(count[RULES] or ()) & source.own_rules)
            + row.rules.get(PARTIAL, 0),
            notes=notes,
            received=_received(spark, source, row, as_of),
            missing_days=_missing_days(rows, source, as_of),
            currencies=_currencies(lake, keyed, mapped.contract),
            updated_batches=tuple(sorted({name for of in statuses if (name := of["_updated_batch"]) is not None})),
        )


def classify(
    incoming: DataFrame,
    existing: DataFrame | None,
    contract: Contract,
    *,
    has_known_time: bool,
    as_of: datetime | None,
    since: datetime | None = None,
) -> DataFrame:
    """Sound rows of one batch beside each other, and beside the versions of their keys that other batches brought.

    Adds `_status` (accepted, duplicate, quarantined; null for existing rows), `_rules`, `superseded_at`, and
    `_updated_batch`: the batch of an existing row whose `superseded_at` changes. Rows are made of what happened from
    `since` on: one whose existing version begins before is only a part of it, and quarantined.
    """
    content = contract.content
    # A hash passes over nulls; with which are null beside it, a value that moves to another column is a change.
    content_hash = f"xxhash64({', '.join([*content, *(f'{name} IS NULL' for name in content)])}) AS _content_hash"
    rows, parts = _side_by_side(incoming, existing).selectExpr("*", content_hash), None
    if existing is not None and since is not None:
        began = f"min(if(_is_incoming, null, event_time)) OVER (PARTITION BY {', '.join(contract.key)})"
        is_part = f"coalesce(_is_incoming AND event_time > {began} AND {began} < {literal(since)}, false) AS _is_part"
        rows = rows.selectExpr("*", is_part)
        rows, parts = rows.where("NOT _is_part"), rows.where("_is_part")
    if existing is not None and not has_known_time and as_of is not None:
        # What a batch changes is known from its as-of on.
        now = literal(utc(as_of))
        is_later = f"max(NOT _is_incoming AND known_time < {now}) OVER (PARTITION BY {', '.join(contract.key)})"
        brought = now if contract.announced else f"greatest(event_time, {now})"
        known = f"if(_is_incoming AND {is_later}, {brought}, known_time) AS known_time"
        rows = rows.selectExpr(*(name for name in rows.columns if name != "known_time"), known)
    rows = resolve(rows, contract.key, has_known_time=has_known_time, has_as_of=as_of is not None)
    resolved = rows.selectExpr(
        *contract.schema.names,
        "superseded_at",
        "_status",
        f"cast(if(_is_conflict, array('{CONFLICT}'), array()) AS array<string>) AS {RULES}",
        "if(NOT _is_incoming AND NOT superseded_at <=> _superseded_before, _batch, null) AS _updated_batch",
    )
    if parts is None:
        return resolved
    quarantined = ("'quarantined' AS _status", f"array('{PARTIAL}') AS {RULES}")
    return resolved.unionByName(parts.selectExpr(*contract.schema.names, *quarantined), allowMissingColumns=True)


def _side_by_side(incoming: DataFrame, existing: DataFrame | None) -> DataFrame:
    none = ("cast(null AS timestamp) AS _superseded_before", "cast(null AS string) AS _batch")
    rows = incoming.selectExpr("*", *none, "true AS _is_incoming")
    if existing is None:
        return rows
    renamed = existing.withColumnsRenamed({"superseded_at": "_superseded_before", "batch": "_batch"})
    return rows.unionByName(renamed.selectExpr("*", "false AS _is_incoming"))


def _read(lake: Lake | None, mapped: Mapped, *, batch: str, cache: Cache) -> _KeyedRows:
    """Read once: the frame serves the search for shared keys, the counts and every write."""
    key_hash = f"xxhash64({', '.join(mapped.contract.key)})"
    rows = cache(mapped.rows.selectExpr("*", f"if(size({RULES}) = 0, {key_hash}, null) AS {_KEY_HASH}"))
    spans = {"first": "min(event_time)", "last": "max(event_time)"}
    if "currency" in mapped.contract.schema.names:
        spans |= {"min_currency": "min(currency)", "max_currency": "max(currency)"}
    currencies = [f"{name[:3]}({name}) AS {name}" for name in spans if name.endswith("_currency")]
    n = F.expr("count(*) AS n")
    by_rules = rows.groupBy(RULES).agg(n, *(F.expr(f"{sql} AS {name}") for name, sql in spans.items()))
    by_key = rows.where(f"{_KEY_HASH} IS NOT NULL").groupBy(_KEY_HASH).agg(n).where("n > 1")
    counted = cache(by_rules.unionByName(by_key, allowMissingColumns=True))
    # Counted first, so that how to join is chosen by its size, and no broadcast times out over reading the source.
    counts = (
        counted.groupBy(RULES)
        .agg(*map(F.expr, ("sum(n) AS n", "min(first) AS first", "max(last) AS last", *currencies)))
        .collect()
    )
    shared = counted.where(f"{RULES} IS NULL").select(_KEY_HASH)
    if lake is not None and _has_other_batches(lake, mapped.contract, batch):
        table = lake.read(mapped.contract.name).selectExpr("*", f"{key_hash} AS {_KEY_HASH}")
        concerned = rows.select(_KEY_HASH).unionByName(table.where(F.col("batch") == batch).select(_KEY_HASH))
        existing = cache(table.where(F.col("batch") != batch).join(concerned, on=_KEY_HASH, how="left_semi"))
        shared = cache(shared.unionByName(existing.select(_KEY_HASH)).distinct())
        return _KeyedRows(rows, counts, shared if shared.count() else None, existing.drop(_KEY_HASH))
    return _KeyedRows(rows, counts, shared if any(count[RULES] is None for count in counts) else None, None)


def _currencies(lake: Lake | None, keyed: _KeyedRows, contract: Contract) -> tuple[str, ...]:
    """The currencies of the sound rows and of the lake, where they are not one."""
    if "currency" not in contract.schema.names or contract.name == "rates":
        return ()
    sound = [count for count in keyed.counts if count[RULES] is not None and not count[RULES]]
    extremes = {count[name] for count in sound for name in ("min_currency", "max_currency")} - {None}
    if len(extremes) > 1:
        rows = keyed.all.where(f"size({RULES}) = 0 AND currency IS NOT NULL").select("currency").distinct().collect()
        extremes = {row["currency"] for row in rows}
    elif extremes and lake is not None and lake.exists(contract.name):
        other = lake.read(contract.name).where(F.col("currency") != next(iter(extremes))).select("currency").take(1)
        extremes |= {row["currency"] for row in other}
    return tuple(sorted(extremes)) if len(extremes) > 1 else ()


def _has_other_batches(lake: Lake, contract: Contract, batch: str) -> bool:
    if not lake.exists(contract.name):
        return False
    return not contract.check(lake.read(contract.name), complete=True).where(F.col("batch") != batch).isEmpty()


def _classified(
    keyed: _KeyedRows, mapped: Mapped, *, as_of: datetime | None, since: datetime | None, cache: Cache
) -> tuple[DataFrame, DataFrame | None]:
    """Every sound row as `classify` has it, and of them those that share a key, with the existing rows; None = none."""
    contract = mapped.contract
    sound = keyed.all.where(f"{_KEY_HASH} IS NOT NULL")
    alone = [
        *contract.schema.names,
        "cast(null AS timestamp) AS superseded_at",
        "'accepted' AS _status",
        RULES,
        "cast(null AS string) AS _updated_batch",
    ]
    if keyed.shared is None:
        return sound.selectExpr(*alone), None
    incoming = sound.join(keyed.shared, on=_KEY_HASH, how="left_semi").select(*contract.schema.names)
    compared = cache(
        classify(incoming, keyed.existing, contract, has_known_time=mapped.has_known_time, as_of=as_of, since=since)
    )
    rest = sound.join(keyed.shared, on=_KEY_HASH, how="left_anti").selectExpr(*alone)
    return rest.unionByName(compared), compared


def _statuses(compared: DataFrame | None) -> list[Row]:
    """How many of the rows that share a key have each status and rule, and which other batches are updated."""
    if compared is None:
        return []
    return compared.groupBy("_status", RULES, "_updated_batch").agg(F.expr("count(*) AS n")).collect()


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turn what Spark throws on a row or a file that it cannot read into one message."""
    try:
        with unlogged():
            yield
    except PySparkException as error:
        condition, state = error.getCondition() or "", error.getSqlState() or ""
        if not (state.startswith(("22", "42")) or condition.startswith("FAILED_READ_FILE")):
            raise
        message = first_line(error)
        for value in (error.getMessageParameters() or {}).values():
            if value.startswith("'"):  # a value of a row, which may be personal
                message = message.replace(value, form(value))
        raise BadInputError(
            f"{source.section()} failed on a row: {message}; where an expression may meet a bad cell, write"
            " try_cast(...), try_to_timestamp(...) or try_divide(...)"
        ) from error


def _ledger_row(
    source: Source, batch: str, as_of: datetime | None, counts: list[Row], statuses: list[Row]
) -> LedgerRow:
    n: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    for row in statuses:
        n[row["_status"]] += row["n"]
        rules.update(dict.fromkeys(row[RULES], row["n"]))
    compared = n["accepted"] + n["duplicate"] + n["quarantined"]
    first = last = None
    for row in counts:
        if row[RULES] is None:
            continue
        if not row[RULES]:
            n["accepted"] += row["n"] - compared
            first, last = row["first"], row["last"]
        else:
            n["quarantined"] += row["n"]
            rules.update(dict.fromkeys(row[RULES], row["n"]))
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


def _utc(timestamp: datetime | None) -> datetime | None:
    return None if timestamp is None else utc(timestamp)


def _quarantined(
    spark: SparkSession,
    mapped: Mapped,
    rows: DataFrame,
    compared: DataFrame | None,
    row: LedgerRow,
    *,
    as_of: datetime | None,
    cache: Cache,
) -> DataFrame | None:
    """The raw rows that are not accepted, with the rules they broke.

    A sound row leaves its raw row behind when it is mapped, so those that turn out to contradict each other are read
    again; ChurnError if the source has changed since.
    """
    conflicts, parts = row.rules.get(CONFLICT, 0), row.rules.get(PARTIAL, 0)
    broken = rows.where(f"{_KEY_HASH} IS NULL").select(RULES, RAW) if row.quarantined > conflicts + parts else None
    if parts and compared is not None:
        as_json = f"to_json(struct({', '.join(mapped.contract.schema.names)})) AS {RAW}"
        partial = compared.where(f"{RULES} = array('{PARTIAL}')").selectExpr(RULES, as_json)
        broken = partial if broken is None else broken.unionByName(partial)
    if not conflicts or compared is None:
        return broken
    key = [*mapped.contract.key, *(["known_time"] if mapped.has_known_time else [])]
    conflicting = compared.where(f"{RULES} = array('{CONFLICT}')").select(*key).distinct()
    again = map_source(spark, mapped.source, as_of=as_of, raw=True).rows.where(F.size(RULES) == 0)
    raw = cache(again.join(conflicting, on=key, how="left_semi").select(F.array(F.lit(CONFLICT)).alias(RULES), RAW))
    if raw.count() != conflicts:
        raise ChurnError(
            f"{mapped.source.name}: the source changed while it was read; nothing was written, run it again"
        )
    return broken.unionByName(raw) if broken is not None else raw


def _is_first(lake: Lake | None, source: Source, as_of: datetime) -> bool:
    """Whether no batch of the source has an earlier as-of."""
    if lake is None or not lake.exists(LEDGER):
        return True
    earlier = (F.col("source") == source.name) & (F.col("as_of") < F.lit(utc(as_of)))
    return lake.read(LEDGER).where(earlier).isEmpty()


def _received(spark: SparkSession, source: Source, row: LedgerRow, as_of: datetime | None) -> int:
    """Days before the last were compared with what is expected by the batches of their own."""
    if not source.expect.rows or not source.is_daily or as_of is None:
        return row.rows_in
    return newest_rows(spark, source, as_of)


def _missing_days(rows: DataFrame, source: Source, as_of: datetime | None) -> tuple[date, ...]:
    """The days before as-of, of those that are expected, on which nothing usable happened."""
    if not source.expect.days or as_of is None:
        return ()
    wanted = [(utc(as_of) - timedelta(days=back)).date() for back in range(source.expect.days, 0, -1)]
    usable = rows.where(F.col("_status").isin("accepted", "duplicate") & (F.col("event_time") >= F.lit(wanted[0])))
    days = usable.select(F.to_date("event_time").alias("day")).distinct().collect()
    present = {row["day"] for row in days}
    return tuple(day for day in wanted if day not in present)
