"""Folders for temporary files that no other user of this machine can read, or replace."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

from churn.errors import ChurnError


def private_folder(name: str, parent: Path | None = None) -> Path:
    """The folder `NAME-UID` for temporary files, made with mode 0700, in TMPDIR or in another folder.

    Raises ChurnError where it is another user's, a link, or open to others."""
    folder = (parent or Path(tempfile.gettempdir())) / f"{name}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        instead = f"make {parent} writable" if parent else "set TMPDIR to another"
        raise ChurnError(f"no folder {folder} for temporary files: {error.strerror}; {instead}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ChurnError(
            f"{folder} is not a folder of this user's alone, as temporary files need it; remove it"
            + ("" if parent else ", or set TMPDIR to another folder")
        )
    return folder


@cache
def process_folder() -> Path:
    """A private folder for the temporary files of this process, removed at its end; those of processes that were killed
    are removed first."""
    parent = private_folder("churn-processes")
    guard = os.open(parent / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)  # for milliseconds: no folder is seen before its process has locked it
        for other in parent.glob("*/"):
            if (descriptor := _claimed(other)) is not None:
                shutil.rmtree(other, ignore_errors=True)
                os.close(descriptor)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
        _claimed(folder)  # the lock is free as soon as this process has ended, in whatever way
    finally:
        os.close(guard)
    atexit.register(_remove, folder, os.getpid())
    return folder


def _claimed(folder: Path) -> int | None:
    """The descriptor of a folder's lock; None where another process has it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # removed just now
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a process that was forked
        shutil.rmtree(folder, ignore_errors=True)
