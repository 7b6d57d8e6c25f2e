from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Config, load
from churn.errors import BadInputError, ConfigError, HoldError
from churn.sources import CONTRACTS
from churn.sources.accepted import accepted
from churn.sources.catalog.closures import CLOSURES
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.classification import classify
from churn.sources.ingest import ingest, validate
from churn.sources.ledger import LedgerRow
from churn.storage import Lake

CLOSURE = "customer_id string, closure_id string, event_time timestamp, known_time timestamp, kind string"
AS_OF = datetime(2026, 1, 10)


def day(number: int | None) -> datetime | None:
    return None if number is None else datetime(2026, 1, number)


def classified(
    spark: SparkSession,
    incoming: Sequence[tuple[str, int, int, str]],
    existing: Sequence[tuple[str, int, int, str, int | None, str]] | None,
    *,
    has_known_time: bool,
    as_of: datetime | None = AS_OF,
) -> list[tuple[object, ...]]:
    """Customer, event day, known day, kind, superseded day, status, updated batch of each row."""
    rows = [(who, "1", day(event), day(known), kind) for who, event, known, kind in incoming]
    frame = spark.createDataFrame(rows, CLOSURE).repartition(3)
    before = None
    if existing is not None:
        versions = [(row[0], "1", day(row[1]), day(row[2]), row[3], day(row[4]), row[5]) for row in existing]
        before = spark.createDataFrame(versions, f"{CLOSURE}, superseded_at timestamp, batch string").repartition(2)
    result = classify(frame, before, CLOSURES, has_known_time=has_known_time, as_of=as_of)
    columns = [F.dayofmonth(name) for name in ("event_time", "known_time")]
    shown = result.select("customer_id", *columns, "kind", F.dayofmonth("superseded_at"), "_status", "_updated_batch")
    return sorted((tuple(row) for row in shown.collect()), key=str)


def test_rows_of_one_batch_become_versions(spark: SparkSession) -> None:
    rows = [
        ("twice", 1, 1, "voluntary"),
        ("twice", 1, 1, "voluntary"),
        # known again later, with the same content
        ("again", 1, 1, "voluntary"),
        ("again", 1, 3, "voluntary"),
        # corrected, and corrected back
        ("changed", 1, 1, "voluntary"),
        ("changed", 1, 2, "involuntary"),
        ("changed", 1, 3, "voluntary"),
        # two contents known at the same time: neither is right, but what was known before stays
        ("conflict", 1, 1, "voluntary"),
        ("conflict", 1, 2, "voluntary"),
        ("conflict", 1, 2, "involuntary"),
    ]
    assert classified(spark, rows, None, has_known_time=True) == [
        ("again", 1, 1, "voluntary", None, "accepted", None),
        ("again", 1, 3, "voluntary", None, "duplicate", None),
        ("changed", 1, 1, "voluntary", 2, "accepted", None),
        ("changed", 1, 2, "involuntary", 3, "accepted", None),
        ("changed", 1, 3, "voluntary", None, "accepted", None),
        ("conflict", 1, 1, "voluntary", None, "accepted", None),
        ("conflict", 1, 2, "involuntary", None, "quarantined", None),
        ("conflict", 1, 2, "voluntary", None, "quarantined", None),
        ("twice", 1, 1, "voluntary", None, "accepted", None),
        ("twice", 1, 1, "voluntary", None, "duplicate", None),
    ]


def test_rows_are_classified_beside_those_of_other_batches(spark: SparkSession) -> None:
    existing = [
        ("again", 1, 1, "voluntary", None, "first"),
        ("changed", 1, 1, "voluntary", None, "first"),
        ("late", 1, 5, "voluntary", None, "first"),
        ("between", 1, 1, "voluntary", 5, "first"),
        ("between", 1, 5, "involuntary", None, "second"),
        ("conflict", 1, 1, "voluntary", None, "first"),
        # superseded by a row that this batch brought when it was run before, and no longer brings
        ("retracted", 1, 1, "voluntary", 4, "first"),
    ]
    incoming = [
        ("again", 1, 2, "voluntary"),
        ("changed", 1, 2, "involuntary"),
        ("late", 1, 2, "involuntary"),
        ("between", 2, 3, "voluntary"),
        ("conflict", 1, 1, "involuntary"),
    ]
    assert classified(spark, incoming, existing, has_known_time=True) == [
        ("again", 1, 1, "voluntary", None, None, None),
        ("again", 1, 2, "voluntary", None, "duplicate", None),
        ("between", 1, 1, "voluntary", 3, None, "first"),
        ("between", 1, 5, "involuntary", None, None, None),
        ("between", 2, 3, "voluntary", 5, "accepted", None),
        ("changed", 1, 1, "voluntary", 2, None, "first"),
        ("changed", 1, 2, "involuntary", None, "accepted", None),
        ("conflict", 1, 1, "involuntary", None, "quarantined", None),
        ("conflict", 1, 1, "voluntary", None, None, None),
        ("late", 1, 2, "involuntary", 5, "accepted", None),
        ("late", 1, 5, "voluntary", None, None, None),
        ("retracted", 1, 1, "voluntary", None, None, "first"),
    ]


def test_where_known_time_is_not_mapped_a_correction_is_known_from_the_as_of_of_its_batch(spark: SparkSession) -> None:
    existing = [
        ("again", 1, 1, "voluntary", None, "first"),
        ("changed", 1, 1, "voluntary", None, "first"),
        ("postponed", 1, 1, "voluntary", None, "first"),
        # corrected by a batch of a later as-of; this one is run again
        ("rerun", 1, 20, "involuntary", None, "third"),
    ]
    incoming = [
        ("again", 1, 1, "voluntary"),
        ("changed", 1, 1, "involuntary"),
        ("postponed", 5, 5, "voluntary"),
        ("rerun", 1, 1, "voluntary"),
        # nothing orders two closures of one batch
        ("conflict", 1, 1, "voluntary"),
        ("conflict", 2, 2, "voluntary"),
    ]
    assert classified(spark, incoming, existing, has_known_time=False) == [
        ("again", 1, 1, "voluntary", None, None, None),
        ("again", 1, 10, "voluntary", None, "duplicate", None),
        ("changed", 1, 1, "voluntary", 10, None, "first"),
        ("changed", 1, 10, "involuntary", None, "accepted", None),
        ("conflict", 1, 1, "voluntary", None, "quarantined", None),
        ("conflict", 2, 2, "voluntary", None, "quarantined", None),
        ("postponed", 1, 1, "voluntary", 10, None, "first"),
        ("postponed", 5, 10, "voluntary", None, "accepted", None),
        ("rerun", 1, 1, "voluntary", 20, "accepted", None),
        ("rerun", 1, 20, "involuntary", None, None, None),
    ]


def test_without_known_time_and_as_of_nothing_orders_two_batches(spark: SparkSession) -> None:
    existing = [("postponed", 1, 1, "voluntary", None, "first")]
    assert classified(spark, [("postponed", 2, 2, "voluntary")], existing, has_known_time=False, as_of=None) == [
        ("postponed", 1, 1, "voluntary", None, None, None),
        ("postponed", 2, 2, "voluntary", None, "quarantined", None),
    ]


Configured = Callable[[str], Config]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Write calls.csv, and a configuration of it with an optional known time; more settings may follow."""

    def write(csv: str, more: str = "") -> Config:
        (tmp_path / "calls.csv").write_text(csv)
        (tmp_path / "churn.toml").write_text(
            "[sources.calls]\npath = 'calls.csv'\n[sources.calls.columns]\ncall_id = 'id'\ncustomer_id = 'who'\n"
            f"event_time = 'at'\n[sources.calls.reject]\ntest = \"who = 'test'\"\n{more}"
        )
        return load(tmp_path / "churn.toml")

    return write  # type: ignore[return-value]


def contents(lake: Lake) -> dict[str, list[tuple[object, ...]]]:
    """All that a batch writes, sorted."""
    tables = {"calls": ["call_id", "customer_id", "event_time", "known_time", "queue", "superseded_at", "batch"]}
    tables |= {"quarantine": ["*"], "ledger": ["source", "batch", "rows_in", "accepted", "duplicate", "quarantined"]}
    return {
        name: sorted((tuple(row) for row in lake.read(name).select(*columns).collect()), key=str)
        for name, columns in tables.items()
    }


FIRST = (
    "id,who,at,known_time,queue\n"
    "1,ann,2026-01-01,2026-01-01 00:00:00,sales\n"
    "1,ann,2026-01-01,2026-01-02 00:00:00,sales\n"  # has the same content a day later
    "2,bob,2026-01-02,2026-01-02 00:00:00,sales\n"
    "3,test,2026-01-02,2026-01-02 00:00:00,sales\n"  # rejected by its owner
    "4,cy,2026-01-03,2026-01-02 00:00:00,sales\n"  # known before it happened
    "5,dan,2026-01-03,2026-01-03 00:00:00,sales\n"  # contradicts the next
    "5,dan,2026-01-03,2026-01-03 00:00:00,support\n"
)
SECOND = (
    "id,who,at,known_time,queue\n"
    "1,ann,2026-01-01,2026-01-05 00:00:00,support\n"  # a correction
    "6,eve,2026-01-05,2026-01-05 00:00:00,sales\n"
)


def test_a_batch_lands_once_whatever_is_run_again(
    spark: SparkSession, tmp_path: Path, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))

    def run(batch: str, csv: str) -> list[LedgerRow]:
        return ingest(spark, lake, configured(csv), batch=batch, as_of=AS_OF)

    first = run("first", FIRST)
    assert first == [
        LedgerRow(
            source="calls",
            batch="first",
            as_of=AS_OF.replace(tzinfo=UTC),
            rows_in=7,
            accepted=2,
            duplicate=1,
            quarantined=4,
            rules={"conflicting_id": 2, "known_before_event": 1, "test": 1},
            first_event=datetime(2026, 1, 1, tzinfo=UTC),
            last_event=datetime(2026, 1, 2, tzinfo=UTC),
            complete_until=datetime(2026, 1, 4, tzinfo=UTC),  # also by rows in conflict: they were delivered
        )
    ]
    after_first = contents(lake)
    assert after_first == {
        "calls": [
            ("1", "ann", day(1), day(1), "sales", None, "first"),
            ("2", "bob", day(2), day(2), "sales", None, "first"),
        ],
        "quarantine": [
            ("calls", "first", ["conflicting_id"], raw(tmp_path, "5", "dan", 3, 3, "sales")),
            ("calls", "first", ["conflicting_id"], raw(tmp_path, "5", "dan", 3, 3, "support")),
            ("calls", "first", ["known_before_event"], raw(tmp_path, "4", "cy", 3, 2, "sales")),
            ("calls", "first", ["test"], raw(tmp_path, "3", "test", 2, 2, "sales")),
        ],
        "ledger": [("calls", "first", 7, 2, 1, 4)],
    }
    assert run("first", FIRST) == first
    assert contents(lake) == after_first

    # The second batch is killed behind each of its commits, and run again.
    commits: list[str] = []
    for survived in (1, 2):
        commits.clear()
        with monkeypatch.context() as killed:
            for name in ("replace", "merge"):
                killed.setattr(Lake, name, killed_after(survived, commits, getattr(Lake, name)))
            with pytest.raises(KeyboardInterrupt):
                run("second", SECOND)
        assert len(commits) == survived
    assert [(row.accepted, row.duplicate, row.quarantined) for row in run("second", SECOND)] == [(2, 0, 0)]
    after_second = contents(lake)
    assert after_second["calls"] == [
        ("1", "ann", day(1), day(1), "sales", day(5), "first"),
        ("1", "ann", day(1), day(5), "support", None, "second"),
        ("2", "bob", day(2), day(2), "sales", None, "first"),
        ("6", "eve", day(5), day(5), "sales", None, "second"),
    ]
    assert after_second["quarantine"] == after_first["quarantine"]
    assert after_second["ledger"] == [("calls", "first", 7, 2, 1, 4), ("calls", "second", 2, 2, 0, 0)]

    # The first batch again finds itself as it was; a second batch that lost its correction takes it back.
    assert run("first", FIRST) == first
    assert contents(lake) == after_second
    run("second", "id,who,at,known_time,queue\n6,eve,2026-01-05,2026-01-05 00:00:00,sales\n")
    assert contents(lake)["calls"] == [*after_first["calls"], ("6", "eve", day(5), day(5), "sales", None, "second")]


def raw(folder: Path, call: str, who: str, at: int, known: int, queue: str) -> str:
    times = f'"at":"2026-01-0{at}","known_time":"2026-01-0{known} 00:00:00"'
    return f'{{"id":"{call}","who":"{who}",{times},"queue":"{queue}","_file":"{folder}/calls.csv"}}'


def example(folder: Path, at: int, known: int, queue: str, who: str = "xxx") -> str:
    """A raw row as messages show it: ids by their form."""
    return raw(folder, "9", who, at, known, queue).replace('":"', '": "').replace('","', '", "')


def killed_after(survived: int, commits: list[str], write: Callable[..., None]) -> Callable[..., None]:
    def maybe(lake: Lake, df: object, name: str, *rest: object, **more: object) -> None:
        if len(commits) == survived:
            raise KeyboardInterrupt
        write(lake, df, name, *rest, **more)
        commits.append(name)

    return maybe


def test_what_is_expected_and_has_not_come_is_a_hold(
    spark: SparkSession, tmp_path: Path, configured: Configured
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    csv = "id,who,at\n1,ann,2026-01-07\n2,ann,2026-01-09 23:00:00\n3,ann,\n"

    thin = configured(csv, "[sources.calls.expect]\nrows = 4\n")
    with pytest.raises(HoldError, match="calls: 3 rows have come, at least 4 are expected; nothing was written"):
        ingest(spark, lake, thin, batch="b", as_of=AS_OF)

    gap = configured(csv, "[sources.calls.expect]\ndays = 3\n")
    with pytest.raises(HoldError, match="calls: no rows on 2026-01-08; nothing was written"):
        ingest(spark, lake, gap, batch="b", as_of=AS_OF)
    assert validate(spark, gap, as_of=AS_OF)[0].problem is not None
    with pytest.raises(ConfigError, match="days counts back from an as-of"):
        ingest(spark, lake, gap, batch="b")

    assert not lake.exists("calls")
    assert not lake.exists("ledger")


def test_too_many_broken_rows_are_refused_with_examples_unless_their_owner_named_them(
    spark: SparkSession, tmp_path: Path, configured: Configured
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = configured("id,who,at\n1,test,\n2,test,\n3,ann,2026-01-01\n4,ann,1/2/2026\n5,ann,2/2/2026\n")

    assert [(row.accepted, row.quarantined) for row in ingest(spark, lake, config, batch="b")] == [(1, 4)]

    config = configured("id,who,at\n3,ann,2026-01-01\n4,ann,1/2/2026\n5,ann,2/2/2026\n")
    with pytest.raises(BadInputError) as error:
        ingest(spark, lake, config, batch="b")
    assert str(error.value) == (
        "calls: 2 of 3 rows break the contract, more than max_quarantined = 0.5: event_time_unreadable 2 times, such as"
        f' {{"id": "9", "who": "xxx", "at": "1/2/2026", "_file": "{tmp_path}/calls.csv"}}; nothing was written; fix'
        " churn.toml: [sources.calls.columns] or its options, name rows to leave out in [sources.calls.reject], or"
        " raise max_quarantined"
    )
    assert [(row[2], row[3]) for row in contents(lake)["ledger"]] == [(5, 1)]


def test_an_as_of_before_all_rows_is_named(spark: SparkSession, tmp_path: Path, configured: Configured) -> None:
    later = configured("id,who,at\n3,ann,2026-01-01\n4,ann,2026-01-02\n")

    with pytest.raises(BadInputError, match="these lie more than a year after the as-of 2024-01-09: give a later one"):
        ingest(spark, Lake(spark, str(tmp_path / "lake")), later, batch="b", as_of=datetime(2024, 1, 9))


def test_validate_writes_nothing_and_shows_examples(
    spark: SparkSession, tmp_path: Path, configured: Configured
) -> None:
    [report] = validate(spark, configured(FIRST))

    assert (report.row.rows_in, report.row.accepted, report.row.duplicate, report.row.quarantined) == (7, 2, 1, 4)
    assert report.examples == {
        "conflicting_id": (example(tmp_path, 3, 3, "sales"), example(tmp_path, 3, 3, "support")),
        "known_before_event": (example(tmp_path, 3, 2, "sales", "xx"),),
        "test": (example(tmp_path, 2, 2, "sales", "xxxx"),),
    }
    assert report.problem is None  # 3 of 7 break the contract; the fourth is rejected by its owner
    assert not (tmp_path / "lake").exists()


def shop(folder: Path) -> Config:
    (folder / "churn.toml").write_text('[sources.transactions]\npath = "transactions.csv"\n')
    return load(folder / "churn.toml")


def sold(spark: SparkSession, config: Config, number: int, *ids: str) -> LedgerRow:
    """Ingest the batch of a day of January: transactions named by their day and an amount, such as 3:5."""
    parts = [one.split(":") for one in ids]
    rows = [f"t{at},ann,2026-01-{int(at):02} 08:00:00,purchase,{amount}" for at, amount in parts]
    header = "transaction_id,customer_id,event_time,kind,amount"
    (config.path.parent / "transactions.csv").write_text("\n".join([header, *rows]) + "\n")
    as_of = datetime(2026, 1, number)
    [row] = ingest(spark, Lake(spark, config.root), config, batch=f"{as_of:%Y-%m-%d}", as_of=as_of)
    return row


def stored(spark: SparkSession, config: Config) -> list[tuple[object, ...]]:
    """Id, amount, known day, superseded day, day of the batch."""
    rows = (
        Lake(spark, config.root)
        .read("transactions")
        .selectExpr(
            "transaction_id", "cast(amount AS int)", "day(known_time)", "day(superseded_at)", "day(cast(batch AS date))"
        )
    )
    return sorted((tuple(row) for row in rows.collect()), key=str)


def counts(spark: SparkSession, config: Config) -> list[tuple[int, ...]]:
    rows = Lake(spark, config.root).read("ledger").orderBy("batch").collect()
    return [(row["rows_in"], row["accepted"], row["duplicate"], row["quarantined"]) for row in rows]


def test_a_row_that_its_batch_brings_no_more_is_handed_to_the_next_that_delivered_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    """And the ledger of that batch counts it as accepted, so that every batch still adds up."""
    config = shop(tmp_path)
    sold(spark, config, 5, "1:5", "2:5", "3:5")
    sold(spark, config, 6, "1:5", "2:6", "3:5")  # the second is a correction
    sold(spark, config, 7, "1:5", "2:6")
    assert counts(spark, config) == [(3, 3, 0, 0), (3, 1, 2, 0), (2, 0, 2, 0)]
    sold(spark, config, 5, "3:5")
    wanted = [("t1", 5, 6, None, 6), ("t2", 6, 6, None, 6), ("t3", 5, 3, None, 5)]
    assert stored(spark, config) == wanted
    assert counts(spark, config) == [(1, 1, 0, 0), (3, 2, 1, 0), (2, 0, 2, 0)]
    sold(spark, config, 5, "3:5")  # again: the same
    assert (stored(spark, config), counts(spark, config)) == (wanted, [(1, 1, 0, 0), (3, 2, 1, 0), (2, 0, 2, 0)])
    sold(spark, config, 6, "3:5")
    assert stored(spark, config) == [("t1", 5, 7, None, 7), ("t2", 6, 7, None, 7), ("t3", 5, 3, None, 5)]
    assert counts(spark, config) == [(1, 1, 0, 0), (1, 0, 1, 0), (2, 2, 0, 0)]


def test_a_late_row_without_a_known_time_is_known_from_the_batch_that_brought_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    """History, which the first batch brings, was known when it happened; so was what a batch brings of its own days."""
    config = shop(tmp_path)
    sold(spark, config, 5, "1:5")
    sold(spark, config, 9, "1:5", "2:5", "4:5", "5:5", "8:5")  # the 5th and 8th are days of this batch
    assert stored(spark, config) == [
        ("t1", 5, 1, None, 5),
        ("t2", 5, 9, None, 9),
        ("t4", 5, 9, None, 9),
        ("t5", 5, 5, None, 9),
        ("t8", 5, 8, None, 9),
    ]


@pytest.mark.parametrize(
    ("batch", "then"),
    [
        (("1:5", "2:6", "5:5"), [("t1", 5), ("t2", 5), ("t2", 6), ("t5", 5)]),
        (("5:5",), [("t1", 5), ("t2", 5), ("t5", 5)]),
    ],
    ids=["with a correction", "of new rows alone"],
)
def test_a_contract_may_gain_a_column(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: Sequence[str],
    then: list[tuple[str, int]],
) -> None:
    """Rows that were accepted before have null in it, in the table and in what a correction leaves of them."""
    config = shop(tmp_path)
    before = [field for field in TRANSACTIONS.fields if field.name != "device_id"]
    with monkeypatch.context() as patch:
        patch.setitem(CONTRACTS._declared, "transactions", replace(TRANSACTIONS, fields=tuple(before)))
        sold(spark, config, 5, "1:5", "2:5")
        assert "device_id" not in Lake(spark, config.root).read("transactions").columns
    assert "device_id" in accepted(Lake(spark, config.root))["transactions"].columns
    sold(spark, config, 6, *batch)
    rows = Lake(spark, config.root).read("transactions").orderBy("transaction_id", "amount").collect()
    assert [(row["transaction_id"], int(row["amount"])) for row in rows] == then
    assert {row["device_id"] for row in rows} == {None}
