"""Score the customers as of it, whenever an as-of is in.

**As-of** is the partition of `churn_accepted` that started the run. A run by hand speaks for the last midnight, or for
`as_of`.

The champion scores; while there is none, the challenger; without either the run fails, and says to train one first:
trigger `churn_retrain`. Run again, it replaces what it wrote. In the end it publishes the as-of as a partition of
`churn_scores_churn`.
"""

from airflow.sdk import chain
from churn_steps import ACCEPTED, SCORED, SCORES, churn_dag, on, step

with churn_dag("churn_score", __doc__, model="churn", **on(ACCEPTED)):
    chain(
        step("build_features", "--only", when=SCORED["churn"]),
        step("score", when=SCORED["churn"], outlets=[SCORES["churn"]]),
    )
