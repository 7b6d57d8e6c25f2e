"""The errors that this library explains to its user, and the exit code of each: the one place where codes are given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import category


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


class NothingToDoError(ChurnError):
    """The work is not due; nothing is wrong, and nothing was written. Exit code 4."""

    exit_code = 4
    label = "nothing to do"


class LimitError(ChurnError):
    """A monitoring run exceeded a limit; all its results have been written, and a retry finds the same. Exit code 5."""

    exit_code = 5


class NoChampionError(ChurnError):
    """No version may score: none is champion, and the challenger was not asked for. Exit code 6."""

    exit_code = 6


class DamageError(ChurnError):
    """A table or a place cannot be read or written until somebody repairs it; a retry cannot help. Exit code 7."""

    exit_code = 7


def printable(text: str, *, lines: bool = True) -> str:
    """A text without characters that control a terminal or the order of letters; with `lines`, line ends stay.

    >>> print(printable(chr(27) + "[2Jann" + chr(0x202E)))
    \\x1b[2Jann\\u202e
    """
    printed = "\n\t" if lines else ""
    return "".join(
        one if one in printed or category(one) not in _CONTROL else one.encode("unicode_escape").decode()
        for one in text
    )


def form(text: str) -> str:
    """The form of a text: letters are x or X, digits 9, all else as it is.

    >>> form("C-1001 née Smith")
    'X-9999 xxx Xxxxx'
    """
    letters = re.sub(r"[^\W\d_]", lambda letter: "X" if letter[0].isupper() else "x", text)
    return re.sub(r"\d", "9", letters)[:_SHOWN]


_SHOWN = 200
"""Characters of a value that are shown."""
_CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that are not printed as they are."""


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
