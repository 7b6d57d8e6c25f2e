"""Train a sales challenger once enough new labels have matured, evaluate it, and make it champion if it passes.

**As-of** is the partition of `churn_accepted` that started the run: each day, `retrain_trigger` counts the labels
that have matured since the newest version was trained. If they are too few, the other tasks are *skipped*. The first
run has no version to count from, and trains. The as-of of a run by hand is the parameter `as_of`, by default the last
midnight.

`promote` succeeds whether or not the challenger became champion; the run in MLflow and the report say why.
"""

from airflow.sdk import chain
from churn_steps import ACCEPTED, churn_dag, on, step

with churn_dag("sales_retrain", __doc__, model="sales", **on(ACCEPTED)):
    chain(*(step(job) for job in ("retrain_trigger", "build_features", "train", "evaluate", "promote")))
