"""The DAGs without a scheduler: their ids, their policies, and every spark-submit line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import churn_steps as steps
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import DAG, CronDataIntervalTimetable, PartitionedAssetTimetable, macros
from airflow.sdk.exceptions import AirflowException, AirflowFailException, ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from conftest import ROOT, spark_environment

GOLDEN = Path(__file__).with_name("spark_submit.txt")
MIDNIGHT = datetime(2026, 10, 1, tzinfo=UTC)

IDS = [
    *("backfill", "churn_ingest", "churn_plan", "churn_retrain", "churn_score", "fraud_retrain", "fraud_score"),
    *("maintain", "monitor", "sales_retrain", "sales_score"),
]
RETRAIN = ["build_features > train", "evaluate > promote", "retrain_trigger > build_features", "train > evaluate"]
ORDER = {
    "backfill": [f"{model}.build_features > {model}.score" for model in ("churn", "fraud", "sales")],
    "churn_ingest": [
        "ingest_calls > accepted",
        "ingest_closures > accepted",
        "ingest_contacts > accepted",
        "ingest_customers > accepted",
        "ingest_fraud_reports > accepted",
        "ingest_transactions > accepted",
    ],
    "churn_plan": ["value > plan_campaign"],
    "churn_retrain": RETRAIN,
    "churn_score": ["build_features > score"],
    "fraud_retrain": RETRAIN,
    "fraud_score": ["build_features > score"],
    "maintain": [],
    "monitor": [],
    "sales_retrain": RETRAIN,
    "sales_score": ["build_features > score"],
}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(ROOT / "dags")


def every(bag: DagBag) -> Iterator[tuple[DAG, Any]]:
    for dag_id in IDS:
        yield from ((bag.dags[dag_id], task) for task in bag.dags[dag_id].tasks)


def run(**attributes: Any) -> Any:
    """What a template sees of a DAG run."""
    return SimpleNamespace(**{"partition_key": None, "data_interval_end": None, "run_after": MIDNIGHT} | attributes)


def serialized(dag: DAG) -> Any:
    """The DAG as the scheduler has it."""
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def test_these_dags_and_no_other(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == IDS


def test_a_file_is_parsed_in_under_a_second(bag: DagBag) -> None:
    assert len(bag.dagbag_stats) == len(IDS)
    assert max(stat.duration for stat in bag.dagbag_stats) < timedelta(seconds=1)


def test_parsing_imports_neither_spark_nor_the_library() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from airflow.dag_processing.dagbag import DagBag;"
        "bag = DagBag(sys.argv[1]); assert len(bag.dags) == int(sys.argv[2]), bag.import_errors;"
        "sys.exit(str(sorted({name.split('.')[0] for name in sys.modules} & {'pyspark', 'churn'})))"
    )
    line = [sys.executable, "-c", script, str(ROOT / "dags"), str(len(IDS))]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("dag_id", IDS)
def test_what_follows_what(bag: DagBag, dag_id: str) -> None:
    edges = [f"{task.task_id} > {after}" for task in bag.dags[dag_id].tasks for after in task.downstream_task_ids]
    assert sorted(edges) == ORDER[dag_id]


@pytest.mark.parametrize("dag_id", IDS)
def test_a_dag_is_documented_and_runs_one_as_of_at_a_time(bag: DagBag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert "**As-of**" in (dag.doc_md or "")
    assert dag.description
    assert dag.tags
    assert dag.max_active_runs == 1
    assert set(dag.params) >= {"as_of", "config", "master", "conf"}


def test_every_task_has_an_owner_retries_with_back_off_a_time_limit_a_pool_and_an_alert_on_failure(bag: DagBag) -> None:
    pools = json.loads((ROOT / "dags" / "pools.json").read_text())
    for dag, task in every(bag):
        where = f"{dag.dag_id}.{task.task_id}"
        assert task.owner == "churn", where
        assert (task.retries, task.retry_exponential_backoff) == (2, 2), where
        assert task.retry_delay >= timedelta(minutes=1), where
        assert task.execution_timeout == timedelta(hours=4), where
        assert list(task.on_failure_callback) == [steps.on_failure], where
        assert task.pool in (pools if isinstance(task, steps.Step) else ["default_pool"]), where


def test_every_task_that_scores_may_take_the_challenger(bag: DagBag) -> None:
    flags = {
        f"{dag.dag_id}.{task.task_id}": ("challenger" in dag.params, task.flags)
        for dag, task in every(bag)
        if isinstance(task, steps.Step) and str(task.application).endswith("/score.py")
    }
    names = ["backfill.churn.score", "backfill.fraud.score", "backfill.sales.score"]
    names += ["churn_score.score", "fraud_score.score", "sales_score.score"]
    assert flags == dict.fromkeys(names, (True, ["challenger"]))


def test_what_starts_a_run(bag: DagBag) -> None:
    listens = {
        dag_id: sorted(key.name for key, _ in serialized(dag).timetable.asset_condition.iter_assets())
        for dag_id, dag in bag.dags.items()
        if isinstance(dag.timetable, PartitionedAssetTimetable)
    }
    assert listens == {
        "churn_plan": ["churn_scores_churn"],
        "churn_retrain": ["churn_accepted"],
        "churn_score": ["churn_accepted"],
        "fraud_retrain": ["churn_accepted"],
        "fraud_score": ["churn_accepted"],
        "monitor": ["churn_scores_churn", "churn_scores_fraud", "churn_scores_sales"],
        "sales_retrain": ["churn_accepted"],
        "sales_score": ["churn_accepted"],
    }
    publishes = {
        f"{dag.dag_id}.{task.task_id}": [asset.name for asset in task.outlets]
        for dag, task in every(bag)
        if task.outlets
    }
    assert publishes == {
        "churn_ingest.accepted": ["churn_accepted"],
        "churn_score.score": ["churn_scores_churn"],
        "fraud_score.score": ["churn_scores_fraud"],
        "sales_score.score": ["churn_scores_sales"],
    }


@pytest.mark.parametrize("dag_id", ["churn_ingest", "backfill"])
def test_a_daily_run_covers_the_day_that_ends(bag: DagBag, dag_id: str) -> None:
    assert isinstance(bag.dags[dag_id].timetable, CronDataIntervalTimetable)
    begin, end = datetime(2026, 9, 29, tzinfo=UTC), datetime(2026, 9, 30, tzinfo=UTC)
    infos = serialized(bag.dags[dag_id]).iter_dagrun_infos_between(begin, end)
    as_ofs = [steps.as_of(run(data_interval_end=info.data_interval.end), {}) for info in infos]
    assert as_ofs == ["2026-09-30", "2026-10-01"]


def test_nothing_is_backfilled_unasked(bag: DagBag) -> None:
    assert serialized(bag.dags["backfill"]).next_dagrun_info(last_automated_run_info=None) is None
    assert serialized(bag.dags["churn_ingest"]).next_dagrun_info(last_automated_run_info=None) is not None


@pytest.mark.parametrize(
    ("dag_run", "params", "wanted"),
    [
        # by hand, in the middle of a day
        (run(run_after=datetime(2026, 10, 1, 13, 30, tzinfo=UTC)), {"as_of": None}, "2026-10-01"),
        # by hand, where it is another day already
        (run(run_after=datetime.fromisoformat("2026-10-02T01:00+02:00")), {}, "2026-10-01"),
        # by the clock
        (run(data_interval_end=MIDNIGHT, run_after=datetime(2026, 10, 4, tzinfo=UTC)), {}, "2026-10-01"),
        # by an asset, some days after
        (run(partition_key="2026-09-20"), {}, "2026-09-20"),
        # by its parameter
        (run(partition_key="2026-09-20", data_interval_end=MIDNIGHT), {"as_of": "2026-09-01"}, "2026-09-01"),
    ],
)
def test_the_as_of_of_a_run(dag_run: Any, params: dict[str, Any], wanted: str) -> None:
    assert steps.as_of(dag_run, params) == wanted


def submitted(dag: DAG, task: Any, **conf: Any) -> str:
    """The rendered spark-submit line of a run for 1 October, with paths relative to this checkout."""
    task = task.prepare_for_execution()
    params = {name: param.value for name, param in dag.params.items()} | conf
    context = {"dag": dag, "task": task, "params": params, "macros": macros, "dag_run": run(), "as_of": steps.as_of}
    task.render_template_fields(context, dag.get_template_env())
    return " ".join(task._get_hook()._build_spark_submit_command(task.application)).replace(f"{ROOT}/", "")


def test_every_spark_submit_line(bag: DagBag) -> None:
    lines = [
        f"{dag.dag_id}.{task.task_id}\n    {submitted(dag, task)}\n"
        for dag, task in every(bag)
        if isinstance(task, steps.Step)
    ]
    if "WRITE_GOLDEN" in os.environ:
        GOLDEN.write_text("".join(lines))
    assert "".join(lines) == GOLDEN.read_text()


def test_a_file_of_settings_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "SPARK_PROPERTIES", "/spark.conf")
    with steps.churn_dag("churn_score", "", model="churn") as dag:
        task = steps.step("score")
    assert " --properties-file /spark.conf " in submitted(dag, task)


def test_a_run_by_hand_takes_its_config_model_and_as_of(bag: DagBag) -> None:
    dag = bag.dags["fraud_score"]
    line = submitted(dag, dag.get_task("score"), as_of="2026-09-01", config="/c.toml", model="/m.py")
    assert line.endswith("jobs/score.py --config /c.toml --model /m.py --as-of 2026-08-31")


def test_a_model_outside_of_its_folder_is_refused_before_anything_is_submitted(
    bag: DagBag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model file is code: a run by hand must not name any file of the machine."""
    monkeypatch.setattr(steps, "MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link.py").symlink_to(tmp_path / "other.py")
    steps.check_model(str(tmp_path / "models" / "churn.py"))
    task = bag.dags["churn_score"].get_task("score").prepare_for_execution()
    for other in ("other.py", "models/../other.py", "models/link.py"):
        with pytest.raises(
            AirflowFailException, match=rf"model {tmp_path}/{other} is not in {tmp_path}/models; put it"
        ):
            task.execute({"params": {"model": str(tmp_path / other)}})
    assert task._hook is None


def test_a_secret_in_the_settings_of_a_run_is_refused(bag: DagBag) -> None:
    """Airflow would store it in plain, and show it."""
    for dag in bag.dags.values():
        conf = dag.params.get_param("conf")
        assert conf.resolve({"spark.executor.memory": "8g"})
        for name in ("spark.hadoop.fs.s3a.secret.key", "spark.hadoop.fs.s3a.access.key", "spark.ssl.keyPassword"):
            with pytest.raises(ParamValidationError) as refused:
                conf.resolve({name: "hush"})
            assert name in str(refused.value)
            assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "extra", "followed"),
    [
        ("local[*]", {}, (False, False)),
        ("spark://host:7077", {"deploy-mode": "client"}, (False, False)),
        ("yarn", {"deploy-mode": "client", "yarn_resourcemanager_webapp_address": "http://rm:8088"}, (False, False)),
        ("yarn", {"deploy-mode": "cluster", "yarn_resourcemanager_webapp_address": "http://rm:8088"}, (False, True)),
        ("yarn", {"deploy-mode": "cluster"}, (False, False)),
        ("k8s://https://host:6443", {"deploy-mode": "cluster"}, (True, False)),
    ],
)
def test_a_driver_is_followed_by_its_id_where_its_manager_reports_it(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch, host: str, extra: dict[str, str], followed: tuple[bool, bool]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_THERE", json.dumps({"conn_type": "spark", "host": host, "extra": extra}))
    task = bag.dags["churn_score"].get_task("score").prepare_for_execution()
    task._conn_id = "there"
    task._follow_drivers()
    assert (task._track_driver_via_k8s_api, task._yarn_track_via_rm_api) == followed
    assert task.durable == any(followed)


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("sys.exit('error: the model has no name')", 1, "error: the model has no name"),
        ("print('hold: no calls', file=sys.stderr); sys.exit(3)", 3, "hold: no calls"),
        ("print('nothing to do: 3 labels'); sys.exit(4)", 4, "nothing to do: 3 labels"),
        ("os.kill(os.getpid(), 9)", 137, "working"),
    ],
)
def test_the_code_and_the_message_of_a_real_spark_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, code: int, message: str
) -> None:
    for name, value in spark_environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "job.py").write_text(f"import os, sys\nprint('working', flush=True)\n{ending}\n")
    hook = SparkSubmitHook(conn_id="spark_default", name="a job")
    with pytest.raises(AirflowException) as failed:
        hook.submit(str(tmp_path / "job.py"))
    assert (steps.exit_code(hook, failed.value), steps.final_message(hook, failed.value)) == (code, message)


@pytest.mark.parametrize("code", [2, 5, 6, 7])
def test_what_a_retry_cannot_mend_fails_at_once(bag: DagBag, code: int) -> None:
    """Bad input, an exceeded limit, no champion, damage: the next try would find the same."""
    task = bag.dags["churn_score"].get_task("score").prepare_for_execution()
    submitted_process = SimpleNamespace(returncode=code)
    task._hook = SimpleNamespace(_submit_sp=submitted_process, _last_submit_log_lines=["error: the reason"])
    with pytest.raises(AirflowFailException, match="error: the reason"):
        task._end(AirflowException("spark-submit failed"), {})
