"""Features and scores of past days, by Airflow's own backfill; it has no schedule.

    airflow backfill create --dag-id backfill --from-date 2026-09-01 --to-date 2026-09-05 \\
        --dag-run-conf '{"models": ["churn"]}'

**As-of** is the end of each data interval, as for `churn_ingest`: the as-of of the run of 5 September is the 6th. The
jobs are those of the daily runs, so a day that is run again is replaced by the same rows; the model is the one in use
now. To run finished days again, add `--reprocess-behavior completed`.
"""

from airflow.sdk import TaskGroup
from churn_steps import SCORED, backfill_only, churn_dag, for_models, scoring, step

with churn_dag("backfill", __doc__, params={**for_models(), **scoring()}, **backfill_only()):
    for model, when in SCORED.items():
        with TaskGroup(model):
            step("build_features", "--only", when=when, model=model) >> step(
                "score", when=when, model=model, flags=["challenger"]
            )
