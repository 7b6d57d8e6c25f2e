"""Locks between processes: one has it, others wait, and a process that ends, in whatever way, leaves it free."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from churn.runtime.locks import lock, locks

HOLDER = """
    import sys, time
    from churn.runtime.locks import lock
    with lock(sys.argv[1], "commit scores"):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_lock_is_free_once_its_process_was_killed(tmp_path: Path) -> None:
    """A lock is the kernel's: no file that is left behind can hold up the next job."""
    place, waited = tmp_path / "lake", threading.Event()
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(place)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with lock(place, "commit features"):  # another name is another lock
            pass

        def end(text: str) -> None:
            assert text == f"waiting for another job: commit scores of {place}"
            waited.set()
            holder.send_signal(signal.SIGKILL)

        with lock(place, "commit scores", waiting=end):
            assert holder.wait(timeout=10) == -signal.SIGKILL
    assert waited.is_set()
    assert [folder.name for folder in tmp_path.iterdir()] == [".lake.locks"]


def test_threads_take_a_lock_one_after_the_other(tmp_path: Path) -> None:
    """Several locks are taken in one order, so that two jobs never wait for each other."""
    inside, most = [], []

    def work(names: list[str]) -> None:
        for _ in range(20):
            with locks(tmp_path / "lake", names):
                inside.append(names)
                most.append(len(inside))
                inside.pop()

    workers = [threading.Thread(target=work, args=(names,)) for names in (["a", "b"], ["b", "a"], ["b"])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive()
    assert max(most) == 1


@pytest.mark.parametrize("place", ["s3a://bucket/lake", "hdfs://host:9000/lake", "/proc/1/lake"])
def test_a_place_without_locks_is_not_locked(place: str) -> None:
    """In an object store Delta's own log store decides who commits; what cannot be written needs no lock."""
    with lock(place, "commit scores"), lock(place, "commit scores"):
        pass


def test_readers_wait_for_a_writer_and_not_for_each_other(tmp_path: Path) -> None:
    """Two have a lock at once where both take it shared; one that takes it alone waits for both."""
    waited = []
    with lock(tmp_path / "lake", "ingest calls", shared=True):
        with lock(tmp_path / "lake", "ingest calls", shared=True, waiting=waited.append):
            pass
        writer = threading.Thread(target=_take, args=(tmp_path / "lake", waited))
        writer.start()
        while not waited:
            assert writer.is_alive()
    writer.join(timeout=10)
    assert waited == [f"waiting for another job: ingest calls of {tmp_path / 'lake'}", "taken"]


def _take(place: Path, printed: list[str]) -> None:
    with lock(place, "ingest calls", waiting=printed.append):
        printed.append("taken")
