"""The days in a path: `${day}`, as 2026-09-30, or parts of it in the letters of Spark's patterns: `${day:yyyyMMdd}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from itertools import count
from typing import Final

_DAY: Final = re.compile(r"\$\{day(?::(?!-)(?P<pattern>[^}]*))?\}")
_ISO: Final = "yyyy-MM-dd"
_LETTERS: Final = re.compile(r"([A-Za-z])\1*")
_TOKEN: Final = re.compile(r"%?([A-Za-z])\1*|[*?\[\]{},\\'$%]")
"""A run of letters, or what cannot stand in a pattern; all else is text."""
_PARTS: Final[dict[str, tuple[str, Callable[[date], str]]]] = {
    "yyyy": (r"\d{4}", lambda day: f"{day.year:04}"),
    "yy": (r"\d\d", lambda day: f"{day.year % 100:02}"),
    "MM": (r"\d\d", lambda day: f"{day.month:02}"),
    "M": (r"\d\d?", lambda day: f"{day.month}"),
    "dd": (r"\d\d", lambda day: f"{day.day:02}"),
    "d": (r"\d\d?", lambda day: f"{day.day}"),
    "DDD": (r"\d{3}", lambda day: f"{day:%j}"),
}
"""By its letters, a part of a day: how it is found, and how it is written."""
_MEANT: Final = {
    "%Y": "yyyy",
    "YYYY": "yyyy",
    "uuuu": "yyyy",
    "y": "yyyy",
    "%y": "yy",
    "YY": "yy",
    "uu": "yy",
    "%m": "MM",
    "mm": "MM",
    "m": "M",
    "%d": "dd",
    "DD": "dd",
    "D": "d",
    "%e": "d",
    "%j": "DDD",
}
"""Letters of other languages for a part."""
_FORMS: Final = (
    *("yyyy-MM-dd", "yyyyMMdd", "yyyy_MM_dd", "yyyy.MM.dd", "yyyy/MM/dd", "yyMMdd", "yyyyDDD"),
    *("dd-MM-yyyy", "ddMMyyyy", "dd_MM_yyyy", "dd.MM.yyyy", "MM-dd-yyyy", "MMddyyyy", "MM_dd_yyyy"),
)
"""The patterns that names of files have most."""
_TWO_YEARS: Final = [date(2023, 1, 1) + timedelta(days=n) for n in range(731)]


def has_day(path: str | None) -> bool:
    """Whether a path names a day."""
    return _DAY.search(path or "") is not None


def of_day(path: str, day: date) -> str:
    """The path of a day.

    >>> of_day("year=${day:yyyy}/${day:MMdd}.csv", date(2026, 9, 30))
    'year=2026/0930.csv'
    """
    return _DAY.sub(lambda found: _TOKEN.sub(lambda part: _PARTS[part[0]][1](day), found["pattern"] or _ISO), path)


def of_days(path: str, days: Sequence[date]) -> str:
    """The path of these days, as a Hadoop pattern, also of a single one: a folder dt=${day} is a column in any case.

    >>> of_days("in/y=${day:yyyy}/${day:MMdd}.csv", [date(2026, 9, 30), date(2026, 10, 1)])
    'in/y={2026/0930,2026/1001}.csv'
    """
    begin, end = _span(path)
    return f"{path[:begin]}{{{','.join(of_day(path[begin:end], day) for day in days)}}}{path[end:]}"


def of_any_day(path: str) -> str:
    """The path of all days, as a Hadoop pattern.

    >>> of_any_day("in/${day:yyyy/MM}/${day:dd}.csv")
    'in/*/*/*.csv'
    """
    return _DAY.sub(lambda found: re.sub("[^/]+", "*", found["pattern"] or _ISO), path)


def day_in(path: str, name: str) -> date | None:
    """The day in the address of a file, by the path that leads to it; null where it is none of its days.

    >>> day_in("in*/${day}/{a,b}", "file:/in1/2026-10-01/b/2020-02-02.csv")
    datetime.date(2026, 10, 1)
    """
    match = re.search(_regex(path), name)
    if match is None:
        return None
    parts = match.groupdict()
    year = parts.get("yyyy") or f"20{parts.get('yy')}"
    try:
        if "DDD" in parts:
            day = date(int(year), 1, 1) + timedelta(days=int(parts["DDD"]) - 1)
        else:
            day = date(int(year), int(parts.get("MM") or parts["M"]), int(parts.get("dd") or parts["d"]))
    except (ValueError, OverflowError):
        return None
    return day if all(text == _PARTS[part][1](day) for part, text in parts.items()) else None


def other_forms(path: str) -> Iterator[str]:
    """Paths that write the day otherwise: with other patterns, or with more behind it in the name.

    >>> [*other_forms("${day:yyyy}/${day:M}.csv")][1:]
    ['${day:yyyy}/${day:MM}.csv', '${day:yyyy}/${day:MM}*.csv']
    """
    found = [*_DAY.finditer(path)]
    if len(found) == 1:
        paths = [path, *(_DAY.sub(f"${{day:{pattern}}}", path) for pattern in _FORMS)]
    else:
        paths = [path, _padded(path, 1), _padded(path, 2)]
    for one in dict.fromkeys(paths):
        end = _span(one)[1]
        yield from [f"{one[:end]}*{one[end:]}"] if one == path else [one, f"{one[:end]}*{one[end:]}"]


def problem(path: str) -> str | None:
    """What is wrong with the days of a path, as a clause with the next step; null = nothing."""
    for found in _DAY.finditer(path):
        tokens = [token[0] for token in _TOKEN.finditer(found["pattern"] or _ISO)]
        if wrong := [token for token in tokens if token not in _PARTS]:
            fitting = _TOKEN.sub(lambda token: _MEANT.get(token[0], token[0]), found[0][len("${day:") : -1])
            known = [token[0] in _PARTS for token in _TOKEN.finditer(fitting)]
            advice = f"write ${{day:{fitting}}}" if all(known) else _ADVICE
            return f"has {found[0]}, in which {wrong[0]} is no part of a day; {advice}"
    begin, end = _span(path)
    if re.search(r"[{},]", _DAY.sub("", path[begin:end])):
        return f"has {path[begin:end]}, with alternatives between its days; write * in place of {{...}} there"
    seen: dict[str, date] = {}
    for day in _TWO_YEARS if begin < end else ():
        text = of_day(path[begin:end], day)
        if text in seen:
            padded = _padded(path[begin:end], 2)
            fitting = padded if padded != path[begin:end] and problem(padded) is None else "${day:yyyyMMdd}"
            return (
                f"has {path[begin:end]}, which is {text} on {seen[text]} and on {day} alike; write year, month and day,"
                f" such as {fitting}"
            )
        seen[text] = day
    return None


_ADVICE: Final = (
    f"its parts are {', '.join(_PARTS)} (the day of the year); text stands outside of ${{...}}, and * for an hour"
)


def _span(path: str) -> tuple[int, int]:
    """Where the first day begins and the last one ends."""
    found = [*_DAY.finditer(path)]
    return (found[0].start(), found[-1].end()) if found else (0, 0)


def _padded(path: str, width: int) -> str:
    """The path with months and days of the month in so many letters.

    >>> _padded("m/${day:yyyy-M-dd}", 2)
    'm/${day:yyyy-MM-dd}'
    """
    return _DAY.sub(
        lambda found: f"${{day:{re.sub('MM?|dd?', lambda part: part[0][0] * width, found['pattern'] or _ISO)}}}", path
    )


def _regex(path: str) -> str:
    """A regular expression that finds the parts of the day in the address of a file, each as a group of its letters."""
    number = count()
    marked = _DAY.sub(lambda _: f"\0{next(number)}\0", re.sub(r"^[A-Za-z][\w+.-]*:(//)?", "", path).rstrip("/"))
    pattern = re.escape(marked)
    # Braces, brackets and backslashes may be a part of the name.
    pattern = re.sub(r"\\\{(.*?)\\\}", lambda either: f"(?:{either[1].replace(',', '|')}|{either[0]})", pattern)
    pattern = re.sub(r"\\\[.+?\\\]", lambda one: f"(?:{one[0]}|[^/])", pattern)
    pattern = pattern.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    pattern = re.sub(r"\\\\", r"\\\\?", pattern) + "(?=/|$)"
    patterns, seen = [found["pattern"] or _ISO for found in _DAY.finditer(path)], set[str]()

    def group(part: re.Match[str]) -> str:
        if part[0] in seen:
            return f"(?P={part[0]})"
        seen.add(part[0])
        return f"(?P<{part[0]}>{_PARTS[part[0]][0]})"

    return re.sub("\0(\\d+)\0", lambda mark: _LETTERS.sub(group, re.escape(patterns[int(mark[1])])), pattern)
