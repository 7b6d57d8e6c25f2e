"""Customer features against tables worked out by hand, and against a slow implementation of the rules in Python."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.features import EVER, Windowed, customer_features, derived, followed, windowed
from churn.features.engine.aggregations import AGGREGATIONS
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.versions import known_by
from churn.testing import frame

pytestmark = pytest.mark.usefixtures("_restored_catalogue")

SPINE = "customer_id string, as_of timestamp"
ROWS = (
    "customer_id string, amount decimal(18,4), kind string, "
    "event_time timestamp, known_time timestamp, superseded_at timestamp"
)
PARAMETERS = {"within_days": 7.0, "period_days": 10.0, "half_life_days": 20.0, "k": 2.0}


def feature(
    agg: str, column: Callable[[], Column], days: tuple[int, ...] | None = EVER, fill: Any = None, name: str = ""
) -> Windowed:
    def measure() -> Column:
        """What a test measures."""
        return column()

    measure.__name__ = name or f"the_{agg}"
    parameters = {parameter: PARAMETERS[parameter] for parameter in AGGREGATIONS[agg].parameters}
    return windowed(TRANSACTIONS, agg=agg, days=days, unit="u", fill=fill, **parameters)(measure)


def amount() -> Column:
    return F.col("amount")


def kind() -> Column:
    return F.col("kind")


def collected(rows: DataFrame) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in rows.collect()), key=lambda row: row[:2])


# ---------------------------------------------------------------- by hand


def test_edges_of_windows_and_of_knowledge(spark: SparkSession) -> None:
    rows = frame(
        spark,
        [
            ("a", "1", "x", "2026-02-01 00:00:00", "2026-02-01", None),  # as the window of 30 days begins: in
            ("a", "2", "x", "2026-01-31 23:59:59.999999", "2026-02-01", None),  # just before: out
            ("a", "4", "x", "2026-03-03 00:00:00", "2026-03-03", None),  # at as-of: out, in at the next
            ("a", "8", "x", "2026-02-20 00:00:00", "2026-03-03 00:00:00", None),  # known just at as-of: in
            ("a", "16", "x", "2026-02-20 00:00:00", "2026-03-03 00:00:00.000001", None),  # known just after: out
            ("a", "32", "x", "2026-02-20 00:00:00", "2026-02-21", "2026-03-03 00:00:00"),  # just superseded: out
            (
                "a",
                "64",
                "x",
                "2026-02-20 00:00:00",
                "2026-02-21",
                "2026-03-03 00:00:00.000001",
            ),  # not yet: in, then out
        ],
        ROWS,
    )
    as_ofs = [datetime(2026, 3, 3), datetime(2026, 3, 4)]
    spine = frame(spark, [(customer, as_of) for customer in "ab" for as_of in as_ofs], SPINE)
    computed = customer_features(
        spine, {"transactions": rows}, [feature("sum", amount, (30, 60), fill=0)], as_ofs=as_ofs
    )
    assert computed.columns == ["customer_id", "as_of", "the_sum_30d", "the_sum_60d"]
    assert collected(computed) == [
        ("a", as_ofs[0], 73.0, 75.0),
        ("a", as_ofs[1], 28.0, 31.0),
        ("b", as_ofs[0], 0.0, 0.0),
        ("b", as_ofs[1], 0.0, 0.0),
    ]


def test_each_aggregation(spark: SparkSession) -> None:
    rows = frame(
        spark,
        [
            ("a", "3", "x", "2026-01-01 12:00", "2026-01-01 12:00", None),
            ("a", "1", "y", "2026-01-01 18:00", "2026-01-01 18:00", None),  # the same day
            ("a", "2", "x", "2026-01-05 12:00", "2026-01-05 12:00", None),
            ("a", "6", "x", "2026-01-21 12:00", "2026-01-21 12:00", None),
            ("a", "6", "x", "2026-01-21 12:00", "2026-01-21 12:00", None),  # at the same instant
            ("a", None, None, "2026-01-22 12:00", "2026-01-22 12:00", None),  # counts nowhere
        ],
        ROWS,
    )
    as_of = datetime(2026, 1, 31, 12)
    text = ("distinct", "entropy", "changes", "days_since_change")
    computed = customer_features(
        frame(spark, [("a", as_of), ("b", as_of)], SPINE),
        {"transactions": rows},
        [feature(agg, kind if agg in text else amount, (30,)) for agg in AGGREGATIONS],
        as_ofs=[as_of],
    )
    of_a, of_b = (row.asDict() for row in computed.orderBy("customer_id").collect())
    days = [-30.0, -29.75, -26.0, -10.0, -10.0]
    values = [3.0, 1.0, 2.0, 6.0, 6.0]
    middle = mean(days)
    slope = sum((d - middle) * (v - 3.6) for d, v in zip(days, values, strict=True))
    expected = {
        "count": 5,
        "sum": 18.0,
        "mean": 3.6,
        "std": stdev(values),
        "min": 1.0,
        "max": 6.0,
        "days_since_first": 30.0,
        "days_since_last": 10.0,
        "first": 3.0,
        "last": 6.0,
        "distinct": 2,
        "entropy": -(0.8 * math.log2(0.8) + 0.2 * math.log2(0.2)),
        "active_days": 3,
        "gap_mean": 10.0,
        "gap_std": stdev([4.0, 16.0]),
        "gap_max": 16.0,
        "gap_last": 16.0,
        "age_of_last": 26.0,  # of the second last active day
        "occupied": 2,  # periods of 10 days: the first back from as-of, and the third
        "repeat": 2,  # the second of the 1st; the 5th; what happens at once repeats nothing
        "changes": 2,
        "days_since_change": 26.0,
        "slope": slope / sum((d - middle) ** 2 for d in days),
        "decayed": sum(v * 2 ** (d / 20) for d, v in zip(days, values, strict=True)),
    }
    assert {name: of_a[f"the_{name}_30d"] for name in AGGREGATIONS} == pytest.approx(expected, rel=1e-12)
    assert set(of_b.values()) == {"b", as_of, None}


def test_texts_times_and_truths(spark: SparkSession) -> None:
    rows = frame(
        spark,
        [
            ("a", "1", "late", "2026-01-01", "2026-01-01", None),
            ("a", "2", "tie b", "2026-01-02", "2026-01-02", None),
            ("a", "2", "tie a", "2026-01-02", "2026-01-02", None),  # ties go by value: the greater is last
        ],
        ROWS,
    )
    as_of = datetime(2026, 2, 1)
    computed = customer_features(
        frame(spark, [("a", as_of), ("b", as_of)], SPINE),
        {"transactions": rows},
        [
            feature("last", kind, fill="none", name="last_kind"),
            feature("first", kind, name="first_kind"),
            feature("last", lambda: F.col("event_time"), name="last_time"),
            feature("max", lambda: F.col("event_time").cast("date"), name="last_day"),
            feature("mean", lambda: F.col("amount") > 1, fill=0, name="share"),
            feature("sum", lambda: F.sqrt(F.col("amount").cast("double")), (30,), name="roots"),
        ],
        as_ofs=[as_of],
    )
    day = datetime(2026, 1, 2)
    assert collected(computed) == [
        ("a", as_of, "tie b", "late", day, day.date(), 2 / 3, 2 * math.sqrt(2)),
        ("b", as_of, "none", None, None, None, 0.0, None),
    ]


def test_causes_may_lie_before_the_window(spark: SparkSession) -> None:
    times = "customer_id string, event_time timestamp, known_time timestamp"
    calls = frame(
        spark,
        [
            ("a", "2025-12-30", "2025-12-30"),  # before the window, yet the cause of the first of January
            ("a", "2026-01-10", "2026-01-10"),  # at the same instant as a transaction: not its cause
            ("a", "2026-01-20", "2026-01-30"),  # known too late for the first as-of
        ],
        times,
    )
    rows = frame(
        spark,
        [
            ("a", "1", "x", "2026-01-01 00:00", "2026-01-01", None),
            ("a", "2", "x", "2026-01-10 00:00", "2026-01-10", None),
            ("a", "4", "x", "2026-01-22 12:00", "2026-01-23", None),
            ("b", "8", "x", "2026-01-01 00:00", "2026-01-01", None),  # another customer's call causes nothing
        ],
        ROWS,
    )

    @followed(CALLS, TRANSACTIONS, within_days=3, agg="sum", days=(30,), unit="money", fill=0)
    def after_call() -> tuple[Column, Column]:
        """Spent after a call."""
        return F.lit(1), F.col("amount")

    as_ofs = [datetime(2026, 1, 29), datetime(2026, 1, 31)]
    spine = frame(spark, [(customer, as_of) for customer in "ab" for as_of in as_ofs], SPINE)
    sources = {"calls": calls, "transactions": rows}
    assert collected(customer_features(spine, sources, [after_call], as_ofs=as_ofs)) == [
        ("a", as_ofs[0], 1.0),
        ("a", as_ofs[1], 5.0),
        ("b", as_ofs[0], 0.0),
        ("b", as_ofs[1], 0.0),
    ]


def test_derived_reads_columns_that_were_not_requested(spark: SparkSession) -> None:
    rows = frame(spark, [("a", "3", "x", "2026-01-25", "2026-01-25", None)], ROWS)
    feature("sum", amount, (7, 30), fill=0, name="paid")
    feature("last", lambda: F.col("event_time"), name="_paid_at")

    @derived(days=(7, 30), unit="ratio", fill=1)
    def paid_share(paid: Column, paid_90d: Column) -> Column:
        """Paid in the window, of what was paid in 90 days."""
        return F.try_divide(paid, paid_90d)

    @derived(unit="days", fill=None)
    def paid_ago(_paid_at: Column, as_of: Column) -> Column:
        """Whole days since the last payment."""
        return F.date_diff(as_of, _paid_at)

    as_of = datetime(2026, 2, 4)
    spine = frame(spark, [("a", as_of), ("b", as_of)], SPINE)
    computed = customer_features(spine, {"transactions": rows}, [paid_share, paid_ago], as_ofs=[as_of], windows=(9, 11))
    assert computed.columns == ["customer_id", "as_of", "paid_share_9d", "paid_share_11d", "paid_ago"]
    assert collected(computed) == [("a", as_of, 0.0, 1.0, 10), ("b", as_of, 1.0, 1.0, None)]


def test_a_column_for_each_value_of_a_parameter(spark: SparkSession) -> None:
    rows = frame(
        spark,
        [
            (
                "a",
                "16",
                "x",
                "2026-01-01",
                "2026-01-01",
                None,
            ),  # 40 days before as-of: 4 half-lives of 10 days, 2 of 20
            ("a", "8", "x", "2026-01-21", "2026-01-21", None),  # 20 days before: 2 and 1
        ],
        ROWS,
    )

    @windowed(TRANSACTIONS, agg="decayed", unit="money", fill=0, half_life_days=(20, 10))
    def paid_decayed() -> Column:
        """Paid, by a half-life."""
        return F.col("amount")

    @derived(unit="ratio", fill=0, half_life_days=(10, 20))
    def paid_per_half_life(paid_decayed: Column, paid_decayed_20d: Column, half_life_days: float) -> Column:
        """Paid by a half-life, over that of 20 days and the half-life."""
        return F.try_divide(paid_decayed, paid_decayed_20d * half_life_days)

    as_of = datetime(2026, 2, 10)
    spine = frame(spark, [("a", as_of), ("b", as_of)], SPINE)
    computed = customer_features(
        spine, {"transactions": rows}, [paid_decayed, paid_per_half_life], as_ofs=[as_of], windows=(7, 30)
    )
    assert computed.columns[2:] == [
        "paid_decayed_10d", "paid_decayed_20d", "paid_per_half_life_10d", "paid_per_half_life_20d",
    ]  # fmt: skip
    assert collected(computed) == [("a", as_of, 3.0, 8.0, 0.0375, 0.05), ("b", as_of, 0.0, 0.0, 0.0, 0.0)]


def test_the_spine_decides_the_rows(spark: SparkSession) -> None:
    rows = frame(spark, [(customer, "1", "x", "2026-01-01", "2026-01-01", None) for customer in "abc"], ROWS)
    first, second = datetime(2026, 2, 1), datetime(2026, 3, 1, tzinfo=UTC)
    spine = frame(
        spark,
        [("a", first, 7), ("a", first, 7), ("b", second, 8), ("ü '\"", second, None)],
        f"{SPINE}, more int",
        partitions=2,
    )
    computed = customer_features(
        spine, {"transactions": rows}, [feature("count", amount, (40,), fill=0)], as_ofs=[second, first]
    )
    later = second.replace(tzinfo=None)
    assert collected(computed) == [
        ("a", first, 7, 1),
        ("a", first, 7, 1),
        ("b", later, 8, 0),
        ("ü '\"", later, None, 0),
    ]


def test_an_empty_source_and_an_empty_spine(spark: SparkSession) -> None:
    as_of = datetime(2026, 2, 1)
    chosen = [
        feature("count", amount, fill=0),
        feature("last", kind, fill="none"),
        feature("gap_mean", amount),
        feature("max", lambda: F.col("event_time")),
    ]
    none, some = frame(spark, [], ROWS), frame(spark, [("a", "1", "x", "2026-01-01", "2026-01-01", None)], ROWS)
    spine = frame(spark, [("a", as_of)], SPINE)
    assert collected(customer_features(spine, {"transactions": none}, chosen, as_ofs=[as_of])) == [
        ("a", as_of, 0, "none", None, None)
    ]
    assert collected(customer_features(spine.limit(0), {"transactions": some}, chosen, as_ofs=[as_of])) == []


def test_refused(spark: SparkSession) -> None:
    as_of = datetime(2026, 2, 1)
    spine, rows = (
        frame(spark, [("a", as_of)], SPINE),
        frame(spark, [("a", "1", "x", "2026-01-01", "2026-01-01", None)], ROWS),
    )
    counted = feature("count", amount)
    cases: list[tuple[dict[str, DataFrame], Sequence[Windowed], str]] = [
        ({}, [counted], "no source named 'transactions' was given"),
        ({"transactions": rows.drop("known_time")}, [counted], "transactions: known_time is missing"),
        (
            {"transactions": rows},
            [feature("sum", lambda: F.col("amout"), name="wrong")],
            "test_customer_features.wrong, on transactions: .*amout.* cannot be resolved",
        ),
        ({"transactions": rows}, [feature("mean", kind)], "the_mean, on transactions: mean cannot take string"),
    ]
    for sources, chosen, message in cases:
        with pytest.raises(BadInputError, match=message):
            customer_features(spine, sources, chosen, as_ofs=[as_of])
    with pytest.raises(BadInputError, match="as_ofs is empty"):
        customer_features(spine, {"transactions": rows}, [counted], as_ofs=[])
    with pytest.raises(Exception, match=r"a row as of 2026-02-01T00:00:00\.000000, which is not among the as_ofs"):
        customer_features(spine, {"transactions": rows}, [counted], as_ofs=[datetime(2026, 1, 1)]).collect()


# ---------------------------------------------------------------- against plain Python

Row = tuple[str, float | None, str | None, datetime, datetime, datetime | None]


def _random_rows(draw: random.Random, customers: int) -> list[Row]:
    """Rows of some customers, many at the same instants; a fifth late, a fifth superseded, a tenth null."""
    rows: list[Row] = []
    for customer in range(customers):
        for _ in range(draw.randrange(40)):
            event = datetime(2026, 1, 1) + timedelta(hours=6 * draw.randrange(4 * 120))
            known = event + timedelta(hours=draw.choice([0, 0, 0, 1, 24 * draw.randrange(1, 50)]))
            superseded = known + timedelta(hours=24 * draw.randrange(1, 50)) if draw.random() < 0.2 else None
            value = None if draw.random() < 0.1 else draw.randrange(-(10**9), 10**9) / 10**4
            rows.append((f"c{customer}", value, draw.choice("pqr"), event, known, superseded))
    return rows


def _oracle(agg: str, visible: list[Row], as_of: datetime, days: int | None) -> float | str | None:
    """One feature of one customer, from the visible rows, in the plainest way."""
    text = agg in TEXT
    rows = sorted((row[3], row[2] if text else row[1]) for row in visible if (row[2] if text else row[1]) is not None)
    since = datetime.min if days is None else as_of - timedelta(days=days)
    inside = [row for row in rows if row[0] >= since]
    values: list[Any] = [value for _, value in inside]
    ages = [(as_of - event) / timedelta(days=1) for event, _ in inside]
    active = sorted({event.date() for event, _ in inside})
    begun = {event.date(): age for (event, _), age in reversed([*zip(inside, ages, strict=True)])}
    day_ages = [begun[day] for day in active]
    gaps = [float((later - earlier).days) for earlier, later in pairwise(active)]
    shares = [values.count(value) / len(values) for value in set(values)]
    week = timedelta(days=PARAMETERS["within_days"])
    repeats = [1 for event, _ in inside if any(event - week <= other < event for other, _ in rows)]
    changes = [after[0] for before, after in pairwise(rows) if before[1] != after[1] and after[0] >= since]

    def slope() -> float:
        across = sum((mean(ages) - age) * (value - mean(values)) for age, value in zip(ages, values, strict=True))
        return across / sum((age - mean(ages)) ** 2 for age in ages)

    expected: dict[str, Callable[[], float | str | None]] = {
        "count": lambda: len(values) or None,
        "sum": lambda: sum(values) if values else None,
        "mean": lambda: mean(values) if values else None,
        "std": lambda: stdev(values) if len(values) > 1 else None,
        "min": lambda: min(values, default=None),
        "max": lambda: max(values, default=None),
        "days_since_first": lambda: ages[0] if ages else None,
        "days_since_last": lambda: ages[-1] if ages else None,
        "first": lambda: values[0] if values else None,
        "last": lambda: values[-1] if values else None,
        "distinct": lambda: len(set(values)) or None,
        "entropy": lambda: abs(sum(-share * math.log2(share) for share in shares)) if values else None,
        "active_days": lambda: len(active) or None,
        "gap_mean": lambda: mean(gaps) if gaps else None,
        "gap_std": lambda: stdev(gaps) if len(gaps) > 1 else None,
        "gap_max": lambda: max(gaps, default=None),
        "gap_last": lambda: gaps[-1] if gaps else None,
        "age_of_last": lambda: day_ages[-2] if len(day_ages) > 1 else None,
        "occupied": lambda: len({math.ceil(age / PARAMETERS["period_days"]) for age in ages}) or None,
        "repeat": lambda: len(repeats) or None,
        "changes": lambda: len(changes) or None,
        "days_since_change": lambda: (as_of - changes[-1]) / timedelta(days=1) if changes else None,
        "slope": lambda: slope() if len(set(ages)) > 1 else None,
        "decayed": lambda: (
            sum(value * 2 ** (-age / PARAMETERS["half_life_days"]) for age, value in zip(ages, values, strict=True))
            if values
            else None
        ),
    }
    return expected[agg]()


TEXT = ("first", "last", "distinct", "entropy", "changes", "days_since_change")


def test_every_aggregation_equals_plain_python(spark: SparkSession) -> None:
    rows = _random_rows(random.Random(7), customers=40)
    as_ofs = [datetime(2026, 2, 1), datetime(2026, 3, 1, 15), datetime(2026, 3, 31), datetime(2026, 6, 1)]
    spine = [(f"c{customer}", as_of) for customer in range(41) for as_of in as_ofs]
    windows: tuple[int | None, ...] = (10, 30, 60, None)
    chosen = []
    for agg in AGGREGATIONS:
        column = kind if agg in TEXT else amount
        chosen += [feature(agg, column, (10, 30, 60)), feature(agg, column, EVER, name=f"ever_{agg}")]
        if AGGREGATIONS[agg].accepts == "number":  # doubles are summed in order, whole numbers in parts
            chosen.append(feature(agg, lambda: F.col("amount").cast("double"), EVER, name=f"double_{agg}"))
    frames = {"transactions": frame(spark, rows, ROWS.replace("decimal(18,4)", "double"))}
    frames["transactions"] = frames["transactions"].withColumn("amount", F.col("amount").cast("decimal(18,4)"))
    computed = customer_features(frame(spark, spine, SPINE), frames, chosen, as_ofs=as_ofs)
    computed_rows = {(row["customer_id"], row["as_of"]): row for row in computed.collect()}
    assert set(computed_rows) == set(spine)
    for customer, as_of in spine:
        visible = [
            row
            for row in rows
            if row[0] == customer and row[3] < as_of and row[4] <= as_of and (row[5] is None or row[5] > as_of)
        ]
        for agg in AGGREGATIONS:
            for days in windows:
                want = _oracle(agg, visible, as_of, days)
                names = [f"the_{agg}_{days}d"] if days else [f"ever_{agg}"]
                if days is None and AGGREGATIONS[agg].accepts == "number":
                    names.append(f"double_{agg}")
                for name in names:
                    got = computed_rows[customer, as_of][name]
                    close = want if want is None or isinstance(want, str) else pytest.approx(want, rel=1e-9, abs=1e-6)
                    assert got == close, (customer, as_of, name)


def test_known_by_equals_the_rule_of_the_engine(spark: SparkSession) -> None:
    rows = frame(spark, _random_rows(random.Random(8), customers=30), ROWS.replace("decimal(18,4)", "double"))
    as_of = datetime(2026, 3, 1)
    visible = rows.where(known_by(F.lit(as_of)) & (F.col("event_time") < F.lit(as_of)))
    spine = rows.select("customer_id", F.lit(as_of).alias("as_of")).distinct()
    computed = customer_features(
        spine, {"transactions": rows}, [feature("count", lambda: F.lit(1), fill=0)], as_ofs=[as_of]
    )
    counted = {row["customer_id"]: row["count"] for row in visible.groupBy("customer_id").count().collect()}
    assert {row["customer_id"]: row["the_count"] for row in computed.collect() if row["the_count"]} == counted


def test_a_row_does_not_depend_on_other_as_ofs(spark: SparkSession) -> None:
    """The same bits, whatever other as-ofs, buckets and partitions there are."""
    rows = frame(spark, _random_rows(random.Random(9), customers=20), ROWS.replace("decimal(18,4)", "double"))
    exact = rows.withColumn("amount", F.col("amount").cast("decimal(18,4)"))
    as_ofs = [datetime(2026, 2, 1), datetime(2026, 3, 1), datetime(2026, 4, 1)]
    spine = frame(spark, [(f"c{customer}", as_of) for customer in range(20) for as_of in as_ofs], SPINE)
    chosen = [feature(agg, amount, (30, 60)) for agg in AGGREGATIONS]
    chosen.append(feature("std", lambda: F.col("amount").cast("double"), (30, 60), name="double_std"))
    together = collected(customer_features(spine, {"transactions": exact}, chosen, as_ofs=as_ofs))
    alone = spine.where(F.col("as_of") == F.lit(as_ofs[1]))
    single = customer_features(alone, {"transactions": exact.repartition(5)}, chosen, as_ofs=[as_ofs[1]], buckets=7)
    assert repr(collected(single)) == repr([row for row in together if row[1] == as_ofs[1]])
