"""How a feature is declared: a function that returns a Column, and how its values become a feature.

The function's name is the feature's, its docstring the feature's doc. A declaration registers itself; it computes
nothing and needs no Spark session. A feature has a column for each of its windows and, where a parameter has several
values, for each of those: `spend_30d`, `days_since_purchase_day_k2`. A name with a leading underscore is an
intermediate: derived features may read it, but it is in no catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getdoc, signature
from itertools import product
from math import inf
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.errors import BadInputError, nearest
from churn.features.engine.aggregations import AGGREGATIONS, Aggregation
from churn.sources.announcements import ANNOUNCED
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.contract import Contract

EVER: Final = None
"""The window that begins with the customer: all history before as-of."""

MINUTE: Final = 1 / 1440
HOUR: Final = 1 / 24
"""Parts of a day, for the windows of features of a transaction: `days=(15 * MINUTE, HOUR, 1, 7)`."""

CUSTOMER: Final = ("customer_id",)
OWN: Final = frozenset({"as_of", *(field.name for field in TRANSACTIONS.columns)})
"""The columns of its own transaction that a derived feature may read; of a customer's row, only `as_of`."""

Days = float | None
Fill = float | str | None
Parameter = float | tuple[float, ...]
"""One value, or several: a column for each."""


class Variant(NamedTuple):
    """A column of a feature: its window in days, and its value of each parameter."""

    days: Days = EVER
    parameters: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Feature:
    """What every feature declares. `fill` is its value where there is nothing to count; None = null."""

    name: str
    family: str
    doc: str
    unit: str
    fill: Fill
    days: tuple[float, ...] | None
    parameters: Mapping[str, Parameter]
    declared_after_intent: bool

    def columns(self, windows: Sequence[float] | None = None) -> Mapping[str, Variant]:
        """The columns it produces; `windows` replace its own windows if it has several, never its parameters."""
        chosen = windows if windows and self.days and len(self.days) > 1 else self.days
        return {
            column_name(self, Variant(days, parameters)): Variant(days, parameters)
            for parameters in self.settings.values()
            for days in (sorted(chosen) if chosen else (EVER,))
        }

    @property
    def varied(self) -> tuple[str, ...]:
        """The parameters that have several values; each value has its own columns."""
        return tuple(name for name, values in self.parameters.items() if isinstance(values, tuple))

    @cached_property
    def settings(self) -> Mapping[str, Mapping[str, float]]:
        """The values of its parameters, each setting by the name of its column but for the window."""
        values = [of if isinstance(of, tuple) else (of,) for of in self.parameters.values()]
        settings = [dict(zip(self.parameters, chosen, strict=True)) for chosen in product(*values)]
        return {column_name(self, Variant(EVER, parameters)): parameters for parameters in settings}

    @property
    def sources(self) -> frozenset[str]:
        """The names of the contracts it reads."""
        raise NotImplementedError

    @property
    def after_intent(self) -> bool:
        """Whether it, or an input of it, may reveal that the customer has already decided."""
        return self.declared_after_intent

    @property
    def transactions_only(self) -> bool:
        """Whether only `churn.transaction_features` computes it: customers at a midnight do not have it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Windowed(Feature):
    """An aggregation over a source's rows in a window; with a `cause`, over those that follow one within some days;
    of `announced` ones, over those that are known and have not taken effect.

    `by` are the columns that the rows have in common with the customer, or with the transaction.
    """

    source: Contract = field(repr=False)
    agg: str
    measure: Callable[[], Any] = field(repr=False)
    by: tuple[str, ...] = CUSTOMER
    delayed: bool = False
    cause: Contract | None = field(default=None, repr=False)
    within_days: float = 0
    announced: bool = False

    @property
    def aggregation(self) -> Aggregation:
        return AGGREGATIONS[self.agg]

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(contract.name for contract in (self.source, self.cause) if contract)

    @property
    def frame(self) -> str:
        """The name under which engines read its rows."""
        return f"{self.source.name}{ANNOUNCED}" if self.announced else self.source.name

    @property
    def frames(self) -> frozenset[str]:
        """The names under which engines read its rows and those of its cause."""
        return frozenset({self.frame, *((self.cause.name,) if self.cause else ())})

    @property
    def transactions_only(self) -> bool:
        parts_of_a_day = self.days is not None and any(days != int(days) for days in self.days)
        return self.by != CUSTOMER or self.delayed or parts_of_a_day


@dataclass(frozen=True)
class Derived(Feature):
    """A Column over other features of the same row; the formula's arguments name them."""

    formula: Callable[..., Column] = field(repr=False)

    def inputs(self, variant: Variant) -> Mapping[str, tuple[Windowed, Variant]]:
        """The column that each argument names, for this variant of its own; columns in OWN and parameters are left out.

        Raises BadInputError if an argument names no column of a windowed feature.
        """
        columns = _windowed_by_name()
        names = [name for name in self._arguments if name not in OWN and name not in self.parameters]
        return {name: self._input(name, variant, columns) for name in names}

    @property
    def own(self) -> frozenset[str]:
        """The columns of its own row that it reads."""
        return OWN & self._arguments

    @cached_property
    def _arguments(self) -> KeysView[str]:
        return signature(self.formula).parameters.keys()

    def _input(
        self, argument: str, variant: Variant, columns: Mapping[str, tuple[Windowed, Mapping[str, float] | None]]
    ) -> tuple[Windowed, Variant]:
        where, name, days = f"{self.family}.{self.name}", argument, EVER
        if name not in columns and (window := re.fullmatch(r"(.+)_(\d+)([mhd])", name)):
            name, days = window[1], int(window[2]) * _SPANS[window[3]]
        if name not in columns:
            raise BadInputError(f"{where}: no windowed feature named {name!r}{nearest(name, columns)}")
        feature, parameters = columns[name]
        if parameters is None:
            parameters = next((of for of in feature.settings.values() if self._shares(variant, feature, of)), None)
        if days is EVER and feature.days:
            days = variant.days
        if parameters is None or (feature.days is None) != (days is None):
            declared = " and ".join((*feature.varied, *(("days",) if feature.days else ())))
            either = f", or declare {declared}" if declared else ""
            first = next(iter(feature.columns()))
            raise BadInputError(f"{where}: {argument} is no column of {feature.name}; write {first}{either}")
        return feature, Variant(days, parameters)

    @staticmethod
    def _shares(variant: Variant, feature: Feature, parameters: Mapping[str, float]) -> bool:
        """Whether the variant has the same values of the parameters that vary in the feature."""
        return all(variant.parameters.get(name) == parameters[name] for name in feature.varied)

    def column(self, variant: Variant) -> Column:
        """The formula over the columns it names."""
        columns = {name: F.col(column_name(*of)) for name, of in self.inputs(variant).items()}
        own = {name: F.col(name) for name in self.own}
        parameters = {name: value for name, value in variant.parameters.items() if name in self._arguments}
        return self.formula(**columns, **own, **parameters)

    @property
    def _features(self) -> list[Windowed]:
        return [feature for feature, _ in self.inputs(next(iter(self.columns().values()))).values()]

    @property
    def sources(self) -> frozenset[str]:
        return frozenset[str]().union(*(feature.sources for feature in self._features))

    @property
    def after_intent(self) -> bool:
        return self.declared_after_intent or any(feature.after_intent for feature in self._features)

    @property
    def transactions_only(self) -> bool:
        return bool(self.own - {"as_of"}) or any(feature.transactions_only for feature in self._features)

    def check(self) -> None:
        """Raises BadInputError where an argument names no column, or a parameter makes no difference."""
        inputs = [feature for variant in self.columns().values() for feature, _ in self.inputs(variant).values()]
        used = self._arguments | {name for feature in inputs for name in feature.varied}
        if unused := [name for name in self.parameters if name not in used]:
            raise BadInputError(
                f"{self.family}.{self.name}: {unused[0]} is neither an argument nor a parameter of an input"
                f"{nearest(unused[0], used)}"
            )


_SPANS: Final = {"d": 1, "h": HOUR, "m": MINUTE}


def column_name(feature: Feature, variant: Variant) -> str:
    """The feature's name, its parameters' values and its window: calls_7d, spend_6h, spend_decayed_90d, visit_k2_30d.

    A parameter that is a number of days is written like a window; a window in whole days, else hours, else minutes.
    """
    suffixes = [_suffix(name, variant.parameters[name]) for name in feature.varied]
    if (days := variant.days) is not None:
        unit = next(
            unit for unit, span in _SPANS.items() if unit == "m" or abs(days / span - round(days / span)) < 1e-6
        )
        suffixes.append(f"{round(days / _SPANS[unit])}{unit}")
    return "_".join((feature.name, *suffixes))


def _suffix(parameter: str, value: float) -> str:
    return f"{round(value)}d" if parameter.endswith("_days") else f"{parameter}{round(value)}"


_REGISTRY: dict[str, Feature] = {}
_Declared = TypeVar("_Declared", bound=Feature)


def _windowed_by_name() -> dict[str, tuple[Windowed, Mapping[str, float] | None]]:
    """What an argument of a formula may name, windows aside; None = the parameters of the feature that reads it."""
    columns: dict[str, tuple[Windowed, Mapping[str, float] | None]] = {}
    for feature in _REGISTRY.values():
        if isinstance(feature, Windowed):
            columns |= {name: (feature, parameters) for name, parameters in feature.settings.items()}
            columns.setdefault(feature.name, (feature, None))
    return columns


def windowed(
    source: Contract,
    *,
    agg: str,
    unit: str,
    fill: Fill,
    days: Sequence[float] | None = EVER,
    by: str | Sequence[str] = CUSTOMER,
    delayed: bool = False,
    announced: bool = False,
    after_intent: bool = False,
    **parameters: float | Sequence[float],
) -> Callable[[Callable[[], Column]], Windowed]:
    """Declare an aggregation of a Column over the rows of a source, in one or several windows. Null rows don't count.

    `agg` is one of churn.features.engine.aggregations.AGGREGATIONS, `parameters` are its own: one value
    (`within_days=7`), or several with a column for each, `half_life_days=(10, 90)` for `spend_decayed_10d` and
    `spend_decayed_90d`, `k=(2, 3)` for `days_since_purchase_day_k2` and `_k3`.

    For features of transactions: `by` is what the rows must have in common with the transaction (`"merchant_id"`, or
    several columns), and a `delayed` window ends as many days before the transaction as labels take to mature.

    For features of customers: with `announced`, the rows are those known at as-of that take effect then or later, which
    no other feature sees. Their `effective_time` is when; the window goes by when they became known.

        @windowed(TRANSACTIONS, agg="sum", days=(7, 30, 90), unit="money", fill=0)
        def spend() -> Column:
            "Money spent on purchases."
            return F.when(F.col("kind") == "purchase", F.col("amount"))
    """

    def declare(measure: Callable[[], Column]) -> Windowed:
        common = _common(measure, unit, fill, days, after_intent, parameters)
        _check_aggregation(common["name"], agg, parameters)
        if announced and not source.announced:
            raise BadInputError(f"{common['name']}: {source.name} is not announced; drop announced=True")
        rows: dict[str, Any] = {"by": (by,) if isinstance(by, str) else tuple(by), "delayed": delayed}
        rows |= {"announced": announced}
        return _register(Windowed(**common, **rows, source=source, agg=agg, measure=measure))

    return declare


def followed(
    cause: Contract,
    effect: Contract,
    *,
    within_days: float,
    unit: str,
    fill: Fill,
    agg: str = "count",
    days: Sequence[float] | None = EVER,
    after_intent: bool = False,
    **parameters: float | Sequence[float],
) -> Callable[[Callable[[], tuple[Column, Column]]], Windowed]:
    """Declare an aggregation over the rows of `effect` that happen at most `within_days` after a row of `cause`.

    The function returns the cause's Column and the effect's; null rows of either don't count. The window is the
    effect's; the cause may lie before it. What happens at the same instant follows nothing.

        @followed(TRANSACTIONS, CALLS, within_days=3, days=(30, 90), unit="calls", fill=0)
        def calls_after_fee() -> tuple[Column, Column]:
            "Calls made within 3 days of being charged a fee."
            return F.when(F.col("kind") == "fee", F.lit(1)), F.when(F.col("direction") == "inbound", F.lit(1))
    """

    def declare(measure: Callable[[], tuple[Column, Column]]) -> Windowed:
        common = _common(measure, unit, fill, days, after_intent, parameters)
        _check_aggregation(common["name"], agg, parameters)
        causal: dict[str, Any] = {"source": effect, "cause": cause, "within_days": within_days}
        return _register(Windowed(**common, **causal, agg=agg, measure=measure))

    return declare


def derived(
    *,
    unit: str,
    fill: Fill,
    days: Sequence[float] | None = EVER,
    after_intent: bool = False,
    **parameters: float | Sequence[float],
) -> Callable[[Callable[..., Column]], Derived]:
    """Declare a Column over other features of the same row; the function's arguments name them.

    `spend_30d` is that column; `spend`, in a feature with `days`, is spend over each of them, and in a feature with
    `half_life_days=(10, 90)` the argument `spend_decayed` is the one of each half-life. An argument with the name of a
    parameter is its value; `as_of` is the row's as-of. A feature of transactions may read the transaction's own
    columns too (`amount`). It reads its inputs with their fill. A null becomes `fill`.

        @derived(unit="ratio", fill=1)
        def spend_trend(spend_30d: Column, spend_90d: Column) -> Column:
            "Spend of 30 days over a third of that of 90; 1 = unchanged."
            return F.try_divide(3 * spend_30d, spend_90d)
    """

    def declare(formula: Callable[..., Column]) -> Derived:
        return _register(Derived(**_common(formula, unit, fill, days, after_intent, parameters), formula=formula))

    return declare


def features(*names: str) -> tuple[Feature, ...]:
    """The features of these names, each name a family's or a feature's; without names, all of them.

    Raises BadInputError for an unknown name.
    """
    public = [feature for feature in _REGISTRY.values() if not feature.name.startswith("_")]
    known = {name for feature in public for name in (feature.name, feature.family)}
    for name in names:
        if name not in known:
            raise BadInputError(f"no feature or family named {name!r}{nearest(name, known)}")
    return tuple(feature for feature in public if not names or {feature.name, feature.family} & set(names))


def resolved(chosen: Sequence[Feature | str]) -> list[Feature]:
    """Features, and the names of features or families, as features, each once."""
    groups = (features(one) if isinstance(one, str) else (one,) for one in chosen)
    return list({feature.name: feature for group in groups for feature in group}.values())


def catalogue() -> list[dict[str, Any]]:
    """Every feature as plain values: name, family, columns, unit, sources, of, by, days, parameters, fill,
    after_intent, doc."""
    return [
        {
            "name": feature.name,
            "family": feature.family,
            "columns": list(feature.columns()),
            "unit": feature.unit,
            "sources": sorted(feature.sources),
            "of": "transaction" if feature.transactions_only else "customer",
            "by": list(feature.by) if isinstance(feature, Windowed) else None,
            "days": feature.days and list(feature.days),
            "parameters": {name: list(of) if isinstance(of, tuple) else of for name, of in feature.parameters.items()},
            "fill": feature.fill,
            "after_intent": feature.after_intent,
            "doc": feature.doc,
        }
        for feature in features()
    ]


def check_derived() -> None:
    """Raise BadInputError if an input of a derived feature is missing; called once every family is loaded."""
    for feature in _REGISTRY.values():
        if isinstance(feature, Derived):
            feature.check()


def _common(
    function: Callable[..., Any],
    unit: str,
    fill: Fill,
    days: Sequence[float] | None,
    after_intent: bool,
    parameters: Mapping[str, float | Sequence[float]],
) -> dict[str, Any]:
    name, doc = function.__name__, getdoc(function)
    if re.search(r"_\d+[mhd]$", name):
        raise BadInputError(f"{name}: the window is added to a name; declare it as days= and drop it from the name")
    if not doc:
        raise BadInputError(f"{name}: a feature needs a docstring; say what it is and what null means")
    if days is not None and (not days or min(days) < MINUTE or len(set(days)) < len(days)):
        raise BadInputError(f"{name}: days is {tuple(days)!r}, want different windows of at least a minute, or EVER")
    return {
        "name": name,
        "family": function.__module__.rpartition(".")[2],
        "doc": " ".join(doc.split()),
        "unit": unit,
        "fill": fill,
        "days": tuple(sorted(days)) if days else None,
        "parameters": {parameter: _values(name, parameter, of) for parameter, of in parameters.items()},
        "declared_after_intent": after_intent,
    }


def _values(name: str, parameter: str, given: float | Sequence[float]) -> Parameter:
    several = isinstance(given, Sequence)
    values = tuple(given) if isinstance(given, Sequence) else (given,)
    positive = bool(values) and all(0 < value < inf for value in values)
    if not positive or (several and (len(set(values)) < len(values) or any(value != int(value) for value in values))):
        raise BadInputError(f"{name}: {parameter} is {given!r}, want a positive number, or different whole ones")
    return tuple(sorted(values)) if several else values[0]


def _check_aggregation(name: str, agg: str, parameters: Mapping[str, Any]) -> None:
    if agg not in AGGREGATIONS:
        raise BadInputError(f"{name}: no aggregation named {agg!r}{nearest(agg, AGGREGATIONS)}")
    wanted = AGGREGATIONS[agg].parameters
    if wanted != set(parameters):
        raise BadInputError(f"{name}: {agg} takes {sorted(wanted)}, got {sorted(parameters)}")


def forget(family: str) -> None:
    """Remove a family from the catalogue, before the file that declares it is run again."""
    for name in [name for name, feature in _REGISTRY.items() if feature.family == family]:
        del _REGISTRY[name]


def _register(feature: _Declared) -> _Declared:
    """Add to the catalogue. A notebook's cell may run again; anything else that reuses a name fails."""
    names = {feature.name, *feature.settings}
    for other in _REGISTRY.values():
        taken = next((name for name in names if name == other.name or name in other.settings), None)
        if taken and not (other.name == feature.name and other.family == feature.family == "__main__"):
            raise BadInputError(
                f"{feature.family}.{taken}: {other.family} already has a feature of that name; rename one"
            )
    _REGISTRY[feature.name] = feature
    return feature
