"""A company that is ingested day by day to a date knows of that date what the whole company says as of it.

Rows are late, corrected and delivered twice; closures are announced, retracted, and their customers come back; days are
left out between batches, and one feed ends before the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.config import Config, load
from churn.dataset.calendar import labels_known_until, newest_matured
from churn.dataset.examples import examples, usable_features
from churn.labels.closure import Closure
from churn.model_spec import FeatureSet, LabelWindow, ModelSpec
from churn.sources.accepted import accepted
from churn.sources.completeness import Accepted, begin, complete_until
from churn.sources.ingest import ingest
from churn.storage import Lake
from churn.testing import frame
from churn.training.algorithms import Logistic

SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    candidates={"logistic": Logistic()},
    window=LabelWindow(lead=2, horizon=7),
    features=FeatureSet(windows=(7, 14)),
)
BEGIN = datetime(2026, 1, 1)
DAYS, DATE, CALLS_END = 30, 22, 19
"""The days of the whole company, the day whose midnight is compared, and the day whose midnight ends the calls."""
HEADERS = {
    "customers": "customer_id,event_time,loaded,opened_at,plan,monthly_fee",
    "calls": "call_id,customer_id,event_time,loaded,reason,talk_seconds",
    "transactions": "transaction_id,customer_id,event_time,loaded,kind,amount",
    "closures": "customer_id,event_time,loaded,kind",
}
Delivered = tuple[str, int, str]
"""The source, the day of the file, and the row."""


def at(day: float) -> str:
    return f"{BEGIN + timedelta(days=day):%Y-%m-%d %H:%M:%S}"


def deliveries(dice: random.Random, customer: str) -> Iterator[Delivered]:
    """The rows of one customer. One that is known on a day is in the file of that day, at noon or later."""

    def known(day: int) -> str:
        return at(day + dice.uniform(0.5, 0.95))

    def customers(day: int, event: float, opened: float) -> Delivered:
        return "customers", day, f"{customer},{at(event)},{known(day)},{at(opened)},plan{dice.randrange(3)},{day}"

    yield customers(dice.randrange(3), 0, 0)
    if dice.random() < 0.3:  # a change of plan, announced or late
        day = dice.randrange(3, 25)
        yield customers(day, max(1, day + dice.randrange(-3, 9)), 0)
    for source, last, texts in (
        ("transactions", DAYS, [f"{kind},{amount}" for kind in ("purchase", "fee", "refund") for amount in (5, 80)]),
        ("calls", CALLS_END, [f"{reason},{talk}" for reason in ("billing", "complaint") for talk in (30, 600)]),
    ):
        for number in range(dice.randrange(8)):
            event = dice.randrange(last - 1)
            day, key = min(event + dice.choice((0, 0, 0, 1, 3)), last - 1), f"{source[0]}{customer}{number}"
            happened = f"{key},{customer},{at(event + dice.uniform(0, 0.4))}"
            row = f"{happened},{known(day)},{dice.choice(texts)}"
            yield source, day, row
            if dice.random() < 0.3:  # the same row in a later file
                yield source, min(day + dice.randrange(1, 6), last - 1), row
            if dice.random() < 0.3 and day + 5 < last:  # corrected
                yield source, (later := day + dice.randrange(1, 5)), f"{happened},{known(later)},{dice.choice(texts)}"
    if dice.random() < 0.6:
        day = dice.randrange(2, 24)
        closed = day + dice.choice((-1, 0, 3, 9))
        closure = f"{customer},{at(closed)}"
        yield "closures", day, f"{closure},{known(day)},{dice.choice(('voluntary', 'voluntary', 'involuntary'))}"
        if dice.random() < 0.3:
            yield "closures", day + 2, f"{closure},{known(day + 2)},retracted"
        elif dice.random() < 0.4:  # comes back
            back = max(day, closed) + dice.randrange(1, 5)
            yield customers(min(back, DAYS - 1), back, back)


SEED = 1
CUSTOMERS = 60
"""Each is an example of its own: what is random is what becomes of a customer's rows."""


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """A file a day and source."""
    dice = random.Random(SEED)
    texts = {(source, day): [header] for source, header in HEADERS.items() for day in range(DAYS)}
    for customer in range(CUSTOMERS):
        for source, day, row in deliveries(dice, f"c{customer:02}"):
            texts[source, day].append(row)
    for (source, day), lines in texts.items():
        (tmp_path / source).mkdir(exist_ok=True)
        if source != "calls" or day < CALLS_END:
            (tmp_path / source / f"{BEGIN + timedelta(days=day):%Y-%m-%d}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def configured(folder: Path, root: str) -> Config:
    section = '[sources.{0}]\npath = "{0}/${{day}}.csv"\n[sources.{0}.columns]\nknown_time = "loaded"\n'
    (folder / f"{root}.toml").write_text(f'[storage]\nroot = "{root}"\n' + "".join(map(section.format, HEADERS)))
    return load(folder / f"{root}.toml")


def ingested(spark: SparkSession, folder: Path, root: str, days: list[int]) -> Accepted:
    """The accepted tables after batches at these midnights; calls are ingested until they end."""
    config = configured(folder, root)
    lake, endless = Lake(spark, config.root), [name for name in HEADERS if name != "calls"]
    for day in sorted({*days, CALLS_END}):
        names = [*(endless if day in days else ()), *(("calls",) if day <= CALLS_END else ())]
        ingest(spark, lake, config, batch=f"{day:02}", as_of=BEGIN + timedelta(days=day), sources=names)
    return accepted(lake)


def rows(found: DataFrame) -> list[str]:
    return sorted(str(sorted(row.asDict().items())) for row in found.collect())


def test_day_by_day_to_a_date_is_the_whole_as_of_it(spark: SparkSession, company: Path) -> None:
    cut = ingested(spark, company, "cut", [6, CALLS_END, DATE])
    whole = ingested(spark, company, "whole", [DAYS])
    now = BEGIN + timedelta(days=DATE)
    before = now - timedelta(days=10)
    of = examples(SPEC)
    chosen, left_out = usable_features(SPEC, cut)
    assert not left_out
    assert complete_until(cut, HEADERS, by=now) == complete_until(whole, HEADERS, by=now)
    assert labels_known_until(SPEC, cut, by=now) == (now, "closures")
    for as_of in (before, now):
        wanted = rows(of.feature_rows(spark, whole, chosen, [as_of]))
        assert CUSTOMERS / 3 < len(wanted) < CUSTOMERS  # some have left
        assert rows(of.feature_rows(spark, cut, chosen, [as_of])) == wanted
    members = {name: of.members(spark, tables, [before]) for name, tables in (("cut", cut), ("whole", whole))}
    labels = rows(of.labels(whole, members["whole"], known_until=now))
    assert rows(of.labels(cut, members["cut"], known_until=now)) == labels
    assert {text[-3:-2] for text in labels} == {"0", "1"}


WHOLE = """
[sources.customers]
path = "customers.csv"
[sources.closures]
path = "closures.csv"
[sources.transactions]
path = "transactions/${day}.csv"
"""
BATCHES = (8, 15, 24)


def test_later_batches_change_nothing_of_an_earlier_as_of(spark: SparkSession, tmp_path: Path) -> None:
    """Without a mapped known time. Closures are delivered whole, many days late; transactions are a file a day."""
    dice, names = random.Random(SEED), [f"c{number:02}" for number in range(CUSTOMERS)]
    (tmp_path / "churn.toml").write_text(WHOLE)
    (tmp_path / "customers.csv").write_text(
        "customer_id,event_time,opened_at\n" + "".join(f"{name},2025-12-01,2025-12-01\n" for name in names)
    )
    (tmp_path / "transactions").mkdir()
    for day in range(DAYS):
        file = tmp_path / "transactions" / f"{BEGIN + timedelta(days=day):%Y-%m-%d}.csv"
        file.write_text(f"transaction_id,customer_id,event_time,kind,amount\nt{day},c00,{at(day + 0.5)},purchase,5\n")
    closed = [(name, event, event + dice.choice((0, 1, 7))) for name in names for event in (dice.randrange(DAYS),)]
    config, known = load(tmp_path / "churn.toml"), dict[int, object]()
    lake = Lake(spark, config.root)
    members = frame(spark, [(name,) for name in names], "customer_id string")

    def known_at(day: int) -> object:
        """The calendar and the labels of a run at a day."""
        sources, now = accepted(lake), BEGIN + timedelta(days=day)
        until = labels_known_until(SPEC, sources, by=now), begin(sources, by=now)
        newest = newest_matured(SPEC, sources, now)
        of_newest = members.selectExpr("customer_id", f"TIMESTAMP '{newest}' AS as_of")
        return until, newest, rows(examples(SPEC).labels(sources, of_newest, known_until=now))

    for batch in BATCHES:
        lines = [f"{name},{at(event)}\n" for name, event, delivered in closed if delivered < batch]
        (tmp_path / "closures.csv").write_text("customer_id,event_time\n" + "".join(lines))
        ingest(spark, lake, config, batch=f"{batch:02}", as_of=BEGIN + timedelta(days=batch))
        if batch != BATCHES[-1]:
            known[batch] = known_at(batch)
    assert {day: known_at(day) for day in known} == known
