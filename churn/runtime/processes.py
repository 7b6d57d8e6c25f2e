"""How jobs end before their time: what a SIGTERM to any of their processes comes to.

A spark-submit in client mode is two processes, a JVM and the Python driver that it started. A signal to the JVM alone
leaves the driver behind, with an open MLflow run and nobody to read its exit code. `guard` lets a driver see its JVM's
end; `run` gives a whole spark-submit one end.
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
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
GRACE_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """While it is open, SIGTERM, and under spark-submit the JVM's end, are SystemExit(143) in the main thread.

    Context managers are left as by any exception, so an MLflow run ends as FAILED; open it inside the session's, whose
    own leaving fails when the JVM is gone. Leaving has GRACE_SECONDS. A job's `main` does all its work in this.
    """
    before = signal.signal(signal.SIGTERM, _leave)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        threading.Thread(target=_watch_jvm, name="jvm-watch", daemon=True).start()
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _leave:  # else it came, and a second one must not break the leaving
            signal.signal(signal.SIGTERM, before)


def _leave(signum: int, _: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # once: a second one must not break the leaving
    hasten = threading.Timer(GRACE_SECONDS, os._exit, [TERMINATED])  # a JVM that is busy would not let go
    hasten.daemon = True
    hasten.start()
    raise SystemExit(TERMINATED)


def _watch_jvm() -> None:
    """The JVM holds the other end of standard input, and never writes to it: an end of file is its end."""
    while os.read(0, 1024):
        pass
    # It held the other ends of the outputs too; writing there would break the leaving.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.kill(os.getpid(), signal.SIGTERM)


def run(command: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Run a command with all that it starts as one group, to its exit code.

    SIGTERM, SIGINT and SIGHUP to this process go to the whole group; after them, and at the command's own end,
    nothing of the group is left: what does not end when told is killed after twice GRACE_SECONDS.
    """
    child = subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
    )
    with _forwarding(child.pid) as told:
        code = child.wait()
        _end(child.pid)
    return 128 + told[0] if told else (code if code >= 0 else 128 - code)


@contextlib.contextmanager
def _forwarding(group: int) -> Iterator[list[int]]:
    """Pass signals on to a group; yields those that came."""
    told: list[int] = []

    def forward(signum: int, _: FrameType | None) -> None:
        told.append(signum)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)

    before = {signum: signal.signal(signum, forward) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield told
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _end(group: int) -> None:
    """Wait for a group to empty; what is still there after the grace is killed."""
    deadline = time.monotonic() + 2 * GRACE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def _end_with_parent() -> None:
    """In the child: have the kernel send SIGTERM if the parent is killed outright."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
