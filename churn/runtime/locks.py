"""Locks between processes of a machine: two jobs that would write the same thing do it one after the other.

A lock is a file in the hidden folder `.NAME.locks` beside what it protects, or in `.locks` inside, locked by the kernel
(flock): it is free as soon as its process has ended, in whatever way, and a file that is left behind locks nothing.
Object stores have no such locks; see docs/install.md.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from churn.errors import DamageError

_POLL_SECONDS: Final = 0.05
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/")


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def local_path(place: str) -> Path | None:
    """The path of a place on this machine; None of one that is elsewhere, such as in an object store."""
    path = place.removeprefix("file://").removeprefix("file:")
    return None if _SCHEME.match(path) else Path(path).absolute()


@contextmanager
def lock(
    place: str | Path, name: str, *, shared: bool = False, waiting: Callable[[str], None] = _print
) -> Iterator[None]:
    """Inside, no other process has the lock `name` of a place, a file or a folder; waits until it is free.

    Those who take it `shared`, to read, do not wait for each other.

    Says so, once, where it has to wait. Does nothing where the place is not on this machine, or cannot be written to:
    nothing is written there then. Not to be nested: the lock that a process has is not free for itself either.

    Raises DamageError where the place can be written to, and its lock cannot.
    """
    descriptor = _opened(place, name)
    if descriptor is None:
        yield
        return
    try:
        announced = False
        while not _locked(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if not announced:
                waiting(f"waiting for another job: {name} of {place}")
                announced = True
            time.sleep(_POLL_SECONDS)  # not a blocking call, which would hold up SIGTERM
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locks(place: str | Path, names: Iterable[str], *, shared: bool = False) -> Iterator[None]:
    """Several locks of a place, in one order, so that two jobs never wait for each other."""
    with ExitStack() as stack:
        for name in sorted(set(names)):
            stack.enter_context(lock(place, name, shared=shared))
        yield


def _opened(place: str | Path, name: str) -> int | None:
    """The file of a lock, opened; None of a place that is not on this machine, or cannot be written to."""
    path = local_path(str(place))
    if path is None:
        return None
    file = _folder(path) / quote(name, safe=" ")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # For all whom the umask admits: who shares a place shares its locks.
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if not _is_writable(path):
            return None
        raise DamageError(
            f"{file}, a lock, cannot be written: {error.strerror}; make room, or give all who write {path} permission "
            f"to write in {file.parent} too (one group, umask 002), then run again"
        ) from error


def _folder(path: Path) -> Path:
    """Where the locks of a place lie: beside it; in it where it is a folder in one that this user cannot write to. Who
    comes later takes the one that is there."""
    beside, inside = path.parent / f".{path.name}.locks", path / ".locks"
    is_beside = beside.exists() or not path.is_dir() or (os.access(path.parent, os.W_OK) and not inside.exists())
    return beside if is_beside else inside


def _is_writable(path: Path) -> bool:
    """Whether this user can write a file or into a folder, or could make it."""
    there = next(one for one in (path, *path.parents) if one.exists())
    return os.access(there, os.W_OK) and (there == path or there.is_dir())


def _locked(descriptor: int, how: int) -> bool:
    """Whether the lock could be taken now."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
