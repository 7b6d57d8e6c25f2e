"""Ingest a day of every source into the lake; publish the as-of when all sources are ingested.

**As-of** is the end of the data interval: that of the run of 30 September, which starts at midnight, is 1 October. The
as-of of a run by hand is the parameter `as_of`, by default the last midnight.

**Look-back**: of a source with a file a day, the last `look_back` days are read, as its section in churn.toml says, so
that late rows are ingested, and all days since the batch before it. Its first batch reads the whole history.

**Hold**: a source that has not arrived, or has fewer rows than `expect` wants, is tried again every quarter of an hour,
for three days. Its task is *up for reschedule*, and its XCom `hold` names what is missing. Days are ingested in order,
so later ones wait. When all sources are ingested, `accepted` publishes the as-of as a partition of the asset
`churn_accepted`, which starts the other DAGs.

**A file that will never arrive**: put one with only its header in its place; that is a day without rows.
"""

from airflow.sdk import Context, task
from churn_steps import ACCEPTED, as_of, churn_dag, every_day, sources, step

with churn_dag("churn_ingest", __doc__, **every_day()):

    @task(outlets=[ACCEPTED], pool="default_pool")
    def accepted(**context: Context) -> None:
        """Publish the as-of: all sources are ingested."""
        context["outlet_events"][ACCEPTED].add_partitions(as_of(context["dag_run"], context["params"]))

    [step("ingest", "--source", source, task_id=f"ingest_{source}") for source in sources()] >> accepted()
