"""Errors of Spark, Delta and the operating system that a user can do something about, as one message each."""

from __future__ import annotations

import errno
import re
from typing import Final
from urllib.parse import unquote

from churn import errors
from churn.errors import BadInputError, ChurnError, DamageError, form

_IN_WORKER = re.compile(
    r"churn\.errors\.(?P<name>\w+): (?P<message>.+?)(?=\n\s*\n|\n\s+at |\n\w[\w.]*(?:Error|Exception)\b|\Z)", re.DOTALL
)
_ON_A_VALUE = re.compile(r"\[[A-Z_.]+\] (?:(?!\[[A-Z_.]+\] ).)*?SQLSTATE: 22\w{3}", re.DOTALL)
"""A message of Spark's whose SQLSTATE says that data are wrong (22: data exception); it quotes them."""
_PLACE = re.compile(r"(?<![\w.$])(?:[a-z][a-z0-9+.-]*:)?/[^\s'\"`,;()<>\[\]]+")
_DAMAGED_FILE: Final = (
    r"FAILED_READ_FILE|DELTA_FILE_NOT_FOUND|FileNotFoundException|is not a Parquet file|Could not read footer"
    r"|CorruptedDeltaException|ParquetDecodingException|DELTA_FILE_TO_OVERWRITE_NOT_FOUND"
)
_PLACED: Final = {
    r"No space left on device|Disk quota exceeded": ("the disk is full", "make room, then run again"),
    r"Read-only file system|Permission denied|AccessControlException|AccessDeniedException|Mkdirs failed"
    r"|Failed to create file|ParentNotDirectoryException|Parent path is not a directory": (
        "a place cannot be written or read",
        "give permission, or set another [storage] root; then run again",
    ),
    r"DELTA_(?:TRUNCATED_TRANSACTION_LOG|LOG_FILE_NOT_FOUND|VERSIONS_NOT_CONTIGUOUS|STATE_RECOVER_ERROR"
    r"|MISSING_PART_FILES|CHECKPOINT\w*|INVALID_COMMITTED_VERSION|NON_PARSABLE\w*|EMPTY_DIRECTORY)"
    r"|(?:JsonParseException|JsonEOFException|JsonMappingException|MismatchedInputException|MalformedInputException)": (
        "the log of a table is damaged",
        "bring the file back from a backup, or go back to the last sound version with `churn repair TABLE`",
    ),
    _DAMAGED_FILE: (
        "a file of a table is missing or damaged",
        "bring it back from a backup, or go back to the version before it was written with `churn repair TABLE`",
    ),
}
"""Patterns of messages of Java's: what has happened, and what to do."""
_SYSTEM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What is wrong with a place."""
_NAMED: Final = (errno.EISDIR, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""What is wrong with the name that somebody gave of a place."""


def explained(error: BaseException) -> ChurnError | None:
    """The error as one that this library explains; None where there is nothing to explain.

    What a Python worker of Spark raised as a ChurnError is the same again, with its exit code. A full disk, a place
    that cannot be written and a table that is damaged are a DamageError that names the place; a place that cannot be
    what it is named for, such as a folder that is a file, is a BadInputError.
    """
    if isinstance(error, OSError):
        if error.errno in _NAMED:
            return BadInputError(
                f"{error.filename or 'a file'}: {error.strerror}; move what is there, or name another place"
            )
        if error.errno not in _SYSTEM:
            return None
        return DamageError(f"{error.filename or 'a file'}: {error.strerror}; mend that, then run again")
    if not type(error).__module__.startswith(("pyspark", "py4j")):
        return None
    text = _text(error)
    if found := _IN_WORKER.search(text):
        kind = getattr(errors, found["name"], ChurnError)
        return kind(found["message"].strip()) if issubclass(kind, ChurnError) else None
    return _of_place(text) or _of_value(text)


def damage_below(error: BaseException, path: str) -> str | None:
    """The file below a path or a pattern that cannot be read, by an error of Spark's, and why; None where the error is
    another."""
    text = _text(error)
    if not (match := re.search(_DAMAGED_FILE, text)):
        return None
    file, path = (re.sub("^file:/+", "/", place) for place in (unquote(_place(text, match.start())), path))
    fixed = re.split(r"[*?\[{]", path)[0]
    if not (file.startswith(fixed) if fixed != path else f"{file}/".startswith(f"{path.rstrip('/')}/")):
        return None
    reasons = re.findall(r"^Caused by: (?:[\w.$]+: )?(.+)", text, re.MULTILINE)
    return f"{file}: {reasons[-1].strip() if reasons else 'it is missing or damaged'}"


def _of_place(text: str) -> ChurnError | None:
    for pattern, (what, then) in _PLACED.items():
        if match := re.search(pattern, text):
            return DamageError(f"{what}: {_place(text, match.start())}; {then}")
    return None


def _of_value(text: str) -> ChurnError | None:
    if match := _ON_A_VALUE.search(text):
        return BadInputError(
            f"a value cannot be computed: {without_values(match[0])}; where an expression may meet such a value, write "
            "try_cast(...), try_to_timestamp(...) or try_divide(...)"
        )
    return None


def without_values(message: str) -> str:
    """A message of Spark's about a value of a row, which may be personal, on one line with the form of the value alone.

    >>> without_values("[CAST_INVALID_INPUT] The value 'NL91 Ann' of the type \\"STRING\\" is none. SQLSTATE: 22018")
    '[CAST_INVALID_INPUT] The value \\'XX99 Xxx\\' of the type "STRING" is none. SQLSTATE: 22018'
    """
    found = _ON_A_VALUE.search(message)
    text = found[0] if found else message.strip().partition("\n")[0]
    # From the first quote to the last, as a value may hold quotes; to the end where the message has been cut off.
    text = re.sub(r"'.*'" if found else r"'.*", lambda quoted: form(quoted[0]), text, flags=re.DOTALL)
    parts = re.split(r"(^\[[^\]]*\]|\"[^\"]*\"|SQLSTATE: \w+)", " ".join(text.split()))
    return "".join(part if at % 2 else re.sub(r"\d", "9", part) for at, part in enumerate(parts))


def _text(error: BaseException) -> str:
    """The message of an error of Spark's, and those of its causes."""
    try:
        return f"{error}\n{getattr(error, '_stackTrace', None) or ''}"
    except Exception:  # the text of a Java exception is in its JVM, which may have ended
        return type(error).__name__


def _place(text: str, at: int) -> str:
    """The path in the line of a message, else the first after it or before it, else the line itself."""
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : end if end > 0 else None]
    found = _PLACE.search(line) or _PLACE.search(text, at) or _PLACE.search(text)
    return found[0].rstrip(".:") if found else line.strip()[:200]
