"""Patterns of dates and times: those that Spark does not know or reads otherwise than meant, and the one that fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_PART = re.compile(
    r"""
    (?P<quoted>'(?:[^']|'')*' | "[^"]*" | \[T\])
  | %-?(?P<strftime>[A-Za-z%])
  | (?P<word>(?i:HH24|HH12|MI)|(?:MONTH|MON|AM|PM|TZH:TZM|TZR|DAY|DY|FF[1-9]|RRRR|RR|Do)(?![a-z])|[AP]\.M\.)
  | (?P<run>([A-Za-z])\5*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_STRFTIME: Final = {
    "Y": "yyyy", "y": "yy", "m": "MM", "d": "dd", "e": "d", "H": "HH", "k": "H", "I": "hh", "l": "h", "M": "mm",
    "S": "ss", "f": "SSSSSS", "p": "a", "b": "MMM", "h": "MMM", "B": "MMMM", "a": "E", "A": "EEEE", "j": "DDD",
    "z": "xx", "Z": "z", "T": "HH:mm:ss", "R": "HH:mm", "F": "yyyy-MM-dd", "D": "MM/dd/yy", "%": "%",
}  # fmt: skip
_TERMS: Final = {
    "HH24": "HH", "HH12": "hh", "MONTH": "MMMM", "MON": "MMM", "AM": "a", "PM": "a", "A.M.": "a", "P.M.": "a",
    "TZH:TZM": "XXX", "TZR": "VV", "DAY": "EEEE", "DY": "E", "MI": "mm", "RRRR": "yyyy", "RR": "yy", "DO": "d",
}  # fmt: skip
_FIELDS: Final = {
    **dict.fromkeys("yYuR", "year"),
    **dict.fromkeys("ML", "month"),
    **dict.fromkeys("dD", "day"),
    **dict.fromkeys("HhkK", "hour"),
    **dict.fromkeys("apAt", "half"),
    **dict.fromkeys("EcG", "name"),
    **dict.fromkeys("XxZzVO", "offset"),
    "m": "minute",
    "s": "second",
    "S": "fraction",
    "f": "fraction",
    "F": "fraction",
}
_MEANINGS: Final = {
    "m": "the minute",
    "M": "the month",
    "D": "the day of the year",
    "S": "a fraction of a second",
    "h": "the hour of a clock with am and pm, which it lacks",
    "K": "the hour of a clock with am and pm, which it lacks",
    "H": "the hour from 0 to 23, beside am or pm",
}


@dataclass
class _Part:
    given: str
    fitting: str
    field: str
    """What it holds: year, month, day, hour, half (am or pm), minute, second, fraction, name, offset; else empty."""


def problem(pattern: str, *, is_known: Callable[[str], bool], is_parsed: bool) -> str | None:
    """What is wrong with a pattern, as a clause, with the pattern that fits; null = nothing.

    `is_known` says whether Spark takes a pattern; `is_parsed` says whether text is read by it, or written.
    """
    parts = _fitted(pattern)
    changed = [part for part in parts if part.fitting != part.given]
    known = is_known(pattern)
    if known and not changed:
        return None
    advice = ""
    if is_parsed and not known and any(part.fitting[:1] == "E" for part in parts):
        parts = _without_weekday(parts)
        advice = " after the name of the day is cut off"
    fitting = "".join(part.fitting for part in parts)
    wrong = "which Spark does not know"
    if known:
        means = {part.given: _MEANINGS.get(part.given[0], "another field") for part in changed}
        wrong = "in which " + " and ".join(f"{given} is {meaning}" for given, meaning in means.items())
    if fitting == pattern or not is_known(fitting):
        return f"has the pattern {_shown(pattern)}, {wrong}; its letters are y M d H m s S a, text stands in quotes"
    return f"has the pattern {_shown(pattern)}, {wrong}; write {_shown(fitting)}{advice}"


def _shown(pattern: str) -> str:
    return f'"{pattern}"' if "'" in pattern else f"'{pattern}'"


def _parts(pattern: str) -> Iterator[_Part]:
    for match in _PART.finditer(pattern):
        given = match[0]
        if match["quoted"]:
            text = given if given[0] == "'" else f"'{given[1:-1]}'"
            yield _Part(given, text, "")
        elif match["strftime"] in _STRFTIME:
            fitting = _STRFTIME[match["strftime"]]
            if given[1] == "-":
                fitting = fitting[:1]
            yield _Part(given, fitting, _FIELDS.get(fitting[0], ""))
        elif match["word"]:
            fitting = _TERMS.get(given.upper()) or "S" * int(given[-1])
            yield _Part(given, fitting, _FIELDS[fitting[0]])
        else:
            yield _Part(given, given, _FIELDS.get(given[0], "") if match["run"] else "")


def _fitted(pattern: str) -> list[_Part]:
    """The parts of a pattern, each with what was meant by it: known from its letters, else from its neighbours."""
    parts = list(_parts(pattern))
    fields = [part for part in parts if part.field]
    neighbours = list(zip(["", *(part.field for part in fields)], fields, strict=False))
    for left, part in neighbours:
        if left == "hour" and part.given in {"M", "MM"}:
            part.fitting, part.field = part.given.lower(), "minute"
    has = {part.field for part in fields}
    for place, part in enumerate(fields):
        left = fields[place - 1].field if place else ""
        right = fields[place + 1].field if place + 1 < len(fields) else ""
        if part.given[0] == "m" and (
            len(part.given) > 2
            or (left != "hour" and right != "second" and has & {"year", "day"} and "month" not in has)
        ):
            part.fitting, part.field = "M" * len(part.given), "month"
        if part.fitting == part.given:
            part.fitting = _meant(part, left, "half" in has)
    has_month = any(part.field == "month" for part in fields)
    has_iso_t = any(part.given == "T" for part in parts)
    for part in parts:
        if part.given == "T":
            part.fitting = "'T'"
        elif part.given in {"D", "DD"} and has_month:
            part.fitting = part.given.lower()
        elif part.given == "Z" and has_iso_t:
            part.fitting = "XXX"
    return parts


def _meant(part: _Part, left: str, has_half: bool) -> str:
    """What was meant by a run of letters, behind a field `left`, in a pattern with or without am and pm."""
    letter, count = part.given[0], len(part.given)
    changes = {
        "YRu": ("y" * count, True),
        "d": ("E" if count == 3 else "EEEE", count > 2),
        "hK": ("H" * count, not has_half),
        "Hk": ("h" * count, has_half),
        "S": ("s" * count, left == "minute" and count <= 2),
        "s": ("S" * count, left == "second"),
        "f": ("S" * count, True),
        "apAt": ("a", True),
        "F": ("SSSSSS", count == 2),
    }
    return next(
        (fitting for letters, (fitting, is_meant) in changes.items() if letter in letters and is_meant), part.given
    )


def _without_weekday(parts: list[_Part]) -> list[_Part]:
    """The parts without the name of a day and what separates it from the next field."""
    rest = [part for part in parts if part.fitting[:1] != "E"]
    while rest and not rest[0].field:
        rest.pop(0)
    while rest and not rest[-1].field:
        rest.pop()
    return rest
