"""What a model is: one frozen declaration, made of parts with one concern each. Times are whole days.

A model file holds `SPEC = ModelSpec(...)`. churn.toml may set any plain value of a part in `[model.<name>.<part>]`;
candidates, gates and limits are Python's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.errors import ConfigError, LeakageError, nearest
from churn.validation import Days, Frozen, Seed, SomeDays
from churn.vocabulary import Vocabulary

Sources = Mapping[str, DataFrame]
"""Accepted tables by the name of their contract."""
Entity = Literal["customer", "transaction"]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


def _not_empty(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("is empty, want at least one name")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_not_empty)]

KEYS: Final[Mapping[Entity, tuple[str, ...]]] = MappingProxyType(
    {"customer": ("customer_id", "as_of"), "transaction": ("transaction_id", "customer_id", "as_of")}
)
"""The columns that identify a row of a model; `as_of` is a customer's midnight, or the day of a transaction."""
DECLARATION: Final = ConfigDict(strict=True, allow_inf_nan=False)
"""How the fields of gates and limits are validated, which are pydantic dataclasses."""


class LabelWindow(Frozen):
    """The label window of an as-of: `[as_of + lead, as_of + lead + horizon)`, in days. `maturity` is for how many days
    after its end labels may still change."""

    lead: SomeDays = 7
    horizon: Days = 30
    maturity: SomeDays = 0

    @property
    def matures_after(self) -> timedelta:
        """From an as-of to the time its labels are complete; also the least gap between train, calibrate and test."""
        return timedelta(days=self.lead + self.horizon + self.maturity)

    def matured_at(self, as_of: datetime) -> datetime:
        """The time from which the labels of `as_of` may be trained on, positives too."""
        return as_of + self.matures_after

    def start(self, as_of: Column) -> Column:
        """The first instant of the window."""
        return as_of + F.make_dt_interval(F.lit(self.lead))

    def contains(self, timestamp: Column) -> Column:
        """True where `timestamp` lies in the label window of the row's as_of."""
        end = F.col("as_of") + F.make_dt_interval(F.lit(self.lead + self.horizon))
        return (timestamp >= self.start(F.col("as_of"))) & (timestamp < end)

    def check_matured(self, as_ofs: Sequence[datetime], known_until: datetime, source: str = "rows") -> None:
        """Raises LeakageError where a label window is cut by `known_until`, the end of `source`: its 0s and 1s are not
        facts yet."""
        newest = max(as_ofs)
        if self.matured_at(newest) > known_until:
            raise LeakageError(
                f"labels of as-of {newest:%Y-%m-%d} are complete on {self.matured_at(newest):%Y-%m-%d} (lead "
                f"{self.lead} + horizon {self.horizon} + maturity {self.maturity} days), but {source} are known only "
                f"until {known_until:%Y-%m-%d %H:%M}; use as-ofs until {known_until - self.matures_after:%Y-%m-%d}, or "
                "a shorter horizon"
            )


class Label(Frozen, ABC):
    """What is predicted: a file in `labels/`, or in the folder `labels` of a company's own catalogue.

    Its fields are the settings of the label. `entity` is what a row of it is, `sources` the accepted tables it is
    computed from, `optional` others that it reads where they are there. `evidence` are those of `sources` in which a
    missing row decides a label: one is known once each of these is complete until its window has matured. Empty = all.
    """

    name: ClassVar[str]
    entity: ClassVar[Entity]
    sources: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    evidence: ClassVar[tuple[str, ...]] = ()
    vocabulary: ClassVar[Vocabulary]
    prevented_by_contacts: ClassVar[bool] = False
    """Whether contacts are made to prevent a 1, so that a 0 of a treated customer says little (`Training.treated`)."""

    @property
    @abstractmethod
    def outcome(self) -> str:
        """What is predicted; ends the sentence "the chance that a customer (a transaction) ..."."""

    def undecided(self, rows: DataFrame, versions: Sources) -> DataFrame:  # noqa: ARG002
        """The rows whose outcome was open at their as-of; the others are left out.

        `versions` has the label's sources with every version that is known when labels are computed, each superseded by
        those alone: the versions that are valid then have no `superseded_at`.
        """
        return rows

    @abstractmethod
    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        """The rows with `label`, 1 or 0; rows whose label cannot be known are left out, never called 0.

        `rows` have the key of the entity: customers at as-ofs, or transactions. `sources` has the label's sources, each
        row in the one version that is valid when labels are computed. A label describes what happened in the window,
        so it reads all rows known when it is computed, not those known at as-of.
        """


class Candidate(ABC):
    """An algorithm that a model may choose, with its settings (churn.training.algorithms)."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The declaration as a reviewer reads it."""

    @property
    def blends(self) -> tuple[str, ...]:
        """The other candidates whose margins it adds up; empty = it is fitted itself."""
        return ()


@dataclass(frozen=True)
class Verdict:
    """Whether a gate or a limit passed: `wanted` and `seen` say why, without a full stop."""

    name: str
    passed: bool
    wanted: str
    seen: str


class Gate(ABC):
    """A condition for promoting a challenger (churn.evaluation.gates), a frozen declaration in a model file."""

    @abstractmethod
    def check(self, evidence: Any) -> Verdict:
        """The verdict by the evidence of an evaluation (churn.evaluation.gates.Evidence)."""


class Limit(ABC):
    """A bound on the inputs, scores or outcomes of a model in use (churn.monitoring.limits), likewise declared."""

    @abstractmethod
    def check(self, evidence: Any) -> Verdict:
        """The verdict by the evidence of a monitoring run (churn.monitoring.limits.Evidence)."""


class Cohort(Frozen):
    """Which customers are scored at an as-of: those with an open account, or those active in the days before it."""

    kind: Literal["open", "active"] = "open"
    active_days: Days = 180
    activity: Names = ("purchase",)
    """The kinds of transactions that show that a customer is active."""

    @property
    def population(self) -> str:
        """For whom the model speaks, in words."""
        if self.kind == "open":
            return "customers with an open account"
        return f"customers with a {' or '.join(self.activity)} in the last {self.active_days} days"


class FeatureSet(Frozen):
    """Which features a model reads. Those of a source that is missing are left out, and named in the report."""

    include: Names = ("calls", "spending", "account", "crossover")
    """Families or single features."""
    exclude: tuple[str, ...] = ()
    windows: tuple[Days, ...] = (30, 90, 180)
    """In days, of every feature that has several windows; empty = each feature's own."""


class Schedule(Frozen):
    """The as-ofs of a model."""

    every: Days = 30
    """Days between training as-ofs."""
    history: SomeDays = 90
    """Days of data that must precede the first as-of."""
    max_as_ofs: Positive = 24
    """The most as-ofs to learn from; the newest are taken."""
    calibrate_as_ofs: Positive = 3
    test_as_ofs: Positive = 3
    test_every: Days = 30
    """Days between test as-ofs."""
    stale_after: SomeDays = 35
    """Days that as-of may lie after the last row known; beyond, a run is refused."""
    late_days: SomeDays = 14
    """Of transactions: days after its own on which one that arrives late is still scored, by that day's run."""
    retrain_after: Positive = 50
    """Positives that must have matured at new as-ofs for a retraining."""
    split: str = "time"

    @model_validator(mode="after")
    def _in_time(self) -> Schedule:
        if self.split != "time":
            raise LeakageError(
                f"split = {self.split!r} puts one customer, days apart, into train and test, and lets labels overlap "
                "features; only split = 'time' is offered"
            )
        return self

    @property
    def test_step(self) -> timedelta:
        return timedelta(days=self.test_every)


class Training(Frozen):
    """How candidates are fitted."""

    negatives_per_positive: NotNegative = 0
    """Negatives per positive that candidates are trained on, sampled by id; 0 = all. The prior is corrected."""
    trial_rows: Positive = 200_000
    """The most rows of a slice, sampled by id, that candidates are trained and tried on to choose between them; the
    chosen one is fitted on all."""
    one_task_mib: NotNegative = 1024
    """Up to so many MiB of feature values, 4 bytes each, a candidate is fitted by scikit-learn in one task, which takes
    up to six times as much memory; beyond, by MLlib on all executors."""
    treated: Literal["left_out", "included"] = "left_out"
    """What becomes of customers whom a contact treated between as-of and the end of the label window, where the label
    is one that contacts prevent: one who was saved is not a loyal one."""
    refit: bool = True
    """Fit the chosen candidate again on every matured as-of. Candidates are chosen with a gap in time either way."""
    select_by: Literal["log_loss", "empc"] = "log_loss"
    """What chooses between candidates; `empc` needs the part `campaign`."""
    seed: Seed = 17


class EvaluationSettings(Frozen):
    """How a model is evaluated. `period_days` and `blocked_card_days` apply to transactions."""

    resamples: NotNegative = 200
    period_days: Days = 1
    """How many days of transactions are evaluated together."""
    blocked_card_days: SomeDays = 0
    """Customers with a fraud in so many days before the period, known at the day's start, are left out: their card is
    blocked."""


class Alerts(Frozen):
    """Which of the rows scored for a day people are to review."""

    alert_budget: NotNegative = 100
    """How many rows a day can be reviewed: those of the highest scores."""
    random_audit: NotNegative = 5
    """How many more a day are drawn at random, so that labels do not come from alerts alone."""
    threshold_days: Days = 7
    """In a stream: from how many scored days before it takes the score above which the budget is used up."""


class Campaign(Frozen):
    """A retention campaign, by which the profit of a model is measured (churn.evaluation.profit). Money is in the
    company's currency.

    The defaults are those of Verbraken, Verbeke & Baesens 2013, section 6; a company sets its own.
    """

    clv: Annotated[float, Field(gt=0)] = 200.0
    """The value of a customer who is retained."""
    offer_cost: Annotated[float, Field(ge=0)] = 10.0
    """Of the incentive, for each customer who accepts it: every one contacted who would have stayed anyway."""
    contact_cost: Annotated[float, Field(ge=0)] = 1.0
    """Of each customer contacted."""
    alpha: Annotated[float, Field(gt=0)] = 6.0
    """The share of leavers who accept and stay has the distribution Beta(alpha, beta)."""
    beta: Annotated[float, Field(gt=0)] = 14.0

    @model_validator(mode="after")
    def _offer_is_worth_it(self) -> Campaign:
        if self.offer_cost >= self.clv:
            raise ValueError(f"has offer_cost {self.offer_cost:g}, want less than clv, which is {self.clv:g}")
        return self

    @property
    def mean_acceptance(self) -> float:
        """The expected share of leavers who accept."""
        return self.alpha / (self.alpha + self.beta)


class ReasonSettings(Frozen):
    """Why a row has its score: the features that moved it most (churn.scoring.reasons)."""

    count: Positive = 3
    """Reasons of a row."""
    top: NotNegative = 1000
    """How many of the highest scores of an as-of have reasons, beside every alert."""
    all_rows: bool = False
    """Whether every row has reasons."""
    protected: tuple[str, ...] = ()
    """Features, families or single columns of them that are never given as a reason."""


class Monitoring(Frozen):
    """What a monitoring run compares."""

    window_days: Days = 28
    """Of transactions: how many days up to as-of are compared together, since days of a week and of a month differ."""


class ModelSpec(Frozen):
    """A model: what it predicts (`label`, `window`), for whom (`cohort`), from what (`features`), when (`schedule`)
    and how it is trained, evaluated and monitored.

    `baseline` is the feature whose ranking it must beat: the higher, the likelier a 1.
    Raises ConfigError where a candidate blends one that is not declared, LeakageError for a split that is not in time.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    """Part of the names of its tables and of its registered model."""
    label: Label
    candidates: Mapping[str, Candidate] = Field(min_length=1)
    window: LabelWindow = LabelWindow()
    cohort: Cohort = Cohort()
    features: FeatureSet = FeatureSet()
    baseline: str = "days_since_purchase"
    schedule: Schedule = Schedule()
    training: Training = Training()
    evaluation: EvaluationSettings = EvaluationSettings()
    alerts: Alerts | None = None
    """None = no alerts; rows are scored and ranked only."""
    campaign: Campaign | None = None
    """None = the model's profit is not measured."""
    reasons: ReasonSettings = ReasonSettings()
    monitoring: Monitoring = Monitoring()
    gates: tuple[Gate, ...] = ()
    """What a challenger must show to become champion; empty = churn.evaluation.gates.GATES."""
    limits: tuple[Limit, ...] = ()
    """What a monitoring run checks; empty = churn.monitoring.limits.LIMITS."""

    @model_validator(mode="after")
    def _blends_are_of_candidates(self) -> ModelSpec:
        singles = [name for name, candidate in self.candidates.items() if not candidate.blends]
        for name, candidate in self.candidates.items():
            if unknown := [part for part in candidate.blends if part not in singles]:
                raise ConfigError(
                    f"model {self.name}: candidate {name} blends {unknown[0]!r}, which is no candidate by itself"
                    f"{nearest(unknown[0], singles)}"
                )
        return self

    @model_validator(mode="after")
    def _profit_has_its_campaign(self) -> ModelSpec:
        return self.check_campaign()

    def check_campaign(self) -> ModelSpec:
        """This model. Raises ConfigError where candidates are selected by a profit that has no settings."""
        if self.training.select_by == "empc" and self.campaign is None:
            raise ConfigError(
                f"model {self.name}: select_by is 'empc' in [model.{self.name}.training], but there is no campaign to "
                f"measure it by; add [model.{self.name}.campaign] with clv, offer_cost and contact_cost"
            )
        return self

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return KEYS[self.label.entity]

    @property
    def vocabulary(self) -> Vocabulary:
        return self.label.vocabulary

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting, as a reviewer reads it."""
        parts = ("window", "cohort", "features", "schedule", "training", "evaluation", "reasons", "monitoring")
        return {
            "name": self.name,
            "label": {"name": self.label.name, **self.label.model_dump()},
            "baseline": self.baseline,
            **{part: getattr(self, part).model_dump() for part in parts},
            "alerts": self.alerts.model_dump() if self.alerts else None,
            "campaign": self.campaign.model_dump() if self.campaign else None,
            "candidates": {name: candidate.settings for name, candidate in self.candidates.items()},
            "gates": [str(gate) for gate in self.gates],
            "limits": [str(limit) for limit in self.limits],
        }
