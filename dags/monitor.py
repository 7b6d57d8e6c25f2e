"""Watch the scores: whether what comes in has drifted, and how good the scores were whose outcomes are known by now.

**As-of** is the partition of `churn_scores_churn` or `churn_scores_fraud` that started the run, which is about that
model alone; the other is skipped. A run by hand is about `models`, at the last midnight or at `as_of`:

    airflow dags trigger monitor --conf '{"models": ["fraud"], "as_of": "2026-10-01"}'

A broken threshold *fails* the task, with the measure in its log, after its retries; what was measured is in MLflow.
"""

from churn_steps import SCORED, SCORES, churn_dag, for_models, on, step

with churn_dag("monitor", __doc__, params=for_models(), **on(SCORES["churn"] | SCORES["fraud"])):
    for model, when in SCORED.items():
        step("monitor", when=when, model=model, task_id=f"monitor_{model}")
