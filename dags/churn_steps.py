"""What the DAGs are made of: a step is one spark-submit of a script in jobs/, whose exit code becomes the state.

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
ALERT_COMMAND = os.environ.get("CHURN_ALERT_COMMAND")

AS_OF = "{{ as_of(dag_run, params) }}"
DAY_BEFORE = "{{ macros.ds_add(as_of(dag_run, params), -1) }}"
SCORED = {"churn": AS_OF, "fraud": DAY_BEFORE}
"""What each model scores: customers as of a midnight; the transactions of the day that ended then."""

ACCEPTED = Asset("churn_accepted")
SCORES = {model: Asset(f"churn_scores_{model}") for model in SCORED}

FAILED, BAD_INPUT, HOLD, NOTHING_TO_DO = 1, 2, 3, 4
_SAID = ("hold:", "error:", "nothing to do:")
_PR_SET_PDEATHSIG = 1


def as_of(dag_run: Any, params: Mapping[str, Any]) -> str:
    """The midnight UTC a run speaks for, as 2026-10-01.

    What its parameter says; else the partition of the asset that started it; else the end of its data interval; else,
    of a run by hand, the last midnight before it was to run.
    """
    told = params.get("as_of") or dag_run.partition_key
    moment = dag_run.data_interval_end or dag_run.run_after
    return str(told or f"{moment.astimezone(UTC):%Y-%m-%d}")


# --- a step -----------------------------------------------------------------------------------------------------------


class Step(SparkSubmitOperator):
    """A job by spark-submit: exit code 2 fails without a retry, 3 waits and tries again, 4 skips what follows.

    With `model`, a step of a DAG of several models; it is skipped where the run is not about that one.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "_conn_id")
    ui_color = "#f4e3d0"

    def __init__(self, *, model: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: Context) -> None:
        if self.model and self.model not in _models_of(context):
            raise AirflowSkipException(f"this run is not about {self.model}")
        self.conf = {**(self.conf or {}), **context["params"].get("conf", {})}
        self._follow_drivers()
        try:
            super().execute(context)
        except (AirflowException, RuntimeError) as error:
            self._end(error, context)
        for asset in self.outlets:
            context["outlet_events"][asset].add_partitions(as_of(context["dag_run"], context["params"]))

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        hook.submit = partial(hook.submit, preexec_fn=_end_with_parent)  # what it is given, Popen is given
        return hook

    def _follow_drivers(self) -> None:
        """In cluster mode a driver outlives this worker: a retry finds it again, where its manager can be asked."""
        connection = BaseHook.get_connection(self._conn_id)
        master, extra = f"{connection.conn_type}://{connection.host}", connection.extra_dejson
        in_cluster = extra.get("deploy-mode") == "cluster"
        self._track_driver_via_k8s_api = in_cluster and "k8s:" in master
        self._yarn_track_via_rm_api = in_cluster and "yarn" in master and "yarn_resourcemanager_webapp_address" in extra
        self.durable = self._track_driver_via_k8s_api or self._yarn_track_via_rm_api

    def _end(self, error: Exception, context: Context) -> None:
        code, said = exit_code(self._hook, error), last_words(self._hook, error)
        if code == BAD_INPUT:
            raise AirflowFailException(f"bad input or configuration: {said}") from error
        if code == NOTHING_TO_DO:
            raise AirflowSkipException(said) from error
        if code != HOLD:
            raise AirflowException(f"exit code {code}: {said}") from error
        begin, now = context["ti"].get_first_reschedule_date(context), datetime.now(UTC)
        if begin and now - begin > HOLD_LIMIT:
            raise AirflowFailException(f"held since {begin:%Y-%m-%d %H:%M}, which is long enough: {said}") from error
        if not begin:
            tell("hold", context, said)
        context["ti"].xcom_push("hold", said)
        raise AirflowRescheduleException(now + HOLD_EVERY) from error


def exit_code(hook: SparkSubmitHook | None, error: Exception) -> int:
    """The driver's own code where it is known: in client mode, and of a pod on Kubernetes; else 1."""
    submitted = getattr(hook, "_submit_sp", None)
    in_pod = getattr(hook, "_spark_exit_code", None)
    if told := re.search(r"\bexit_code=(\d+)", str(error)):
        return int(told[1])
    return in_pod or (submitted.returncode if submitted is not None else None) or FAILED


def last_words(hook: SparkSubmitHook | None, error: Exception) -> str:
    """The message that a job ends with, out of what spark-submit printed."""
    printed = [line for line in getattr(hook, "_last_submit_log_lines", ()) if line]
    said = [line for line in printed if line.startswith(_SAID)] or printed or str(error).splitlines()
    return str(said[-1])


def _end_with_parent() -> None:
    """In the spark-submit process: SIGTERM when the worker is killed outright, so that no driver is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _models_of(context: Context) -> set[str]:
    """The models a run is about: those whose scores started it, else those of its parameter."""
    started_by = {asset.name for asset in context.get("triggering_asset_events") or {}}
    return {model for model, asset in SCORES.items() if asset.name in started_by} or set(context["params"]["models"])


# --- telling ----------------------------------------------------------------------------------------------------------


def tell(kind: str, context: Context, said: str) -> None:
    """Give one JSON object to the alert command, if there is one, on its standard input."""
    ti = context["ti"]
    message = {
        "kind": kind,
        "dag": ti.dag_id,
        "task": ti.task_id,
        "run": ti.run_id,
        "as_of": as_of(context["dag_run"], context["params"]),
        "try": ti.try_number,
        "message": said,
    }
    if not ALERT_COMMAND:
        return
    try:
        subprocess.run(shlex.split(ALERT_COMMAND), input=json.dumps(message) + "\n", text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):  # a hold stays a hold, a failure a failure
        logging.getLogger(__name__).exception("the alert command failed")


def on_failure(context: Context) -> None:
    """Told once a task has failed for good."""
    tell("failure", context, str(context.get("exception") or "ended from outside"))


# --- declaring --------------------------------------------------------------------------------------------------------


def every_day(*, catchup: bool = True) -> dict[str, Any]:
    """A run a day at midnight UTC, over the day that ends; from CHURN_START on, without it from now on."""
    start = datetime.fromisoformat(START).replace(tzinfo=UTC) if START else datetime(2020, 1, 1, tzinfo=UTC)
    timetable = CronDataIntervalTimetable("0 0 * * *", timezone="UTC")
    return {"schedule": timetable, "start_date": start, "catchup": catchup and START is not None}


def for_backfill_alone() -> dict[str, Any]:
    """A timetable of days that has ended before it began: nothing runs but what `airflow backfill` asks for."""
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    return {**every_day(catchup=False), "start_date": long_ago, "end_date": long_ago}


def on(asset: Any) -> dict[str, Any]:
    """A run for each partition of an asset, which is an as-of."""
    return {"schedule": PartitionedAssetTimetable(assets=asset)}


def churn_dag(
    dag_id: str, doc: str | None, *, model: str | None = None, params: Mapping[str, Param] | None = None, **how: Any
) -> DAG:
    """A DAG with this project's policies; `model` is the one it is about, without it is about several or none."""
    common = {
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            description="The midnight UTC to speak for, such as 2026-10-01. Empty: as the DAG's documentation says.",
        ),
        "config": Param(CONFIG, type="string", minLength=1, description="The company's churn.toml."),
        "master": Param("spark_default", type="string", description="The Airflow connection to the Spark master."),
        "conf": Param({}, type="object", description='Settings of Spark, such as {"spark.executor.memory": "8g"}.'),
    }
    if model:
        common["model"] = Param(f"{MODELS}/{model}.py", type="string", minLength=1, description="The model's file.")
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
    """The parameter of a DAG of several models."""
    names = {"type": "string", "enum": list(SCORED)}
    return {"models": Param(list(SCORED), type="array", items=names, description="The models to run it for.")}


def step(
    job: str, *args: str, when: str = AS_OF, model: str | None = None, task_id: str | None = None, **kwargs: Any
) -> Step:
    """A script of jobs/ at an as-of, with the model of the DAG, or the one named; ingest has none."""
    of_model = ["--model", f"{MODELS}/{model}.py" if model else "{{ params.model }}"]
    common = ["--config", "{{ params.config }}", *([] if job == "ingest" else of_model), "--as-of", when]
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
    """The sources that churn.toml maps, in its order."""
    return list(tomllib.loads(Path(CONFIG).read_text("utf-8-sig"))["sources"])
