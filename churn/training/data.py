"""The rows of a model: which as-ofs, who belongs on each, what was known of them, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.contracts import CONTRACTS
from churn.dataset.spine import active, as_of_frame, coverage, open_accounts, span, told_until
from churn.dataset.split import Split, schedule, split_in_time
from churn.errors import BadInputError
from churn.features import Feature, features, panel, rows
from churn.features.visible import known_by
from churn.labels import LABELS, closure, fraud, inactivity, reported
from churn.labels.fraud import first_versions, looked_at
from churn.storage import Lake
from churn.training.spec import ModelSpec
from churn.training.summary import Summary, summarised

Sources = Mapping[str, DataFrame]


def accepted(lake: Lake) -> Sources:
    """Every accepted table there is, by the name of its contract."""
    return {name: lake.read(name) for name in CONTRACTS if lake.exists(name)}


def check_sources(spec: ModelSpec, sources: Sources) -> None:
    """Raises BadInputError where the model's label or cohort cannot be told from the sources there are."""
    if missing := sorted(spec.requires - set(sources)):
        raise BadInputError(
            f"model {spec.name}: label = {spec.label!r} with cohort = {spec.cohort!r} needs {', '.join(missing)}, "
            f"and there are only {', '.join(sorted(sources)) or 'none'}; map [sources.{missing[0]}] in churn.toml, "
            f"or choose another label in [model.{spec.name}]"
        )


def usable_features(spec: ModelSpec, sources: Sources) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    """The model's features whose sources are there, and those left out because one is not."""
    excluded = {feature.name for feature in features(*spec.exclude)} if spec.exclude else set()
    asked = [feature for feature in features(*spec.features) if feature.name not in excluded]
    there = tuple(feature for feature in asked if feature.sources <= set(sources))
    if not there:
        raise BadInputError(f"model {spec.name}: none of its features can be made from {', '.join(sorted(sources))}")
    return there, tuple(feature for feature in asked if feature not in there)


def columns(spec: ModelSpec, chosen: Sequence[Feature]) -> list[str]:
    """The feature columns of a model, in order."""
    return [column for feature in chosen for column in feature.columns(spec.windows)]


@dataclass(frozen=True)
class Calendar:
    """The as-ofs of a run: those to learn from, those to judge by, and the one to score."""

    learn: tuple[datetime, ...]
    test: tuple[datetime, ...]
    score: datetime

    @property
    def labelled(self) -> list[datetime]:
        return sorted({*self.learn, *self.test})


def calendar(spec: ModelSpec, sources: Sources, as_of: datetime) -> Calendar:
    """A run at `as_of`: the newest ripe as-ofs are held out to judge the model that the earlier ones made.

    Raises BadInputError where no row is known before as-of, or as-of lies far behind the data.
    """
    newest = _midnight(_fresh(spec, sources, as_of) - spec.window.reach)
    test = tuple(newest - spec.test_step * step for step in range(spec.test_dates))[::-1]
    return Calendar(learn=tuple(_learn(spec, sources, test[0])), test=test, score=as_of)


def _fresh(spec: ModelSpec, sources: Sources, as_of: datetime) -> datetime:
    """Until when rows are known at as-of. Raises BadInputError where that is none, or long before it."""
    known_until = coverage(sources, known_until=as_of)
    if as_of - known_until > timedelta(days=spec.stale_after):
        raise BadInputError(
            f"as-of {as_of:%Y-%m-%d} lies {(as_of - known_until).days} days after the last row known "
            f"({known_until:%Y-%m-%d}); ingest what came since, or use an as-of until {known_until:%Y-%m-%d}"
        )
    return known_until


def backtest_calendar(spec: ModelSpec, sources: Sources, as_of: datetime) -> Calendar:
    """A stand at `as_of`: learn from what was ripe by then, judge by what came after."""
    learn = tuple(_learn(spec, sources, as_of))
    test = tuple(as_of + timedelta(days=day) for day in range(spec.judged_days if spec.of_transactions else 1))
    spec.window.check_ripe(list(test), told_until(sources) if spec.of_transactions else coverage(sources))
    return Calendar(learn=learn, test=test, score=as_of)


def _learn(spec: ModelSpec, sources: Sources, stand: datetime) -> list[datetime]:
    first, known_until = span(sources, known_until=stand)
    newest, since = _midnight(known_until - spec.window.reach), _midnight(first)
    found = schedule(newest, since=since, every=spec.every, history=spec.history, most=spec.dates)
    if not found:
        raise BadInputError(
            f"model {spec.name}: no as-of to learn from by {stand:%Y-%m-%d}: the data begin {since:%Y-%m-%d}, the "
            f"newest as-of with complete labels is {newest:%Y-%m-%d}, and {spec.history} days must precede it; use a "
            f"later as-of, or a shorter horizon or history in [model.{spec.name}]"
        )
    return found


def _midnight(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day)


def split(spec: ModelSpec, dates: Calendar) -> Split:
    return split_in_time(dates.learn, test=dates.test, window=spec.window, calibrate=spec.calibrate_dates)


def spine(spark: SparkSession, spec: ModelSpec, sources: Sources, as_ofs: Sequence[datetime]) -> DataFrame:
    """Who belongs at each as-of: (customer_id, as_of)."""
    moments = as_of_frame(spark, as_ofs)
    if spec.cohort == "active":
        return active(sources["transactions"], moments, days=spec.active_days, activity=spec.is_active)
    return open_accounts(sources, moments)


def feature_rows(
    spark: SparkSession, spec: ModelSpec, sources: Sources, chosen: Sequence[Feature], as_ofs: Sequence[datetime]
) -> DataFrame:
    """One row per customer of the cohort and as-of: (the spec's key, the model's feature columns).

    Of a model of transactions: one row per transaction of the days that begin at the as-ofs, with `event_time` and
    `amount` beside the key.
    """
    if spec.of_transactions:
        return _transaction_rows(spec, sources, chosen, as_ofs)
    rows = spine(spark, spec, sources, as_ofs)
    used = {name: sources[name] for feature in chosen for name in feature.sources}
    return panel(rows, used, chosen, windows=spec.windows, as_ofs=as_ofs)


def _transaction_rows(
    spec: ModelSpec, sources: Sources, chosen: Sequence[Feature], days: Sequence[datetime]
) -> DataFrame:
    """Transactions as they first became known, each described as of itself; `as_of` is its day."""
    transactions = sources["transactions"]
    between, day = (min(days), max(days) + timedelta(days=1)), F.date_trunc("day", "event_time")
    made = first_versions(transactions)
    wanted = made.where(F.col("event_time").between(*map(F.lit, between)) & day.isin(*days))
    described = rows(wanted, looked_at(sources), chosen, delay=spec.maturity, windows=spec.windows, between=between)
    # Only now: to the features, as-of is the moment itself.
    return described.withColumn("as_of", day).select(*spec.key, "event_time", "amount", *columns(spec, chosen))


def labels(spec: ModelSpec, sources: Sources, cohort: DataFrame, *, known_until: datetime | None = None) -> DataFrame:
    """(the spec's key, label) of a cohort, told by the rows known until a moment (null = all there are)."""
    rows = sources[LABELS[spec.label]]
    rows = rows.where(F.col("superseded_at").isNull() if known_until is None else known_by(F.lit(known_until)))
    if spec.label == "fraud":
        return fraud(cohort, rows)
    if spec.label == "closure":
        return closure(cohort, rows, window=spec.window, kinds=spec.kinds)
    return inactivity(cohort, rows, window=spec.window, active=spec.is_active)


def labelled(spec: ModelSpec, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None) -> DataFrame:
    """Feature rows with their labels; rows that cannot be judged are left out."""
    if spec.of_transactions:
        return labels(spec, sources, rows, known_until=known_until)
    told = labels(spec, sources, rows.select(*spec.key), known_until=known_until)
    return rows.join(told, on=list(spec.key), how="inner")


def unblocked(spec: ModelSpec, sources: Sources, rows: DataFrame, stand: datetime | None = None) -> DataFrame:
    """The transactions without those of customers who are blocked on their day, for a fraud known by then.

    Only frauds from `blocked_days` before the stand on count, or without a stand before the day itself: for older ones
    a new card has come.
    """
    if not spec.blocked_days or not spec.of_transactions:
        return rows
    frauds = reported(sources["transactions"], sources["fraud_reports"]).where("is_fraud")
    times = {"event_time": "_made", "known_time": "_known", "superseded_at": "_superseded"}
    known = frauds.select("customer_id", *times).withColumnsRenamed(times)
    since = (F.col("as_of") if stand is None else F.lit(stand)) - F.make_dt_interval(F.lit(spec.blocked_days))
    stands = F.col("_superseded").isNull() | (F.col("_superseded") > F.col("as_of"))
    is_blocked = (F.col("_known") <= F.col("as_of")) & stands & (F.col("_made") >= since)
    days = rows.select("customer_id", "as_of").distinct()
    blocked = days.join(known, on="customer_id").where(is_blocked).select("customer_id", "as_of").distinct()
    return rows.join(blocked, on=["customer_id", "as_of"], how="left_anti")


@dataclass(frozen=True)
class Built:
    """What a build wrote: the table, its feature columns and as-ofs, and the features that lack a source."""

    table: str
    columns: tuple[str, ...]
    as_ofs: tuple[datetime, ...]
    left_out: tuple[Feature, ...]


def feature_table(spec: ModelSpec) -> str:
    return f"features_{spec.name}"


def build_features(
    spark: SparkSession,
    lake: Lake,
    spec: ModelSpec,
    sources: Sources,
    as_of: datetime,
    *,
    only: bool = False,
    in_use: Mapping[str, Any] | None = None,
) -> Built:
    """Write the features of every as-of a run at `as_of` needs (`only`: of as_of itself), replacing those as-ofs.

    `in_use` is the `fit.json` of the version that scores. What it reads and `spec` names no more is made too, where
    that version is judged or scores.
    """
    if only:
        _fresh(spec, sources, as_of)
        as_ofs, used_at = [as_of], [as_of]
    else:
        dates = calendar(spec, sources, as_of)
        as_ofs, used_at = sorted({*dates.labelled, as_of}), [*dates.test, as_of]
    chosen, left_out = usable_features(spec, sources)
    rows = feature_rows(spark, spec, sources, chosen, as_ofs)
    if in_use:
        rows = _with_lacking(rows, spec, sources, in_use, used_at)
    lake.replace(rows, feature_table(spec), {"as_of": as_ofs}, widen=True)
    return Built(feature_table(spec), tuple(columns(spec, chosen)), tuple(as_ofs), left_out)


def _with_lacking(
    rows: DataFrame, spec: ModelSpec, sources: Sources, in_use: Mapping[str, Any], as_ofs: Sequence[datetime]
) -> DataFrame:
    """The rows, with the columns that the version in use reads and they lack; null at other as-ofs than these.

    What no feature makes any more, or has no source now, stays out; `check_inputs` says so where it is missed.
    """
    windows = tuple(in_use.get("windows", spec.windows))
    lacking = set(read_columns(in_use)) - set(rows.columns)
    wanted = [
        feature
        for feature in features()
        if lacking & set(feature.columns(windows))
        and feature.sources <= set(sources)
        and (spec.of_transactions or not feature.of_rows)
    ]
    if not wanted:
        return rows
    theirs = feature_rows(rows.sparkSession, replace(spec, windows=windows), sources, wanted, as_ofs)
    added = sorted(lacking & set(theirs.columns))
    return rows.join(theirs.select(*spec.key, *added), on=list(spec.key), how="left")


def read_columns(summary: Mapping[str, Any]) -> list[str]:
    """The feature columns that a version reads, by its `fit.json`."""
    made = summary.get("columns", {})
    return [*made.get("numeric", ()), *made.get("text", ())]


def check_inputs(spec: ModelSpec, seen: Summary | None, summary: Mapping[str, Any], version: str) -> None:
    """Raises BadInputError where a column that a version reads is not among those seen, or was never null in training
    and is nothing else now.

    So looks an as-of that was built for other features, or without a source; scores of it would speak of nobody.
    """
    if seen is None:
        return
    patchy = summary["columns"].get("patchy", ())
    known = seen.known
    lacking = [name for name in read_columns(summary) if name not in known or (name not in patchy and not known[name])]
    if lacking:
        raise BadInputError(
            f"{feature_table(spec)} has no values of {', '.join(lacking[:5])}"
            + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            + f", which {spec.name} version {version} goes by: run build_features again for this as-of, and check that "
            "the sources it was trained on are there"
        )


def seen_columns(rows: DataFrame, columns: Sequence[str]) -> Summary | None:
    """What is known of those of the columns that are there; null where there are no rows."""
    kinds = {name: kind for name, kind in rows.dtypes if name in set(columns)}
    texts = [name for name, kind in kinds.items() if kind == "string"]
    found = summarised(rows, [name for name in kinds if name not in texts], texts)
    return Summary.merged(list(found.values())) if found else None


def read_features(lake: Lake, spec: ModelSpec, as_ofs: Sequence[datetime]) -> DataFrame:
    """The built features of these as-ofs. Raises BadInputError where one is not there."""
    table = feature_table(spec)
    rows = lake.read(table).where(F.col("as_of").isin(*as_ofs))
    there = {row["as_of"] for row in rows.select("as_of").distinct().collect()}
    if missing := sorted(set(as_ofs) - there):
        raise BadInputError(
            f"{table} has no rows of as-of {', '.join(f'{as_of:%Y-%m-%d}' for as_of in missing)}: either nobody was in "
            "the cohort then, or build_features has not run for this as-of"
        )
    return rows
