"""Features and scores of days that have passed, by Airflow's own backfill; nothing runs here by itself.

    airflow backfill create --dag-id backfill --from-date 2026-09-01 --to-date 2026-09-05 \\
        --dag-run-conf '{"models": ["churn"]}'

**As-of** is the end of each data interval, as for `churn_ingest`: the run of 5 September speaks for the 6th. The jobs
are those of the daily runs, so a day that is done again is replaced by the same rows; the model is the one in use now.
To have finished days done again, add `--reprocess-behavior completed`.
"""

from airflow.sdk import TaskGroup
from churn_steps import SCORED, churn_dag, for_backfill_alone, for_models, step

with churn_dag("backfill", __doc__, params=for_models(), **for_backfill_alone()):
    for model, when in SCORED.items():
        with TaskGroup(model):
            step("build_features", "--only", when=when, model=model) >> step("score", when=when, model=model)
