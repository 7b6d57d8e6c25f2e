"""Which scored rows become alerts, a run at a time. Grain: one row an alert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.dataset.examples import examples
from churn.model_spec import Alerts, ModelSpec
from churn.runtime.locks import lock
from churn.storage import Lake


def alert_table(spec: ModelSpec) -> str:
    """The name of a model's table of alerts."""
    return f"alerts_{spec.name}"


def alert_stream_table(spec: ModelSpec) -> str:
    """The name of a model's table of alerts in a stream."""
    return f"{alert_table(spec)}_stream"


@contextmanager
def raising(lake: Lake, spec: ModelSpec) -> Iterator[None]:
    """Inside, no other job of this machine raises alerts of the model: a day's budget is spent by one after the
    other."""
    with lock(lake.root, f"alerts of {spec.name}"):
        yield


def new_alerts(spec: ModelSpec, settings: Alerts, scores: DataFrame, raised: DataFrame | None = None) -> DataFrame:
    """The alerts of each run beside those `raised`: (the spec's key, score, rank, scored_on, model_version, scored_as,
    chosen_by), and `reasons` where the scores have them.

    An alert that was raised before, by an earlier run or by a stream, stays. One of the same `scored_on` has its part
    of that day's budget: rows of earlier days that arrived late compete with those of the day, as people review both
    then. Chosen by `score`: the rows with the highest scores, `alert_budget` of a day in all. Chosen by `audit`:
    `random_audit` of the rest, drawn by the spec's seed, each as likely as any other, so that the model does not learn
    from its own alerts alone.
    """
    if raised is None:
        fresh = scores.withColumns({"raised_by_score": F.lit(0), "raised_by_audit": F.lit(0)})
    else:
        counts = {f"raised_by_{how}": F.count_if(F.col("chosen_by") == how) for how in ("score", "audit")}
        by_day = raised.groupBy("scored_on").agg(*(count.alias(name) for name, count in counts.items()))
        unraised = scores.join(raised.select(*spec.key), on=list(spec.key), how="left_anti")
        fresh = unraised.join(by_day, on="scored_on", how="left").fillna(0, subset=list(counts))
    by_rank = F.row_number().over(Window.partitionBy("scored_on").orderBy("rank"))
    placed = fresh.withColumn("place", by_rank + F.col("raised_by_score"))
    within = F.col("place") <= settings.alert_budget
    draw = F.xxhash64(*spec.key, F.lit(f"audit {spec.training.seed}"))
    audit_place = F.row_number().over(Window.partitionBy("scored_on").orderBy(draw, *spec.key)) + F.col(
        "raised_by_audit"
    )
    audited = placed.where(~within).withColumn("place", audit_place).where(F.col("place") <= settings.random_audit)
    chosen = placed.where(within).withColumn("chosen_by", F.lit("score"))
    beside = [name for name in ("reasons",) if name in scores.columns]
    columns = (*spec.key, "score", "rank", "scored_on", "model_version", "scored_as", "chosen_by", *beside)
    return chosen.unionByName(audited.withColumn("chosen_by", F.lit("audit"))).select(*columns)


def raised_alerts(lake: Lake, spec: ModelSpec, as_of: datetime) -> DataFrame | None:
    """(the spec's key, scored_on, chosen_by) of the alerts so far of an as-of and those whose late rows its run scores,
    by earlier runs and by streams; None where there is no table."""
    days = examples(spec).scored_as_ofs(as_of)
    tables = {alert_table(spec): "scored_on", alert_stream_table(spec): "as_of"}
    of_days = [
        lake.read(name).where(F.col("as_of").isin(*days)).select(*spec.key, F.col(on).alias("scored_on"), "chosen_by")
        for name, on in tables.items()
        if lake.exists(name)
    ]
    return reduce(DataFrame.union, of_days) if of_days else None


def raise_alerts(lake: Lake, spec: ModelSpec, settings: Alerts, scores: DataFrame, as_of: datetime) -> int:
    """Add the alerts of the run at an as-of beside those that were raised before to its table; how many of the as-of's
    budget these have spent."""
    with raising(lake, spec):
        raised = raised_alerts(lake, spec, as_of)
        table, alerts = alert_table(spec), new_alerts(spec, settings, scores, raised)
        as_ofs = examples(spec).scored_as_ofs(as_of)
        is_of_run = F.col("scored_on") == F.lit(as_of)
        if lake.exists(table):
            of_run = lake.read(table).where(F.col("as_of").isin(*as_ofs) & is_of_run)
            alerts = of_run.unionByName(alerts, allowMissingColumns=True)
        lake.replace(alerts, table, {"as_of": as_ofs, "scored_on": as_of}, partition=["as_of"], widen=True)
        return raised.where(is_of_run).count() if raised is not None else 0
