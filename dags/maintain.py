"""Each Sunday: delete features and scores that are too old, compact the tables of the lake, forget their old versions.

How long what is stored: `[maintenance]` in churn.toml. **As-of** is the midnight of the run; of a run by hand it is the
parameter `as_of`, by default the last midnight:

    airflow dags trigger maintain
"""

from churn_steps import AS_OF, churn_dag, every_week, step

with churn_dag("maintain", __doc__, **every_week()):
    step("maintain", when=AS_OF)
