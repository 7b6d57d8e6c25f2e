"""Which transactions of a micro-batch become alerts, under a budget that is spent while the day goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from math import inf
from typing import Final

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from churn.dataset.feature_table import feature_table, read_columns
from churn.errors import BadInputError
from churn.model_output import probability
from churn.model_spec import Alerts, ModelSpec
from churn.sampling import drawn
from churn.scoring.alerts import alert_stream_table, alert_table
from churn.scoring.batch import score_table
from churn.scoring.reasons import REASONS, Explainer, explainer, reasons
from churn.scoring.tree_shap import TooDeepError
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.storage import Lake
from churn.training.model_version import ModelVersion

_RECENT_DAYS: Final = 28
"""How far back scored days may lie that a threshold is learnt from."""
_COLUMNS: Final = ("event_time", "amount", "score", "model_version", "stream", "micro_batch", "chosen_by")


def score_stream_table(spec: ModelSpec) -> str:
    """The name of a model's table of scores in a stream."""
    return f"{score_table(spec)}_stream"


@dataclass
class StreamAlerts:
    """The alerts of a model in a stream.

    What it knows of a day (the threshold of each version, the share to audit, how many alerts by score it has had) is
    cached from micro-batch to micro-batch, and read from the tables after a start.
    """

    spec: ModelSpec
    _limits: dict[tuple[datetime, str], tuple[float, float]] = field(default_factory=dict, repr=False)
    _raised: dict[datetime, int] = field(default_factory=dict, repr=False)
    _in_batch: dict[datetime, list[Row]] = field(default_factory=dict, repr=False)
    _batch_version: int | None = None
    _explainers: dict[str, Explainer | None] = field(default_factory=dict, repr=False)

    @property
    def _settings(self) -> Alerts:
        return self.spec.alerts or Alerts()

    def forget(self) -> None:
        """Drop what is cached."""
        self._limits.clear()
        self._raised.clear()

    def raise_alerts(
        self,
        lake: Lake,
        scored: DataFrame,
        days: Sequence[datetime],
        *,
        model: ModelVersion,
        stream: str,
        number: int,
        send: Callable[[DataFrame], None],
    ) -> int:
        """Write and send the alerts of a micro-batch: (the spec's key, event_time, amount, score, model_version,
        stream, micro_batch, chosen_by, reasons); how many there are.

        Chosen by `score`: those above the day's threshold, the highest first, as long as the day's budget lasts. Chosen
        by `audit`: others, each with the same chance, so that there are `random_audit` a day. A day's batch spends the
        same budget, and what it has alerted on is not alerted on again.
        """
        in_batch = self._of_batches(lake, days)
        rules = [self._rule(lake, day, _before(stream, number), model) for day in days]
        schema = "as_of timestamp, threshold double, left int, share double"
        limits = F.broadcast(lake.spark.createDataFrame(rules, schema))
        by_rank = Window.partitionBy("as_of").orderBy(F.desc("score"), *self.spec.key)
        by_score = (F.col("score") >= F.col("threshold")) & (F.row_number().over(by_rank) <= F.col("left"))
        by_audit = drawn(self.spec.key, f"audit {self.spec.training.seed}") < F.col("share")
        chosen_by = F.when(by_score, "score").when(by_audit, "audit")
        alerts = (
            scored.where(~F.col("late") & ~F.col("transaction_id").isin([row["transaction_id"] for row in in_batch]))
            .join(limits, on="as_of", how="inner")
            .withColumn("chosen_by", chosen_by)
            .where(F.col("chosen_by").isNotNull())
            .select(*self.spec.key, *_COLUMNS, *read_columns(model.summary))
        )
        rows = alerts.collect()
        if rows:
            few = self._with_reasons(lake, lake.spark.createDataFrame(rows, alerts.schema).coalesce(1), model)
            table = alert_stream_table(self.spec)
            lake.append(few, table, writer=f"{stream} alerts", number=number, partition=["as_of"])
            send(few)
        for row in rows:
            if row["chosen_by"] == "score":
                self._raised[row["as_of"]] += 1
        return len(rows)

    def _with_reasons(self, lake: Lake, alerts: DataFrame, model: ModelVersion) -> DataFrame:
        """The alerts without features and with `reasons`; null where the trees of the version are too deep for them."""
        if model.number not in self._explainers:
            self._explainers.clear()
            try:
                self._explainers[model.number] = explainer(self.spec, model, lake.scratch)
            except TooDeepError:
                self._explainers[model.number] = None
        version, columns = self._explainers[model.number], [*self.spec.key, *_COLUMNS]
        if version is None:
            return alerts.select(*columns, F.lit(None).cast(REASONS).alias("reasons"))
        return reasons(alerts, columns, version).drop("log_odds")

    def _of_batches(self, lake: Lake, days: Sequence[datetime]) -> list[Row]:
        """(as_of, scored_on, transaction_id, chosen_by) of the alerts that batches have raised on these days, or on
        transactions of these days."""
        table = alert_table(self.spec)
        version = lake.version(table)
        if version != self._batch_version:
            self._batch_version = version
            self._in_batch.clear()
        if version is not None and (unread := [day for day in days if day not in self._in_batch]):
            self._in_batch |= {day: [] for day in unread}
            rows = lake.read(table).where(F.col("as_of").isin(*unread) | F.col("scored_on").isin(*unread))
            for row in rows.select("as_of", "scored_on", "transaction_id", "chosen_by").collect():
                for day in {row["as_of"], row["scored_on"]}.intersection(unread):
                    self._in_batch[day].append(row)
        return [row for day in days for row in self._in_batch.get(day, [])]

    def _rule(
        self, lake: Lake, day: datetime, before: Column, model: ModelVersion
    ) -> tuple[datetime, float, int, float]:
        """Of a day: its threshold, what is left of its budget, and the share to audit."""
        if (day, model.number) not in self._limits:
            self._limits[day, model.number] = self._learn(lake, day, before, model)
        if day not in self._raised:
            table = alert_stream_table(self.spec)
            by_score = (F.col("as_of") == F.lit(day)) & (F.col("chosen_by") == "score")
            self._raised[day] = lake.read(table).where(by_score & before).count() if lake.exists(table) else 0
        threshold, share = self._limits[day, model.number]
        in_batch = [row for row in self._in_batch.get(day, []) if row["scored_on"] == day]
        raised = self._raised[day] + sum(row["chosen_by"] == "score" for row in in_batch)
        return (day, threshold, max(0, self._settings.alert_budget - raised), share)

    def _learn(self, lake: Lake, day: datetime, before: Column, model: ModelVersion) -> tuple[float, float]:
        """The score of this version that would have used up the budget on recent days, and the share to audit.

        The newest `threshold_days` that the version has scored, in batches or before in the stream; where it has scored
        none, those whose features are stored. Raises BadInputError where there are none either.
        """
        recent = F.col("as_of").between(F.lit(day - timedelta(days=_RECENT_DAYS)), F.lit(day))
        earlier = recent & before & (F.col("as_of") < F.lit(day))
        by_version = F.col("model_version") == model.number
        scores = [
            lake.read(name).where(rows & by_version)
            for name, rows in ((score_table(self.spec), recent), (score_stream_table(self.spec), earlier))
            if lake.exists(name)
        ]
        days = self._last_of_budget(scores) or self._last_of_budget(self._scored_anew(lake, recent, earlier, model))
        if not days:
            raise BadInputError(
                f"there are no features of a day until {day:%Y-%m-%d}, so no score is known that uses up the budget of "
                f"{self._settings.alert_budget} alerts; build those of one first: jobs/build_features.py --as-of "
                f"{day - timedelta(days=1):%Y-%m-%d}"
            )
        mean = sum(row["last"] for row in days) / len(days) if self._settings.alert_budget else inf
        return mean, self._settings.random_audit * len(days) / sum(row["n"] for row in days)

    def _last_of_budget(self, scores: Sequence[DataFrame]) -> list[Row]:
        """(as_of, the lowest score within the budget, n) of the newest days of scored transactions."""
        if not scores:
            return []
        of_all = reduce(DataFrame.union, [rows.select("as_of", *TRANSACTIONS.key, "score") for rows in scores])
        once = of_all.groupBy("as_of", *TRANSACTIONS.key).agg(F.max("score").alias("score"))
        rank = F.row_number().over(Window.partitionBy("as_of").orderBy(F.desc("score"), *TRANSACTIONS.key))
        last = F.min(F.when(F.col("rank") <= self._settings.alert_budget, F.col("score")))
        by_day = once.withColumn("rank", rank).groupBy("as_of").agg(last.alias("last"), F.count("*").alias("n"))
        return by_day.orderBy(F.desc("as_of")).limit(self._settings.threshold_days).collect()

    def _scored_anew(self, lake: Lake, recent: Column, earlier: Column, model: ModelVersion) -> list[DataFrame]:
        """The stored features of recent days, of batches and of the stream, scored by a version that can read them."""
        columns = ["as_of", *TRANSACTIONS.key, *read_columns(model.summary)]
        stored = [
            lake.read(name).where(rows)
            for name, rows in ((feature_table(self.spec), recent), (score_stream_table(self.spec), earlier))
            if lake.exists(name)
        ]
        readable = [rows.select(*columns) for rows in stored if set(columns) <= set(rows.columns)]
        if not readable:
            return []
        newest = [rows.select("as_of").distinct() for rows in readable]
        days = reduce(DataFrame.union, newest).distinct().orderBy(F.desc("as_of")).limit(self._settings.threshold_days)
        wanted = [row["as_of"] for row in days.collect()]
        return [
            model.model.transform(rows.where(F.col("as_of").isin(*wanted))).withColumn("score", probability())
            for rows in readable
        ]


def _before(stream: str, number: int) -> Column:
    """Whether a row was written before this micro-batch, by this stream or by another."""
    return (F.col("stream") != stream) | (F.col("micro_batch") < number)
