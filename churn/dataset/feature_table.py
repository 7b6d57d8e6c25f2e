"""The stored features of a model: written for every as-of that a run needs, read again by each step after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.calendar import calendar, check_received
from churn.dataset.column_summary import Summary, summarised
from churn.dataset.examples import examples, feature_columns, usable_features
from churn.errors import BadInputError, HoldError
from churn.features import Feature, features
from churn.model_spec import ModelSpec, Sources
from churn.sources.completeness import ALWAYS, complete_until
from churn.storage import Lake, Snapshot, literal

EMPTY: Final = "empty_as_ofs"
"""The as-ofs that were built or scored and have no rows, (features, as_of, entity): the table they would be in, and of
what."""


@dataclass(frozen=True)
class Built:
    """What a build wrote: the table, its feature columns and as-ofs, and the features that lack a source."""

    table: str
    columns: tuple[str, ...]
    as_ofs: tuple[datetime, ...]
    left_out: tuple[Feature, ...]


def feature_table(spec: ModelSpec) -> str:
    """The name of a model's table of features."""
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

    As-ofs shortly before it that were built, and of which rows have arrived since, are built again. One without rows is
    noted as empty once all its rows must have been delivered; with `only`, raises HoldError before.

    `in_use` is the `fit.json` of the version that scores. Columns that it reads and `spec` no longer names are computed
    too, at the as-ofs where that version is evaluated or scores.
    """
    if only:
        check_received(spec, sources, as_of)
        _check_delivered(spark, spec, sources, as_of)
        as_ofs, used_at = [as_of], [as_of]
    else:
        dates = calendar(spec, sources, as_of)
        as_ofs, used_at = sorted({*dates.labelled, as_of}), [*dates.test, as_of]
    late = _late(lake, spec, sources, as_of)
    as_ofs, used_at = sorted({*as_ofs, *late}), [*used_at, *late]
    chosen, left_out = usable_features(spec, sources)
    rows = examples(spec).feature_rows(spark, sources, chosen, as_ofs)
    if in_use:
        rows = _with_lacking(rows, spec, sources, in_use, used_at)
    lake.replace(rows, feature_table(spec), {"as_of": as_ofs}, widen=True)
    has_rows = _as_ofs(lake.read(feature_table(spec)).where(F.col("as_of").isin(*as_ofs)))
    empty = [one for one in as_ofs if one not in has_rows and not _lacking_source(spec, sources, one)]
    record_empty(lake, spec, feature_table(spec), as_ofs, empty)
    return Built(feature_table(spec), tuple(feature_columns(spec, chosen)), tuple(as_ofs), left_out)


def _lacking_source(spec: ModelSpec, sources: Sources, as_of: datetime) -> tuple[str, datetime] | None:
    """A source that the rows of an as-of come from and that is not complete for them yet, and until when it is."""
    for name, after in examples(spec).rows_from.items():
        end = complete_until(sources, [name], by=as_of + after, delivered_by=ALWAYS)[name]
        if end < as_of + after:
            return name, end
    return None


def _check_delivered(spark: SparkSession, spec: ModelSpec, sources: Sources, as_of: datetime) -> None:
    """Raises HoldError where an as-of has no rows, and some may still be delivered."""
    lacking = _lacking_source(spec, sources, as_of)
    if lacking and examples(spec).members(spark, sources, [as_of]).isEmpty():
        name, end = lacking
        raise HoldError(
            f"as-of {as_of:%Y-%m-%d} has no {spec.vocabulary.entities}, and {name} are complete only until "
            f"{end:%Y-%m-%d %H:%M}, want {as_of + examples(spec).rows_from[name]:%Y-%m-%d %H:%M}; ingest the batch "
            "after it, then run this again"
        )


def _late(lake: Lake, spec: ModelSpec, sources: Sources, as_of: datetime) -> list[datetime]:
    """The as-ofs shortly before one that were built, and have rows now that the table lacks."""
    days, table = examples(spec).late_as_ofs(as_of), feature_table(spec)
    if not days or not lake.exists(table):
        return []
    stored = lake.read(table).where(F.col("as_of").isin(*days)).select(*spec.key)
    members = examples(spec).members(lake.spark, sources, days).select(*spec.key)
    arrived = members.join(stored, on=list(spec.key), how="left_anti")
    return sorted(_as_ofs(arrived) & (_as_ofs(stored) | empty_as_ofs(lake, table)))


def _with_lacking(
    rows: DataFrame, spec: ModelSpec, sources: Sources, in_use: Mapping[str, Any], as_ofs: Sequence[datetime]
) -> DataFrame:
    """The rows, with the columns that the version in use reads and they lack; null at other as-ofs than these.

    A column that no feature computes any more, or whose source is missing now, is left out; `check_inputs` refuses to
    score without it.
    """
    windows = tuple(in_use.get("windows", spec.features.windows))
    lacking = set(read_columns(in_use)) - set(rows.columns)
    wanted = [
        feature
        for feature in features()
        if lacking & set(feature.columns(windows)) and feature.sources <= set(sources) and examples(spec).has(feature)
    ]
    if not wanted:
        return rows
    of_version = spec.model_copy(update={"features": spec.features.model_copy(update={"windows": windows})})
    added_rows = examples(of_version).feature_rows(rows.sparkSession, sources, wanted, as_ofs)
    added = sorted(lacking & set(added_rows.columns))
    return rows.join(added_rows.select(*spec.key, *added), on=list(spec.key), how="left")


@dataclass(frozen=True)
class StoredFeatures(Snapshot):
    """A model's table of features, and the as-ofs that were built and have no rows."""

    empty: frozenset[datetime]


def stored_features(lake: Lake, spec: ModelSpec, versions: Mapping[str, int] | None = None) -> StoredFeatures:
    """A model's table of features, at its newest version or at the one that `versions` names."""
    table = feature_table(spec)
    stored = lake.snapshot(table, None if versions is None else versions.get(table))
    return StoredFeatures(**vars(stored), empty=empty_as_ofs(lake, table))


def read_features(stored: StoredFeatures, as_ofs: Sequence[datetime]) -> DataFrame:
    """The stored features of these as-ofs. Raises BadInputError where one was never built; one at which there was
    nobody, such as a day on which a shop is closed, has no rows."""
    table = stored.table
    rows = stored.frame.where(F.col("as_of").isin(*as_ofs))
    if missing := sorted(set(as_ofs) - _as_ofs(rows) - stored.empty):
        raise BadInputError(
            f"{table} was never built for as-of {', '.join(f'{as_of:%Y-%m-%d}' for as_of in missing)}; run "
            "build_features for this as-of"
        )
    return rows


def record_empty(
    lake: Lake, spec: ModelSpec, table: str, as_ofs: Sequence[datetime], empty: Sequence[datetime]
) -> None:
    """Note which of the as-ofs that a run wrote into a table have no rows in it."""
    if empty or empty_as_ofs(lake, table) & set(as_ofs):
        listed = ", ".join(map(literal, empty)) if empty else ""
        as_of = f"explode(cast(array({listed}) AS array<timestamp>)) AS as_of"
        rows = lake.spark.range(1).selectExpr(
            f"{literal(table)} AS features", as_of, f"{literal(spec.label.entity)} AS entity"
        )
        lake.replace(rows, EMPTY, {"features": table, "as_of": as_ofs})


def empty_as_ofs(lake: Lake, table: str) -> frozenset[datetime]:
    """The as-ofs that were written into a table and have no rows in it."""
    return frozenset(_as_ofs(lake.read(EMPTY).where(F.col("features") == table)) if lake.exists(EMPTY) else ())


def _as_ofs(rows: DataFrame) -> set[datetime]:
    return {row["as_of"] for row in rows.select("as_of").distinct().collect()}


def read_columns(summary: Mapping[str, Any]) -> list[str]:
    """The feature columns that a version reads, by its `fit.json`."""
    columns = summary.get("columns", {})
    return [*columns.get("numeric", ()), *columns.get("text", ())]


def summary_of(rows: DataFrame, columns: Sequence[str]) -> Summary | None:
    """The summary of those of the columns that the rows have; None where there are no rows."""
    kinds = {name: kind for name, kind in rows.dtypes if name in set(columns)}
    texts = [name for name, kind in kinds.items() if kind == "string"]
    found = summarised(rows, [name for name in kinds if name not in texts], texts)
    return Summary.merged(list(found.values())) if found else None


def check_inputs(spec: ModelSpec, inputs: Summary | None, summary: Mapping[str, Any], version: str) -> None:
    """Raises BadInputError where the inputs lack a column that a version reads, or have nothing but nulls in one that
    was never null in training.

    That is so where the as-of was built for other features, or without a source; its scores would mean nothing.
    """
    if inputs is None:
        return
    nullable = summary["columns"].get("nullable", ())
    known = inputs.known
    lacking = [
        name for name in read_columns(summary) if name not in known or (name not in nullable and not known[name])
    ]
    if lacking:
        raise BadInputError(
            f"{feature_table(spec)} has no values of {', '.join(lacking[:5])}"
            + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            + f", which {spec.name} version {version} reads: run build_features again for this as-of, and check that "
            "the sources it was trained on are there"
        )
