"""Score the transactions of the day that ended then, whenever an as-of is in.

**As-of** is the partition of `churn_accepted` that started the run. A run by hand speaks for the last midnight, or for
`as_of`. The day before it is the one that is scored, and alerted on.

The champion scores; while there is none, the challenger; without either the run fails, and says to train one first:
trigger `fraud_retrain`. Run again, it replaces what it wrote. In the end it publishes the as-of as a partition of
`churn_scores_fraud`.
"""

from airflow.sdk import chain
from churn_steps import ACCEPTED, SCORED, SCORES, churn_dag, on, step

with churn_dag("fraud_score", __doc__, model="fraud", **on(ACCEPTED)):
    chain(
        step("build_features", "--only", when=SCORED["fraud"]),
        step("score", when=SCORED["fraud"], outlets=[SCORES["fraud"]]),
    )
