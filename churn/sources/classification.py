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
from typing import Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from churn.config import Source
from churn.errors import BadInputError, ChurnError, ConfigError
from churn.runtime.faults import without_values
from churn.sources.completeness import delivered_until, newest_delivered, next_begin
from churn.sources.contract import Contract
from churn.sources.daily_files import HISTORY, fewest_rows, first_instant, of_batch
from churn.sources.ledger import LEDGER, LedgerRow
from churn.sources.mapping import RAW, RULES, Mapped, map_source
from churn.sources.spark_errors import failed_on_value, first_line, unlogged
from churn.sources.staging import PARTIAL, account
from churn.sources.versions import CONFLICT, HANDED, resolve
from churn.sources.zones import utc
from churn.storage import Lake, literal

Cache = Callable[[DataFrame], DataFrame]
"""Persists a frame until the batch is done."""

DUPLICATES: Final = "duplicates"
"""The table of the rows that a batch delivered, and that another had accepted before: hashes of key and content."""

_KEY_HASH = "_key_hash"


@dataclass(frozen=True)
class MappedBatch:
    """One source of a batch, mapped but not yet classified."""

    source: Source
    """As it is configured; that of `mapped` has the files of the batch alone."""
    mapped: Mapped
    batch: str
    as_of: datetime | None
    before: datetime | None
    """The as-of of the batch before it; None = this is the first."""
    since: datetime | None
    """The first instant of what its rows are made of, where a query makes them of rows that are read again."""
    fewest: tuple[int, date] | None
    """The day with the fewest rows, and how many; None = all rows are compared with those expected."""


@dataclass(frozen=True)
class Batch:
    """One source of a batch, classified but not yet written."""

    mapped: Mapped
    rows: DataFrame
    """Every sound row with `_status` and `superseded_at`, and the existing versions of the same keys."""
    quarantined: DataFrame | None
    """The raw rows that are not accepted, with the rules they broke; None = there are none."""
    conflicting: DataFrame | None
    """The keys of the rows that contradict each other, which `with_conflicts` quarantines; None = there are none."""
    row: LedgerRow
    declared: int
    """Quarantined rows that the owner's own `reject` rules name, or that are part of a row which the lake has."""
    notes: tuple[str, ...]
    """What the owner of the inputs of a query should know of them."""
    received: tuple[int, date | None]
    """How many rows are compared with those expected: all, or of a source that comes daily those of one day, of those
    since the batch before it the day with the fewest."""
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
    again: DataFrame | None
    """The rows that this batch has in the lake, and that others delivered too: with their known time and batch."""


def map_batch(
    spark: SparkSession, source: Source, lake: Lake | None, *, batch: str, as_of: datetime | None, cache: Cache
) -> MappedBatch:
    """Map the rows of a source that belong to a batch.

    Readers change settings of the session while they infer a schema, so sources are mapped one after the other. Raises
    ConfigError where the source needs an as-of, and there is none; BadInputError for a source that cannot be read.
    """
    if source.expect.days and as_of is None and lake is not None:
        raise ConfigError(f"{source.section('expect')} days counts back from an as-of; give one, or drop days")
    if source.is_daily and as_of is None and lake is not None:
        raise ConfigError(f"{source.section()} comes daily, so a batch of it needs an as-of")
    before = None if as_of is None else _as_of_before(lake, source, as_of)
    since = utc(before).date() if before else HISTORY
    late = next_begin(source, before) if before else None  # the first batch brings history, which was known before
    with _explained(source):
        mapped = map_source(spark, of_batch(spark, source, as_of, since=since), as_of=as_of, late=late)
        if mapped.staged and mapped.staged.measured:
            cache(mapped.staged.rows)  # for `account`
        is_regrouped = mapped.staged is not None and mapped.staged.has_groups and before is not None
        return MappedBatch(
            source=source,
            mapped=mapped,
            batch=batch,
            as_of=as_of,
            before=before,
            since=first_instant(source, as_of, since) if is_regrouped and as_of is not None else None,
            fewest=_fewest(spark, source, as_of, before),
        )


def classify_batch(made: MappedBatch, lake: Lake | None, *, cache: Cache) -> Batch:
    """Classify the rows of a source beside those of the lake, if there is one.

    It changes no setting of the session, so several sources may be classified at once. Raises BadInputError for a row
    that Spark cannot read.
    """
    mapped, source, as_of = made.mapped, made.source, made.as_of
    with _explained(source):
        keyed = _read(lake, mapped, batch=made.batch, as_of=as_of, cache=cache)
        rows, compared = _classified(keyed, mapped, as_of=as_of, since=made.since, cache=cache)
        statuses = _statuses(compared)
        row = _ledger_row(source, made.batch, as_of, keyed.counts, statuses)
        inputs, notes = account(mapped.staged) if mapped.staged else ((), ())
        row = replace(row, inputs=inputs)
        if CONFLICT in row.rules:  # rows in conflict do not count for the first and the last event
            usable = rows.where("_status IN ('accepted', 'duplicate')")
            first_event, last_event = usable.selectExpr("min(event_time)", "max(event_time)").collect()[0]
            row = replace(row, first_event=_utc(first_event), last_event=_utc(last_event))
        return Batch(
            mapped=mapped,
            rows=rows,
            quarantined=_quarantined(mapped, keyed.all, compared, row),
            conflicting=_conflicting(mapped, compared, row),
            row=row,
            declared=sum(count["n"] for count in keyed.counts if set(count[RULES] or ()) & source.own_rules)
            + row.rules.get(PARTIAL, 0),
            notes=notes,
            received=made.fewest or (row.rows_in, None),
            missing_days=_missing_days(rows, source, as_of, made.before),
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
    again: DataFrame | None = None,
) -> DataFrame:
    """Sound rows of one batch beside each other, and beside the versions of their keys that other batches brought.

    Adds `_status` (accepted, duplicate, quarantined; null for existing rows), `_rules`, `superseded_at`, and
    `_updated_batch`: the batch of an existing row whose `superseded_at` changes. `again` are rows with their `batch`
    that others delivered too: those that this one brings no more are `HANDED` to them. Rows are made of what happened
    from `since` on: one whose existing version begins before is only a part of it, and quarantined.
    """
    hashed = f"{content_hash(contract)} AS _content_hash"
    rows, parts = _side_by_side(incoming, existing, again).selectExpr("*", hashed), None
    if existing is not None and since is not None:
        began = f"min(if(_is_incoming, null, event_time)) OVER (PARTITION BY {', '.join(contract.key)})"
        is_part = f"coalesce(_is_incoming AND event_time > {began} AND {began} < {literal(since)}, false) AS _is_part"
        rows = rows.selectExpr("*", is_part)
        rows, parts = rows.where("NOT _is_part"), rows.where("_is_part")
    if existing is not None and not has_known_time and as_of is not None:
        # What a batch changes is known from its as-of on.
        now = literal(utc(as_of))
        is_earlier = f"NOT _is_incoming AND NOT _is_again AND known_time < {now}"
        is_later = f"max({is_earlier}) OVER (PARTITION BY {', '.join(contract.key)})"
        brought = now if contract.announced else f"greatest(event_time, {now})"
        known = f"if(_is_incoming AND {is_later}, {brought}, known_time) AS known_time"
        rows = rows.selectExpr(*(name for name in rows.columns if name != "known_time"), known)
    rows = resolve(rows, contract.key, has_known_time=has_known_time, has_as_of=as_of is not None)
    resolved = rows.selectExpr(
        *contract.schema.names,
        "superseded_at",
        "_status",
        f"cast(if(_is_conflict, array('{CONFLICT}'), array()) AS array<string>) AS {RULES}",
        f"if(_status <=> '{HANDED}' OR NOT _is_incoming AND NOT superseded_at <=> _superseded_before, _batch, null)"
        " AS _updated_batch",
    )
    if parts is None:
        return resolved
    quarantined = ("'quarantined' AS _status", f"array('{PARTIAL}') AS {RULES}")
    return resolved.unionByName(parts.selectExpr(*contract.schema.names, *quarantined), allowMissingColumns=True)


def content_hash(contract: Contract) -> str:
    """SQL: a hash of a row's content, with its key.

    A hash passes over nulls; with which are null beside it, a value that moves to another column is a change.
    """
    return f"xxhash64({', '.join([*contract.content, *(f'{name} IS NULL' for name in contract.content)])})"


def key_hash(contract: Contract) -> str:
    """SQL: a hash of a row's key."""
    return f"xxhash64({', '.join(contract.key)})"


def _side_by_side(incoming: DataFrame, existing: DataFrame | None, again: DataFrame | None) -> DataFrame:
    none = ("cast(null AS timestamp) AS _superseded_before", "cast(null AS string) AS _batch")
    rows = incoming.selectExpr("*", *none, "true AS _is_incoming", "false AS _is_again")
    if existing is not None:
        renamed = existing.withColumnsRenamed({"superseded_at": "_superseded_before", "batch": "_batch"})
        rows = rows.unionByName(renamed.selectExpr("*", "false AS _is_incoming", "false AS _is_again"))
    if again is not None:
        flags = (none[0], "false AS _is_incoming", "true AS _is_again")
        rows = rows.unionByName(again.withColumnRenamed("batch", "_batch").selectExpr("*", *flags))
    return rows


def _read(lake: Lake | None, mapped: Mapped, *, batch: str, as_of: datetime | None, cache: Cache) -> _KeyedRows:
    """Read once: the frame serves the search for shared keys, the counts and every write."""
    contract = mapped.contract
    rows = cache(mapped.rows.selectExpr("*", f"if(size({RULES}) = 0, {key_hash(contract)}, null) AS {_KEY_HASH}"))
    spans = {"first": "min(event_time)", "last": "max(event_time)", "newest": newest_delivered(as_of)}
    if "currency" in contract.schema.names:
        spans |= {"min_currency": "min(currency)", "max_currency": "max(currency)"}
    merged = {name: f"{sql[:3]}({name})" for name, sql in spans.items()}
    n = F.expr("count(*) AS n")
    is_sound = F.col(_KEY_HASH).isNotNull()
    sound = rows.where(is_sound).agg(n, *(F.expr(f"{sql} AS {name}") for name, sql in spans.items()))
    sound = sound.withColumn(RULES, F.expr("cast(array() AS array<string>)"))
    by_rules = sound.unionByName(rows.where(~is_sound).groupBy(RULES).agg(n), allowMissingColumns=True)
    by_key = rows.where(is_sound).groupBy(_KEY_HASH).agg(n).where("n > 1")
    counted = cache(by_rules.unionByName(by_key, allowMissingColumns=True))
    # Counted first, so that how to join is chosen by its size, and no broadcast times out over reading the source.
    counts = (
        counted.groupBy(RULES)
        .agg(*map(F.expr, ("sum(n) AS n", *(f"{of} AS {name}" for name, of in merged.items()))))
        .collect()
    )
    shared = counted.where(f"{RULES} IS NULL").select(_KEY_HASH)
    table = None if lake is None else _stored(lake, contract)
    if lake is not None and table is not None:
        again = _delivered_again(lake, contract, table.where(F.col("batch") == batch), batch)
        existing = table.where(F.col("batch") != batch)
        if again is not None or not existing.isEmpty():
            concerned = rows.select(_KEY_HASH).unionByName(table.where(F.col("batch") == batch).select(_KEY_HASH))
            existing = cache(existing.join(concerned, on=_KEY_HASH, how="left_semi"))
            for one in (existing, again):
                shared = shared if one is None else shared.unionByName(one.select(_KEY_HASH))
            shared = cache(shared.distinct())
            again = None if again is None else again.drop(_KEY_HASH)
            return _KeyedRows(rows, counts, shared if shared.count() else None, existing.drop(_KEY_HASH), again)
    return _KeyedRows(rows, counts, shared if any(count[RULES] is None for count in counts) else None, None, None)


def _stored(lake: Lake, contract: Contract) -> DataFrame | None:
    """The accepted table with the hashes of its keys; None before the first batch."""
    if not lake.exists(contract.name):
        return None
    stored = contract.check(contract.widened(lake.read(contract.name)), complete=True)
    return stored.selectExpr("*", f"{key_hash(contract)} AS {_KEY_HASH}")


def _delivered_again(lake: Lake, contract: Contract, written: DataFrame, batch: str) -> DataFrame | None:
    """The rows that this batch wrote when it was run before, as other batches delivered them too; None = none did."""
    if not lake.exists(DUPLICATES):
        return None
    of_another = (F.col("source") == contract.name) & (F.col("batch") != batch)
    recorded = lake.read(DUPLICATES).where(of_another).drop("source")
    columns = [name for name in contract.schema.names if name != "known_time"]
    rows = written.selectExpr(*columns, f"{_KEY_HASH} AS key_hash", f"{content_hash(contract)} AS content_hash")
    again = rows.join(recorded, on=["key_hash", "content_hash"], how="inner").distinct()
    found = again.select(*contract.schema.names, "batch", F.col("key_hash").alias(_KEY_HASH))
    return None if found.isEmpty() else found


def duplicates(batch: Batch) -> DataFrame:
    """The duplicates of a batch for the table of them, each content of a key once: who delivered a row too, gets it
    when the batch that had it first is run again without it."""
    contract = batch.mapped.contract
    rows = batch.rows.where("_status = 'duplicate'").selectExpr(
        f"{literal(batch.row.source)} AS source",
        f"{literal(batch.row.batch)} AS batch",
        f"{key_hash(contract)} AS key_hash",
        f"{content_hash(contract)} AS content_hash",
        "known_time",
    )
    return rows.groupBy("source", "batch", "key_hash", "content_hash").agg(F.min("known_time").alias("known_time"))


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
        classify(
            incoming,
            keyed.existing,
            contract,
            has_known_time=mapped.has_known_time,
            as_of=as_of,
            since=since,
            again=keyed.again,
        )
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
        if not state.startswith("22"):
            raise BadInputError(f"{source.section()} failed on a row: {first_line(error)}") from error
        raise BadInputError(
            f"{source.section()} failed on a row: {without_values(str(error))}; where an expression may meet a bad"
            " cell, write try_cast(...), try_to_timestamp(...) or try_divide(...)"
        ) from error
    except Py4JJavaError as error:
        reason = failed_on_value(error)
        if reason is None:
            raise
        raise BadInputError(
            f"{source.section()} failed on a row: {without_values(reason)}; where an expression may meet a number that"
            " is too large, test it first, such as if(x between 0 and 4102444800, timestamp_seconds(x), null)"
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
    first = last = newest = None
    for row in counts:
        if row[RULES] is None:
            continue
        if not row[RULES]:
            n["accepted"] += row["n"] - compared
            first, last, newest = row["first"], row["last"], row["newest"]
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
        complete_until=delivered_until(source, as_of, newest),
    )


def _utc(timestamp: datetime | None) -> datetime | None:
    return None if timestamp is None else utc(timestamp)


def _quarantined(mapped: Mapped, rows: DataFrame, compared: DataFrame | None, row: LedgerRow) -> DataFrame | None:
    """The raw rows that are not accepted, with the rules they broke; without those that contradict each other."""
    conflicts, parts = row.rules.get(CONFLICT, 0), row.rules.get(PARTIAL, 0)
    broken = rows.where(f"{_KEY_HASH} IS NULL").select(RULES, RAW) if row.quarantined > conflicts + parts else None
    if parts and compared is not None:
        as_json = f"to_json(struct({', '.join(mapped.contract.schema.names)})) AS {RAW}"
        partial = compared.where(f"{RULES} = array('{PARTIAL}')").selectExpr(RULES, as_json)
        broken = partial if broken is None else broken.unionByName(partial)
    return broken


def _conflicting(mapped: Mapped, compared: DataFrame | None, row: LedgerRow) -> DataFrame | None:
    """The keys of the rows that contradict each other; None = there are none."""
    if CONFLICT not in row.rules or compared is None:
        return None
    key = [*mapped.contract.key, *(["known_time"] if mapped.has_known_time else [])]
    return compared.where(f"{RULES} = array('{CONFLICT}')").select(*key).distinct()


def with_conflicts(spark: SparkSession, batch: Batch, *, cache: Cache) -> Batch:
    """The batch with the raw rows that contradict each other quarantined.

    A sound row leaves its raw row behind when it is mapped, so the source is mapped again, see `map_batch`; ChurnError
    if it has changed since.
    """
    if batch.conflicting is None:
        return batch
    with _explained(source := batch.mapped.source):
        again = map_source(spark, source, as_of=batch.row.as_of, raw=True).rows.where(F.size(RULES) == 0)
        raw = again.join(batch.conflicting, on=batch.conflicting.columns, how="left_semi")
        raw = cache(raw.select(F.array(F.lit(CONFLICT)).alias(RULES), RAW))
        if raw.count() != batch.row.rules[CONFLICT]:
            raise ChurnError(f"{source.name}: the source changed while it was read; nothing was written, run it again")
        return replace(batch, quarantined=raw if batch.quarantined is None else batch.quarantined.unionByName(raw))


def _as_of_before(lake: Lake | None, source: Source, as_of: datetime) -> datetime | None:
    """The newest earlier as-of of the batches of a source; None = this is the first."""
    if lake is None or not lake.exists(LEDGER):
        return None
    earlier = (F.col("source") == source.name) & (F.col("as_of") < F.lit(utc(as_of)))
    before: datetime | None = lake.read(LEDGER).where(earlier).agg(F.max("as_of")).collect()[0][0]
    return before


def _days_since(as_of: datetime, before: datetime | None, days: int) -> list[date]:
    """The last days before an as-of, and all since the batch before."""
    last = utc(as_of).date()
    most = days if before is None else max(days, (last - utc(before).date()).days)
    return [last - timedelta(days=back) for back in range(most, 0, -1)]


def _fewest(
    spark: SparkSession, source: Source, as_of: datetime | None, before: datetime | None
) -> tuple[int, date] | None:
    """Earlier days were compared with what is expected by the batches before; a history is not compared day by day."""
    if not source.expect.rows or not source.is_daily or as_of is None:
        return None
    return fewest_rows(spark, source, _days_since(as_of, before, 1))


def _missing_days(rows: DataFrame, source: Source, as_of: datetime | None, before: datetime | None) -> tuple[date, ...]:
    """The days before as-of, of those that are expected, on which nothing usable happened."""
    if not source.expect.days or as_of is None:
        return ()
    wanted = _days_since(as_of, before, source.expect.days)
    usable = rows.where(F.col("_status").isin("accepted", "duplicate") & (F.col("event_time") >= F.lit(wanted[0])))
    days = usable.select(F.to_date("event_time").alias("day")).distinct().collect()
    present = {row["day"] for row in days}
    return tuple(day for day in wanted if day not in present)
