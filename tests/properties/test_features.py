"""What no feature may do: see the future, or depend on where and in which order its rows lie.

Over every feature in the catalogue, those of future families too, and over cohorts. A case is a customer's rows,
changed where an as-of cannot see: every case is a customer of its own, so that one call computes them all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from sys import modules
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.cohort import spine as members_of
from churn.features import Derived, Feature, Windowed, customer_features, features, transaction_features
from churn.features.engine.aggregations import MERGEABLE
from churn.model_spec import Cohort
from churn.sources import CONTRACTS
from churn.sources.catalog.fraud_reports import FRAUD_REPORTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.contract import Contract, Field

BEGIN, END = datetime(2025, 1, 1), datetime(2026, 6, 1)
AS_OFS = (datetime(2025, 11, 1), datetime(2026, 2, 1), datetime(2026, 3, 31, 15, 30))
CUSTOMERS = 6
ROWS = 100
NEVER = datetime(2100, 1, 1)
TEXTS = ("cancel", "billing price", "complaint", "technical", "password", "web")

A_DAY = timedelta(days=1)
SHARED = ("merchant_id", "device_id")
SOURCES = {name: contract for name, contract in CONTRACTS.items() if name != "rates"}

Row = dict[str, Any]
History = dict[str, list[Row]]
"""A customer's rows by source."""


# ---------------------------------------------------------------- a customer's rows


def _value(draw: random.Random, field: Field) -> Any:
    if not field.required and draw.random() < 0.15:
        return None
    if field.values:
        return draw.choice(field.values)
    if field.type.startswith("decimal"):
        return Decimal(draw.randrange(10**7)) / 10**4
    least, most = field.minimum or 0, field.maximum if field.maximum is not None else 600
    makers: dict[str, Callable[[], Any]] = {
        "string": lambda: draw.choice(TEXTS),
        "int": lambda: draw.randrange(least, most + 1),
        "bigint": lambda: draw.randrange(least, most + 1),
        "boolean": lambda: draw.random() < 0.5,
        "date": lambda: _time(draw).date(),
        "timestamp": lambda: _time(draw),
    }
    return makers[field.type]()


def _time(draw: random.Random) -> datetime:
    """Whole hours, so that some rows meet; most near an as-of, so that short windows are not empty."""
    near = draw.random()
    if near < 0.15:
        return draw.choice(AS_OFS) + timedelta(minutes=5 * draw.randrange(-12, 6))
    if near < 0.7:
        return draw.choice(AS_OFS) + timedelta(hours=draw.randrange(-24 * 10, 24 * 4))
    return BEGIN + timedelta(hours=draw.randrange((END - BEGIN) // timedelta(hours=1)))


def _fields(contract: Contract) -> list[Field]:
    """A source's columns but for the times and those that have a default; the engine is given reports with the
    transactions they are about."""
    also = TRANSACTIONS.columns if contract is FRAUD_REPORTS else ()
    named = {field.name: field for field in (*also, *contract.columns) if field.default is None}
    return [field for name, field in named.items() if name not in ("customer_id", "event_time", "known_time")]


def _row(draw: random.Random, contract: Contract) -> Row:
    row = {field.name: _value(draw, field) for field in _fields(contract)}
    row |= {of: draw.choice(TEXTS[:2]) for of in SHARED if row.get(of)}
    row["event_time"] = _time(draw)
    early = 24 * draw.randrange(-60, 0) if contract.announced else 0
    row["known_time"] = row["event_time"] + timedelta(hours=draw.choice((0, early, 1, 24 * draw.randrange(60))))
    superseded = row["known_time"] + timedelta(hours=1 + draw.randrange(24 * 60))
    row["superseded_at"] = superseded if draw.random() < 0.15 else None
    return row


def _history(number: int) -> History:
    """The rows of a customer; those of one source do not depend on which others there are."""
    draws = {name: random.Random(f"{name} {number}") for name in SOURCES}
    return {name: [_row(draws[name], contract) for _ in range(ROWS)] for name, contract in SOURCES.items()}


def _visible(contract: Contract, row: Row, as_of: datetime) -> bool:
    """Whether some feature may see a row; of an announced one those of announcements do before it takes effect."""
    known: bool = row["known_time"] <= as_of < (row["superseded_at"] or NEVER)
    return known and (row["event_time"] < as_of or contract.announced)


# ---------------------------------------------------------------- what an as-of cannot see


def _added(draw: random.Random, contract: Contract, rows: list[Row], as_of: datetime) -> list[Row]:
    """More rows from as-of on, known after it, or superseded by it."""
    more = [_row(draw, contract) for _ in range(2 * ROWS)]
    return rows + [row for row in more if not _visible(contract, row, as_of)]


def _changed(draw: random.Random, contract: Contract, rows: list[Row], as_of: datetime) -> list[Row]:
    """Other values in the rows that cannot be seen."""
    times = ("event_time", "known_time", "superseded_at")
    return [
        row if _visible(contract, row, as_of) else _row(draw, contract) | {name: row[name] for name in times}
        for row in rows
    ]


def _deleted(draw: random.Random, contract: Contract, rows: list[Row], as_of: datetime) -> list[Row]:
    return [row for row in rows if _visible(contract, row, as_of)]


def _shuffled(draw: random.Random, contract: Contract, rows: list[Row], as_of: datetime) -> list[Row]:
    """The times of rows that cannot be seen permuted among them, and all rows in another order."""
    hidden = [row for row in rows if not _visible(contract, row, as_of)]
    permuted = draw.sample(hidden, len(hidden))
    times = ("event_time", "known_time", "superseded_at")
    changed = [row | {name: other[name] for name in times} for row, other in zip(hidden, permuted, strict=True)]
    seen = [row for row in rows if _visible(contract, row, as_of)]
    return draw.sample(seen + changed, len(rows))


def _superseded_later(draw: random.Random, contract: Contract, rows: list[Row], as_of: datetime) -> list[Row]:
    """Rows that are seen are superseded after as-of, and those to be superseded stay."""
    later = as_of + timedelta(seconds=1)
    return [
        row | {"superseded_at": draw.choice((later, None))} if _visible(contract, row, as_of) else row for row in rows
    ]


CHANGES = (_added, _changed, _deleted, _shuffled, _superseded_later)


# ---------------------------------------------------------------- the features of all cases


class Cases:
    """The customers as they are, and each change of each of them at each as-of: one customer a case."""

    def __init__(self, spark: SparkSession) -> None:
        draw = random.Random(20261001)
        self.spine: list[tuple[str, datetime]] = []
        self.same: list[tuple[str, str, datetime]] = []
        by_source: dict[str, list[Row]] = {name: [] for name in SOURCES}
        for number in range(CUSTOMERS):
            history, plain = _history(number), f"customer {number}"
            if number == 0:  # who never called before
                history["calls"] = [row for row in history["calls"] if row["event_time"] >= AS_OFS[-1] - A_DAY]
            self._add(by_source, plain, history)
            for as_of in AS_OFS:
                self.spine.append((plain, as_of))
                for change in CHANGES:
                    case = f"{plain} {change.__name__} {as_of}"
                    self._add(
                        by_source,
                        case,
                        {name: change(draw, SOURCES[name], history[name], as_of) for name in SOURCES},
                    )
                    self.spine.append((case, as_of))
                    self.same.append((plain, case, as_of))
        self.sources = {name: _frame(spark, SOURCES[name], rows) for name, rows in by_source.items()}

    @staticmethod
    def _add(by_source: dict[str, list[Row]], customer: str, history: History) -> None:
        """Merchants and devices are the case's own too, so that cases do not meet at them."""
        for name, rows in history.items():
            by_source[name] += [
                row | {"customer_id": customer} | {of: f"{customer} {row[of]}" for of in SHARED if row.get(of)}
                for row in rows
            ]

    def customer_features(self, spark: SparkSession, *, partitions: int, buckets: int) -> pd.DataFrame:
        spine = spark.createDataFrame(self.spine, "customer_id string, as_of timestamp")
        sources = {
            name: rows.repartition(partitions, F.xxhash64("event_time", F.lit(partitions)))
            for name, rows in self.sources.items()
        }
        computed = customer_features(
            spine.repartition(partitions), sources, of_customers(), as_ofs=AS_OFS, buckets=buckets
        )
        return computed.toPandas().set_index(["customer_id", "as_of"]).sort_index()

    def transaction_features(self, spark: SparkSession, *, partitions: int, buckets: int) -> pd.DataFrame:
        """A transaction of each case at its as-of, at a merchant and with a device that the case knows."""
        rows = [
            (
                case,
                as_of,
                f"{case} {TEXTS[as_of.month % 2]}",
                f"{case} {TEXTS[as_of.month % 2]}",
                TEXTS[as_of.month % 4],
                Decimal(as_of.month),
                ("purchase", "transfer")[as_of.month % 2],
                TEXTS[as_of.month % 5],
            )
            for case, as_of in self.spine
        ]
        schema = (
            "customer_id string, event_time timestamp, merchant_id string, device_id string, country string,"
            " amount decimal(18,4), kind string, channel string"
        )
        transactions = spark.createDataFrame(rows, schema).repartition(partitions)
        sources = {name: source.repartition(partitions) for name, source in self.sources.items()}
        computed = transaction_features(transactions, sources, of_transactions(), delay=1, buckets=buckets)
        plain = computed.drop(*(set(transactions.columns) - {"customer_id", "event_time"}))
        return plain.toPandas().rename(columns={"event_time": "as_of"}).set_index(["customer_id", "as_of"]).sort_index()


def _frame(spark: SparkSession, contract: Contract, rows: list[Row]) -> DataFrame:
    types = {"customer_id": "string", **{field.name: field.type for field in _fields(contract)}}
    types |= dict.fromkeys(("event_time", "known_time", "superseded_at"), "timestamp")
    names, schema = list(types), ", ".join(f"{name} {kind}" for name, kind in types.items())
    return spark.createDataFrame([tuple(row[name] for name in names) for row in rows], schema).cache()


@pytest.fixture(scope="module")
def cases(spark: SparkSession) -> Iterator[Cases]:
    cases = Cases(spark)
    yield cases
    for rows in cases.sources.values():
        rows.unpersist()


@pytest.fixture(scope="module", params=["customer_features", "transaction_features"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of_customers() -> list[Feature]:
    return [feature for feature in features() if not feature.transactions_only]


def of_transactions() -> list[Feature]:
    """Those of transactions alone, and of the rest all that adds up from row to row."""
    return [feature for feature in features() if feature.transactions_only or _adds_up(feature)]


def _adds_up(feature: Feature) -> bool:
    if isinstance(feature, Derived):
        return all(_adds_up(read) for of in feature.columns().values() for read, _ in feature.inputs(of).values())
    assert isinstance(feature, Windowed)
    adds_up = feature.agg in MERGEABLE and feature.cause is None and not feature.announced
    return adds_up and feature.aggregation.result != "same"


def of_engine(engine: str) -> list[str]:
    """Columns computed from the rows of a source; derived ones depend on rows through them alone."""
    chosen = of_customers() if engine == "customer_features" else of_transactions()
    return [column for feature in chosen if isinstance(feature, Windowed) for column in feature.columns()]


@pytest.fixture(scope="module")
def computed(spark: SparkSession, cases: Cases, engine: str) -> pd.DataFrame:
    return getattr(cases, engine)(spark, partitions=3, buckets=3)  # type: ignore[no-any-return]


def _differing(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, int]:
    """The columns that differ in some bit, and in how many rows."""
    differing = {}
    for column in left.columns:
        one, other = (part[column].to_numpy() for part in (left, right))
        if one.dtype == other.dtype == np.float64:
            one, other = one.view(np.int64), other.view(np.int64)
        different = (one != other) & ~(pd.isna(one) & pd.isna(other))
        if different.any():
            differing[column] = int(different.sum())
    return differing


def _leaks(cases: Cases, values: pd.DataFrame) -> dict[str, int]:
    plain = values.loc[[(plain, as_of) for plain, _, as_of in cases.same]]
    return _differing(plain, values.loc[[(case, as_of) for _, case, as_of in cases.same]])


def test_no_feature_sees_what_is_later_or_known_later(cases: Cases, computed: pd.DataFrame) -> None:
    assert _leaks(cases, computed) == {}


def test_no_feature_depends_on_partitions_or_order(
    spark: SparkSession, cases: Cases, computed: pd.DataFrame, engine: str
) -> None:
    assert _differing(computed, getattr(cases, engine)(spark, partitions=5, buckets=7)) == {}


def test_every_feature_has_different_values(computed: pd.DataFrame) -> None:
    """Else the two properties above would not test it."""
    constant = [column for column in computed.columns if computed[column].nunique() < 2]
    assert constant == []


def test_both_engines_agree_on_the_features_of_both(spark: SparkSession, cases: Cases) -> None:
    one = cases.customer_features(spark, partitions=3, buckets=3)
    other = cases.transaction_features(spark, partitions=3, buckets=3)
    shared = sorted(set(one.columns) & set(other.columns))
    assert len(shared) > 40
    assert _differing(one[shared], other[shared]) == {}


@pytest.mark.parametrize(
    ("cohort", "sources"),
    [
        (Cohort(), ("customers", "closures")),
        (Cohort(), ("transactions", "closures")),
        (Cohort(kind="active", active_days=2, activity=("fee",)), ("transactions", "customers", "closures")),
    ],
)
def test_no_cohort_sees_what_is_later_or_known_later(
    spark: SparkSession, cases: Cases, cohort: Cohort, sources: tuple[str, ...]
) -> None:
    rows = members_of(spark, cohort, {name: cases.sources[name] for name in sources}, AS_OFS).collect()
    members = {(row["customer_id"], row["as_of"]) for row in rows}
    plain = [(plain, as_of) in members for plain, _, as_of in cases.same]
    assert plain == [(case, as_of) in members for _, case, as_of in cases.same]
    assert {True, False} == set(plain)


def test_without_the_rule_of_time_every_feature_leaks(
    spark: SparkSession, cases: Cases, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(event: Any, known: Any, superseded: Any, as_ofs: Any) -> tuple[Any, Any]:
        return 0 * event, 0 * event + len(as_ofs)

    def never(event: Any, *times: Any, **window: Any) -> Any:
        return 0 * event - 2**62

    def always(event: Any, *times: Any, **window: Any) -> Any:
        return 0 * event + 2**62

    engine_module = modules[f"churn.features.{engine}"]
    for name, instead in {"visible": everything, "visible_from": never, "visible_until": always}.items():
        monkeypatch.setattr(engine_module, name, instead, raising=False)
    monkeypatch.setattr(engine_module, "maybe_visible", lambda *as_ofs, **lookback_days: F.lit(True))
    leaking = _leaks(cases, getattr(cases, engine)(spark, partitions=3, buckets=3))
    assert sorted(set(of_engine(engine)) - set(leaking)) == []
