"""What a model is: everything that distinguishes one from another, in one frozen declaration."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_type_hints

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.errors import BadInputError, ConfigError, LeakageError, nearest
from churn.features.declare import forget
from churn.labels import LABELS
from churn.labels.window import LabelWindow
from churn.training.algorithms import Blend, Candidate, settings_of


@dataclass(frozen=True)
class ModelSpec:
    """A model: what it predicts, for whom, from what, and how it is chosen. Times are whole days.

    `churn.toml` may set any field of a plain type in `[model.<name>]`; candidates, gates and costs are Python's.
    """

    name: str
    candidates: Mapping[str, Candidate]
    label: str = "closure"
    kinds: tuple[str, ...] = ("voluntary",)
    """Of closures: which kinds are churn."""
    lead: int = 7
    horizon: int = 30
    maturity: int = 0
    cohort: str = "open"
    active_days: int = 180
    activity: tuple[str, ...] = ("purchase",)
    """Of transactions: which kinds show that a customer is active."""
    features: tuple[str, ...] = ("calls", "spending", "account", "crossover")
    """Families or single features; those of a source that is not there are left out, and named in the report."""
    exclude: tuple[str, ...] = ()
    windows: tuple[int, ...] = (30, 90, 180)
    """Of every feature that has several, in days; empty = each feature's own."""
    rule_of_thumb: str = "days_since_purchase"
    """The feature a person would rank by: the higher, the likelier. The model has to beat it."""
    split: str = "time"
    every: int = 30
    """Days between training as-ofs."""
    history: int = 90
    """Days of data that must precede the first as-of."""
    dates: int = 24
    """The most as-ofs to learn from, newest first."""
    calibrate_dates: int = 3
    test_dates: int = 3
    test_every: int = 30
    stale_after: int = 35
    """Days that as-of may lie after the last row known, before scoring on it is refused."""
    judged_days: int = 1
    """Of transactions: how many days from a stand on are judged together by a backtest."""
    blocked_days: int = 0
    """Of transactions: customers with a fraud of so many days before a stand, known at the day's start, are left out:
    their card is blocked."""
    negatives_per_positive: int = 0
    """Rows of 0 to each row of 1 that candidates are trained on, sampled by id; 0 = all. The prior is corrected."""
    trial_rows: int = 200_000
    """The most rows, sampled by id, that candidates are trained on to choose between them, and tried on for each later
    slice; the chosen one is fitted on all."""
    one_task_mib: int = 1024
    """Up to so many MiB of feature values, 4 bytes each, a candidate is fitted by scikit-learn in one task, which takes
    some eight times as much memory; beyond, by MLlib on all executors."""
    budget: int = 100
    """Of transactions: how many alerts a day can be looked at."""
    audit: int = 5
    """Of transactions: how many more a day are drawn at random, so that labels do not come from alerts alone."""
    alert_days: int = 7
    """Of transactions in a stream: the scored days before from which it learns what score uses up the budget."""
    retrain_after: int = 50
    """Rows of 1 that must have ripened at new as-ofs before training again is worth it."""
    watched_days: int = 28
    """Of transactions: how many days up to as-of are watched together, for days of a week and of a month differ."""
    psi_limit: float = 0.25
    """The stability index above which a feature, or the score, has moved."""
    moved_limit: float = 0.3
    """The share of the score that features which have moved may carry before monitoring fails."""
    missing_limit: float = 0.25
    """By how much the share of nulls of a feature may rise before monitoring fails."""
    auc_floor: float = 0.5
    """The AUC below which scores that turned out fail monitoring, interval and all."""
    auc_drop: float = 0.1
    """How far it may lie below the evaluation's, likewise."""
    refit: bool = True
    """Fit the chosen candidate again on every ripe as-of; the choice keeps its gap either way."""
    resamples: int = 200
    seed: int = 17
    gates: tuple[Any, ...] = ()
    """What a challenger must show to become champion (churn.evaluation.gates); empty = the usual ones."""
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._one_of("label", LABELS)
        self._one_of("cohort", ("open", "active"))
        if self.split != "time":
            raise LeakageError(
                f"model {self.name}: split = {self.split!r} puts one customer, days apart, into train and test, and "
                "lets labels overlap features; only split = 'time' is offered"
            )
        for name in (
            "horizon",
            "active_days",
            "every",
            "dates",
            "calibrate_dates",
            "test_dates",
            "test_every",
            "judged_days",
            "watched_days",
            "retrain_after",
            "trial_rows",
        ):
            self._at_least(name, 1)
        for name in (
            "lead",
            "maturity",
            "history",
            "blocked_days",
            "negatives_per_positive",
            "budget",
            "audit",
            "psi_limit",
            "moved_limit",
            "missing_limit",
            "auc_floor",
            "auc_drop",
            "one_task_mib",
        ):
            self._at_least(name, 0)
        if not self.candidates or min(self.windows, default=1) < 1:
            raise ConfigError(
                f"model {self.name}: want at least one candidate, and windows of whole days from 1 "
                "(none = the features' own)"
            )
        for name, candidate in self.candidates.items():
            self._check_blend(name, candidate)

    def _check_blend(self, name: str, candidate: Candidate) -> None:
        if not isinstance(candidate, Blend):
            return
        singles = [one for one, of in self.candidates.items() if not isinstance(of, Blend)]
        if unknown := [one for one in candidate.of if one not in singles]:
            raise ConfigError(
                f"model {self.name}: candidate {name} blends {unknown[0]!r}, which is no candidate by itself"
                f"{nearest(unknown[0], singles)}"
            )

    def _one_of(self, name: str, known: Any) -> None:
        value = getattr(self, name)
        if value not in known:
            raise ConfigError(f"model {self.name}: no {name} {value!r}{nearest(value, known)}")

    def _at_least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise ConfigError(f"model {self.name}: {name} is {getattr(self, name)}, want {least} or more")

    @property
    def window(self) -> LabelWindow:
        return LabelWindow(lead=self.lead, horizon=self.horizon, maturity=self.maturity)

    @property
    def of_transactions(self) -> bool:
        """Whether it describes transactions, each as of its own moment; else customers, as of midnights."""
        return self.label == "fraud"

    @property
    def key(self) -> tuple[str, ...]:
        """What tells one row from another; `as_of` is a customer's midnight, or the day of a transaction."""
        return ("transaction_id", "customer_id", "as_of") if self.of_transactions else ("customer_id", "as_of")

    @property
    def is_active(self) -> Column:
        """Over transactions: one that shows the customer is active."""
        approved = F.col("status").isNull() | (F.col("status") == "approved")
        return F.col("kind").isin(*self.activity) & approved

    @property
    def requires(self) -> frozenset[str]:
        """The sources without which label or cohort cannot be told."""
        needs_transactions = self.cohort == "active" or self.of_transactions
        return frozenset({LABELS[self.label], *(("transactions",) if needs_transactions else ())})

    @property
    def outcome(self) -> str:
        """What is predicted, in words that end the sentence "the chance that a customer (a transaction) ..."."""
        if self.label == "fraud":
            return "is a fraud"
        if self.label == "closure":
            return f"closes the account ({', '.join(self.kinds)})"
        return f"makes no {' or '.join(self.activity)}"

    @property
    def population(self) -> str:
        """For whom, in words."""
        if self.of_transactions:
            return "transactions"
        if self.cohort == "open":
            return "customers with an open account"
        return f"customers with a {' or '.join(self.activity)} in the last {self.active_days} days"

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting, as a reviewer reads it."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("candidates", "gates", "costs")}
        candidates = {name: settings_of(candidate) for name, candidate in self.candidates.items()}
        return {
            **plain,
            "candidates": candidates,
            "gates": [str(gate) for gate in self.gates],
            "costs": dict(self.costs),
        }

    @property
    def test_step(self) -> timedelta:
        return timedelta(days=self.test_every)

    def override(self, values: Mapping[str, object], *, where: str) -> ModelSpec:
        """The same model with a user's settings. Raises ConfigError for an unknown name or a value of another type."""
        hints = get_type_hints(ModelSpec)
        plain = {f.name for f in fields(self)} - {"name", "candidates", "gates"}
        changed: dict[str, object] = {}
        for name, value in values.items():
            if name not in plain:
                raise ConfigError(f"{where}: unknown key {name!r} in [model.{self.name}]{nearest(name, plain)}")
            changed[name] = _typed(value, hints[name], f"{where}: [model.{self.name}] {name}")
        return replace(self, **changed)  # type: ignore[arg-type]


def _typed(value: object, wanted: Any, where: str) -> object:
    if wanted in (int, str, bool):
        if type(value) is wanted:
            return value
    elif wanted is float:
        if type(value) in (int, float):
            return float(cast("float", value))
    elif wanted in (tuple[str, ...], tuple[int, ...]):
        item = wanted.__args__[0]
        if isinstance(value, list) and all(type(v) is item for v in value):
            return tuple(value)
    elif isinstance(value, Mapping) and all(isinstance(v, int | float) for v in value.values()):
        return MappingProxyType({str(k): float(v) for k, v in value.items()})
    raise ConfigError(f"{where} is {value!r}, want {getattr(wanted, '__name__', wanted)}")


def load_spec(path: str | Path) -> ModelSpec:
    """The `SPEC` of a model file, wherever it is.

    Raises BadInputError where the file is missing, cannot be run, or holds no SPEC.
    """
    place = Path(path)
    if not place.is_file():
        raise BadInputError(
            f"no model file {place}; models are files such as models/churn.py that hold SPEC = ModelSpec(...)"
        )
    found = importlib.util.spec_from_file_location(f"churn_model_{place.stem}", place)
    if found is None or found.loader is None:
        raise BadInputError(f"{place} is not a Python file; want one that holds SPEC = ModelSpec(...)")
    module = importlib.util.module_from_spec(found)
    forget(found.name)  # a chain in one session loads its model for each step
    try:
        found.loader.exec_module(module)
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"{place} cannot be run: {type(error).__name__}: {error}") from error
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, ModelSpec):
        raise BadInputError(f"{place} holds no SPEC = ModelSpec(...)")
    return spec
