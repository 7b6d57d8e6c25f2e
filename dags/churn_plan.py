"""Plan whom to contact with which offer, once the customers of an as-of are scored: what they are worth, then the plan.

**As-of** is the partition of `churn_scores_churn` that started the run. The as-of of a run by hand is the parameter
`as_of`, by default the last midnight.

`values-2026-10-01.json` and `plan-churn-2026-10-01.csv`, for the as-of, are written into the folder of the parameter
`out`, by default that of churn.toml. The plan needs at least one `[offers.NAME]` there; without any the run fails, so
leave this DAG paused. A second run replaces the rows and the files of the first, until contacts with the plan's
customers are in the data: then it fails, and their arms stay.
"""

from pathlib import Path

from airflow.sdk import Param, chain
from churn_steps import AS_OF, CONFIG, SCORES, churn_dag, on, step

OUT = Param(str(Path(CONFIG).parent), type="string", minLength=1, description="A folder for the files; it must exist.")

with churn_dag("churn_plan", __doc__, model="churn", params={"out": OUT}, **on(SCORES["churn"])):
    chain(
        step("value", "--no-ingest", "--out", f"{{{{ params.out }}}}/values-{AS_OF}.json"),
        step("plan_campaign", "--no-values", "--out", f"{{{{ params.out }}}}/plan-churn-{AS_OF}.csv"),
    )
