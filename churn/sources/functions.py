"""Functions of the expressions in churn.toml that Spark does not have: money, durations, days of a spreadsheet.

They are macros: `expanded` replaces a call by SQL of built-in functions. So they need no session state, work wherever
an expression does (in a lambda, a sort, a stream), and run in the JVM.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from zoneinfo import available_timezones

from churn.sources.blanks import MARKS, SPACES
from churn.sources.zones import instant_in

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+ | --(?:\\\n|[^\r\n])* | /\*(?!\+).*?\*/)
  | (?P<string>[rR]'[^']*' | [rR]"[^"]*" | '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
  | (?P<quoted>`(?:[^`]|``)*`)
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d+(?:\.\d+)?\w*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A part of SQL text. `kind` is blank (comments too), string, quoted (a name), word, number or other."""

    kind: str
    text: str


def tokens(text: str) -> list[Token]:
    """All tokens of a SQL text; together they are the text."""
    return [Token(match.lastgroup or "other", match[0]) for match in _TOKEN.finditer(text)]


@dataclass(frozen=True)
class Function:
    """A macro: `expand` makes SQL of the SQL of its arguments, or raises ValueError with what is wrong with them."""

    name: str
    arguments: str
    result: str
    doc: str
    expand: Callable[[Sequence[str]], str]


def expanded(text: str) -> str:
    """SQL text with each call of a function of this module replaced by built-in functions of Spark.

    Raises ValueError, a clause such as "calls money() with 3 arguments, want money(text [, locale])".

    >>> expanded("a + 1")
    'a + 1'
    >>> expanded("serial_day(a, b)")
    Traceback (most recent call last):
    ValueError: calls serial_day() with 2 arguments, want serial_day(days)
    """
    if not _MENTIONED.search(text):
        return text
    return "".join(_expanded(tokens(text)))


def read_by(text: str) -> list[str]:
    """The texts that an expression reads by functions of this module, as SQL, where its value is null only if one of
    them cannot be read: it has nothing else but arithmetic.

    >>> read_by("abs(money(`Betrag`, 'de')) / 100"), read_by("coalesce(money(a), 0)"), read_by("abs(a)")
    (['`Betrag`'], [], [])
    >>> read_by("money( cast(a as string) ) + serial_day (b)")
    ['cast(a as string)', 'b']
    """
    parts = tokens(text)
    found: list[str] = []
    position = 0
    while position < len(parts):
        part = parts[position]
        begin = _after_blanks(parts, position + 1)
        is_call = begin < len(parts) and parts[begin].text == "("
        if is_call and part.text.strip("`").lower() in _BY_NAME:
            arguments, position = _arguments(parts, begin)
            if not arguments:
                return []
            found.append(arguments[0])
        elif part.kind in {"blank", "number", "other"} or part.text.lower() in _ARITHMETIC:
            position += 1
        else:
            return []
    return found


def _expanded(parts: Sequence[Token]) -> Iterator[str]:
    position, before = 0, ""
    while position < len(parts):
        part = parts[position]
        function = _BY_NAME.get(part.text.strip("`").lower()) if part.kind in {"word", "quoted"} else None
        begin = _after_blanks(parts, position + 1)
        if function and before != "." and begin < len(parts) and parts[begin].text == "(":
            arguments, position = _arguments(parts, begin)
            if arguments is None:  # brackets that do not close: Spark says where
                yield "".join(rest.text for rest in parts[position:])
                return
            yield f"({function.expand(arguments)})"
            before = ")"
            continue
        if part.kind != "blank":
            before = part.text
        yield part.text
        position += 1


def _after_blanks(parts: Sequence[Token], position: int) -> int:
    while position < len(parts) and parts[position].kind == "blank":
        position += 1
    return position


def _arguments(parts: Sequence[Token], begin: int) -> tuple[list[str] | None, int]:
    """The arguments in the brackets that open at `begin`, expanded, and the position after them."""
    depth, arguments = 0, [[]]  # type: tuple[int, list[list[Token]]]
    for position in range(begin, len(parts)):
        part = parts[position]
        depth += (part.text in {"(", "["}) - (part.text in {")", "]"})
        if depth == 0:
            texts = ["".join(_expanded(argument)).strip() for argument in arguments]
            return ([] if texts == [""] else texts), position + 1
        if part.text == "," and depth == 1:
            arguments.append([])
        elif position > begin:
            # A comment up to the end of its line would hide what follows.
            arguments[-1].append(Token("blank", " ") if part.kind == "blank" else part)
    return None, begin - 1


def _wrong_number(name: str, arguments: Sequence[str]) -> ValueError:
    count = len(arguments)
    want = f"{name}({_BY_NAME[name].arguments})"
    return ValueError(f"calls {name}() with {count} argument{'' if count == 1 else 's'}, want {want}")


def _only(name: str, arguments: Sequence[str]) -> str:
    if len(arguments) != 1:
        raise _wrong_number(name, arguments)
    return arguments[0]


def _sql(text: str) -> str:
    """A SQL string. Every letter that is not plain ASCII is written as its code."""
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in plain) + "'"


# --- money ------------------------------------------------------------------------------------------------------------


def _terms(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_POINT: Final = _terms("en ja zh ko th he ar hi bn ta te mr gu kn ml pa ur si my km ms fil tl sw am cy ga mt ne")
"""Languages that write 1,234.50."""
_COMMA: Final = _terms(
    "de fr es it pt nl pl cs sk sl hr sr bs mk bg ro hu da sv nb nn no fi et lv lt ru uk be el tr id vi ca eu gl is"
    " ka az kk uz hy sq lb fo mn"
)
"""Languages that write 1.234,50 or 1 234,50."""
# Regions that write otherwise than their language.
_POINT_REGIONS: Final = _terms("CH LI MX US PR GT SV HN NI PA DO PE 419")
_COMMA_REGIONS: Final = _terms("MA DZ TN LY MR")
_UNSETTLED_REGIONS: Final = _terms("ZA NA CR")
_INDIAN_LANGUAGES: Final = _terms("hi bn ta te mr gu kn ml pa ne")
_INDIAN_REGIONS: Final = _terms("IN PK BD NP LK BT")

_CODES: Final = _terms(
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF"
    " CLF CLP CNH CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD"
    " HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD"
    " MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG"
    " QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD"
    " TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG ZWL"
)
_NAMES: Final = _terms(
    "EUROS? DOLLARS? KR ZŁ ZL KČ KC FT RS RE RM RP TK SFR FR LEI LEU DIN KN TL YTL BS KSH TSH USH R S/ B/ Đ 元 円 圓 원"
    " ЛВ РУБ Р ГРН ДЕН ДИН"  # noqa: RUF001
)
_CENTS = "\u00a2\u20a5\uffe0"

# Every other way of writing these is made one of them; marks that only direct the text are dropped.
_SAME = {
    "-": "\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d",
    "+": "\uff0b",
    "'": "\u2019\u2018\u02bc\uff07\u00b4`",
    "?": "=|",
    " ": SPACES.removeprefix(" "),
    ".": "\uff0e\u066b",
    ",": "\uff0c\u066c",
    "(": "\uff08",
    ")": "\uff09",
    **{str(digit): "".join(chr(zero + digit) for zero in (0xFF10, 0x0660, 0x06F0)) for digit in range(10)},
}
_ANY = "\u00a4"
"""Stands for any currency after the first step."""


def _currency() -> str:
    """A pattern: the sign, code or name of a currency, or the `/-` behind whole rupees, with the blanks around it."""
    codes = (
        f"{first}(?:{'|'.join(code[1:] for code in same)})" for first, same in groupby(_CODES, key=lambda code: code[0])
    )
    named = "|".join([*codes, *(f"{name}\\.?" for name in _NAMES)])
    sign = rf"[A-Z]{{0,3}}(?![{_CENTS}{_ANY}])\p{{Sc}}"
    return rf" *(?:(?=[\p{{L}}\p{{Sc}}])(?<!\p{{L}})(?:{sign}|{named})(?!\p{{L}})|(?<=[0-9])/[-=](?= *$)) *"


# The groups of a pattern are marked by what they hold: (§s a sign, (§w whole units, (§f their fraction.
_GROUP = re.compile(r"\((?:§(?P<kind>\w)|\?<[a-z]>)")
_ZERO_CENTS = "-{1,2}"
_GAPS = " '"


def _grouped(separators: str, name: str, least: int = 1) -> str:
    """Whole units in groups of three, by one and the same separator; none begins with 0."""
    more = "*" if least == 1 else "+"
    return rf"[1-9]\d{{0,2}}(?<{name}>[{separators}])\d{{3}}(?:\k<{name}>\d{{3}}){more}"


def _fraction(mark: str) -> str:
    return rf"(?:[{mark}](?:(§f\d+)|{_ZERO_CENTS})?)?"


def _number(mark: str, *, is_indian: bool) -> str:
    """A number with a known decimal mark."""
    other = "," if mark == "." else "."
    indian = rf"|[1-9]\d?(?:{other}\d{{2}})*{other}\d{{3}}" if is_indian else ""
    whole = _grouped(f"{other} '", "a")
    return rf"(§w\d+|{whole}{indian})?{_fraction(mark)}"


# Without a known mark: one that three digits follow may mean either, unless something else settles it.
_CLEAR = "|".join(
    [
        rf"(§w{_grouped(_GAPS, 'a')}){_fraction('.,')}",
        rf"(§w{_grouped(',', 'b')})[.](§f\d*)",
        rf"(§w{_grouped('.', 'c')}),(?:(§f\d+)|{_ZERO_CENTS})?",
        rf"(§w{_grouped('.,', 'd', least=2)})",
        rf"(§w\d{{4,}}|0\d*)?{_fraction('.,')}",
        rf"(§w[1-9]\d{{0,2}})(?:[.,](?:(§f\d{{1,2}}|\d{{4,}})|{_ZERO_CENTS})?)?",
    ]
)


_PLAIN = r"^-?[0-9]{1,14}(?:[.,](?:[0-9]{1,2}|[0-9]{4}))?$"


def _replacing(pattern: str, template: str) -> tuple[str, str]:
    """A pattern without marks, and a replacement: each letter of the template is all groups of that kind."""
    kinds = [match["kind"] for match in _GROUP.finditer(pattern)]

    def groups(kind: str) -> str:
        return "".join(f"${n}" for n, found in enumerate(kinds, 1) if found == kind)

    replacement = "".join(groups(letter) if letter.isalpha() else letter for letter in template)
    return re.sub(r"\(§\w", "(", pattern), replacement


def _amount(number: str) -> tuple[str, str]:
    """What a cell with a number looks like once its currency is one sign, and how it is put together again."""
    gap = f"[{_ANY} ]*"
    pattern = (
        r"^(?=[^()]*(?:\([^()]*\)[^()]*)?$)(?=[^0-9]*[0-9])"  # brackets in pairs, and a digit
        rf"{gap}(§s[-+]?){gap}(§s[-+(]?){gap}(?:{number}){gap}\)?{gap}(?:(§s[-+])|(§s[DC])R\.?)?{gap}$"
    )
    return _replacing(pattern, "=sw|f")


def _mark(locale: str) -> tuple[str, bool]:
    """The decimal mark of a locale, and whether its thousands are grouped as in India. Raises ValueError."""
    if locale in {".", ","}:
        return locale, False
    language, _, region = locale.replace("-", "_").partition("_")
    language, region = language.lower(), region.rpartition("_")[2].upper()
    if region in _UNSETTLED_REGIONS or language not in (*_POINT, *_COMMA):
        raise ValueError(
            f"calls money() for {locale!r}, whose decimal mark is not known; write it: money(amount, ',') or"
            " money(amount, '.')"
        )
    is_point = region not in _COMMA_REGIONS if language in _POINT else region in _POINT_REGIONS
    is_indian = language in _INDIAN_LANGUAGES or region in _INDIAN_REGIONS
    return "." if is_point else ",", is_indian


def _money(arguments: Sequence[str]) -> str:
    """Currencies become one sign, the cell is taken apart by one pattern, and its parts are put together and cast.

    A second sign makes a text that cannot be cast; so does a cell that the pattern does not fit, which has no `=`.
    """
    if len(arguments) not in {1, 2}:
        raise _wrong_number("money", arguments)
    number, plain, separators = _CLEAR, _PLAIN, ","
    if len(arguments) == 2:
        locale = re.fullmatch(r"""'([^'\\]*)'|"([^"\\]*)\"""", arguments[1])
        if locale is None:
            raise ValueError(f"calls money() with {arguments[1]}, want a locale in quotes, such as money(amount, 'de')")
        mark, is_indian = _mark(locale[1] or locale[2] or "")
        other = "," if mark == "." else "."
        number = _number(mark, is_indian=is_indian)
        plain = rf"^-?(?:[0-9]{{1,14}}|[1-9][0-9]{{0,2}}(?:[{other}][0-9]{{3}}){{1,3}})(?:[{mark}][0-9]{{1,4}})?$"
        separators = mark + other
    text = f"cast({arguments[0]} AS string)"
    pattern, replacement = _amount(number)
    alike = f"btrim(upper(translate({text}, {_sql(_FROM)}, {_sql(_TO)})))"
    without_currency = f"regexp_replace({alike}, {_sql(_CURRENCY)}, {_sql(_ANY)})"
    parts = f"regexp_replace({without_currency}, {_sql(pattern)}, {_sql(replacement)})"
    # A bracket and a debit are a minus; what separates thousands is dropped.
    whole_cell = f"translate(split_part({parts}, '=', 2), {_SIGNS}, '---++.')"
    # Most cells are digits with a mark: they need one pattern only.
    digits = f"if({text} RLIKE {_sql(plain)}, translate({text}, {_sql(separators)}, '.'), {whole_cell})"
    # A column of numbers has no separators to read, and 1.234 would be taken for thousands.
    return (
        f"if(typeof({arguments[0]}) RLIKE '^(string|char|varchar|void)', try_cast({digits} AS decimal(18,4)),"
        f" try_cast({arguments[0]} AS decimal(18,4)))"
    )


_FROM: Final = "".join(_SAME.values()) + MARKS
_TO: Final = "".join(one * len(same) for one, same in _SAME.items())
_CURRENCY: Final = _currency()
_SIGNS: Final = _sql("-(D+C|.,' ")


# --- durations and days -----------------------------------------------------------------------------------------------

_SECONDS = r"\d+(?:\.\d+)?|\.\d+"
_DURATION: Final = _replacing(
    r"(?i)^(?:interval ')? *(§s[-+]?) *(?:"
    rf"(§c{_SECONDS}|\d+(?:\.\d+)?e[-+]?\d+)"
    r"|(?:(?:(§d\d+)(?: ?d(?:ays?)?\.? ?|[ .]))?(§h\d+):(§m[0-5]?\d)|(§m\d+)):(§c[0-5]?\d(?:\.\d+)?)"
    r"(?:' day to second)?"
    r"|p?(?=t?[0-9])(?:(§d\d+) ?d(?:ays?)? ?)?t?(?:(§h\d+) ?h(?:(?:ou)?rs?)? ?)?(?:(§m\d+) ?m(?:in(?:ute)?s?)? ?)?"
    rf"(?:(§c{_SECONDS}) ?s(?:ec(?:ond)?s?)?)?"
    ")$",
    # Each part has the sign, and a 0 (escaped, or $1 would be $10) in case that it is not there.
    r"s\0d|s\0h|s\0m|s\0c",
)


def _duration_seconds(arguments: Sequence[str]) -> str:
    value = _only("duration_seconds", arguments)
    pattern, replacement = _DURATION
    text = f"btrim(cast({value} AS string))"
    # 1,234 may mean either, as in money.
    clear = f"if({text} RLIKE '^[-+]? *[1-9][0-9]{{0,2}},[0-9]{{3}}([^0-9]|$)', null, translate({text}, '|,', '?.'))"
    parts = f"regexp_replace({clear}, {_sql(pattern)}, {_sql(replacement)})"
    total = " + ".join(
        f"{seconds} * try_cast(split_part({parts}, '|', {place}) AS decimal(18,6))"
        for place, seconds in enumerate((86400, 3600, 60, 1), 1)
    )
    return f"try_cast(round({total}) AS int)"


def _serial_day(arguments: Sequence[str]) -> str:
    value = _only("serial_day", arguments)
    days = f"try_cast(translate(btrim(cast({value} AS string)), ',', '.') AS decimal(18,10))"
    # To the millisecond: a day in fifteen digits is a few microseconds beside the second that is meant.
    since = f"make_dt_interval(0, 0, 0, cast(round({days} * 86400, 3) AS decimal(18,6)))"
    return f"CASE WHEN {days} BETWEEN 61 AND 2958465.99999 THEN timestamp_ntz'1899-12-30 00:00:00' + {since} END"


def _in_zone(arguments: Sequence[str]) -> str:
    if len(arguments) != 2:
        raise _wrong_number("in_zone", arguments)
    zone = arguments[1].strip("'\"")
    if zone not in available_timezones() or arguments[1] not in (f"'{zone}'", f'"{zone}"'):
        raise ValueError(f"calls in_zone() with {arguments[1]}, want an IANA name in quotes such as 'Europe/Paris'")
    return instant_in(arguments[0], zone)


FUNCTIONS: Final = (
    Function(
        "money",
        "text [, locale]",
        "decimal(18,4)",
        "An amount of money as people write it, with its sign.",
        _money,
    ),
    Function(
        "duration_seconds",
        "duration",
        "int",
        "The whole seconds of a duration; half a second is rounded away from zero.",
        _duration_seconds,
    ),
    Function(
        "serial_day",
        "days",
        "timestamp_ntz",
        "The local time that a spreadsheet holds as days since 1899-12-30, to the millisecond.",
        _serial_day,
    ),
    Function(
        "in_zone",
        "time, zone",
        "timestamp",
        "The instant of a local time of a zone: the later one where the clock repeats it, null where it skips it.",
        _in_zone,
    ),
)


def table() -> str:
    """All functions, as a table for docs/reference/functions.md."""
    rows = (
        f"| `{function.name}({function.arguments})` | {function.result} | {function.doc} |\n" for function in FUNCTIONS
    )
    return "| function | result | meaning |\n| --- | --- | --- |\n" + "".join(rows)


_ARITHMETIC: Final = frozenset(_terms("abs round cast as decimal double int bigint date timestamp"))
_BY_NAME: Final = {function.name: function for function in FUNCTIONS}
_MENTIONED: Final = re.compile("|".join(_BY_NAME), re.IGNORECASE)
