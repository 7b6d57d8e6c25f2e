"""Jobs that reach one MLflow store at the same time, or are killed while they make it: real processes, a real store."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from churn.registry import tracking

KEY = "train sales 2026-10-01"
TRAIN = """
    import sys, time
    from churn.registry import tracking
    with tracking.run(sys.argv[1], "at once", "train", key=sys.argv[2]) as run:
        print(run.id, flush=True)
        time.sleep(float(sys.argv[3]))
        version = run.register("sales", digest=sys.argv[4])
    print(version)
"""


def train(store: str, *, seconds: float = 0, digest: str = "same", key: str = KEY) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", textwrap.dedent(TRAIN), store, key, str(seconds), digest]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(job: subprocess.Popen[str]) -> list[str]:
    """What a job that succeeded printed."""
    printed, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors
    assert "Traceback" not in errors
    return printed.splitlines()


def versions(store: str) -> dict[str, str]:
    """The versions there are, and their digests."""
    client = MlflowClient(store)
    return {str(one.version): one.tags["digest"] for one in client.search_model_versions("name = 'sales'")}


def test_two_first_jobs_make_one_store_one_version_and_its_alias(tmp_path: Path) -> None:
    """Two first trainings of one as-of at once: the second waits, and finds the model that the first registered."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    jobs = [train(store), train(store)]
    assert [ended(job)[-1] for job in jobs] == ["1", "1"]
    assert versions(store) == {"1": "same"}
    client = MlflowClient(store)
    assert {alias: str(of) for alias, of in client.get_registered_model("sales").aliases.items()} == {"challenger": "1"}
    experiment = client.get_experiment_by_name("at once")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"] * 2
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith(".")) == ["mlflow.db"]


def test_a_first_job_that_is_killed_leaves_no_half_of_a_store(tmp_path: Path) -> None:
    """The store is made under another name, and renamed when it is whole."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    making = tmp_path / ".mlflow.db.new"
    job = train(store)
    while not (making.exists() and making.stat().st_size > 4096):  # some of its tables, not all
        assert job.poll() is None
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    assert job.wait(timeout=30) == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    assert ended(train(store))[-1] == "1"
    assert not making.exists()


def test_a_live_run_is_left_alone_by_the_next_of_its_key(tmp_path: Path) -> None:
    """The second job of a key says that it waits; only a run whose process has ended is marked FAILED."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = train(store, seconds=600)
    assert first.stdout is not None
    run_id = first.stdout.readline().strip()
    second = train(store, digest="other")
    assert second.stderr is not None
    waits = next(line for line in second.stderr if line.startswith("waiting"))
    assert waits == f"waiting for another job: run {KEY} of {tmp_path / 'mlflow.db'}\n"
    client = MlflowClient(store)
    assert client.get_run(run_id).info.status == "RUNNING"
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=30)
    assert ended(second)[-1] == "1"
    seen = client.get_run(run_id)
    assert (seen.info.status, seen.data.tags["ended"]) == ("FAILED", "killed; ended by the next run of the same key")


def test_a_rerun_keeps_what_has_scored_and_what_is_the_same(tmp_path: Path) -> None:
    """A kill between the version and its alias leaves no version too many; one that has scored is never deleted."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert ended(train(store))[-1] == "1"
    client = MlflowClient(store)
    client.delete_registered_model_alias("sales", "challenger")  # as if it had been killed before
    assert ended(train(store))[-1] == "1"
    assert {alias: str(of) for alias, of in client.get_registered_model("sales").aliases.items()} == {"challenger": "1"}
    client.set_model_version_tag("sales", "1", "scored", "2026-10-01")
    assert ended(train(store, digest="second"))[-1] == "2"
    assert ended(train(store, digest="third"))[-1] == "3"
    assert versions(store) == {"1": "same", "3": "third"}


def test_the_locks_of_a_server_are_the_same_whatever_tmpdir_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow, cron and a shell may each have a TMPDIR of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tracking.registering("http://mlflow.test", "churn"):
        pass
    assert list(tmp_path.iterdir()) == []
