"""The errors that this library explains to its user, and the exit code of each."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ChurnError(Exception):
    """An error that this library explains: one message, no stack trace. Exit code 1."""

    exit_code = 1
    label = "error"
    """Printed before the message."""


class BadInputError(ChurnError):
    """Input or configuration that its owner must change. Exit code 2."""

    exit_code = 2


class ConfigError(BadInputError):
    """A wrong setting; the message names the file, the key and the nearest known one."""


class ContractError(BadInputError):
    """Data without the columns or types that their contract requires."""


class LeakageError(BadInputError):
    """A model would learn from what is known only later; the message says what to change."""


class HoldError(ChurnError):
    """Data that should have arrived are missing. Nothing was written; try again later. Exit code 3."""

    exit_code = 3
    label = "hold"


class LimitError(ChurnError):
    """A monitoring run exceeded a limit; all its results have been written. Exit code 1."""


class NothingToDoError(ChurnError):
    """The work is not due; nothing is wrong, and nothing was written. Exit code 4."""

    exit_code = 4
    label = "nothing to do"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to a message about an unknown name.

    >>> nearest("call", ["calls", "spending"])
    "; did you mean 'calls'?"
    >>> nearest("zzz", ["b", "a"])
    '; known: a, b'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
