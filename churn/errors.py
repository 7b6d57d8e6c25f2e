"""The errors a user can meet, and the exit code that each becomes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ChurnError(Exception):
    """Something this library can explain: one message, no stack trace. Exit code 1."""

    exit_code = 1
    word = "error"
    """What stands before the message on a terminal."""


class BadInputError(ChurnError):
    """Input or configuration that must be changed by its owner. Exit code 2."""

    exit_code = 2


class ConfigError(BadInputError):
    """A setting that cannot be right: the message names the file, the key and the nearest known one."""


class ContractError(BadInputError):
    """Data that does not have the columns or types its contract promises."""


class LeakageError(BadInputError):
    """A model was about to learn from what it could not have known; the message says what to change."""


class HoldError(ChurnError):
    """Data that should be there is not there yet. Nothing was written; try again later. Exit code 3."""

    exit_code = 3
    word = "hold"


class LimitError(ChurnError):
    """What a model sees, or how it did, is beyond a limit; everything that was found has been written. Exit code 1."""


class NothingToDoError(ChurnError):
    """What was asked for is not due; nothing is wrong, and nothing was written. Exit code 4."""

    exit_code = 4
    word = "nothing to do"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to put behind an unknown name.

    >>> nearest("call", ["calls", "spending"])
    "; did you mean 'calls'?"
    >>> nearest("zzz", ["b", "a"])
    '; known: a, b'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
