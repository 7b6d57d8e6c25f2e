"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from churn.errors import BadInputError, DamageError


def require_place(file: Path) -> None:
    """Raises BadInputError where a file could not be written, before the work that it is the result of."""
    folder = file.absolute().parent
    if not folder.is_dir():
        raise BadInputError(f"no folder {folder} to write {file.name} in; create it, or name another")
    if file.exists() and not file.is_file():
        raise BadInputError(f"{file} is {'a folder' if file.is_dir() else 'not a file'}; name a file to write")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"the folder {folder} cannot be written to by this user; give permission, or name another")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A new file beside `file`, to be written inside; at the end it takes its place, also that of a link.

    A reader sees the old file or the new one. Raises DamageError, and leaves the old one, where it cannot be written.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        new.unlink(missing_ok=True)
        yield new
        new.replace(file)
    except OSError as error:
        raise DamageError(
            f"{file} cannot be written: {error.strerror}; make room or give permission, then run again"
        ) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def write_whole(file: Path, text: str) -> None:
    """Write a text file whole or not at all, see `replacing`."""
    with replacing(file) as new, new.open("x", encoding="utf-8") as out:
        out.write(text)
