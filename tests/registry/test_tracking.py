"""Runs, models and their registry in a real SQLite store."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname, urlopen

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from churn.config import load
from churn.errors import BadInputError, ChurnError, DamageError
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.runtime.processes import start_group

KEY = "train churn 2026-10-01"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the module: making its tables takes two seconds. Each test has an experiment of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'deep' / 'mlflow.db'}"


def runs(store: str, experiment: str) -> list[tuple[str, str]]:
    """(status, run key) of every run, the oldest first."""
    client = MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return [
        (run.info.status, run.data.tags["run_key"])
        for run in client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])
    ]


def begin(store: str, experiment: str, key: str = KEY) -> None:
    with tracking.run(store, experiment, "train", key=key):
        pass


def test_what_is_logged_can_be_read_again(store: str) -> None:
    as_of = datetime(2026, 10, 1)
    with tracking.run(store, "logged", "train", key=KEY, tags={"as_of": "2026-10-01"}) as run:
        run.params({"seed": 17, "candidates": {"gbt": {"maxIter": 60}}, "long": "x" * 7000})
        run.metrics(
            "test", {"auc": 0.75, "brier": None, "lift": {"0.1": 3.1}, "intervals": {"auc": [0.7, 0.8]}}, as_of=as_of
        )
        run.table("calls", path="/lake/calls", version=3)
        run.text("<p>good</p>", "report.html")
        run.json({"b": 1}, "settings.json")
        run.text("<svg/>", "plots/line.svg")

    client = MlflowClient(store)
    seen = client.get_run(run.id)
    assert seen.data.params == {
        "seed": "17",
        "candidates.gbt.maxIter": "60",
        "long": "x" * 5999 + "…",
        "table.calls.version": "3",
    }
    assert seen.data.metrics == {
        "test/auc": 0.75,
        "test/lift/0.1": 3.1,
        "test/intervals/auc/low": 0.7,
        "test/intervals/auc/high": 0.8,
    }
    point = client.get_metric_history(run.id, "test/auc")[0]
    assert (point.step, point.timestamp) == (20261001, 1_790_812_800_000)
    assert [(d.dataset.name, d.dataset.digest) for d in seen.inputs.dataset_inputs] == [("calls", "v3")]
    assert {artifact.path for artifact in client.list_artifacts(run.id)} == {"plots", "report.html", "settings.json"}
    assert seen.data.tags["as_of"] == "2026-10-01"
    # Beside the store, so that moving or deleting one folder moves or deletes all of it.
    beside = Path(store.removeprefix("sqlite:///")).parent / "mlruns" / run.id / "artifacts" / "plots" / "line.svg"
    assert beside.read_text() == "<svg/>"


def test_a_run_that_raises_is_failed_with_the_reason(store: str) -> None:
    with pytest.raises(BadInputError, match="nothing to learn"), tracking.run(store, "raises", "train", key=KEY) as run:
        raise BadInputError("nothing to learn from")
    seen = MlflowClient(store).get_run(run.id)
    assert (seen.info.status, seen.data.tags["error"]) == ("FAILED", "BadInputError: nothing to learn from")


def test_an_error_without_a_text_fails_the_run_too(store: str) -> None:
    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise ConnectionError("the JVM that had it is gone")

    with pytest.raises(SpeechlessError), tracking.run(store, "speechless", "train", key=KEY) as run:
        raise SpeechlessError
    seen = MlflowClient(store).get_run(run.id)
    assert (seen.info.status, seen.data.tags["error"]) == ("FAILED", "SpeechlessError")


def test_a_swallowed_sigterm_still_fails_the_run(store: str) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def swallow() -> None:  # as Python does with what a destructor raises
        with suppress(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended, tracking.run(store, "swallowed", "train", key=KEY):
        swallow()
    assert ended.value.code == 143
    assert runs(store, "swallowed") == [("FAILED", KEY)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_sigterm_while_failing_does_not_stop_the_failing(store: str) -> None:
    """As when Spark's JVM is terminated: the call into it raises, and its monitor sends SIGTERM just after that."""

    class LateError(Exception):
        def __str__(self) -> str:
            os.kill(os.getpid(), signal.SIGTERM)
            return "while its text was made"

    with pytest.raises(LateError), tracking.run(store, "late", "train", key=KEY):
        raise LateError
    assert runs(store, "late") == [("FAILED", KEY)]


def test_an_earlier_handler_is_called_too(store: str) -> None:
    def leave(number: int, _frame: object) -> None:
        raise SystemExit(number + 1)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit) as ended, tracking.run(store, "handled", "train", key=KEY):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == signal.SIGTERM + 1
    assert runs(store, "handled") == [("FAILED", KEY)]


# Leaving takes its time, as it does while Spark's JVM is busy: the run is ended before that, not after.
CHILD = """
    import sys, time
    from churn.registry import tracking
    with tracking.run(sys.argv[1], sys.argv[2], "train", key=sys.argv[3]):
        try:
            print("started", flush=True)
            time.sleep(60)
        finally:
            print(tracking.MlflowClient(sys.argv[1]).get_run(tracking.mlflow.active_run().info.run_id).info.status)
"""


@pytest.mark.parametrize(
    ("sent", "code", "left"),
    [
        (signal.SIGTERM, 143, "FAILED"),
        (signal.SIGKILL, -signal.SIGKILL, "RUNNING"),  # killed before it could end the run
    ],
)
def test_a_killed_job_and_its_rerun(store: str, sent: signal.Signals, code: int, left: str) -> None:
    experiment = f"killed by {sent.name}"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), store, experiment, KEY], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(sent)
        assert child.wait(timeout=30) == code
        assert child.stdout.read() == ("FAILED\n" if left == "FAILED" else "")
    assert runs(store, experiment) == [(left, KEY)]

    with tracking.run(store, experiment, "another", key="train churn 2026-11-01"):
        assert runs(store, experiment)[0] == (left, KEY)  # another job's run is left alone
    with tracking.run(store, experiment, "rerun", key=KEY):
        pass
    assert runs(store, experiment) == [("FAILED", KEY), ("FINISHED", "train churn 2026-11-01"), ("FINISHED", KEY)]


@pytest.mark.parametrize("name", ["a b%20c", "what?", "d[1]{x}:ü #q;'&+\""])
def test_a_store_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    """What is logged can be read again, and the store and its locks are in that folder; so for a key of any name."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "churn.toml").touch()
    uri = load(folder / "churn.toml").tracking_uri
    key = f"uplift {name}"
    with tracking.run(uri, "any name", "uplift", key=key) as run:
        run.fit_summary({"a": 1})
        version = run.register("churn")
    client = MlflowClient(uri)
    client.update_run(run.id, status="RUNNING")  # as if it had been killed
    begin(uri, "any name", key)
    assert client.get_run(run.id).info.status == "FAILED"
    assert ModelRegistry(uri, "churn").summary(version) == {"a": 1}
    assert {"mlflow.db", ".mlflow.db.locks", "mlruns"} <= {file.name for file in folder.iterdir()}


def test_a_store_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ChurnError, match=r"cannot track runs at sqlite:.*check \[tracking\] uri in churn.toml"):
        begin(f"sqlite:///{tmp_path}/file/mlflow.db", "any")
    with pytest.raises(ChurnError, match=r"cannot track runs at carrier-pigeon:"):
        begin("carrier-pigeon://roof", "any")


def test_a_server_that_is_down_fails_soon(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    begin_time = time.monotonic()
    with pytest.raises(ChurnError, match=r"cannot track runs at http://127.0.0.1"):
        begin(f"http://127.0.0.1:{unused_port}", "any")
    assert time.monotonic() - begin_time < 20


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_server_that_goes_away_is_one_message(store: str) -> None:
    """What is raised while a run logs is explained, as where it begins; a password is not in it."""
    with (
        pytest.raises(ChurnError, match=r"cannot track runs at .*: no answer of http://ann:\*\*\*@host:5000; check"),
        tracking.run(store, "gone away", "train", key=KEY),
    ):
        raise MlflowException("no answer of http://ann:hush@host:5000")
    assert runs(store, "gone away") == [("FAILED", KEY)]


@contextmanager
def server(store: Path, port: int) -> Iterator[int]:
    """The process group of a real MLflow server, once it answers."""
    line = [*(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")]
    line += ["--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(store.parent / "artifacts")]
    process = start_group(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.25)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_run_whose_server_goes_away_ends_in_one_message_and_does_not_stay_running(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run of its key ends it as FAILED, as soon as the store can be reached."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store, uri = tmp_path / "mlflow.db", f"http://127.0.0.1:{unused_port}"

    def lose_the_server() -> None:
        with server(store, unused_port) as group, tracking.run(uri, "away", "train", key=KEY) as run:
            os.killpg(group, signal.SIGKILL)
            run.metrics("test", {"auc": 0.75})

    with pytest.raises(ChurnError, match=r"cannot track runs at http://127\.0\.0\.1.*server answers, then run again$"):
        lose_the_server()
    begin(f"sqlite:///{store}", "away")
    assert runs(f"sqlite:///{store}", "away") == [("FAILED", KEY), ("FINISHED", KEY)]


def test_a_deleted_experiment_is_not_written_to(store: str) -> None:
    begin(store, "gone")
    client = MlflowClient(store)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(BadInputError, match=r"the experiment 'gone' .* was deleted; restore it"):
        begin(store, "gone")


def test_a_rerun_replaces_what_it_registered(store: str) -> None:
    client = MlflowClient(store)

    def train(key: str) -> str:
        with tracking.run(store, "registry", "train", key=key) as run:
            return run.register("sales")

    def versions() -> dict[str, str]:
        found = client.search_model_versions("name = 'sales'")
        return {str(version.version): version.tags["run_key"] for version in found}

    assert train(KEY) == "1"
    assert train(KEY) == "2"  # run again: the first one's version is deleted
    assert versions() == {"2": KEY}
    client.set_registered_model_alias("sales", "champion", "2")
    assert train(KEY) == "3"  # run again: a champion stays
    assert train("train sales 2026-11-01") == "4"
    assert versions() == {"2": KEY, "3": KEY, "4": "train sales 2026-11-01"}
    assert [str(client.get_model_version_by_alias("sales", alias).version) for alias in ("challenger", "champion")] == [
        "4",
        "2",
    ]


def gone(file: Path) -> None:
    file.unlink()


def other(file: Path) -> None:
    file.write_text('{"split": {"matured": []}}')


def garbled(file: Path) -> None:
    file.write_bytes(b"\xff")


@pytest.mark.parametrize(("damage", "error"), [(gone, ChurnError), (garbled, ChurnError), (other, DamageError)])
def test_what_training_recorded_of_a_version_is_read_as_it_was_or_not_at_all(
    store: str, damage: Callable[[Path], None], error: type[ChurnError]
) -> None:
    """Without it, a trigger would say that there is no version yet."""
    name = f"fit_{damage.__name__}"
    with tracking.run(store, "fit", "train", key=f"train {name}") as run:
        run.fit_summary({"split": {"matured": ["2026-07-03"]}})
        version = run.register(name)
    registry = ModelRegistry(store, name)
    assert registry.summary(version) == {"split": {"matured": ["2026-07-03"]}}
    file = Path(store.removeprefix("sqlite:///")).parent / "mlruns" / run.id / "artifacts" / "fit.json"
    damage(file)
    with pytest.raises(error, match=rf"{run.id}/artifacts/fit.json of {name} version 1 .* bring it back, train again"):
        registry.summary(version)


def test_a_model_is_logged_and_loaded_again(store: str, spark: SparkSession) -> None:
    schema = "a double, b double, label int"
    rows = spark.createDataFrame([(0.0, 1.0, 0), (1.0, 0.0, 1), (0.2, 0.9, 0), (0.9, 0.3, 1)], schema)
    stages = [VectorAssembler(inputCols=["a", "b"], outputCol="features"), LogisticRegression(regParam=0.1)]
    fitted = Pipeline(stages=stages).fit(rows)
    scored = fitted.transform(rows)

    with pytest.raises(BadInputError, match=r"no model 'churn' is registered .*; train one first"):
        tracking.load_model(store, "churn")
    with tracking.run(store, "models", "train", key=KEY) as run:
        run.model(fitted, inputs=rows.select("a", "b"), outputs=scored.select("prediction"))
        assert run.register("churn") == "1"
    with pytest.raises(BadInputError, match=r"no version or alias 'champion' .*; known: challenger = version 1"):
        tracking.load_model(store, "churn", "champion")

    loaded = tracking.load_model(store, "churn")
    assert (loaded.number, loaded.run_id) == ("1", run.id)
    signature = get_model_info(f"runs:/{run.id}/model").signature
    assert (signature.inputs.input_names(), signature.outputs.input_names()) == (["a", "b"], ["prediction"])
    want = [tuple(row.probability) for row in scored.select("probability").collect()]
    assert [tuple(row.probability) for row in loaded.model.transform(rows).select("probability").collect()] == want

    shutil.rmtree(url2pathname(urlsplit(MlflowClient(store).get_model_version_download_uri("churn", "1")).path))
    with pytest.raises(ChurnError, match=r"the files of churn version 1 cannot be read from .*; bring them back"):
        tracking.load_model(store, "churn")
