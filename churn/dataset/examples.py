"""The rows of a model, customers or transactions: which there are, with which features, and with which label.

All that differs between the two kinds of model is in the two classes here; the `entity` of a label chooses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import ClassVar, Final

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.cohort import spine
from churn.errors import BadInputError, nearest
from churn.features import Feature, customer_features, features, transaction_features
from churn.model_spec import Entity, ModelSpec, Sources
from churn.sources.contacts import is_treated
from churn.sources.versions import first_versions, known_by, reported_transactions, with_reported_transactions

EPOCH: Final = datetime(1970, 1, 1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """Scored as-ofs that are evaluated together, and the last as-of whose labels they need."""

    as_ofs: tuple[datetime, ...]
    last: datetime

    @property
    def first(self) -> datetime:
        return self.as_ofs[0]


@dataclass(frozen=True)
class Examples(ABC):
    """The rows of a model. Each has the columns of the spec's key; `beside` are the columns that travel with them."""

    spec: ModelSpec

    beside: ClassVar[tuple[str, ...]] = ()
    amounts: ClassVar[tuple[str, ...]] = ()
    """Those of `beside` that an evaluation reads."""

    @property
    def daily_metrics(self) -> tuple[str, ...]:
        """Which metrics of a day's alerts an evaluation adds (churn.evaluation.alert_metrics.DAILY_METRICS)."""
        return ()

    # ---------------------------------------------------------------- which rows

    @property
    @abstractmethod
    def population(self) -> str:
        """For whom the model speaks, in words."""

    @property
    @abstractmethod
    def requires(self) -> frozenset[str]:
        """The sources without which labels or rows cannot be computed."""

    @property
    @abstractmethod
    def rows_from(self) -> Mapping[str, timedelta]:
        """The sources that tell which rows there are, and for how long after an as-of its rows still come from each."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """The sources that must be complete for a label to be known."""
        return self.spec.label.evidence or self.spec.label.sources

    @abstractmethod
    def when(self, as_of: datetime) -> str:
        """When the outcome of a row scored at `as_of` happens: it follows "the chance that a customer ..."."""

    @abstractmethod
    def has(self, feature: Feature) -> bool:
        """Whether a feature can be computed for these rows."""

    @abstractmethod
    def members(self, spark: SparkSession, sources: Sources, as_ofs: Sequence[datetime]) -> DataFrame:
        """The entities at each as-of, with the columns that the label needs."""

    @abstractmethod
    def feature_rows(
        self, spark: SparkSession, sources: Sources, chosen: Sequence[Feature], as_ofs: Sequence[datetime]
    ) -> DataFrame:
        """One row for each member at each as-of: the spec's key, `beside`, the feature columns."""

    @abstractmethod
    def eligible(self, sources: Sources, rows: DataFrame, origin: datetime | None = None) -> DataFrame:
        """The rows whose score is used, and so evaluated, at a backtest origin; None = each at its own as-of."""

    def labels(self, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None) -> DataFrame:
        """Rows with `label`, by the source rows known at a time; None = the newest version of each. Without treated
        customers, unless the training includes them."""
        labels = self.labels_of_all(sources, rows, known_until=known_until)
        if self.spec.training.treated == "included":
            return labels
        flagged = self.with_treated(sources, labels, known_until=known_until)
        return labels if flagged is None else flagged.where(~F.col("treated")).drop("treated")

    def labels_of_all(self, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None) -> DataFrame:
        """As `labels`, with treated customers in any case."""
        label = self.spec.label
        versions = {name: sources[name] for name in (*label.sources, *label.optional) if name in sources}
        if known_until is not None:
            until = F.lit(known_until)
            superseded_at = F.when(F.col("superseded_at") <= until, F.col("superseded_at"))
            versions = {
                name: of.where(F.col("known_time") <= until).withColumn("superseded_at", superseded_at)
                for name, of in versions.items()
            }
        undecided = label.undecided(rows, versions)
        current = {name: of.where(F.col("superseded_at").isNull()) for name, of in versions.items()}
        return label.compute(undecided, current, self.spec.window)

    def with_treated(
        self, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None
    ) -> DataFrame | None:
        """Rows with `treated`: whether a contact treated the customer in `[as_of, as_of + lead + horizon)`, by what is
        known at a time. None where the label is none that contacts prevent, or there are no contacts."""
        if not (self.spec.label.prevented_by_contacts and "contacts" in sources):
            return None
        valid = F.col("superseded_at").isNull() if known_until is None else known_by(F.lit(known_until))
        made = sources["contacts"].where(valid & is_treated()).select("customer_id", F.col("event_time").alias("_at"))
        end = F.col("as_of") + F.make_dt_interval(F.lit(self.spec.window.lead + self.spec.window.horizon))
        within = (F.col("_at") >= F.col("as_of")) & (F.col("_at") < end)
        key = ["customer_id", "as_of"]
        treated = rows.select(*key).join(made, on="customer_id", how="inner").where(within).select(*key).distinct()
        flagged = rows.join(treated.withColumn("treated", F.lit(True)), on=key, how="left")
        return flagged.withColumn("treated", F.coalesce("treated", F.lit(False)))

    def count_treated(
        self, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None
    ) -> dict[str, int] | None:
        """How many `rows` of a model there are, and how many `treated` among them; None as in `with_treated`."""
        flagged = self.with_treated(sources, rows.select("customer_id", "as_of"), known_until=known_until)
        if flagged is None:
            return None
        (found,) = flagged.agg(F.count("*").alias("rows"), F.count_if("treated").alias("treated")).collect()
        return {"rows": found["rows"], "treated": found["treated"]}

    def labelled(self, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None) -> DataFrame:
        """Feature rows with their labels; rows whose label cannot be known are left out."""
        key = list(self.spec.key)
        labels = self.labels(sources, rows.select(*key), known_until=known_until).select(*key, "label")
        return rows.join(labels, on=key, how="inner")

    # ---------------------------------------------------------------- which as-ofs together

    @abstractmethod
    def evaluated_as_ofs(self, origin: datetime) -> tuple[datetime, ...]:
        """The as-ofs that a backtest evaluates at an origin."""

    def late_as_ofs(self, as_of: datetime) -> tuple[datetime, ...]:  # noqa: ARG002
        """The as-ofs before, whose rows that arrived late are scored by the run at `as_of`."""
        return ()

    def scored_as_ofs(self, as_of: datetime) -> list[datetime]:
        """The as-ofs of all rows that the run at `as_of` may score."""
        return [as_of, *self.late_as_ofs(as_of)]

    @abstractmethod
    def evaluated_as(self, as_of: pd.Series) -> pd.Series:
        """The as-of under which each row is evaluated."""

    @abstractmethod
    def periods(self, scored: Iterable[datetime]) -> list[Period]:
        """Scored as-ofs in the groups in which they are evaluated, in order of time; later ones do not change them."""

    @abstractmethod
    def monitored(self, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:
        """The as-ofs that a monitoring run at `as_of` compares with its references."""

    @abstractmethod
    def last_period(self, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:
        """The scored as-ofs of the period before."""

    @abstractmethod
    def season(self, around: datetime, built: Iterable[datetime]) -> tuple[datetime, ...]:
        """The as-ofs with features in the season of a date, such as 52 weeks before an as-of."""

    @abstractmethod
    def too_few(self, as_ofs: Sequence[datetime]) -> str | None:
        """Why the monitored as-ofs are too few to tell whether something drifted; None = they are enough."""


@dataclass(frozen=True)
class CustomerExamples(Examples):
    """Customers of a cohort at midnights. Key: (customer_id, as_of)."""

    @property
    def population(self) -> str:
        return self.spec.cohort.population

    @property
    def requires(self) -> frozenset[str]:
        active = ("transactions",) if self.spec.cohort.kind == "active" else ()
        return frozenset({*self.spec.label.sources, *active})

    @property
    def rows_from(self) -> Mapping[str, timedelta]:
        return {"transactions": timedelta()} if self.spec.cohort.kind == "active" else {}

    def when(self, as_of: datetime) -> str:
        window = self.spec.window
        first, last = as_of + DAY * window.lead, as_of + DAY * (window.lead + window.horizon - 1)
        return f" in the {window.horizon} days from {_day(first)} to {_day(last)}"

    def has(self, feature: Feature) -> bool:
        return not feature.transactions_only

    def members(self, spark: SparkSession, sources: Sources, as_ofs: Sequence[datetime]) -> DataFrame:
        return spine(spark, self.spec.cohort, sources, as_ofs)

    def feature_rows(
        self, spark: SparkSession, sources: Sources, chosen: Sequence[Feature], as_ofs: Sequence[datetime]
    ) -> DataFrame:
        of_features = {name: sources[name] for feature in chosen for name in feature.sources}
        members = self.members(spark, sources, as_ofs)
        return customer_features(members, of_features, chosen, windows=self.spec.features.windows, as_ofs=as_ofs)

    def eligible(self, sources: Sources, rows: DataFrame, origin: datetime | None = None) -> DataFrame:  # noqa: ARG002
        return rows

    def evaluated_as_ofs(self, origin: datetime) -> tuple[datetime, ...]:
        return (origin,)

    def evaluated_as(self, as_of: pd.Series) -> pd.Series:
        return as_of

    def periods(self, scored: Iterable[datetime]) -> list[Period]:
        return [Period((as_of,), as_of) for as_of in sorted(set(scored))]

    def monitored(self, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:  # noqa: ARG002
        return (as_of,)

    def last_period(self, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:
        return tuple(sorted(before for before in set(scored) if before < as_of)[-1:])

    def season(self, around: datetime, built: Iterable[datetime]) -> tuple[datetime, ...]:
        """The nearest one, no farther away than half of the days between as-ofs."""
        near = [as_of for as_of in set(built) if abs(as_of - around) <= DAY * max(1, self.spec.schedule.every // 2)]
        return tuple(sorted(near, key=lambda as_of: (abs(as_of - around), as_of))[:1])

    def too_few(self, as_ofs: Sequence[datetime]) -> str | None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class TransactionExamples(Examples):
    """Transactions as they first became known, each as of itself. Key: (transaction_id, customer_id, as_of), where
    `as_of` is the transaction's day."""

    beside: ClassVar[tuple[str, ...]] = ("event_time", "amount")
    amounts: ClassVar[tuple[str, ...]] = ("amount",)

    @property
    def daily_metrics(self) -> tuple[str, ...]:
        return ("card_precision", "alerts") if self.spec.alerts else ("card_precision",)

    @property
    def population(self) -> str:
        return "transactions"

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({*self.spec.label.sources, "transactions"})

    @property
    def rows_from(self) -> Mapping[str, timedelta]:
        return {"transactions": DAY}

    def when(self, as_of: datetime) -> str:  # noqa: ARG002
        return ", computed when it is made from what was known just before it"

    def has(self, feature: Feature) -> bool:  # noqa: ARG002
        return True

    def members(self, spark: SparkSession, sources: Sources, as_ofs: Sequence[datetime]) -> DataFrame:  # noqa: ARG002
        day = F.date_trunc("day", "event_time")
        return first_versions(sources["transactions"]).where(day.isin(*as_ofs)).withColumn("as_of", day)

    def feature_rows(
        self,
        spark: SparkSession,  # noqa: ARG002
        sources: Sources,
        chosen: Sequence[Feature],
        as_ofs: Sequence[datetime],
    ) -> DataFrame:
        between, day = (min(as_ofs), max(as_ofs) + DAY), F.date_trunc("day", "event_time")
        wanted = first_versions(sources["transactions"]).where(
            F.col("event_time").between(*map(F.lit, between)) & day.isin(*as_ofs)
        )
        rows = transaction_features(
            wanted,
            with_reported_transactions(sources),
            chosen,
            delay=self.spec.window.maturity,
            windows=self.spec.features.windows,
            between=between,
        )
        # Only here: while features are computed, as_of is the transaction's own time.
        columns = feature_columns(self.spec, chosen)
        return rows.withColumn("as_of", day).select(*self.spec.key, *self.beside, *columns)

    def labelled(self, sources: Sources, rows: DataFrame, *, known_until: datetime | None = None) -> DataFrame:
        return self.labels(sources, rows, known_until=known_until)  # every row has a label, so no join is needed

    def eligible(self, sources: Sources, rows: DataFrame, origin: datetime | None = None) -> DataFrame:
        """Without transactions of customers whose card is blocked on that day, for a fraud known by then.

        Frauds count from `blocked_card_days` before the origin on, or without an origin before the day itself: for
        older ones a new card has been issued.
        """
        days = self.spec.evaluation.blocked_card_days
        if not days:
            return rows
        frauds = reported_transactions(sources["transactions"], sources["fraud_reports"]).where("is_fraud")
        times = {"event_time": "_event", "known_time": "_known", "superseded_at": "_superseded"}
        known = frauds.select("customer_id", *times).withColumnsRenamed(times)
        since = (F.col("as_of") if origin is None else F.lit(origin)) - F.make_dt_interval(F.lit(days))
        valid: Column = F.col("_superseded").isNull() | (F.col("_superseded") > F.col("as_of"))
        is_blocked = (F.col("_known") <= F.col("as_of")) & valid & (F.col("_event") >= since)
        customer_days = rows.select("customer_id", "as_of").distinct()
        to_drop = customer_days.join(known, on="customer_id").where(is_blocked).select("customer_id", "as_of")
        return rows.join(to_drop.distinct(), on=["customer_id", "as_of"], how="left_anti")

    def late_as_ofs(self, as_of: datetime) -> tuple[datetime, ...]:
        return tuple(as_of - DAY * days for days in range(1, self.spec.schedule.late_days + 1))

    def evaluated_as_ofs(self, origin: datetime) -> tuple[datetime, ...]:
        return tuple(origin + DAY * day for day in range(self.spec.evaluation.period_days))

    def evaluated_as(self, as_of: pd.Series) -> pd.Series:
        """The first of the `period_days` in which it lies, counted from the first row."""
        return as_of.groupby((as_of - as_of.min()).dt.days // self.spec.evaluation.period_days).transform("min")

    def periods(self, scored: Iterable[datetime]) -> list[Period]:
        """Of `period_days` each, counted from 1970 on; one needs the labels of its last day, scored or not."""
        length, by_begin = DAY * self.spec.evaluation.period_days, dict[datetime, list[datetime]]()
        for as_of in sorted(set(scored)):
            by_begin.setdefault(EPOCH + length * ((as_of - EPOCH) // length), []).append(as_of)
        return [Period(tuple(as_ofs), begin + length - DAY) for begin, as_ofs in sorted(by_begin.items())]

    @property
    def _window(self) -> timedelta:
        return DAY * self.spec.monitoring.window_days

    def monitored(self, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:
        return _between(scored, as_of - self._window, as_of)

    def last_period(self, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:
        return _between(scored, as_of - 2 * self._window, as_of - self._window)

    def season(self, around: datetime, built: Iterable[datetime]) -> tuple[datetime, ...]:
        return _between(built, around - self._window, around)

    def too_few(self, as_ofs: Sequence[datetime]) -> str | None:
        wanted = self.spec.monitoring.window_days
        return f"{len(as_ofs)} of {wanted} days have been scored: too few to tell" if 2 * len(as_ofs) < wanted else None


def _day(value: datetime) -> str:
    return f"{value.day} {value:%B %Y}"


def _between(as_ofs: Iterable[datetime], after: datetime, until: datetime) -> tuple[datetime, ...]:
    return tuple(sorted(as_of for as_of in set(as_ofs) if after < as_of <= until))


KINDS: Final[Mapping[Entity, type[Examples]]] = MappingProxyType(
    {"customer": CustomerExamples, "transaction": TransactionExamples}
)


def examples(spec: ModelSpec) -> Examples:
    """The rows of a model, of the kind that its label is for."""
    return KINDS[spec.label.entity](spec)


def check_sources(spec: ModelSpec, sources: Sources) -> None:
    """Raises BadInputError where a source is missing that the model's label or cohort needs."""
    if missing := sorted(examples(spec).requires - set(sources)):
        raise BadInputError(
            f"model {spec.name}: label = {spec.label.name!r} with cohort = {spec.cohort.kind!r} needs "
            f"{', '.join(missing)}, and there are only {', '.join(sorted(sources)) or 'none'}; map "
            f"[sources.{missing[0]}] in churn.toml, or choose another label in [model.{spec.name}]"
        )


def usable_features(spec: ModelSpec, sources: Sources) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    """The model's features whose sources are there, and those left out because one is not."""
    chosen = spec.features
    excluded = {feature.name for feature in features(*chosen.exclude)} if chosen.exclude else set()
    wanted = [feature for feature in features(*chosen.include) if feature.name not in excluded]
    usable = tuple(feature for feature in wanted if feature.sources <= set(sources))
    if not usable:
        raise BadInputError(f"model {spec.name}: none of its features can be made from {', '.join(sorted(sources))}")
    return usable, tuple(feature for feature in wanted if feature not in usable)


def feature_columns(spec: ModelSpec, chosen: Sequence[Feature]) -> list[str]:
    """The feature columns of a model, in order."""
    return [column for feature in chosen for column in feature.columns(spec.features.windows)]


def check_baseline(spec: ModelSpec, sources: Sources) -> None:
    """Raises BadInputError where the column that the model must beat cannot be made from the sources."""
    columns = (*feature_columns(spec, usable_features(spec, sources)[0]), *examples(spec).beside)
    if spec.baseline not in columns:
        raise BadInputError(
            f"model {spec.name}: baseline = {spec.baseline!r} is no column of the features that the model makes from "
            f"{', '.join(sorted(sources))}; set another in [model.{spec.name}] in churn.toml"
            f"{nearest(spec.baseline, columns)}"
        )
