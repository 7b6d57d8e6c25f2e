"""Score how likely the customers of each as-of are to buy more, once its sources are ingested.

**As-of** is the partition of `churn_accepted` that started the run. The as-of of a run by hand is the parameter
`as_of`, by default the last midnight.

The champion scores. While there is none the run fails, and its message says what to do: trigger `sales_retrain`, or set
the parameter `challenger` (for all runs: `CHURN_CHALLENGER=1`) to score by a challenger that has not passed its gates.
A second run replaces the rows of the first. At the end the run publishes the as-of as a partition of
`churn_scores_sales`.
"""

from airflow.sdk import chain
from churn_steps import ACCEPTED, SCORED, SCORES, churn_dag, on, scoring, step

with churn_dag("sales_score", __doc__, model="sales", params=scoring(), **on(ACCEPTED)):
    chain(
        step("build_features", "--only", when=SCORED["sales"]),
        step("score", when=SCORED["sales"], flags=["challenger"], outlets=[SCORES["sales"]]),
    )
