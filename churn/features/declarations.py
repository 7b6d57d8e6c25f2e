"""How a feature is declared: a function that returns a Column, and what is to be done with it.

The function's name is the feature's, its docstring the feature's doc. A declaration registers itself; it computes
nothing and needs no Spark session. A name with a leading underscore is an intermediate: derived features may read it,
but it is in no catalogue and no panel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getdoc, signature
from math import inf
from typing import Any, Final, TypeVar

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.errors import BadInputError, nearest
from churn.features.engine.aggregations import AGGREGATIONS, Aggregation
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.contract import Contract

EVER: Final = None
"""The window that begins with the customer: all history before as-of."""

MINUTE: Final = 1 / 1440
HOUR: Final = 1 / 24
"""Parts of a day, for the windows of features of a transaction: `days=(15 * MINUTE, HOUR, 1, 7)`."""

CUSTOMER: Final = ("customer_id",)
OWN: Final = frozenset({"as_of", *(field.name for field in TRANSACTIONS.columns)})
"""What a derived feature may read of the transaction it describes; of a customer's row, only `as_of`."""

Days = float | None
Fill = float | str | None


@dataclass(frozen=True)
class Feature:
    """What every feature declares. `fill` is its value where there is nothing to count; None = null."""

    name: str
    family: str
    doc: str
    unit: str
    fill: Fill
    days: tuple[float, ...] | None
    marked: bool

    def columns(self, windows: Sequence[float] | None = None) -> Mapping[str, Days]:
        """The columns it produces and the window of each; `windows` replace its own if it has several."""
        if self.days is None:
            return {self.name: EVER}
        chosen = windows if windows and len(self.days) > 1 else self.days
        return {column_name(self, days): days for days in sorted(chosen)}

    @property
    def sources(self) -> frozenset[str]:
        """The names of the contracts it reads."""
        raise NotImplementedError

    @property
    def after_intent(self) -> bool:
        """Whether it, or an input of it, may speak of a customer who has already decided."""
        return self.marked

    @property
    def transactions_only(self) -> bool:
        """Whether it describes transactions alone, not customers at a midnight: `churn.rows` has it, no panel."""
        raise NotImplementedError


@dataclass(frozen=True)
class Windowed(Feature):
    """An aggregation over a source's rows in a window; with a `cause`, over those that follow one within some days.

    `by` is whose rows: the customer's, or those of all that the described transaction shares with them.
    """

    source: Contract = field(repr=False)
    agg: str
    parameters: Mapping[str, float]
    measure: Callable[[], Any] = field(repr=False)
    by: tuple[str, ...] = CUSTOMER
    delayed: bool = False
    cause: Contract | None = field(default=None, repr=False)
    within_days: float = 0

    @property
    def aggregation(self) -> Aggregation:
        return AGGREGATIONS[self.agg]

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(contract.name for contract in (self.source, self.cause) if contract)

    @property
    def transactions_only(self) -> bool:
        parts_of_a_day = self.days is not None and any(days != int(days) for days in self.days)
        return self.by != CUSTOMER or self.delayed or parts_of_a_day


@dataclass(frozen=True)
class Derived(Feature):
    """A Column over other features of the same row; the formula's parameters name them."""

    formula: Callable[..., Column] = field(repr=False)

    def inputs(self, days: Days) -> Mapping[str, tuple[Windowed, Days]]:
        """Each parameter's feature and window, when this feature's own window is `days`; what is in OWN is left out.

        Raises BadInputError if a parameter names no column of a windowed feature.
        """
        return {name: self._input(name, days) for name in signature(self.formula).parameters if name not in OWN}

    @property
    def own(self) -> frozenset[str]:
        """The columns of the described row that it reads."""
        return OWN & signature(self.formula).parameters.keys()

    def _input(self, parameter: str, days: Days) -> tuple[Windowed, Days]:
        name, *own = re.fullmatch(r"(.+?)(?:_(\d+)([mhd]))?", parameter).groups()  # type: ignore[union-attr]
        feature = _REGISTRY.get(name)
        if not isinstance(feature, Windowed):
            known = (known.name for known in _REGISTRY.values() if isinstance(known, Windowed))
            raise BadInputError(f"{self.family}.{self.name}: no windowed feature named {name!r}{nearest(name, known)}")
        window = int(own[0]) * _SPANS[own[1]] if own[0] else days if feature.days else EVER
        if (feature.days is None) != (window is None):
            first = "" if feature.days is None else column_name(feature, feature.days[0])
            wanted = f"write {first}, or declare days" if first else f"write {name}"
            raise BadInputError(f"{self.family}.{self.name}: {parameter} is no column of {name}; {wanted}")
        return feature, window

    def column(self, days: Days) -> Column:
        """The formula over the columns it names."""
        names = {name: column_name(*found) for name, found in self.inputs(days).items()}
        return self.formula(**{name: F.col(names.get(name, name)) for name in signature(self.formula).parameters})

    @property
    def _features(self) -> list[Windowed]:
        return [feature for feature, _ in self.inputs(self.days[0] if self.days else EVER).values()]

    @property
    def sources(self) -> frozenset[str]:
        return frozenset[str]().union(*(feature.sources for feature in self._features))

    @property
    def after_intent(self) -> bool:
        return self.marked or any(feature.after_intent for feature in self._features)

    @property
    def transactions_only(self) -> bool:
        return bool(self.own - {"as_of"}) or any(feature.transactions_only for feature in self._features)


_SPANS: Final = {"d": 1, "h": HOUR, "m": MINUTE}


def column_name(feature: Feature, days: Days) -> str:
    """The feature's name and its window in whole days, else hours, else minutes: calls_7d, spend_6h, spend_15m."""
    if days is None:
        return feature.name
    unit = next(unit for unit, span in _SPANS.items() if unit == "m" or abs(days / span - round(days / span)) < 1e-6)
    return f"{feature.name}_{round(days / _SPANS[unit])}{unit}"


_REGISTRY: dict[str, Feature] = {}
_Declared = TypeVar("_Declared", bound=Feature)


def windowed(
    source: Contract,
    *,
    agg: str,
    unit: str,
    fill: Fill,
    days: Sequence[float] | None = EVER,
    by: str | Sequence[str] = CUSTOMER,
    delayed: bool = False,
    after_intent: bool = False,
    **parameters: float,
) -> Callable[[Callable[[], Column]], Windowed]:
    """Declare an aggregation of a Column over the rows of a source, in one or several windows. Null rows don't count.

    `agg` is one of churn.features.engine.aggregations.AGGREGATIONS, `parameters` are its own (`within_days=7`). What follows is
    for features of transactions: `by` is what the rows must have in common with the transaction (`"merchant_id"`, or
    several columns), and a `delayed` window ends as many days before the transaction as labels take to ripen.

        @windowed(TRANSACTIONS, agg="sum", days=(7, 30, 90), unit="money", fill=0)
        def spend() -> Column:
            "Money spent on purchases."
            return F.when(F.col("kind") == "purchase", F.col("amount"))
    """

    def declare(measure: Callable[[], Column]) -> Windowed:
        common = _common(measure, unit, fill, days, after_intent)
        _check_aggregation(common["name"], agg, parameters)
        whose: dict[str, Any] = {"by": (by,) if isinstance(by, str) else tuple(by), "delayed": delayed}
        return _register(Windowed(**common, **whose, source=source, agg=agg, parameters=parameters, measure=measure))

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
    **parameters: float,
) -> Callable[[Callable[[], tuple[Column, Column]]], Windowed]:
    """Declare an aggregation over the rows of `effect` that come at most `within_days` after a row of `cause`.

    The function returns the cause's Column and the effect's; null rows of either don't count. The window is the
    effect's; the cause may lie before it. What happens at the same instant follows nothing.

        @followed(TRANSACTIONS, CALLS, within_days=3, days=(30, 90), unit="calls", fill=0)
        def calls_after_fee() -> tuple[Column, Column]:
            "Calls made within 3 days of being charged a fee."
            return F.when(F.col("kind") == "fee", F.lit(1)), F.when(F.col("direction") == "inbound", F.lit(1))
    """

    def declare(measure: Callable[[], tuple[Column, Column]]) -> Windowed:
        common = _common(measure, unit, fill, days, after_intent)
        _check_aggregation(common["name"], agg, parameters)
        causal: dict[str, Any] = {"source": effect, "cause": cause, "within_days": within_days}
        return _register(Windowed(**common, **causal, agg=agg, parameters=parameters, measure=measure))

    return declare


def derived(
    *, unit: str, fill: Fill, days: Sequence[float] | None = EVER, after_intent: bool = False
) -> Callable[[Callable[..., Column]], Derived]:
    """Declare a Column over other features of the same row; the function's parameters name them.

    `spend_30d` is that column; `spend`, in a feature with `days`, is spend over each of them; `as_of` is the moment.
    A feature of transactions may read the transaction's own columns too (`amount`). It sees its inputs filled. A null
    becomes `fill`.

        @derived(unit="ratio", fill=1)
        def spend_trend(spend_30d: Column, spend_90d: Column) -> Column:
            "Spend of 30 days against the usual month of 90; 1 = unchanged."
            return F.try_divide(3 * spend_30d, spend_90d)
    """

    def declare(formula: Callable[..., Column]) -> Derived:
        return _register(Derived(**_common(formula, unit, fill, days, after_intent), formula=formula))

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


def named(chosen: Sequence[Feature | str]) -> list[Feature]:
    """Features, and the names of features or families, as features, each once."""
    found = (features(one) if isinstance(one, str) else (one,) for one in chosen)
    return list({feature.name: feature for several in found for feature in several}.values())


def catalogue() -> list[dict[str, Any]]:
    """Every feature as plain values: name, family, columns, unit, sources, of, by, days, fill, after_intent, doc."""
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
            "fill": feature.fill,
            "after_intent": feature.after_intent,
            "doc": feature.doc,
        }
        for feature in features()
    ]


def check_derived() -> None:
    """Raise BadInputError if an input of a derived feature is not there; asked once every family is loaded."""
    for feature in _REGISTRY.values():
        if isinstance(feature, Derived):
            for days in feature.columns().values():
                feature.inputs(days)


def _common(
    function: Callable[..., Any], unit: str, fill: Fill, days: Sequence[float] | None, after_intent: bool
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
        "doc": doc,
        "unit": unit,
        "fill": fill,
        "days": tuple(sorted(days)) if days else None,
        "marked": after_intent,
    }


def _check_aggregation(name: str, agg: str, parameters: Mapping[str, float]) -> None:
    if agg not in AGGREGATIONS:
        raise BadInputError(f"{name}: no aggregation named {agg!r}{nearest(agg, AGGREGATIONS)}")
    wanted = AGGREGATIONS[agg].parameters
    if wanted != set(parameters):
        raise BadInputError(f"{name}: {agg} takes {sorted(wanted)}, got {sorted(parameters)}")
    if any(not 0 < value < inf for value in parameters.values()):
        raise BadInputError(f"{name}: the parameters of {agg} must be positive, got {dict(parameters)}")


def forget(family: str) -> None:
    """Take a family out of the catalogue, before the file that declares it is run again."""
    for name in [name for name, feature in _REGISTRY.items() if feature.family == family]:
        del _REGISTRY[name]


def _register(feature: _Declared) -> _Declared:
    """Add to the catalogue. A notebook's cell may run again; anything else that reuses a name fails."""
    taken = _REGISTRY.get(feature.name)
    if taken and not taken.family == feature.family == "__main__":
        raise BadInputError(
            f"{feature.family}.{feature.name}: {taken.family} already has a feature of that name; rename one"
        )
    _REGISTRY[feature.name] = feature
    return feature
