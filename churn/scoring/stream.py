"""Score transactions as they arrive, and raise alerts under a day's budget before the day is over.

A micro-batch is told apart, described and scored; what it leaves in the lake is written once, whatever happens between.
A transaction that comes too late to be told of in full is scored, counted and kept; to alert on it is left to the day's
batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from math import isinf

from pyspark.errors import StreamingQueryException
from pyspark.sql import Column, DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from churn.config import Config
from churn.dataset.examples import feature_columns, usable_features
from churn.dataset.feature_table import read_columns
from churn.errors import BadInputError, ChurnError
from churn.features import Feature
from churn.features.stream_features import StreamEngine, together
from churn.model_spec import Alerts, ModelSpec, probability
from churn.runtime.session import with_settings
from churn.sampling import drawn
from churn.scoring.alerts import alert_table
from churn.scoring.batch import score_table
from churn.sources import CONTRACTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.mapping import RAW, RULES, Mapped, first_line
from churn.sources.stream_deduplication import deduplicated, known_transactions
from churn.sources.stream_ledger import LEDGER_COLUMNS, LEDGER_ROW
from churn.sources.streaming import Place, arriving
from churn.sources.versions import with_reported_transactions
from churn.storage import Lake
from churn.training.model_version import ModelVersion

LEDGER_TABLE = "ledger_stream"
QUARANTINE = "quarantine_stream"

_PAID = ("transactions", "fraud_reports")
_SETTINGS: Mapping[str, str] = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    # Micro-batches leave small files.
    "spark.databricks.delta.autoCompact.enabled": "true",
}
_REMEMBERED_LONGER = 30
"""Days for which a transaction is known_transactions beyond what features look back on: for duplicates and corrections."""


_FATES = ("accepted", "duplicate", "quarantined")
_LOOK_BACK = 28
_LEDGER_SCHEMA = (
    "stream string, micro_batch bigint, source string, rows_in bigint, accepted bigint, duplicate bigint, "
    "quarantined bigint, late bigint, watermark timestamp"
)
_ALERTED = ("event_time", "amount", "score", "model_version", "stream", "micro_batch", "chosen_by")


def stream_table(spec: ModelSpec) -> str:
    """The name of a model's table of scores in a stream."""
    return f"{score_table(spec)}_stream"


def alert_stream_table(spec: ModelSpec) -> str:
    """The name of a model's table of alerts in a stream."""
    return f"{alert_table(spec)}_stream"


@dataclass
class _Memory:
    """What a micro-batch leaves to the next, so that it need not be read again: found anew in the tables after a start.

    `usual` are the threshold and the audited share of a day, `raised` how many alerts by score it has had.
    """

    number: int = -1
    watermark: datetime | None = None
    usual: dict[datetime, tuple[float, float]] = field(default_factory=dict)
    raised: dict[datetime, int] = field(default_factory=dict)

    def begin(self, watermark: datetime | None) -> None:
        self.watermark = watermark
        self.usual.clear()
        self.raised.clear()


@dataclass(frozen=True)
class StreamScorer:
    """A model of transactions, and where its transactions, reports and calls come from."""

    lake: Lake
    config: Config
    spec: ModelSpec
    model: ModelVersion
    place: Place
    say: Callable[[str], None]
    _errors: list[ChurnError] = field(default_factory=list, repr=False)
    _memory: _Memory = field(default_factory=_Memory, repr=False)

    def run(self, *, every: str | None) -> None:
        """Go on from the checkpoint, if there is one: a micro-batch `every` so often, or until all there is is done.

        Raises BadInputError where transactions do not arrive, the model needs columns that cannot be made, or the
        checkpoint was made with other settings; ChurnError where the stream stops at a failure.
        """
        with with_settings(self._spark, _SETTINGS):
            self._go_on(every)

    def _go_on(self, every: str | None) -> None:
        self._check_settings()
        writer = (
            self._described()
            .writeStream.foreachBatch(self._explained)
            .queryName(f"score {self.spec.name}")
            .option("checkpointLocation", self.config.stream.checkpoint)
        )
        query = (writer.trigger(processingTime=every) if every else writer.trigger(availableNow=True)).start()
        try:
            query.awaitTermination()
        except StreamingQueryException as error:
            if self._errors:
                raise self._errors[0] from None
            raise ChurnError(f"the stream stopped: {first_line(error)}; its log says more") from error
        finally:
            query.stop()

    @property
    def _alert_settings(self) -> Alerts:
        return self.spec.alerts or Alerts()

    # ---------------------------------------------------------------- the way in

    @property
    def _spark(self) -> SparkSession:
        return self.lake.spark

    @cached_property
    def _arriving(self) -> dict[str, Mapped]:
        found = {name: arriving(self._spark, self.config, name, self.place) for name in (*_PAID, "calls")}
        there = {name: rows for name, rows in found.items() if rows is not None}
        if "transactions" not in there:
            wanted = "path" if self.place == "files" else "topic"
            raise BadInputError(
                f"{self.config.path.name}: no transactions arrive; add {wanted} under [sources.transactions.stream]"
            )
        return there

    @cached_property
    def _past(self) -> dict[str, DataFrame]:
        """The accepted rows of before, of each source that there is; one that only arrives has none yet."""
        names = [name for name in (*_PAID, "calls") if name in self._arriving or self.lake.exists(name)]
        return {name: self._table(name) for name in names}

    def _table(self, name: str) -> DataFrame:
        if self.lake.exists(name):
            return self.lake.read(name).drop("batch")
        empty = self._spark.createDataFrame([], CONTRACTS[name].schema)
        return empty.withColumn("superseded_at", F.lit(None).cast("timestamp"))

    @cached_property
    def _feature_sources(self) -> dict[str, DataFrame]:
        """The past as features look at it."""
        return with_reported_transactions(self._past)

    @cached_property
    def _features(self) -> tuple[Feature, ...]:
        return usable_features(self.spec, self._feature_sources)[0]

    @property
    def _columns(self) -> list[str]:
        return feature_columns(self.spec, self._features)

    @cached_property
    def _engine(self) -> StreamEngine:
        if missing := sorted(set(read_columns(self.model.summary)) - set(self._columns)):
            raise BadInputError(
                f"{self.spec.name} version {self.model.number} reads {', '.join(missing)}, which cannot be made of "
                f"{', '.join(sorted(self._feature_sources))}; let the other sources arrive, or train without them"
            )
        return StreamEngine.of(
            self._feature_sources,
            self._features,
            delay=self.spec.window.maturity,
            windows=self.spec.features.windows,
            lateness=timedelta(minutes=self.config.stream.lateness_minutes),
            buckets=self.config.stream.buckets,
        )

    @property
    def _settings(self) -> str:
        """What the state was made for; a checkpoint cannot be gone on with by other settings."""
        engine = self._engine
        settings = {
            "model": self.spec.name,
            "sources": sorted(self._arriving),
            "place": self.place,
            "buckets": engine.buckets,
            "lateness_minutes": self.config.stream.lateness_minutes,
            "kept": {route.first: route.schema.to_string() for route in engine.routes},
            "asks": [asdict(one) for route in engine.routes for stage in route.stages for one in stage.asks],
        }
        return json.dumps(settings, sort_keys=True, default=str)

    def _check_settings(self) -> None:
        beside = Lake(self._spark, f"{self.config.stream.checkpoint}/churn")
        if not beside.exists("settings"):
            beside.replace(self._spark.createDataFrame([(self._settings,)], "settings string"), "settings", {})
            return
        before = json.loads(beside.read("settings").collect()[0]["settings"])
        now = json.loads(self._settings)
        if changed := sorted(name for name in now if now[name] != before.get(name)):
            raise BadInputError(
                f"the checkpoint {self.config.stream.checkpoint} was made with other {', '.join(changed)}; name a new "
                "one in [stream] checkpoint: it begins from what is accepted in the lake"
            )

    def _described(self) -> DataFrame:
        """All that arrives, through the state: packed answers, and what became of each row."""
        engine = self._engine
        horizon = engine.horizon("fraud_reports") if "fraud_reports" in engine.sources else 0.0
        keep = timedelta(days=(365 if isinf(horizon) else horizon) + _REMEMBERED_LONGER)
        told = deduplicated(
            {name: rows.rows for name, rows in self._arriving.items() if name in _PAID},
            self._at_first(known_transactions(self._past, buckets=engine.buckets, keep=keep)),
            buckets=engine.buckets,
            keep=keep,
        )
        packed = [engine.packed(told, _PAID)]
        if "calls" in self._arriving:
            packed.append(engine.packed(_calls(self._arriving["calls"].rows), ("calls",)))
        newest = self._past["transactions"].agg(F.max("event_time").alias("_newest"))
        before = [
            engine.packed(_at_rest(rows, name, newest, engine), (name,), at_rest=True)
            for name, rows in self._feature_sources.items()
            if name in engine.sources
        ]
        return engine.described(together(packed), self._at_first(together(before)) if before else None)

    def _at_first(self, past: DataFrame) -> DataFrame:
        """The past, as a stream takes it in its first micro-batch; later on it has it already, and nothing is read.

        As rows of their own, for the plan of a Delta table cannot travel with a stateful operator.
        """
        commits = f"{self.config.stream.checkpoint}/commits"
        if self.lake.is_empty(commits):
            return past.localCheckpoint()
        return self._spark.createDataFrame([], past.schema)

    # ---------------------------------------------------------------- the way out

    def _explained(self, described: DataFrame, number: int) -> None:
        """A micro-batch; an error that can be explained is kept, for Spark passes on no more than its words."""
        try:
            self._micro_batch(described, number)
        except ChurnError as error:
            self._errors.append(error)
            raise

    def _micro_batch(self, described: DataFrame, number: int) -> None:
        """One micro-batch, whose rows are the same however often it is tried."""
        spark = described.sparkSession
        stream = spark.sparkContext.getLocalProperty("sql.streaming.queryId") or ""
        lake = Lake(spark, self.lake.root)
        memory = self._memory
        if memory.number != number - 1:
            memory.begin(_watermark(lake, stream, number))
        described.persist()
        late = F.lit(False) if memory.watermark is None else F.col("event_time") < F.lit(memory.watermark)
        scored = self._scored(self._engine.features(described), late, stream, number).persist()
        ledger = self._engine.ledger(described).persist()
        days = _days(scored)
        raised: list[Row] = []
        if days:
            lake.append(scored, stream_table(self.spec), writer=f"{stream} scores", number=number, partition=["as_of"])
            in_time = [day["as_of"] for day in days if day["n"] > day["late"]]
            raised = self._alerts(lake, scored, in_time, stream, number)
        self._account(lake, ledger, days, stream, number)
        for kept in (scored, ledger, described):
            kept.unpersist()
        self.say(
            f"micro-batch {number}: {sum(day['n'] for day in days):,} transactions scored, "
            f"{sum(day['late'] for day in days):,} of them late, {len(raised):,} alerts"
        )

    def _account(self, lake: Lake, ledger: DataFrame, days: Sequence[Row], stream: str, number: int) -> None:
        """Write what became of the rows, those of each source in a row, and the quarantined ones as they came."""
        memory = self._memory
        counts = {name: dict.fromkeys(_FATES, 0) for name in self._arriving}
        for row in ledger.groupBy("of_source", "status").count().collect():
            counts[row["of_source"]][row["status"]] = row["count"]
        if any(of["quarantined"] for of in counts.values()):
            broken = ledger.where(F.col("status") == "quarantined").select(
                F.col("of_source").alias("source"),
                F.lit(stream).alias("stream"),
                F.lit(number).cast("long").alias("micro_batch"),
                "rules",
                "raw",
            )
            lake.append(broken, QUARANTINE, writer=f"{stream} quarantine", number=number)
        lateness = timedelta(minutes=self.config.stream.lateness_minutes)
        moved = max((at for at in (memory.watermark, *(day["last"] - lateness for day in days)) if at), default=None)
        late = sum(day["late"] for day in days)
        told = [
            (stream, number, name, sum(of.values()), *of.values(), late if name == "transactions" else 0, moved)
            for name, of in counts.items()
        ]
        frame = lake.spark.createDataFrame(told, _LEDGER_SCHEMA)
        lake.append(frame, LEDGER_TABLE, writer=f"{stream} ledger", number=number)
        memory.number, memory.watermark = number, moved
        for name, of in counts.items():
            said = " + ".join(f"{count:,} {fate}" for fate, count in of.items())
            self.say(f"{name}: {sum(of.values()):,} rows in = {said}")

    def _scored(self, rows: DataFrame, late: Column, stream: str, number: int) -> DataFrame:
        """(the spec's key, event_time, amount, score, model_version, late, stream, micro_batch, features) of each."""
        days = rows.withColumns({"as_of": F.date_trunc("day", "event_time"), "late": late})
        return self.model.model.transform(days).select(
            *self.spec.key,
            "event_time",
            "amount",
            probability().alias("score"),
            F.lit(self.model.number).alias("model_version"),
            "late",
            F.lit(stream).alias("stream"),
            F.lit(number).cast("long").alias("micro_batch"),
            *self._columns,
        )

    def _alerts(self, lake: Lake, scored: DataFrame, days: Sequence[datetime], stream: str, number: int) -> list[Row]:
        """Raise alerts: (the spec's key, event_time, amount, score, model_version, stream, micro_batch, chosen_by).

        Chosen by `score`: those above the day's threshold, the highest first, as long as the day's budget lasts. Chosen
        by `audit`: others, each with the same chance, so that there are `audit` a day.
        """
        rules = [self._rule(lake, day, _before(stream, number)) for day in days]
        schema = "as_of timestamp, threshold double, left int, share double"
        limits = F.broadcast(lake.spark.createDataFrame(rules, schema))
        above = Window.partitionBy("as_of").orderBy(F.desc("score"), *self.spec.key)
        by_score = (F.col("score") >= F.col("threshold")) & (F.row_number().over(above) <= F.col("left"))
        by_audit = drawn(self.spec.key, f"audit {self.spec.training.seed}") < F.col("share")
        chosen_by = F.when(by_score, "score").when(by_audit, "audit")
        alerts = (
            scored.where(~F.col("late"))
            .join(limits, on="as_of", how="inner")
            .withColumn("chosen_by", chosen_by)
            .where(F.col("chosen_by").isNotNull())
            .select(*self.spec.key, *_ALERTED)
        )
        raised = alerts.collect()
        if raised:
            few = lake.spark.createDataFrame(raised, alerts.schema).coalesce(1)
            lake.append(
                few, alert_stream_table(self.spec), writer=f"{stream} alerts", number=number, partition=["as_of"]
            )
            self._send(few, stream, number)
        for row in raised:
            if row["chosen_by"] == "score":
                self._memory.raised[row["as_of"]] += 1
        return raised

    def _rule(self, lake: Lake, day: datetime, before: Column) -> tuple[datetime, float, int, float]:
        """Of a day: its threshold, what is left of its budget, and the share to audit."""
        memory = self._memory
        if day not in memory.usual:
            memory.usual[day] = self._usual(lake, day, before)
        if day not in memory.raised:
            by_score = (F.col("as_of") == F.lit(day)) & (F.col("chosen_by") == "score")
            memory.raised[day] = (
                lake.read(alert_stream_table(self.spec)).where(by_score & before).count()
                if lake.exists(alert_stream_table(self.spec))
                else 0
            )
        threshold, share = memory.usual[day]
        return (day, threshold, max(0, self._alert_settings.alert_budget - memory.raised[day]), share)

    def _usual(self, lake: Lake, day: datetime, before: Column) -> tuple[float, float]:
        """The score that would have used up the budget on the last days scored, and the share that is to be audited.

        Days before in the stream, and days in batches, the newest `alert_days` of them. Raises BadInputError where
        there is none.
        """
        recent = F.col("as_of").between(F.lit(day - timedelta(days=_LOOK_BACK)), F.lit(day))
        whole = {score_table(self.spec): F.lit(True), stream_table(self.spec): before & (F.col("as_of") < F.lit(day))}
        tables = [
            lake.read(name).where(recent & is_whole).select("as_of", *TRANSACTIONS.key, "score")
            for name, is_whole in whole.items()
            if lake.exists(name)
        ]
        scores = together(tables).groupBy("as_of", *TRANSACTIONS.key).agg(F.max("score").alias("score"))
        rank = F.row_number().over(Window.partitionBy("as_of").orderBy(F.desc("score"), *TRANSACTIONS.key))
        last = F.min(F.when(F.col("rank") <= self._alert_settings.alert_budget, F.col("score")))
        each = scores.withColumn("rank", rank).groupBy("as_of").agg(last.alias("last"), F.count("*").alias("n"))
        days = each.orderBy(F.desc("as_of")).limit(self._alert_settings.threshold_days).collect()
        if not days:
            raise BadInputError(
                f"no day until {day:%Y-%m-%d} has been scored, so no score is known that uses up the budget of "
                f"{self._alert_settings.alert_budget} alerts; score one first: jobs/score.py --as-of {day - timedelta(days=1):%Y-%m-%d}"
            )
        mean = sum(row["last"] for row in days) / len(days)
        return mean, self._alert_settings.random_audit * len(days) / sum(row["n"] for row in days)

    def _send(self, raised: DataFrame, stream: str, number: int) -> None:
        """To the folder of alerts as JSON, or to their topic. A micro-batch that is tried again replaces its files; a
        topic may get its messages again, with the same key."""
        settings = self.config.stream
        if self.place == "kafka" and settings.alerts_topic:
            (
                raised.select(F.col("transaction_id").alias("key"), F.to_json(F.struct("*")).alias("value"))
                .write.format("kafka")
                .options(**settings.options)
                .option("kafka.bootstrap.servers", str(settings.servers))
                .option("topic", settings.alerts_topic)
                .save()
            )
            return
        place = f"{settings.alerts}/stream={stream}/micro_batch={number}"
        raised.write.mode("overwrite").json(place)


def _days(scored: DataFrame) -> list[Row]:
    """The days of a micro-batch: (as_of, n, late, last)."""
    each = scored.groupBy("as_of").agg(
        F.count("*").alias("n"), F.count_if("late").alias("late"), F.max("event_time").alias("last")
    )
    return each.orderBy("as_of").collect()


def _before(stream: str, number: int) -> Column:
    """Whether a row was written before this micro-batch, by this stream or by another."""
    return (F.col("stream") != stream) | (F.col("micro_batch") < number)


def _watermark(lake: Lake, stream: str, number: int) -> datetime | None:
    """The moment before which a transaction is late, by the micro-batches before this one."""
    if not lake.exists(LEDGER_TABLE):
        return None
    before = (F.col("stream") == stream) & (F.col("micro_batch") < number)
    found = lake.read(LEDGER_TABLE).where(before).agg(F.max("watermark").alias("moment")).collect()[0]["moment"]
    return found if isinstance(found, datetime) else None


def _calls(rows: DataFrame) -> DataFrame:
    """Calls as they arrive: each sound one as a row, and each as a line of the ledger."""
    is_sound = F.size(RULES) == 0
    lines = F.when(is_sound, F.array(F.lit("calls"), F.lit(LEDGER_ROW))).otherwise(F.array(F.lit(LEDGER_ROW)))
    told = rows.withColumn("row_of", F.explode(lines))
    return told.withColumns(
        {
            "requested": F.lit(False),
            "retracted": F.lit(False),
            "superseded_at": F.lit(None).cast("timestamp"),
            "of_source": F.lit("calls"),
            "status": F.when(is_sound, "accepted").otherwise("quarantined"),
            "rules": F.col(RULES),
            "raw": F.col(RAW),
        }
    )


def _at_rest(rows: DataFrame, name: str, newest: DataFrame, engine: StreamEngine) -> DataFrame:
    """Rows of before the stream, as far back as features will look."""
    reach = engine.horizon(name)
    if not isinf(reach):
        since = F.col("_newest") - F.lit(timedelta(days=reach) + engine.lateness)
        rows = rows.join(F.broadcast(newest)).where(F.col("event_time") >= since).drop("_newest")
    nothing = {field.name: F.lit(None).cast(field.dataType) for field in LEDGER_COLUMNS}
    return rows.withColumns({"row_of": F.lit(name), "requested": F.lit(False), "retracted": F.lit(False)} | nothing)
