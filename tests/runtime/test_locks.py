"""Locks between processes: one has it, others wait, and a process that ends, in whatever way, leaves it free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn.errors import DamageError
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


@pytest.mark.parametrize("place", ["s3a://bucket/lake", "hdfs://host:9000/lake"])
def test_a_place_elsewhere_is_not_locked(place: str) -> None:
    """In an object store Delta's own log store decides who commits."""
    with lock(place, "commit scores"), lock(place, "commit scores"):
        pass


USER = """
    import os, sys
    from churn.errors import DamageError
    from churn.runtime.locks import lock
    place, user, mask = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 8)
    os.umask(mask)
    os.setgroups([])
    os.setgid(54321)
    os.setuid(user)
    try:
        with lock(place, "commit scores", waiting=lambda text: sys.exit("waits")):
            print("held", flush=True)
            sys.stdin.readline()
    except DamageError as error:
        sys.exit(str(error))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder in which a group can write, and where any user gets to."""
    if os.getuid():
        pytest.skip("only root can become other users")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        lake = Path(folder, "shared", "lake")
        lake.mkdir(parents=True)
        Path(folder).chmod(0o755)
        for one in (lake.parent, lake):
            os.chown(one, 0, 54321)
            one.chmod(0o2775)
        yield lake


def as_user(place: Path, user: int, mask: str) -> subprocess.Popen[str]:
    """A process of another user's that takes the lock, until a line comes or its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(USER), str(place), str(user), mask],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "message"), [("002", "waits\n"), ("022", "commit scores, a lock, cannot be written: ")]
)
def test_two_users_of_a_place_have_one_lock(shared: Path, mask: str, message: str) -> None:
    """Without the group's permission the second cannot see whether it is free, and is refused; it does not go on."""
    with as_user(shared, 54321, mask) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        out, error = as_user(shared, 54322, mask).communicate("\n", timeout=60)
        assert (out, message in error) == ("", True), error
        first.communicate("\n", timeout=60)


def test_the_locks_of_a_place_lie_in_it_where_nothing_can_be_made_beside_it(shared: Path) -> None:
    shared.parent.chmod(0o755)
    with as_user(shared, 54321, "002") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        assert as_user(shared, 54322, "002").communicate("\n", timeout=60) == ("", "waits\n")
        first.communicate("\n", timeout=60)
    assert [one.name for one in shared.iterdir()] == [".locks"]


def test_who_can_only_read_a_place_needs_no_lock(shared: Path) -> None:
    """As with a lake on a read-only disk: nothing is written there."""
    for one in (shared.parent, shared):
        one.chmod(0o755)
    with as_user(shared, 54321, "022") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        assert as_user(shared, 54322, "022").communicate("\n", timeout=60) == ("held\n", "")
        first.communicate("\n", timeout=60)


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """Going on without it would let two jobs write at once."""
    (tmp_path / ".lake.locks").touch()
    refused = pytest.raises(DamageError, match=r"lake\.locks/commit scores, a lock, cannot be written: ")
    with refused, lock(tmp_path / "lake", "commit scores"):
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
