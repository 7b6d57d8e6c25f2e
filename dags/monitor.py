"""Monitor the scores: whether features and scores have drifted, and how good past scores were once labels have matured.

**As-of** is the partition of `churn_scores_churn`, `churn_scores_fraud` or `churn_scores_sales` that started the run,
which is for that model alone; the others are skipped. A run by hand is for `models` at `as_of`, by default the last
midnight:

    airflow dags trigger monitor --conf '{"models": ["fraud"], "as_of": "2026-10-01"}'

An exceeded limit *fails* the task, without a retry, with the figure in its log; all figures are in MLflow, whose run is
FINISHED: monitoring did what it was to do.
"""

from churn_steps import SCORED, SCORES, churn_dag, for_models, on, step

with churn_dag("monitor", __doc__, params=for_models(), **on(SCORES["churn"] | SCORES["fraud"] | SCORES["sales"])):
    for model, when in SCORED.items():
        step("monitor", when=when, model=model, task_id=f"monitor_{model}")
