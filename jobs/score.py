"""Score the cohort of an as-of, or the transactions of a day and those of days before that arrived late, by the
champion."""

from __future__ import annotations

import sys

from pyspark.sql import functions as F

from churn.dataset.feature_table import check_inputs, read_columns, stored_features, summary_of
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, Challenger, ConfigFile, ModelFile, SummaryFile
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.runtime.locks import lock
from churn.scoring.alerts import alert_table, raise_alerts, raised_alerts
from churn.scoring.batch import rows_to_score, score_table, scored, write_scores
from churn.scoring.reasons import with_reasons
from churn.scoring.tree_shap import TooDeepError


def step(
    config: ConfigFile, model: ModelFile, as_of: AsOf, challenger: Challenger = False, summary: SummaryFile = None
) -> None:
    with Job("score", config, model, summary) as job, lock(job.config.root, f"score {job.spec.name}"):
        spec, registry = job.spec, ModelRegistry(job.config.tracking_uri, job.spec.name)
        alias, number = registry.in_use(challenger=challenger)
        lake = job.lake
        version = tracking.load_model(job.config.tracking_uri, spec.name, number)
        rows = rows_to_score(lake, spec, stored_features(lake, spec), as_of)
        check_inputs(spec, summary_of(rows, read_columns(version.summary)), version.summary, number)
        table = score_table(spec)
        registry.mark_scored(number, f"{as_of:%Y-%m-%d}")
        scores = scored(spec, version.model, rows, scored_on=as_of, version=number, scored_as=alias).persist()
        try:
            explained = with_reasons(spec, version, scores, rows, lake.scratch, raised_alerts(lake, spec, as_of))
        except TooDeepError as error:
            progress(f"scores without reasons: {error}")
            explained = scores
        written = write_scores(lake, spec, explained, as_of)
        scores.unpersist()
        by = f"{spec.name} version {number}, the {alias}"
        if alias != tracking.CHAMPION:
            by += ", as there is no champion"
        progress(f"{written.count():,} {spec.vocabulary.entities} scored by {by}, in {lake.path(table)}")
        of_day = written.groupBy("as_of").count().where(F.col("as_of") != F.lit(as_of)).orderBy("as_of").collect()
        if of_day:
            listed = ", ".join(f"{row['count']:,} of {row['as_of']:%Y-%m-%d}" for row in of_day)
            progress(f"of them {listed} arrived after their day was scored")
        if spec.alerts:
            before = raise_alerts(lake, spec, spec.alerts, written, as_of)
            progress(
                f"alerts: the {spec.alerts.alert_budget} of the highest scores and {spec.alerts.random_audit} drawn at "
                f"random, less the {before:,} raised before, in {lake.path(alert_table(spec))}"
            )
        top = written.orderBy("rank").limit(10).collect()
        likeliest = [[row["rank"], row[spec.key[0]], row["score"]] for row in top]
        job.summarise(scores=lake.path(table), scored_by=by, top=likeliest)


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
