"""Train a fraud challenger once enough new labels have ripened, judge it, and make it champion if it passes.

**As-of** is the partition of `churn_accepted` that started the run: each day that is in, `ripe` counts the labels that
have ripened since the newest version was trained. Too few, and the rest is *skipped*. The first run has no version to
count from, and trains. A run by hand speaks for the last midnight, or for `as_of`.

`promote` succeeds whether the challenger became champion or not; the run in MLflow and the report say why.
"""

from airflow.sdk import chain
from churn_steps import ACCEPTED, churn_dag, on, step

with churn_dag("fraud_retrain", __doc__, model="fraud", **on(ACCEPTED)):
    chain(*(step(job) for job in ("ripe", "build_features", "train", "evaluate", "promote")))
