"""A real MLflow server on loopback, and a headless Chromium that loads its pages.

    python -m tests.browser sample_data docs/images

takes the screenshots of the documentation, from a store that `churn run`, `jobs/promote.py` and `jobs/monitor.py` have
filled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from tests.loopback import free_ports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_UP_SECONDS = 180
_VIRTUAL_MS = 30_000
"""Chromium's virtual time: responses have arrived by then, however slow the machine."""


@contextmanager
def served(store: Path) -> Iterator[str]:
    """The address of an MLflow server over a SQLite store."""
    [port] = free_ports()
    line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    server = subprocess.Popen(
        [*line, "--backend-store-uri", f"sqlite:///{store}"],
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(f"{address}/health", server)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {server.returncode} before it was up")
        with suppress(URLError, OSError), urlopen(address, timeout=5):  # noqa: S310 - loopback
            return
        time.sleep(0.5)
    raise TimeoutError(f"nothing answered at {address} in {_UP_SECONDS} s")


def _load(address: str, *options: str, size: tuple[int, int]) -> str:
    """Load a page in a profile of its own, until it has finished; the browser's output."""
    assert CHROMIUM, "no chromium"
    with tempfile.TemporaryDirectory() as profile:
        line = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-features=IsolateSandboxedIframes",  # else a report in MLflow's frame is not in the screenshot
            "--no-first-run",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            f"--virtual-time-budget={_VIRTUAL_MS}",
            *options,
            address,
        ]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=300).stdout


def dom(address: str) -> str:
    """A page's elements, once its scripts have run."""
    return _load(address, "--dump-dom", size=(1400, 1000))


def picture(address: str, file: Path, size: tuple[int, int], *, width: int | None = None) -> None:
    """A screenshot of a page in 128 colours; `width` crops it from the left."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _load(address, f"--screenshot={file.absolute()}", size=size)
    whole = Image.open(file).convert("RGB")
    shown = whole.crop((0, 0, min(width or whole.width, whole.width), whole.height))
    shown.quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def newest(client: MlflowClient, experiment: str, name: str) -> Run:
    """The newest run whose name begins so."""
    return client.search_runs([experiment], f"attributes.run_name LIKE '{name}%'", order_by=["start_time DESC"])[0]


def main(folder: Path, images: Path, model: str = "churn") -> None:
    """Screenshots of the newest evaluation, the champion and its newest monitoring run; `folder` holds churn.toml."""
    store = folder / "mlflow.db"
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("churn")
    assert experiment is not None
    jobs = ("evaluate", "monitor")
    evaluation, monitoring = (newest(client, experiment.experiment_id, f"{job} {model}") for job in jobs)
    champion = client.get_model_version_by_alias(model, "champion").version
    with served(store) as address:
        runs = f"{address}/#/experiments/{experiment.experiment_id}/runs"
        wide: dict[str, Any] = {"size": (1800, 1050), "width": 1335}  # without the sidebar on the right
        picture(f"{runs}/{evaluation.info.run_id}", images / "mlflow-run.png", **wide)
        picture(f"{runs}/{evaluation.info.run_id}/artifacts/report.html", images / "mlflow-report.png", **wide)
        picture(f"{address}/#/models/{model}", images / "mlflow-model.png", **wide)
        picture(f"{address}/#/models/{model}/versions/{champion}", images / "mlflow-version.png", **wide)
        picture(f"{runs}/{monitoring.info.run_id}/artifacts/monitoring.html", images / "mlflow-monitoring.png", **wide)
    evaluated, monitored = (run.data.tags["run_key"].rpartition(" ")[2] for run in (evaluation, monitoring))
    reports = folder / "reports"
    picture((reports / f"{model}-{evaluated}.html").as_uri(), images / "report.png", (1100, 1500))
    picture((reports / f"{model}-monitoring-{monitored}.html").as_uri(), images / "monitoring.png", (1100, 1800))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]))
