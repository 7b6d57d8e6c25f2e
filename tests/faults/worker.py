"""A process with a Spark session that runs jobs as its standard input says, and kills itself at a point that is named.

Every point at which a job changes something is counted: before, inside and after a commit of Delta's, a call of
MLflow's that writes, the renaming of a file, a micro-batch. See tests/faults/chain.py for the other end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Final

MLFLOW_WRITES: Final = (
    "create_experiment", "create_run", "update_run_info", "log_batch", "log_param", "log_inputs", "set_tag",
    "create_logged_model", "finalize_logged_model", "set_logged_model_tags", "log_logged_model_params", "log_outputs",
    "record_logged_model", "create_registered_model", "create_model_version", "delete_model_version",
    "set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias",
)  # fmt: skip


class Points:
    """The points of the job that runs; at one of them the process group is killed."""

    def __init__(self) -> None:
        self.begin(None, "")

    def begin(self, kill: list[Any] | None, folder: str) -> None:
        self.seen: list[str] = []
        self.counts: Counter[str] = Counter()
        self.target: tuple[str, int] | None = (kill[0], kill[1]) if kill else None
        self.seconds: float = kill[2] if kill else 0
        self.folder = folder
        self._calls = threading.local()

    def at(self, point: str) -> None:
        """Pass a point."""
        self.seen.append(point)
        self.counts[point] += 1
        if self.target == (point, self.counts[point]):
            die()

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """A call of MLflow's: a point before and after it, and one inside for each change it makes."""
        if getattr(self._calls, "name", None):
            yield
            return
        self.at(f"{name}: before")
        self._calls.name = name
        try:
            yield
        finally:
            self._calls.name = None
        self.at(f"{name}: after")

    def inside(self) -> None:
        """A change within a call: what has been done so far is not yet there for others."""
        if name := getattr(self._calls, "name", None):
            self.at(f"{name}: inside")

    @contextmanager
    def commit(self, root: Path, table: str) -> Iterator[None]:
        """A commit: before it, when its first file is there, when its log entry is there, and after it."""
        folder, name = root / table, f"commit {table}"
        self.at(f"{name}: before")
        number = self.counts[f"{name}: before"]
        for phase, seen in (("files", _new_files(folder)), ("log", _new_entries(folder))):
            self.seen.append(f"{name}: {phase}")
            if self.target == (f"{name}: {phase}", number):
                threading.Thread(target=self._die_after, args=(seen,), daemon=True).start()
        yield
        if self.target in ((f"{name}: files", number), (f"{name}: log", number)):
            die()  # it was faster than the thread
        self.at(f"{name}: after")

    def _die_after(self, seen: Callable[[], bool]) -> None:
        while not seen():
            time.sleep(0.002)
        time.sleep(self.seconds)
        die()


def die() -> None:
    os.killpg(0, signal.SIGKILL)


def _new_files(folder: Path) -> Callable[[], bool]:
    before = set(folder.rglob("*.parquet"))
    return lambda: any(file not in before for file in folder.rglob("*.parquet"))


def _new_entries(folder: Path) -> Callable[[], bool]:
    before = set((folder / "_delta_log").glob("*.json"))
    return lambda: any(file not in before for file in (folder / "_delta_log").glob("*.json"))


def _wrap(owner: Any, name: str, within: Callable[..., Any]) -> None:
    """Call a function inside of the context that `within` makes of its arguments."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **more: Any) -> Any:
        with within(*args, **more):
            return original(*args, **more)

    setattr(owner, name, wrapped)


def place(points: Points) -> None:
    """Put the points into the libraries; the project itself knows nothing of them."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Versions
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from churn.registry import tracking
    from churn.scoring import stream
    from churn.storage import Lake

    for owner in (Runs, Versions):
        for name in MLFLOW_WRITES:
            if name in vars(owner):
                _wrap(owner, name, lambda *_, name=name, **__: points.call(f"mlflow {name}"))
    for name in ("log_artifact", "log_artifacts"):
        _wrap(LocalArtifactRepository, name, lambda *_, name=name, **__: points.call(f"mlflow {name}"))
    _wrap(tracking, "_create", lambda store: nullcontext() if store.exists() else points.call("mlflow make the store"))
    event.listen(Engine, "commit", lambda _: points.inside())

    committing = Lake._committing

    @contextmanager
    def committed(lake: Lake, name: str) -> Iterator[None]:
        with committing(lake, name), points.commit(Path(lake.root), name):
            yield

    Lake._committing = committed  # type: ignore[method-assign]

    @contextmanager
    def around(name: str) -> Iterator[None]:
        points.at(f"{name}: before")
        yield
        points.at(f"{name}: after")

    _wrap(stream.StreamScorer, "_micro_batch", lambda *_, **__: around("micro-batch"))
    _wrap(stream, "publish", lambda *_, **__: around("alerts sent"))

    def audited(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "shutil.copyfile":
            points.inside()
        elif name == "os.rename" and points.folder and str(arguments[1]).startswith(points.folder):
            points.at(f"rename {Path(str(arguments[1])).suffix}: before")

    sys.addaudithook(audited)


def run(order: dict[str, Any], points: Points) -> dict[str, Any]:
    """A job: its exit code, what it printed, and the points it passed."""
    points.begin(order["kill"], order["folder"])
    with redirect_stdout(StringIO()) as output, redirect_stderr(output):
        try:
            code = import_module(f"jobs.{order['job']}").main(order["arguments"])
        except BaseException:
            code = "raised"
            traceback.print_exc()
    return {"code": code, "output": output.getvalue(), "points": points.seen}


def main() -> None:
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    from churn.runtime.session import session
    from tests.faults.chain import forget_tables

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the JVM prints is no answer
    points = Points()
    place(points)
    conf = {
        "spark.master": "local[2]",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",  # so few rows are read sooner than code is compiled for them
    }
    spark = session("faults", conf=conf, lean=True)
    for line in sys.stdin:
        forget_tables(spark)
        TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()  # the store may have been removed since
        answers.write(json.dumps(run(json.loads(line), points)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
