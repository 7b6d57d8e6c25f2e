"""Signals to the processes of a real spark-submit, and the end of process groups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from churn.runtime import processes
from churn.runtime.session import environment, submit

JOB = """
import sys, time
from pathlib import Path
from churn.runtime import processes
from churn.runtime.session import session

state = Path(sys.argv[1])
with processes.guard(), session("sleeper"):
    try:
        state.write_text("ready")
        time.sleep(300)
    except BaseException:
        print("nobody may be left to read this", flush=True)
        state.write_text("exited")
        raise
"""
RUN = "import os, sys; from churn.runtime.processes import run; sys.exit(run(sys.argv[1:], env=os.environ))"


def wait_for(state: Path, text: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not (state.exists() and state.read_text() == text):
        assert time.monotonic() < deadline, f"never {text!r}: {state.exists() and state.read_text()!r}"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("by_run", "signum", "code"),
    [
        pytest.param(False, signal.SIGTERM, 128 + signal.SIGTERM, id="spark-submit-term"),
        pytest.param(False, signal.SIGKILL, -signal.SIGKILL, id="spark-submit-kill"),
        pytest.param(True, signal.SIGTERM, 128 + signal.SIGTERM, id="run-term"),
        pytest.param(True, signal.SIGKILL, -signal.SIGKILL, id="run-kill"),
    ],
)
def test_a_driver_exits_through_its_context_managers(by_run: bool, signum: int, code: int, tmp_path: Path) -> None:
    job, state = tmp_path / "job.py", tmp_path / "state"
    job.write_text(JOB)
    line = submit(job, [str(state)], master="local[1]", conf={"spark.driver.memory": "1g"})
    if by_run:
        line = [sys.executable, "-c", RUN, *line]
    process = subprocess.Popen(line, env=os.environ | environment("local[1]"), stdin=subprocess.DEVNULL)
    try:
        wait_for(state, "ready", 120)
        process.send_signal(signum)
        assert process.wait(60) == code
        if by_run and signum == signal.SIGTERM:
            assert state.read_text() == "exited"  # `run` does not end before its driver has
        wait_for(state, "exited", 60)
    finally:
        process.kill()


def test_run_returns_the_exit_code_of_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", RUN, "sh", "-c", "exit 3"], check=False)
    assert done.returncode == 3


def test_guard_restores_the_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with processes.guard():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_run_ends_what_the_command_leaves_running(tmp_path: Path) -> None:
    terminated = tmp_path / "terminated"
    script = f"(trap 'touch {terminated}; exit' TERM; while :; do sleep 0.1; done) & sleep 0.5"
    done = subprocess.run([sys.executable, "-c", RUN, "sh", "-c", script], check=False, timeout=30)
    assert done.returncode == 0
    assert terminated.exists()
