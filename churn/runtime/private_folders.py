"""Folders for temporary files that no other user of this machine can read, or replace."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from churn.errors import ChurnError


def private_folder(name: str) -> Path:
    """The folder `NAME-UID` for temporary files, made with mode 0700. Raises ChurnError where it is another user's, a
    link, or open to others."""
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ChurnError(f"no folder {folder} for temporary files: {error.strerror}; set TMPDIR to another") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ChurnError(
            f"{folder} is not a folder of this user's alone, as temporary files need it; remove it, or set TMPDIR to "
            "another folder"
        )
    return folder
