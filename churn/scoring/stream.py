"""Score transactions as they arrive, and raise alerts under a day's budget before the day is over.

Rows of a micro-batch are deduplicated, their features computed, and scored; what it writes to the lake is written once,
whatever happens between. A transaction that comes so late that rows it needs may have been evicted is scored, counted
and marked; to alert on it is left to the day's batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from math import isinf
from typing import Any, Final

from pyspark.errors import StreamingQueryException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from churn.config import Config
from churn.dataset.examples import feature_columns, usable_features
from churn.dataset.feature_table import read_columns
from churn.errors import BadInputError, ChurnError
from churn.features import Feature
from churn.features.stream_features import StreamEngine, union_all
from churn.model_output import probability
from churn.model_spec import ModelSpec
from churn.registry.model_in_use import ModelInUse
from churn.runtime.locks import lock
from churn.runtime.session import with_settings
from churn.scoring.alerts import raising
from churn.scoring.checkpoint import check_settings, is_new
from churn.scoring.publish import publish
from churn.scoring.stream_alerts import StreamAlerts, score_stream_table
from churn.sources import CONTRACTS
from churn.sources.accepted import checked_snapshots
from churn.sources.mapping import Mapped
from churn.sources.spark_errors import first_line
from churn.sources.stream_deduplication import deduplicated, known_transactions
from churn.sources.stream_ledger import LEDGER_COLUMNS, with_ledger_rows
from churn.sources.streaming import StreamPlace, read_stream
from churn.sources.versions import with_reported_transactions
from churn.storage import Lake, Snapshot
from churn.training.model_version import ModelVersion

LEDGER_TABLE: Final = "ledger_stream"
QUARANTINE: Final = "quarantine_stream"

_DEDUPLICATED: Final = ("transactions", "fraud_reports")
_STREAMED: Final = (*_DEDUPLICATED, "calls")
_SPARK_SETTINGS: Final[Mapping[str, str]] = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    # Micro-batches leave small files.
    "spark.databricks.delta.autoCompact.enabled": "true",
}
_RETAINED_LONGER: Final = 30
"""Days for which a transaction is retained beyond the windows of features: to recognise duplicates and corrections."""
_STATUSES: Final = ("accepted", "duplicate", "quarantined")
_LEDGER_SCHEMA: Final = (
    "stream string, micro_batch bigint, source string, rows_in bigint, accepted bigint, duplicate bigint, "
    "quarantined bigint, late bigint, watermark timestamp, model_version string"
)


@dataclass
class _Position:
    """The last micro-batch that was written, and the watermark after it; read from the tables after a start.

    `model` is the version that scored it; `refused` are the reasons why another did not take its place, printed once.
    """

    number: int = -1
    watermark: datetime | None = None
    model: ModelVersion | None = None
    refused: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class StreamScorer:
    """A model of transactions, and where its transactions, reports and calls arrive.

    Which version scores is asked anew before each micro-batch, and is in the stream's ledger.
    """

    lake: Lake
    config: Config
    spec: ModelSpec
    models: ModelInUse
    place: StreamPlace
    progress: Callable[[str], None]
    _errors: list[ChurnError] = field(default_factory=list, repr=False)
    _position: _Position = field(default_factory=_Position, repr=False)

    def run(self, *, every: str | None) -> None:
        """Go on from the checkpoint, if there is one: with a micro-batch `every` so often, or until all has been
        scored. Waits for another stream on this checkpoint to end.

        Raises BadInputError where transactions do not arrive, the model needs columns that cannot be computed, or the
        checkpoint was made with other settings; ChurnError where the stream stops at a failure.
        """
        with lock(self.config.stream.checkpoint, "stream"), with_settings(self._spark, _SPARK_SETTINGS):
            self._check(self.models.current())
            self._run(every)

    def _run(self, every: str | None) -> None:
        check_settings(self._spark, self.config.stream.checkpoint, self._settings)
        writer = (
            self._computed()
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

    # ---------------------------------------------------------------- sources

    @property
    def _spark(self) -> SparkSession:
        return self.lake.spark

    @cached_property
    def _arriving(self) -> dict[str, Mapped]:
        streams = {name: read_stream(self._spark, self.config, name, self.place) for name in _STREAMED}
        arriving = {name: mapped for name, mapped in streams.items() if mapped is not None}
        if "transactions" not in arriving:
            wanted = "path" if self.place == "files" else "topic"
            raise BadInputError(
                f"{self.config.path.name}: no transactions arrive; add {wanted} under [sources.transactions.stream]"
            )
        return arriving

    @cached_property
    def _past(self) -> dict[str, DataFrame]:
        """The accepted rows of each source; one that only arrives has none yet."""
        snapshots = checked_snapshots(self.lake)
        names = [name for name in _STREAMED if name in self._arriving or name in snapshots]
        return {name: self._rows(name, snapshots.get(name)) for name in names}

    def _rows(self, name: str, accepted: Snapshot | None) -> DataFrame:
        if accepted:
            return accepted.frame.drop("batch")
        empty = self._spark.createDataFrame([], CONTRACTS[name].schema)
        return empty.withColumn("superseded_at", F.lit(None).cast("timestamp"))

    @cached_property
    def _feature_sources(self) -> dict[str, DataFrame]:
        """The past as features read it."""
        return with_reported_transactions(self._past)

    @cached_property
    def _features(self) -> tuple[Feature, ...]:
        return usable_features(self.spec, self._feature_sources)[0]

    @property
    def _columns(self) -> list[str]:
        return feature_columns(self.spec, self._features)

    # ---------------------------------------------------------------- state

    @cached_property
    def _engine(self) -> StreamEngine:
        return StreamEngine.of(
            self._feature_sources,
            self._features,
            delay=self.spec.window.maturity,
            windows=self.spec.features.windows,
            lateness=timedelta(minutes=self.config.stream.lateness_minutes),
            buckets=self.config.stream.buckets,
        )

    @property
    def _settings(self) -> dict[str, Any]:
        """What the state was made for."""
        engine = self._engine
        return {
            "model": self.spec.name,
            "sources": sorted(self._arriving),
            "place": self.place,
            "buckets": engine.buckets,
            "lateness_minutes": self.config.stream.lateness_minutes,
            "state": {route.first_column: route.schema.to_string() for route in engine.routes},
            "requests": [asdict(one) for route in engine.routes for stage in route.stages for one in stage.requests],
        }

    def _computed(self) -> DataFrame:
        """All that arrives, through the state: packed features of transactions, and what became of each row."""
        engine = self._engine
        horizon = engine.lookback_days("fraud_reports") if "fraud_reports" in engine.sources else 0.0
        retention = timedelta(days=(365 if isinf(horizon) else horizon) + _RETAINED_LONGER)
        versions = deduplicated(
            {name: mapped.rows for name, mapped in self._arriving.items() if name in _DEDUPLICATED},
            self._initial(known_transactions(self._past, buckets=engine.buckets, retention=retention)),
            buckets=engine.buckets,
            retention=retention,
        )
        packed = [engine.packed(versions, _DEDUPLICATED)]
        if "calls" in self._arriving:
            packed.append(engine.packed(with_ledger_rows(self._arriving["calls"].rows, "calls"), ("calls",)))
        newest = self._past["transactions"].agg(F.max("event_time").alias("_newest"))
        past = [
            engine.packed(_past_rows(rows, name, newest, engine), (name,), gather=True)
            for name, rows in self._feature_sources.items()
            if name in engine.sources
        ]
        return engine.through_state(union_all(packed), self._initial(union_all(past)) if past else None)

    def _initial(self, past: DataFrame) -> DataFrame:
        """The past as initial state, which a stream takes in its first micro-batch; later nothing of it is read.

        As rows of their own, for the plan of a Delta table cannot travel with a stateful operator.
        """
        if is_new(self.lake, self.config.stream.checkpoint):
            return past.localCheckpoint()
        return self._spark.createDataFrame([], past.schema)

    # ---------------------------------------------------------------- micro-batches

    @cached_property
    def _alerts(self) -> StreamAlerts:
        return StreamAlerts(self.spec)

    def _explained(self, computed: DataFrame, number: int) -> None:
        """A micro-batch; an error that can be explained is noted, for Spark passes on no more than its message."""
        try:
            self._micro_batch(computed, number)
        except ChurnError as error:
            self._errors.append(error)
            raise

    def _check(self, model: ModelVersion) -> None:
        """Raises BadInputError where a version reads columns that this stream does not compute."""
        if missing := sorted(set(read_columns(model.summary)) - set(self._columns)):
            raise BadInputError(
                f"{self.spec.name} version {model.number} reads {', '.join(missing)}, which cannot be computed from "
                f"{', '.join(sorted(self._feature_sources))}; let the other sources arrive, or train without them"
            )

    def _model(self, lake: Lake, stream: str, number: int) -> ModelVersion:
        """The version that scores a micro-batch: the one in use now, or the one that scored it before it was tried
        again.

        A version that cannot be had, or cannot score here, leaves the one before in its place.
        """
        position = self._position
        if position.model is None and (tried := _scored_by(lake, self.spec, stream, number)):
            return self.models.numbered(*tried)
        try:
            current = self.models.current()
            self._check(current)
        except ChurnError as error:
            if position.model is None:
                raise
            if (reason := str(error)) not in position.refused:
                position.refused.add(reason)
                self.progress(f"{self.spec.name} version {position.model.number} goes on scoring: {reason}")
            return position.model
        if position.model is None or position.model.number != current.number:
            self.progress(f"micro-batch {number}: {self.spec.name} version {current.number} scores from here on")
        return current

    def _micro_batch(self, computed: DataFrame, number: int) -> None:
        """One micro-batch, whose rows are the same however often it is tried."""
        spark = computed.sparkSession
        stream = spark.sparkContext.getLocalProperty("sql.streaming.queryId") or ""
        lake = Lake(spark, self.lake.root)
        position = self._position
        if position.number != number - 1:
            position.watermark, position.model = _watermark(lake, stream, number), None
            self._alerts.forget()
        model = position.model = self._model(lake, stream, number)
        computed.persist()
        late = F.lit(False) if position.watermark is None else F.col("event_time") < F.lit(position.watermark)
        scored = self._scored(model, self._engine.features(computed), late, stream, number).persist()
        ledger = self._engine.ledger(computed).persist()
        days = _days(scored)
        alerts = 0
        if days:
            table = score_stream_table(self.spec)
            lake.append(scored, table, writer=f"{stream} scores", number=number, partition=["as_of"])
            in_time = [day["as_of"] for day in days if day["n"] > day["late"]]
            with raising(lake, self.spec):
                alerts = self._alerts.raise_alerts(
                    lake,
                    scored,
                    in_time,
                    model=model,
                    stream=stream,
                    number=number,
                    send=lambda rows: publish(rows, self.config.stream, self.place, stream=stream, micro_batch=number),
                )
        self._account(lake, ledger, days, stream, number)
        for cached in (scored, ledger, computed):
            cached.unpersist()
        self.progress(
            f"micro-batch {number}: {sum(day['n'] for day in days):,} transactions scored, "
            f"{sum(day['late'] for day in days):,} of them late, {alerts:,} alerts"
        )

    def _scored(self, model: ModelVersion, rows: DataFrame, late: Column, stream: str, number: int) -> DataFrame:
        """(the spec's key, event_time, amount, score, model_version, scored_as, late, stream, micro_batch, features) of
        each."""
        days = rows.withColumns({"as_of": F.date_trunc("day", "event_time"), "late": late})
        return model.model.transform(days).select(
            *self.spec.key,
            "event_time",
            "amount",
            probability().alias("score"),
            F.lit(model.number).alias("model_version"),
            F.lit(model.scored_as).alias("scored_as"),
            "late",
            F.lit(stream).alias("stream"),
            F.lit(number).cast("long").alias("micro_batch"),
            *self._columns,
        )

    def _account(self, lake: Lake, ledger: DataFrame, days: Sequence[Row], stream: str, number: int) -> None:
        """Write what became of the rows, a row for each source, and the quarantined ones as they arrived."""
        position = self._position
        counts = {name: dict.fromkeys(_STATUSES, 0) for name in self._arriving}
        for row in ledger.groupBy("of_source", "row_status").count().collect():
            counts[row["of_source"]][row["row_status"]] = row["count"]
        if any(of["quarantined"] for of in counts.values()):
            broken = ledger.where(F.col("row_status") == "quarantined").select(
                F.col("of_source").alias("source"),
                F.lit(stream).alias("stream"),
                F.lit(number).cast("long").alias("micro_batch"),
                "rules",
                "raw",
            )
            lake.append(broken, QUARANTINE, writer=f"{stream} quarantine", number=number)
        lateness = timedelta(minutes=self.config.stream.lateness_minutes)
        watermarks = (position.watermark, *(day["last"] - lateness for day in days))
        watermark = max((at for at in watermarks if at), default=None)
        late = sum(day["late"] for day in days)
        version = position.model.number if position.model else None
        rows = [
            (stream, number, name, sum(of.values()), *of.values(), late * (name == "transactions"), watermark, version)
            for name, of in counts.items()
        ]
        frame = lake.spark.createDataFrame(rows, _LEDGER_SCHEMA)
        lake.append(frame, LEDGER_TABLE, writer=f"{stream} ledger", number=number)
        position.number, position.watermark = number, watermark
        for name, of in counts.items():
            summands = " + ".join(f"{count:,} {status}" for status, count in of.items())
            self.progress(f"{name}: {sum(of.values()):,} rows in = {summands}")


def _days(scored: DataFrame) -> list[Row]:
    """The days of a micro-batch: (as_of, n, late, last)."""
    by_day = scored.groupBy("as_of").agg(
        F.count("*").alias("n"), F.count_if("late").alias("late"), F.max("event_time").alias("last")
    )
    return by_day.orderBy("as_of").collect()


def _watermark(lake: Lake, stream: str, number: int) -> datetime | None:
    """The time before which a transaction is late, by the micro-batches before this one."""
    if not lake.exists(LEDGER_TABLE):
        return None
    before = (F.col("stream") == stream) & (F.col("micro_batch") < number)
    newest = lake.read(LEDGER_TABLE).where(before).agg(F.max("watermark").alias("watermark")).collect()[0]
    return newest["watermark"] if isinstance(newest["watermark"], datetime) else None


def _scored_by(lake: Lake, spec: ModelSpec, stream: str, number: int) -> tuple[str, str] | None:
    """(version, alias) by which a micro-batch has been scored already, if it has."""
    table = score_stream_table(spec)
    if not lake.exists(table):
        return None
    rows = lake.read(table).where((F.col("stream") == stream) & (F.col("micro_batch") == number))
    found = rows.select("model_version", "scored_as").take(1)
    return (found[0]["model_version"], found[0]["scored_as"]) if found else None


def _past_rows(rows: DataFrame, name: str, newest: DataFrame, engine: StreamEngine) -> DataFrame:
    """Accepted rows from before the stream, as far back as features will read."""
    horizon = engine.lookback_days(name)
    if not isinf(horizon):
        since = F.col("_newest") - F.lit(timedelta(days=horizon) + engine.lateness)
        rows = rows.join(F.broadcast(newest)).where(F.col("event_time") >= since).drop("_newest")
    nothing = {field.name: F.lit(None).cast(field.dataType) for field in LEDGER_COLUMNS}
    return rows.withColumns({"row_of": F.lit(name), "requested": F.lit(False), "retracted": F.lit(False)} | nothing)
