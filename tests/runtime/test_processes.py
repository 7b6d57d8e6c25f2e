"""Signals to the processes of a real spark-submit."""

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

diary = Path(sys.argv[1])
with lifetime.guard(), session("sleeper"):
    try:
        diary.write_text("ready")
        time.sleep(300)
    except BaseException:
        print("nobody may be left to read this", flush=True)
        diary.write_text("left")
        raise
"""
RUN = "import os, sys; from churn import lifetime; sys.exit(lifetime.run(sys.argv[1:], env=os.environ))"


def until(diary: Path, word: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not (diary.exists() and diary.read_text() == word):
        assert time.monotonic() < deadline, f"never {word!r}: {diary.exists() and diary.read_text()!r}"
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
def test_the_driver_leaves_in_order(by_run: bool, signum: int, code: int, tmp_path: Path) -> None:
    job, diary = tmp_path / "job.py", tmp_path / "diary"
    job.write_text(JOB)
    line = submit(job, [str(diary)], master="local[1]", conf={"spark.driver.memory": "1g"})
    if by_run:
        line = [sys.executable, "-c", RUN, *line]
    process = subprocess.Popen(line, env=os.environ | environment("local[1]"), stdin=subprocess.DEVNULL)
    try:
        until(diary, "ready", 120)
        process.send_signal(signum)
        assert process.wait(60) == code
        if by_run and signum == signal.SIGTERM:
            assert diary.read_text() == "left"  # `run` does not end before its driver has
        until(diary, "left", 60)
    finally:
        process.kill()


def test_run_gives_the_command_s_own_exit_code() -> None:
    done = subprocess.run([sys.executable, "-c", RUN, "sh", "-c", "exit 3"], check=False)
    assert done.returncode == 3


def test_a_job_in_this_process_puts_its_handler_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with lifetime.guard():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_run_leaves_nothing_behind(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"(trap 'touch {told}; exit' TERM; while :; do sleep 0.1; done) & sleep 0.5"
    done = subprocess.run([sys.executable, "-c", RUN, "sh", "-c", script], check=False, timeout=30)
    assert done.returncode == 0
    assert told.exists()
