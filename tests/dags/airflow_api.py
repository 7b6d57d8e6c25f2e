"""A real Airflow in a process group of its own, and its REST API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests
from conftest import PYTHON, ROOT

from tests.loopback import free_ports

T = TypeVar("T")
READY_SECONDS = 300
UNCHANGED = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600"}
"""DAGs that do not change need not be read every half a minute."""
_DAGS = len([file for file in (ROOT / "dags").glob("*.py") if file.name != "churn_steps.py"])
END_SECONDS = 120


@dataclass
class Airflow:
    """What an engineer on call does and sees, through the REST API."""

    url: str
    home: Path
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def password(self) -> str:
        return str(json.loads((self.home / "passwords.json").read_text())["admin"])

    def call(self, method: str, path: str, *, retried: Sequence[int] = (), **kwargs: Any) -> Any:
        """The answer; 503, which is asked again, is SQLite's, which has one writer at a time."""
        answer = wait(
            lambda: self.session.request(method, f"{self.url}/api/v2{path}", timeout=60, **kwargs),
            lambda answer: answer.status_code not in (requests.codes.unavailable, *retried),
            seconds=120,
            what=path,
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.text else None

    def unpause(self, *dags: str, paused: bool = False) -> None:
        for dag in dags:
            self.call("PATCH", f"/dags/{dag}", json={"is_paused": paused})

    def trigger(self, dag: str, **conf: Any) -> str:
        """Start a run by hand, without a logical date, as the page does; its id."""
        return str(self.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/dags/{dag}/dagRuns", params={"order_by": "run_after"})["dag_runs"])

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        instances = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in instances}

    def states(self, dag: str, run: str) -> dict[str, str | None]:
        return {name: task["state"] for name, task in self.tasks(dag, run).items()}

    def xcom(self, dag: str, run: str, task: str, key: str) -> Any:
        """Its value, once it is there: each start of a task, also after a reschedule, clears what was pushed before."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}"
        return self.call("GET", path, retried=[requests.codes.not_found])["value"]

    def ended(self, dag: str, run: str, *, seconds: float = 900) -> str:
        """The state that a run ends in."""
        state = wait(
            lambda: self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"],
            lambda state: state in ("success", "failed"),
            seconds=seconds,
            what=f"{dag} {run}",
        )
        return str(state)

    def run_of(self, dag: str, *, partition: str, seconds: float = 300) -> str:
        """The run that a partition of an asset has started."""
        started = wait(
            lambda: [run["dag_run_id"] for run in self.runs(dag) if run["partition_key"] == partition],
            bool,
            seconds=seconds,
            what=f"a run of {dag} for {partition}",
        )
        return str(started[0])


def wait(read: Callable[[], T], is_done: Callable[[T], object], *, seconds: float, what: str) -> T:
    """The value that `read` returns, called twice a second, once `is_done` of it."""
    deadline = time.monotonic() + seconds
    while not is_done(value := read()):
        assert time.monotonic() < deadline, f"{what}: still {value!r} after {seconds:.0f} s"
        time.sleep(0.5)
    return value


@contextmanager
def airflow(folder: Path, *, models: Path, options: Sequence[str], env: Mapping[str, str]) -> Iterator[Airflow]:
    """Airflow with its home in a folder that holds churn.toml; all its processes end with it."""
    [port] = free_ports()
    home = folder / "airflow"
    home.mkdir()
    line = [
        *(PYTHON, "-m", "churn", "airflow", "--home", home, "--config", folder / "churn.toml"),
        *("--models", models, "--port", port, *options),
    ]
    with (home / "output.txt").open("w") as output:
        started = subprocess.Popen(
            [str(word) for word in line],
            cwd=ROOT,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
                **UNCHANGED,
                **env,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        it = Airflow(f"http://127.0.0.1:{port}", home)
        wait(lambda: ready(it, started), bool, seconds=READY_SECONDS, what=f"Airflow, see {home / 'output.txt'}")
        pool = {"pool": "spark", "slots": 2, "include_deferred": False}
        it.call("PATCH", "/pools/spark", params={"update_mask": "slots"}, json=pool)
        yield it
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(END_SECONDS)
        assert of_folder(folder) == [], "something outlived Airflow"


def of_folder(folder: Path) -> list[str]:
    """The command lines of processes that name a folder in their arguments or their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            text = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if place.name != str(os.getpid()) and str(folder).encode() in text:
            found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def ready(it: Airflow, process: subprocess.Popen[bytes]) -> bool:
    """Whether it answers and has read the DAGs."""
    assert process.poll() is None, (it.home / "output.txt").read_text()[-3000:]
    try:
        if "Authorization" not in it.session.headers:
            login = {"username": "admin", "password": it.password}
            token = requests.post(f"{it.url}/auth/token", json=login, timeout=10).json()["access_token"]
            it.session.headers["Authorization"] = f"Bearer {token}"
        health = it.call("GET", "/monitor/health")
        return health["scheduler"]["status"] == "healthy" and len(it.call("GET", "/dags")["dags"]) == _DAGS
    except (OSError, AssertionError, KeyError):  # those of requests are OSErrors
        return False
