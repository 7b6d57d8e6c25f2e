"""Which transactions of a micro-batch become alerts, under a budget that is spent while the day goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from churn.errors import BadInputError
from churn.model_spec import Alerts, ModelSpec
from churn.sampling import drawn
from churn.scoring.alerts import alert_table
from churn.scoring.batch import score_table
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.storage import Lake

_RECENT_DAYS: Final = 28
"""How far back scored days may lie that a threshold is learnt from."""
_COLUMNS: Final = ("event_time", "amount", "score", "model_version", "stream", "micro_batch", "chosen_by")


def score_stream_table(spec: ModelSpec) -> str:
    """The name of a model's table of scores in a stream."""
    return f"{score_table(spec)}_stream"


def alert_stream_table(spec: ModelSpec) -> str:
    """The name of a model's table of alerts in a stream."""
    return f"{alert_table(spec)}_stream"


@dataclass
class StreamAlerts:
    """The alerts of a model in a stream.

    What it knows of a day (its threshold, the share to audit, how many alerts by score it has had) is cached from
    micro-batch to micro-batch, and read from the tables after a start.
    """

    spec: ModelSpec
    _limits: dict[datetime, tuple[float, float]] = field(default_factory=dict, repr=False)
    _raised: dict[datetime, int] = field(default_factory=dict, repr=False)

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
        stream: str,
        number: int,
        send: Callable[[DataFrame], None],
    ) -> int:
        """Write and send the alerts of a micro-batch: (the spec's key, event_time, amount, score, model_version,
        stream, micro_batch, chosen_by); how many there are.

        Chosen by `score`: those above the day's threshold, the highest first, as long as the day's budget lasts. Chosen
        by `audit`: others, each with the same chance, so that there are `random_audit` a day.
        """
        rules = [self._rule(lake, day, _before(stream, number)) for day in days]
        schema = "as_of timestamp, threshold double, left int, share double"
        limits = F.broadcast(lake.spark.createDataFrame(rules, schema))
        by_rank = Window.partitionBy("as_of").orderBy(F.desc("score"), *self.spec.key)
        by_score = (F.col("score") >= F.col("threshold")) & (F.row_number().over(by_rank) <= F.col("left"))
        by_audit = drawn(self.spec.key, f"audit {self.spec.training.seed}") < F.col("share")
        chosen_by = F.when(by_score, "score").when(by_audit, "audit")
        alerts = (
            scored.where(~F.col("late"))
            .join(limits, on="as_of", how="inner")
            .withColumn("chosen_by", chosen_by)
            .where(F.col("chosen_by").isNotNull())
            .select(*self.spec.key, *_COLUMNS)
        )
        rows = alerts.collect()
        if rows:
            few = lake.spark.createDataFrame(rows, alerts.schema).coalesce(1)
            table = alert_stream_table(self.spec)
            lake.append(few, table, writer=f"{stream} alerts", number=number, partition=["as_of"])
            send(few)
        for row in rows:
            if row["chosen_by"] == "score":
                self._raised[row["as_of"]] += 1
        return len(rows)

    def _rule(self, lake: Lake, day: datetime, before: Column) -> tuple[datetime, float, int, float]:
        """Of a day: its threshold, what is left of its budget, and the share to audit."""
        if day not in self._limits:
            self._limits[day] = self._learn(lake, day, before)
        if day not in self._raised:
            table = alert_stream_table(self.spec)
            by_score = (F.col("as_of") == F.lit(day)) & (F.col("chosen_by") == "score")
            self._raised[day] = lake.read(table).where(by_score & before).count() if lake.exists(table) else 0
        threshold, share = self._limits[day]
        return (day, threshold, max(0, self._settings.alert_budget - self._raised[day]), share)

    def _learn(self, lake: Lake, day: datetime, before: Column) -> tuple[float, float]:
        """The score that would have used up the budget on the last days scored, and the share that is to be audited.

        Days before in the stream, and days in batches, the newest `threshold_days` of them. Raises BadInputError where
        there is none.
        """
        recent = F.col("as_of").between(F.lit(day - timedelta(days=_RECENT_DAYS)), F.lit(day))
        earlier = before & (F.col("as_of") < F.lit(day))
        whole_days = {score_table(self.spec): F.lit(True), score_stream_table(self.spec): earlier}
        tables = [
            lake.read(name).where(recent & is_whole).select("as_of", *TRANSACTIONS.key, "score")
            for name, is_whole in whole_days.items()
            if lake.exists(name)
        ]
        scores = reduce(DataFrame.union, tables).groupBy("as_of", *TRANSACTIONS.key).agg(F.max("score").alias("score"))
        rank = F.row_number().over(Window.partitionBy("as_of").orderBy(F.desc("score"), *TRANSACTIONS.key))
        last = F.min(F.when(F.col("rank") <= self._settings.alert_budget, F.col("score")))
        by_day = scores.withColumn("rank", rank).groupBy("as_of").agg(last.alias("last"), F.count("*").alias("n"))
        days = by_day.orderBy(F.desc("as_of")).limit(self._settings.threshold_days).collect()
        if not days:
            raise BadInputError(
                f"no day until {day:%Y-%m-%d} has been scored, so no score is known that uses up the budget of "
                f"{self._settings.alert_budget} alerts; score one first: jobs/score.py --as-of "
                f"{day - timedelta(days=1):%Y-%m-%d}"
            )
        mean = sum(row["last"] for row in days) / len(days)
        return mean, self._settings.random_audit * len(days) / sum(row["n"] for row in days)


def _before(stream: str, number: int) -> Column:
    """Whether a row was written before this micro-batch, by this stream or by another."""
    return (F.col("stream") != stream) | (F.col("micro_batch") < number)
