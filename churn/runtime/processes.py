"""Signals and process groups: what SIGTERM to a job, to its JVM or to `churn run` leads to.

A spark-submit in client mode is two processes, a JVM and the Python driver that it starts. A signal to the JVM alone
leaves the driver running, with an open MLflow run and nobody to read its exit code. `guard` lets a driver notice that
its JVM has ended; `run` ends a whole spark-submit as one process group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

TERMINATED = 128 + signal.SIGTERM
GRACE_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Inside, SIGTERM, and under spark-submit the end of the JVM, raise SystemExit(143) in the main thread.

    Context managers exit as after any exception, so an MLflow run ends as FAILED. After GRACE_SECONDS the process is
    ended where it stands.
    """
    before = signal.signal(signal.SIGTERM, _exit)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        threading.Thread(target=_wait_for_jvm, name="jvm-end", daemon=True).start()
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _exit:  # after a SIGTERM further ones stay ignored
            signal.signal(signal.SIGTERM, before)


def _exit(signum: int, _: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second one must not interrupt the exit
    deadline = threading.Timer(GRACE_SECONDS, os._exit, [TERMINATED])  # a call into a busy JVM may not return
    deadline.daemon = True
    deadline.start()
    raise SystemExit(TERMINATED)


def _wait_for_jvm() -> None:
    """The JVM holds the other end of standard input and never writes to it, so end of file means that it has ended."""
    while os.read(0, 1024):
        pass
    # It held the other ends of the outputs too: to write there would raise during the exit.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Sigterm:
    """Whether SIGTERM was received; while `suppressed`, it raises nothing, as the block is being left already."""

    received: bool = False
    suppressed: bool = False

    def raise_if_received(self) -> None:
        """Raises SystemExit(143). For the end of a block: Python swallows an exception that is raised in a
        destructor."""
        if self.received:
            raise SystemExit(TERMINATED)


@contextlib.contextmanager
def on_sigterm(callback: Callable[[], None]) -> Iterator[Sigterm]:
    """Inside, SIGTERM calls `callback` and then raises SystemExit(143). Outside the main thread it does nothing.

    The callback does not wait for the block's exit, which may take longer than a supervisor waits: a call into the JVM
    is interrupted only once the JVM has answered. A handler that was set before, such as that of `guard`, is called
    after it, and raises.
    """
    state = Sigterm()

    def handle(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_IGN)  # a second one must not interrupt the callback
        state.received = True
        callback()
        try:
            if callable(before):
                before(signum, frame)
            state.raise_if_received()
        except SystemExit:
            if not state.suppressed:
                raise

    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, handle)
    try:
        yield state
    finally:
        signal.signal(signal.SIGTERM, before)


def run(command: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Run a command as one process group with all that it starts; its exit code, 128 + n after a signal.

    SIGTERM, SIGINT and SIGHUP to this process reach the whole group as SIGTERM. Nothing of the group is left
    afterwards: what has not ended after twice GRACE_SECONDS is killed.
    """
    leader = start_group(command, env=env, stdin=subprocess.DEVNULL)
    with _forwarding(leader.pid) as received:
        code = leader.wait()
        end_group(leader)
    return 128 + received[0] if received else (code if code >= 0 else 128 - code)


def start_group(command: Sequence[Any], **popen: Any) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a process group; it gets SIGTERM where this process is killed."""
    return subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_parent, **popen)  # noqa: PLW1509


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to a process group and wait until it is empty; what is left after twice GRACE_SECONDS is killed."""
    deadline = time.monotonic() + 2 * GRACE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            leader.poll()  # until it is reaped, an ended leader counts as part of its group
            os.killpg(leader.pid, 0)
            time.sleep(0.05)
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


@contextlib.contextmanager
def _forwarding(group: int) -> Iterator[list[int]]:
    """Pass signals on to a process group; yields the list of those received."""
    received: list[int] = []

    def forward(signum: int, _: FrameType | None) -> None:
        received.append(signum)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)

    before = {signum: signal.signal(signum, forward) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _end_with_parent() -> None:
    """In the child, before it runs the command: the kernel is to send it SIGTERM where its parent is killed.

    `setpriv --pdeathsig` does the same, but not in the util-linux of RHEL 8.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
