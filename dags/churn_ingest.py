"""Bring a day of every source into the lake, and say so when all are in.

**As-of** is the end of the data interval: the run of 30 September, which starts at midnight, speaks for 1 October. A
run by hand speaks for the last midnight, or for `as_of`.

**Look-back**: a source that comes as a file a day is read `look_back` days back, as its section in churn.toml says, so
that what came late is taken up. Its first batch reads the whole history.

**Hold**: a source that has not come, or is thinner than `expect` says, is tried again every quarter of an hour, for
three days. Its task is *up for reschedule*, and its XCom `hold` says what is missing. One day comes in after another,
so no later one is brought in meanwhile. When all are in, `accepted` publishes the as-of as a partition of the asset
`churn_accepted`, which starts the other DAGs.

**When a file will never come**, put one with only its header in its place: that is a day without rows.
"""

from airflow.sdk import Context, task
from churn_steps import ACCEPTED, as_of, churn_dag, every_day, sources, step

with churn_dag("churn_ingest", __doc__, **every_day()):

    @task(outlets=[ACCEPTED], pool="default_pool")
    def accepted(**context: Context) -> None:
        """All sources are in."""
        context["outlet_events"][ACCEPTED].add_partitions(as_of(context["dag_run"], context["params"]))

    [step("ingest", "--source", source, task_id=f"ingest_{source}") for source in sources()] >> accepted()
