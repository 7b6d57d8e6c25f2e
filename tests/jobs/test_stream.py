"""Days of transactions through the stream, killed in a micro-batch: it leaves what a batch computes from the same rows.

The one that is killed is a real spark-submit of jobs/score_stream.py; the others run in the session of the tests. The
days have late and corrected rows, duplicates and broken ones.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.config import load
from churn.dataset.examples import examples, usable_features
from churn.loading import load_spec
from churn.model_output import probability
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.scoring.stream import LEDGER_TABLE, QUARANTINE, StreamScorer
from churn.sources.accepted import accepted
from churn.sources.ingest import ingest
from churn.storage import Lake
from jobs import score_stream
from tests.jobs.company import arrive, ended_at, run_chain, step

BEGIN, HISTORY, DAYS = datetime(2026, 1, 1), 60, 3
FIRST = BEGIN + timedelta(days=HISTORY)
DAY = f"{FIRST:%Y-%m-%d}"
TRANSACTIONS = "transaction_id,customer_id,event_time,known_time,kind,amount,merchant_id,device_id,country"
FRAUD_REPORTS = "transaction_id,customer_id,event_time,known_time,is_fraud"
CALLS = "call_id,customer_id,event_time,known_time,direction,reason"
CONFIG = """
[sources.transactions]
path = "{folder}/transactions"
[sources.transactions.stream]
path = "arriving/transactions"

[sources.fraud_reports]
path = "{folder}/fraud_reports"
[sources.fraud_reports.stream]
path = "arriving/fraud_reports"

[sources.calls]
path = "{folder}/calls"
[sources.calls.stream]
path = "arriving/calls"

[stream]
files = 1
lateness_minutes = 120
"""
MODEL = """
from churn import (
    Alerts, EvaluationSettings, FeatureSet, Fraud, LabelWindow, Logistic, ModelSpec, Schedule, Training,
)

SPEC = ModelSpec(
    name="fraud", label=Fraud(), window=LabelWindow(lead=0, horizon=1, maturity=4),
    features=FeatureSet(include=("velocity",), windows=()), baseline="transaction_amount",
    schedule=Schedule(every=1, history=20, max_as_ofs=25, calibrate_as_ofs=5, test_as_ofs=4, test_every=1),
    training=Training(negatives_per_positive=10), evaluation=EvaluationSettings(period_days=2, resamples=20),
    alerts=Alerts(alert_budget=6, random_audit=3), candidates={"logistic": Logistic(reg_param_total=20.0)},
)
"""

ALERTS = "alerts_fraud_stream"
Rows = dict[str, list[tuple[datetime, str]]]


def synthetic_rows() -> Rows:
    """Lines of each source with the time they become known: some an hour late, some repeated, some corrected."""
    dice = random.Random(8)
    rows: Rows = {"transactions": [], "fraud_reports": [], "calls": []}
    bad_from = {merchant: dice.uniform(0, HISTORY + DAYS) for merchant in range(12)}
    for number in range(4000):
        day, customer, merchant = dice.uniform(0, HISTORY + DAYS), dice.randrange(90), dice.randrange(60)
        made = BEGIN + timedelta(days=day)
        known = made + timedelta(minutes=dice.choice([0, 0, 0, 1, 45]))
        fraud = 0 <= day - bad_from.get(merchant, 1e9) < 25 and dice.random() < 0.5
        amount = dice.lognormvariate(3, 0.7) * (1.5 if fraud else 1)
        device = f"d{customer}" if dice.random() < 0.9 else f"x{number}"
        at = "" if dice.random() < 0.05 else f"m{merchant}"

        def line(at: str, known: datetime, amount: float) -> str:
            return f"t{number},c{customer},{made},{known},purchase,{amount:.2f},{at},{device},NL"  # noqa: B023

        rows["transactions"].append((known, line(at, known, amount)))
        later = known + timedelta(hours=dice.uniform(0.1, 60))
        if dice.random() < 0.03:  # repeated, or corrected, to another merchant at times
            again = dice.choice([(at, known, amount), (at, later, amount + 1), ("m7", later, amount)])
            rows["transactions"].append((later, line(*again)))
        if fraud:
            reported = made + timedelta(days=dice.uniform(0.02, 3.5))
            rows["fraud_reports"].append((reported, f"t{number},c{customer},{reported},{reported},true"))
            if dice.random() < 0.2:
                cleared = reported + timedelta(days=dice.uniform(0.1, 2))
                rows["fraud_reports"].append((cleared, f"t{number},c{customer},{reported},{cleared},false"))
    for number in range(500):
        began = BEGIN + timedelta(days=dice.uniform(0, HISTORY + DAYS))
        reason = dice.choice(["password", "bill", "moving house"])
        ended = began + timedelta(minutes=9)
        rows["calls"].append((ended, f"k{number},c{dice.randrange(90)},{began},{ended},inbound,{reason}"))
    broken = FIRST + timedelta(days=2, hours=3)
    rows["transactions"].append((broken, f"b1,c1,{broken},{broken},purchase,1O.5O,m1,d1,NL"))
    rows["calls"].append((broken, f"k1x,,{broken},{broken},inbound,bill"))
    return {name: sorted(lines) for name, lines in rows.items()}


def of_days(lines: list[tuple[datetime, str]]) -> list[str]:
    """The lines that become known in the days that are streamed."""
    return [line for known, line in lines if FIRST <= known < FIRST + timedelta(days=DAYS)]


HEADERS = {"transactions": TRANSACTIONS, "fraud_reports": FRAUD_REPORTS, "calls": CALLS}


def write(folder: Path, source: str, name: str, lines: Sequence[str]) -> None:
    """A file of a source, with its header."""
    arrive(folder / source / f"{name}.csv", [HEADERS[source], *lines])


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> tuple[Path, Rows]:
    """A company with a model, and nothing of its days yet."""
    folder = tmp_path_factory.mktemp("company")
    rows = synthetic_rows()
    (folder / "churn.toml").write_text(CONFIG.format(folder="history"))
    (folder / "model.py").write_text(MODEL)
    for source, lines in rows.items():
        write(folder / "history", source, "all", [line for known, line in lines if known < FIRST])
        (folder / "arriving" / source).mkdir(parents=True)
    run_chain(folder, f"{FIRST - timedelta(days=1):%Y-%m-%d}")
    return folder, rows


def run(folder: Path, *args: str, config: str = "churn.toml") -> int:
    """The exit code of the script, in the session of the tests."""
    where = ["--config", str(folder / config), "--model", str(folder / "model.py"), "--challenger"]
    return score_stream.main([*where, *args])


def kill_in_micro_batch(folder: Path, number: int, after: float) -> None:
    """Start the stream, and SIGKILL it some time after it has begun a micro-batch."""
    planned = folder / "lake" / "_stream" / "offsets" / str(number)

    def seen() -> bool:
        begun = planned.exists()
        time.sleep(after if begun else 0)
        return begun

    assert ended_at("score_stream", folder, None, seen=seen, by=signal.SIGKILL) == -signal.SIGKILL


@pytest.fixture(scope="module")
def streamed(company: tuple[Path, Rows], spark: SparkSession) -> Path:
    """The company after its days, which arrived a file each, the last one with a row that comes much too late."""
    folder, rows = company
    for source, lines in rows.items():
        for day in range(DAYS):
            begin, end = FIRST + timedelta(days=day), FIRST + timedelta(days=day + 1)
            # The first half of a day's rows stand last in its file.
            of_day = [line for known, line in lines if begin <= known < end]
            half = len(of_day) // 2
            write(folder / "arriving", source, f"day-{day}", of_day[half:] + of_day[:half])
            stamp = time.time() - 3600 + 60 * day  # files are taken in the order of their times
            os.utime(folder / "arriving" / source / f"day-{day}.csv", (stamp, stamp))
    forgotten = FIRST + timedelta(days=1)
    late = f"late,c3,{forgotten},{FIRST + timedelta(days=DAYS, hours=1)},purchase,9.99,m1,d3,NL"
    write(folder / "arriving", "transactions", "last", [late])
    kill_in_micro_batch(folder, 1, after=2)
    with (folder / "printed.txt").open("w") as printed, redirect_stdout(printed):
        assert run(folder) == 0
    return folder


def test_batch_and_stream_agree_to_the_bit(streamed: Path, spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "churn.toml").write_text(CONFIG.format(folder=streamed / "everything"))
    (tmp_path / "arriving").symlink_to(streamed / "arriving")
    for source in HEADERS:
        folder = streamed / "everything" / source
        folder.mkdir(parents=True)
        for file in (*(streamed / "history" / source).iterdir(), *(streamed / "arriving" / source).iterdir()):
            (folder / file.name).write_bytes(file.read_bytes())
    config, spec = load(tmp_path / "churn.toml"), load_spec(streamed / "model.py")
    lake = Lake(spark, str(tmp_path / "lake"))
    ingest(spark, lake, config, batch="everything", as_of=FIRST + timedelta(days=DAYS + 1))
    sources = accepted(lake)
    chosen, _ = usable_features(spec, sources)
    days = [FIRST + timedelta(days=day) for day in range(-1, DAYS)]
    model = tracking.load_model(load(streamed / "churn.toml").tracking_uri, "fraud").model
    features = examples(spec).feature_rows(spark, sources, chosen, days)
    in_batch = model.transform(features).withColumn("score", probability())
    in_stream = by_files(Lake(spark, str(streamed / "lake")), "scores_fraud_stream").where("not late")

    assert in_stream.count() == in_stream.select("transaction_id").distinct().count() > 100
    columns = [name for name in in_stream.columns if name in in_batch.columns]
    assert len(columns) > 60
    assert {"score", "merchant_fraud_share_7d", "customer_merchant_payments", "access_calls_1d"} < set(columns)
    expected = {row["transaction_id"]: row for row in in_batch.select(*columns).collect()}
    seen = {row["transaction_id"]: row for row in in_stream.select(*columns).collect()}
    first_known = lake.read("transactions").groupBy("transaction_id").agg(F.min("known_time").alias("at"))
    arrived = {row["transaction_id"] for row in first_known.where(F.col("at") >= F.lit(FIRST)).collect()}
    assert set(seen) == arrived - {"late"} <= set(expected)
    different = {
        name: [(row["transaction_id"], row[name], expected[row["transaction_id"]][name]) for row in seen.values()
               if row[name] != expected[row["transaction_id"]][name]][:3]
        for name in columns
    }  # fmt: skip
    assert {name: of for name, of in different.items() if of} == {}


def by_files(lake: Lake, table: str) -> DataFrame:
    """What the stream of files wrote: one of micro-batches of a file each."""
    [stream] = lake.read(LEDGER_TABLE).where(f"micro_batch = {DAYS - 1}").select("stream").distinct().collect()
    return lake.read(table).where(F.col("stream") == stream["stream"])


def test_every_row_is_accounted_for(streamed: Path, company: tuple[Path, Rows], spark: SparkSession) -> None:
    _, rows = company
    lake = Lake(spark, str(streamed / "lake"))
    totals = (
        by_files(lake, LEDGER_TABLE)
        .groupBy("source")
        .agg(*(F.sum(name).alias(name) for name in ("rows_in", "accepted", "duplicate", "quarantined", "late")))
    )
    ledger = {row["source"]: row for row in totals.collect()}
    for source, lines in rows.items():
        arrived = len(of_days(lines)) + (source == "transactions")
        row = ledger[source]
        assert row["rows_in"] == arrived == row["accepted"] + row["duplicate"] + row["quarantined"], source
    assert ledger["transactions"]["late"] == 1
    assert ledger["transactions"]["duplicate"] > 0
    quarantined = {(row["source"], tuple(row["rules"])) for row in by_files(lake, QUARANTINE).collect()}
    assert quarantined == {("transactions", ("amount_unreadable",)), ("calls", ("customer_id_missing",))}
    late = by_files(lake, "scores_fraud_stream").where("late").collect()
    assert [row["transaction_id"] for row in late] == ["late"]
    assert "1 of them late" in (streamed / "printed.txt").read_text()


def test_alerts_keep_to_the_budget_and_are_sent_once(streamed: Path, spark: SparkSession) -> None:
    lake = Lake(spark, str(streamed / "lake"))
    alerts = by_files(lake, ALERTS).collect()
    assert {row["chosen_by"] for row in alerts} == {"score", "audit"}
    of_day = Counter(row["as_of"] for row in alerts if row["chosen_by"] == "score")
    assert max(of_day.values()) <= 6
    assert len({row["transaction_id"] for row in alerts}) == len(alerts)
    assert "late" not in {row["transaction_id"] for row in alerts}
    sent = [json.loads(line) for file in (streamed / "lake" / "_alerts").rglob("*.json") for line in file.open()]
    assert sorted(one["transaction_id"] for one in sent) == sorted(row["transaction_id"] for row in alerts)
    assert all(0 < len(row["reasons"]) <= 3 for row in alerts)
    texts = {row["transaction_id"]: [one["text"] for one in row["reasons"]] for row in alerts}
    assert {one["transaction_id"]: [reason["text"] for reason in one["reasons"]] for one in sent} == texts


def test_a_stream_that_cannot_go_on_fails_with_the_reason(streamed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = streamed / "churn.toml"
    before = config.read_text()
    try:
        config.write_text(before.replace("lateness_minutes = 120", "lateness_minutes = 60"))
        assert run(streamed) == 2
        wanted = "was made with other lateness_minutes; name a new one in [stream] checkpoint"
        assert wanted in capsys.readouterr().err
        config.write_text(before.replace('[sources.transactions.stream]\npath = "arriving/transactions"\n', ""))
        assert run(streamed) == 2
        assert "no transactions arrive; add path under [sources.transactions.stream]" in capsys.readouterr().err
    finally:
        config.write_text(before)


def test_the_same_through_kafka(
    streamed: Path, company: tuple[Path, Rows], kafka: str, spark: SparkSession, tmp_path: Path
) -> None:
    """A stream of its own, from messages in one micro-batch; it begins from the same lake and gives the same scores."""
    _, rows = company
    topics = {source: f"week-{source}" for source in HEADERS}
    for source, lines in rows.items():
        names = HEADERS[source].split(",")
        cells = [tuple(line.split(",")) for line in of_days(lines)]
        messages = spark.createDataFrame(cells, names)
        value = F.to_json(F.struct(*(F.when(F.col(name) != "", F.col(name)).alias(name) for name in names)))
        _send(messages.select(value.alias("value")), kafka, topics[source])
    text = (streamed / "churn.toml").read_text()
    for source, topic in topics.items():
        text = text.replace(f'path = "arriving/{source}"', f'topic = "{topic}"')
    settings = f'servers = "{kafka}"\nalerts_topic = "week-alerts"\ncheckpoint = "{tmp_path}/checkpoint"\n'
    kafka_toml = streamed / "kafka.toml"
    kafka_toml.write_text(text.replace("[stream]\n", f"[stream]\n{settings}"))
    again = run(streamed, "--source", "kafka", config="kafka.toml") != 0
    if again:  # a stream is started again by whoever monitors it, and goes on
        warnings.warn("a stream from Kafka failed, and was started again", stacklevel=1)
        assert run(streamed, "--source", "kafka", config="kafka.toml") == 0

    lake = Lake(spark, str(streamed / "lake"))
    in_time = F.col("transaction_id") != "late"
    from_files = by_files(lake, "scores_fraud_stream").where(in_time)
    from_kafka = lake.read("scores_fraud_stream").where(in_time).join(from_files, "stream", "left_anti")
    expected = {row["transaction_id"]: row["score"] for row in from_files.collect()}
    assert {row["transaction_id"]: row["score"] for row in from_kafka.collect()} == expected
    topic = spark.read.format("kafka").option("kafka.bootstrap.servers", kafka).option("subscribe", "week-alerts")
    sent = [json.loads(row["value"])["transaction_id"] for row in topic.load().selectExpr("string(value)").collect()]
    raised = lake.read(ALERTS).join(by_files(lake, ALERTS), "stream", "left_anti").collect()
    # A topic may have an alert twice where a stream was started again; the table has not.
    assert sorted(set(sent) if again else sent) == sorted(row["transaction_id"] for row in raised)
    assert len(sent) > 7


def _send(messages: DataFrame, address: str, topic: str) -> None:
    messages.write.format("kafka").option("kafka.bootstrap.servers", address).option("topic", topic).save()


def test_a_row_dated_ahead_makes_no_other_late_and_a_new_version_takes_over(
    streamed: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast clock costs its own row; a version that is promoted scores from the next micro-batch on."""
    lake, tracking_uri = Lake(spark, str(streamed / "lake")), load(streamed / "churn.toml").tracking_uri
    versions = {row["model_version"] for row in by_files(lake, LEDGER_TABLE).collect()}
    assert versions == {"1"}
    as_of = f"{FIRST - timedelta(days=2):%Y-%m-%d}"
    assert [step(job, streamed, as_of) for job in ("build_features", "train")] == [0, 0]
    registry = ModelRegistry(tracking_uri, "fraud")
    registry.point("champion", "1")
    micro_batch = StreamScorer._micro_batch

    def promoted_after(scorer: StreamScorer, computed: DataFrame, number: int) -> None:
        micro_batch(scorer, computed, number)
        registry.point("champion", "2")

    monkeypatch.setattr(StreamScorer, "_micro_batch", promoted_after)
    ahead, now = datetime.now(UTC) + timedelta(hours=20), FIRST + timedelta(days=DAYS)
    for number, at in enumerate((f"{ahead:%Y-%m-%d %H:%M:%S}", f"{now:%Y-%m-%d %H:%M:%S}")):
        line = f"clock{number},c3,{at},{at},purchase,12.50,m1,d3,NL"
        write(streamed / "arriving", "transactions", f"clock-{number}", [line])
        stamp = time.time() + 60 * number
        os.utime(streamed / "arriving" / "transactions" / f"clock-{number}.csv", (stamp, stamp))
    assert run(streamed) == 0
    last = by_files(lake, LEDGER_TABLE).where("source = 'transactions'").orderBy("micro_batch").collect()[-2:]
    assert [(row["quarantined"], row["accepted"], row["late"]) for row in last] == [(1, 0, 0), (0, 1, 0)]
    assert [row["model_version"] for row in last] == ["1", "2"]
    scored = by_files(lake, "scores_fraud_stream").where("transaction_id like 'clock%'").collect()
    assert [(row["transaction_id"], row["model_version"], row["scored_as"]) for row in scored] == [
        ("clock1", "2", "champion")
    ]
    [broken] = by_files(lake, QUARANTINE).where("raw like '%clock0%'").collect()
    assert broken["rules"] == ["in_future"]
