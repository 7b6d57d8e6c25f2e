"""What the DAGs share: a step is one spark-submit of a script in jobs/; its exit code becomes the state of the task.

Airflow parses this file with every DAG, so it imports neither pyspark nor churn. Settings come from the environment;
docs/airflow.md lists them.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Asset, BaseHook, Context, CronDataIntervalTimetable, Param, PartitionedAssetTimetable
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

ROOT = Path(__file__).resolve().parents[1]
CONFIG = os.environ.get("CHURN_CONFIG") or str(ROOT / "sample_data" / "churn.toml")
MODELS = os.environ.get("CHURN_MODELS") or str(ROOT / "models")
SPARK_PROPERTIES = os.environ.get("CHURN_SPARK_PROPERTIES")
START = os.environ.get("CHURN_START")
RETRY_EVERY = timedelta(seconds=float(os.environ.get("CHURN_RETRY_SECONDS") or 300))
HOLD_EVERY = timedelta(seconds=float(os.environ.get("CHURN_HOLD_SECONDS") or 900))
HOLD_LIMIT = timedelta(days=3)
CHALLENGER = os.environ.get("CHURN_CHALLENGER") == "1"
ALERT_COMMAND = os.environ.get("CHURN_ALERT_COMMAND")

AS_OF = "{{ as_of(dag_run, params) }}"
DAY_BEFORE = "{{ macros.ds_add(as_of(dag_run, params), -1) }}"
SCORED = {"churn": AS_OF, "fraud": DAY_BEFORE, "sales": AS_OF}
"""What each model scores: customers as of a midnight; the transactions of the day that ended then."""

ACCEPTED = Asset("churn_accepted")
SCORES = {model: Asset(f"churn_scores_{model}") for model in SCORED}

FAILED, HOLD, NOTHING_TO_DO = 1, 3, 4
FINAL = {2: "bad input or configuration", 5: "a limit is exceeded", 6: "no champion", 7: "something is damaged"}
"""Exit codes after which a retry finds the same; all codes are in churn/errors.py, which Airflow does not import."""
_MESSAGE = ("hold:", "error:", "nothing to do:")
"""How the line begins that explains an exit code."""
_WITHOUT_MODEL = ("ingest", "maintain", "value")
_PR_SET_PDEATHSIG = 1
_SENSITIVE = "(?i)secret|password|passphrase|token|access[.]?key|credential"
"""As in churn.runtime.session: what the names of secret settings hold."""


def as_of(dag_run: Any, params: Mapping[str, Any]) -> str:
    """The as-of of a run, a midnight UTC, as 2026-10-01.

    It is the parameter `as_of`; else the partition of the asset that started the run; else the end of its data
    interval; else, of a run by hand, the last midnight before it was to run.
    """
    specified = params.get("as_of") or dag_run.partition_key
    end = dag_run.data_interval_end or dag_run.run_after
    return str(specified or f"{end.astimezone(UTC):%Y-%m-%d}")


# --- a step -----------------------------------------------------------------------------------------------------------


class Step(SparkSubmitOperator):
    """A job by spark-submit: exit codes in FINAL fail without a retry, 3 waits and tries again, 4 skips the tasks
    downstream.

    `model` is given in a DAG of several models; the step is skipped where the run is not for that model. `flags` are
    parameters of the DAG: where one is true, the job gets the option of its name.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "_conn_id")
    ui_color = "#f4e3d0"

    def __init__(self, *, model: str | None = None, flags: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.flags = model, flags

    def execute(self, context: Context) -> None:
        if self.model and self.model not in _models_of(context):
            raise AirflowSkipException(f"this run is not for {self.model}")
        check_model(context["params"].get("model"))
        self.conf = {**(self.conf or {}), **context["params"].get("conf", {})}
        chosen = [f"--{flag}" for flag in self.flags if context["params"].get(flag)]
        self.application_args = [*(self.application_args or []), *chosen]
        self._follow_drivers()
        try:
            super().execute(context)
        except (AirflowException, RuntimeError) as error:
            self._end(error, context)
        for asset in self.outlets:
            context["outlet_events"][asset].add_partitions(as_of(context["dag_run"], context["params"]))

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        hook.submit = partial(hook.submit, preexec_fn=_end_with_parent)  # submit passes it to Popen
        return hook

    def _follow_drivers(self) -> None:
        """In cluster mode a driver outlives this worker: a retry follows it again where the manager reports it."""
        connection = BaseHook.get_connection(self._conn_id)
        master, extra = f"{connection.conn_type}://{connection.host}", connection.extra_dejson
        in_cluster = extra.get("deploy-mode") == "cluster"
        self._track_driver_via_k8s_api = in_cluster and "k8s:" in master
        self._yarn_track_via_rm_api = in_cluster and "yarn" in master and "yarn_resourcemanager_webapp_address" in extra
        self.durable = self._track_driver_via_k8s_api or self._yarn_track_via_rm_api

    def _end(self, error: Exception, context: Context) -> None:
        code, message = exit_code(self._hook, error), final_message(self._hook, error)
        if code in FINAL:
            raise AirflowFailException(f"{FINAL[code]}: {message}") from error
        if code == NOTHING_TO_DO:
            raise AirflowSkipException(message) from error
        if code != HOLD:
            raise AirflowException(f"exit code {code}: {message}") from error
        begin, now = context["ti"].get_first_reschedule_date(context), datetime.now(UTC)
        if begin and now - begin > HOLD_LIMIT:
            raise AirflowFailException(f"held since {begin:%Y-%m-%d %H:%M}, which is too long: {message}") from error
        if not begin:
            send_alert("hold", context, message)
        context["ti"].xcom_push("hold", message)
        raise AirflowRescheduleException(now + HOLD_EVERY) from error


def check_model(file: str | None) -> None:
    """Raises AirflowFailException, before anything is submitted, where a model file, which is code, lies elsewhere than
    in the folder of models."""
    if file is not None and not Path(file).resolve().is_relative_to(Path(MODELS).resolve()):
        raise AirflowFailException(f"model {file} is not in {MODELS}; put it there, or set CHURN_MODELS to its folder")


def exit_code(hook: SparkSubmitHook | None, error: Exception) -> int:
    """The driver's own code where it is known: in client mode, and of a pod on Kubernetes; else 1."""
    submitted = getattr(hook, "_submit_sp", None)
    in_pod = getattr(hook, "_spark_exit_code", None)
    if reported := re.search(r"\bexit_code=(\d+)", str(error)):
        return int(reported[1])
    return in_pod or (submitted.returncode if submitted is not None else None) or FAILED


def final_message(hook: SparkSubmitHook | None, error: Exception) -> str:
    """The message that a job ended with, from the output of spark-submit."""
    printed = [line for line in getattr(hook, "_last_submit_log_lines", ()) if line]
    lines = [line for line in printed if line.startswith(_MESSAGE)] or printed or str(error).splitlines()
    return str(lines[-1])


def _end_with_parent() -> None:
    """In the spark-submit process: SIGTERM when the worker is killed outright, so that no driver is left behind.

    As in churn.runtime.processes, which Airflow's environment does not have.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _models_of(context: Context) -> set[str]:
    """The models a run is for: those whose scores started it, else those of its parameter `models`."""
    started_by = {asset.name for asset in context.get("triggering_asset_events") or {}}
    return {model for model, asset in SCORES.items() if asset.name in started_by} or set(context["params"]["models"])


# --- alerts -----------------------------------------------------------------------------------------------------------


def send_alert(kind: str, context: Context, message: str) -> None:
    """Give one JSON object to the alert command, if there is one, on its standard input."""
    ti = context["ti"]
    alert = {
        "kind": kind,
        "dag": ti.dag_id,
        "task": ti.task_id,
        "run": ti.run_id,
        "as_of": as_of(context["dag_run"], context["params"]),
        "try": ti.try_number,
        "message": message,
    }
    if not ALERT_COMMAND:
        return
    try:
        subprocess.run(shlex.split(ALERT_COMMAND), input=json.dumps(alert) + "\n", text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):  # a hold stays a hold, a failure a failure
        logging.getLogger(__name__).exception("the alert command failed")


def on_failure(context: Context) -> None:
    """Send an alert once a task has failed and will not be retried."""
    send_alert("failure", context, str(context.get("exception") or "ended from outside"))


# --- declaring --------------------------------------------------------------------------------------------------------


def every_day(*, catchup: bool = True) -> dict[str, Any]:
    """A run each midnight UTC, over the day that ends; from CHURN_START on, without it from now on."""
    start = datetime.fromisoformat(START).replace(tzinfo=UTC) if START else datetime(2020, 1, 1, tzinfo=UTC)
    timetable = CronDataIntervalTimetable("0 0 * * *", timezone="UTC")
    return {"schedule": timetable, "start_date": start, "catchup": catchup and START is not None}


def every_week() -> dict[str, Any]:
    """A run each Sunday at midnight UTC, from now on."""
    return {**every_day(catchup=False), "schedule": CronDataIntervalTimetable("0 0 * * 0", timezone="UTC")}


def backfill_only() -> dict[str, Any]:
    """A daily timetable that ended in the past: only `airflow backfill` creates runs."""
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    return {**every_day(catchup=False), "start_date": long_ago, "end_date": long_ago}


def on(asset: Any) -> dict[str, Any]:
    """A run for each partition of an asset, which is an as-of."""
    return {"schedule": PartitionedAssetTimetable(assets=asset)}


def churn_dag(
    dag_id: str, doc: str | None, *, model: str | None = None, params: Mapping[str, Param] | None = None, **how: Any
) -> DAG:
    """A DAG with this project's policies; `model` is the one it is for; without, it is for several or none."""
    common = {
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            description="A midnight UTC, such as 2026-10-01. Empty: as the documentation of the DAG says.",
        ),
        "config": Param(CONFIG, type="string", minLength=1, description="The company's churn.toml."),
        "master": Param("spark_default", type="string", description="The Airflow connection to the Spark master."),
        "conf": Param(
            {},
            type="object",
            propertyNames={"not": {"pattern": _SENSITIVE}},
            description='Settings of Spark, such as {"spark.executor.memory": "8g"}. Airflow stores them in '
            "plain, so a secret is refused; it belongs into [spark] of churn.toml.",
        ),
    }
    if model:
        common["model"] = Param(
            f"{MODELS}/{model}.py", type="string", minLength=1, description=f"The model file, in {MODELS}."
        )
    return DAG(
        dag_id,
        doc_md=doc,
        description=(doc or "").strip().partition("\n")[0],
        params={**common, **(params or {})},
        tags=[dag_id.rpartition("_")[2], *([model] if model else [])],
        max_active_runs=1,
        user_defined_macros={"as_of": as_of},
        default_args={
            "owner": "churn",
            "retries": 2,
            "retry_delay": RETRY_EVERY,
            "retry_exponential_backoff": 2,
            "max_retry_delay": timedelta(hours=1),
            "execution_timeout": timedelta(hours=4),
            "pool": "spark",
            "on_failure_callback": on_failure,
        },
        **how,
    )


def for_models() -> dict[str, Param]:
    """The parameter `models` of a DAG of several models."""
    names = {"type": "string", "enum": list(SCORED)}
    return {"models": Param(list(SCORED), type="array", items=names, description="The models to run it for.")}


def scoring() -> dict[str, Param]:
    """The parameter `challenger` of a DAG that scores."""
    text = "While there is no champion, score by the challenger, which has not passed its gates."
    return {"challenger": Param(CHALLENGER, type="boolean", description=text)}


def step(
    job: str, *args: str, when: str = AS_OF, model: str | None = None, task_id: str | None = None, **kwargs: Any
) -> Step:
    """A script of jobs/ at an as-of, with the model of the DAG or the one named, unless it is for none."""
    of_model = ["--model", f"{MODELS}/{model}.py" if model else "{{ params.model }}"]
    common = ["--config", "{{ params.config }}", *([] if job in _WITHOUT_MODEL else of_model), "--as-of", when]
    return Step(
        task_id=task_id or job,
        application=str(ROOT / "jobs" / f"{job}.py"),
        application_args=[*common, *args],
        conn_id="{{ params.master }}",
        properties_file=SPARK_PROPERTIES,
        name="{{ dag.dag_id }}.{{ task.task_id }}",
        model=model,
        **kwargs,
    )


def sources() -> list[str]:
    """The sources that churn.toml maps, in the order of the file."""
    return list(tomllib.loads(Path(CONFIG).read_text("utf-8-sig"))["sources"])
