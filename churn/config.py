"""What churn.toml says, read once, checked whole, and frozen."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from glob import glob
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar
from urllib.parse import unquote
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticKnownError

from churn import day_paths
from churn.errors import ConfigError
from churn.validation import MOST_DAYS, Count, Days, Frozen, Seed, SomeDays, Table, close_to, validated

Format = Literal["csv", "json", "parquet", "delta", "jdbc", "query"]
NULLS: Final = (
    "null", "\\N", "n/a", "na", "#n/a", "nan", "-", "--", "none", "nil", "unknown",
    "#ref!", "#value!", "#name?", "#null!", "#num!", "#div/0!",
)  # fmt: skip
"""Words that stand for no value where an id or a number is wanted, in any case, unless a source has its own."""

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*))?\}")
DAY: Final = "${day}"
"""In the path of a source: the day that a file brings, as 2026-09-30; in another form by a pattern, ${day:yyyyMMdd}."""

SMALL_BYTES: Final = 16 << 20
"""Of all files of a company: below, plans and compilers cost more than rows, see docs/decisions/0008."""

OUTCOMES: Final = ("stayed", "bought", "called", "accepted")
"""What may come of a contact, in `[uplift]`."""

_SPELLINGS: Final = {
    name.lower(): name
    for name in (
        *("header", "sep", "quote", "escape", "comment", "encoding", "lineSep", "multiLine", "mode"),
        *("columnNameOfCorruptRecord", "columnPruning", "enforceSchema"),
        *("url", "dbtable", "query", "preferTimestampNTZ"),
    )
} | {"delimiter": "sep", "charset": "encoding"}
"""The options of Spark's readers that are used here, by their other spellings."""
_WITHOUT_PATH: Final = ("jdbc", "query")
_OF_FILES: Final = ("format", "options", "header_line", "footer_lines", "footer", "rows", "types", "look_back")
_HAS_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/")
_SQLITE = "sqlite:///"


def _given(info: ValidationInfo, name: Literal["file", "env"]) -> Any:
    return (info.context or {})[name]


def _filled(value: object, info: ValidationInfo) -> object:
    """A text with ${NAME} and ${NAME:-default} replaced from the environment; any other value as it is."""
    is_path = info.field_name == "path"
    if isinstance(value, str) and "${day:" in value.replace("${day:-", "") and not is_path:
        raise ValueError(f"is {value!r}, but only the path of a source or an input has days")

    def found(match: re.Match[str]) -> str:
        if match[0] == DAY and is_path:
            return DAY
        name = match["name"]
        text: str | None = _given(info, "env").get(name) or match["default"]
        if text is None:
            raise ValueError(f"is {value!r}, but the environment has no {name}; set it, or write ${{{name}:-default}}")
        return text

    return _VARIABLE.sub(found, value) if isinstance(value, str) else value


def _absolute(path: str, info: ValidationInfo) -> str:
    """A local path, also that of a SQLite URI, made absolute; any other URI as it is."""
    if (file := sqlite_file(path)) is not None:
        _, mark, options = path.partition("?")
        return sqlite_uri(_absolute(file, info)) + mark + options
    if not path.strip():
        raise ValueError(f"is {path!r}, want a path or a URI")
    if _HAS_SCHEME.match(path):
        return path
    try:
        return str(os.path.normpath(_given(info, "file").parent / Path(path).expanduser()))
    except RuntimeError:
        raise ValueError(f"is {path!r}, and that user has no home folder; write the path without ~") from None


def sqlite_uri(file: Path | str) -> str:
    """The URI of a SQLite store in a file, whatever its name.

    >>> sqlite_uri("/a b%20c/mlflow.db")
    'sqlite:////a b%2520c/mlflow.db'
    """
    return _SQLITE + str(file).replace("%", "%25").replace("?", "%3F")


def sqlite_file(uri: str) -> str | None:
    """The file of the URI of a SQLite store, as SQLAlchemy reads it; None of any other URI.

    >>> sqlite_file("sqlite:////a%20b/mlflow.db?timeout=60")
    '/a b/mlflow.db'
    """
    return unquote(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


def _option(value: object) -> object:
    """A number or a truth value as text; any other value as it is. A blank is a value: sep = "\\t", quote = ""."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


def _setting(value: object) -> object:
    """An option that is not blank."""
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"is {value!r}, want text")
    return _option(value)


def _expression(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'is {value!r}, want a Spark SQL expression in quotes, such as "other_name"')
    return value


def _zone(name: str) -> str:
    if name not in available_timezones():
        near = close_to(name, available_timezones())
        raise ValueError(f"is {name!r}, want an IANA name such as 'Europe/Paris'{near}")
    return name


def _folder(value: object, info: ValidationInfo) -> object:
    """The folder that a text names; without one, `catalog` beside churn.toml if it is there."""
    beside = _given(info, "file").parent / "catalog"
    if value is None:
        return beside if beside.is_dir() else None
    folder = Path(_absolute(value, info)) if isinstance(value, str) else None
    if folder and not folder.is_dir():
        raise ValueError(f"is {value!r}, but there is no folder {folder}; make it, or drop the setting")
    return folder or value


def _column(value: object) -> object:
    """An expression alone, or a table with its zone."""
    return value if isinstance(value, dict | Column) else {"sql": _expression(value)}


def _place(path: str | None, info: ValidationInfo) -> str | None:
    form = info.data.get("format", "jdbc")
    if path is None and form not in _WITHOUT_PATH:
        raise PydanticKnownError("missing")
    if path is not None and form == "query":
        raise ValueError("stands beside a query, which reads [inputs.NAME]; name the file there")
    if path is not None and form == "jdbc" and "format" in info.data:
        raise ValueError("is not read by jdbc, whose place is url and dbtable (or query) under options; drop it")
    if problem := day_paths.problem(path or ""):
        raise ValueError(problem)
    return path


def _of_query(source: object, info: ValidationInfo) -> object:
    """A source with a query has that for its format, and the zone of its inputs where it names no other."""
    if not isinstance(source, dict) or (source.get("format") != "query" and "query" not in source):
        return source
    query = source.get("query", "")
    if not query:
        raise ValueError("lacks 'query', the text that reads [inputs.NAME]")
    if beside := [name for name in _OF_FILES if source.get(name, "query") != "query"]:
        raise ValueError(f"has {beside[0]} beside a query, which reads [inputs.NAME]; set it there")
    zones = {one.zone for one in _named_inputs(query, info.data.get("inputs", {})).values() if one.zone is not None}
    return {**({"zone": zones.pop()} if len(zones) == 1 else {}), "format": "query", **source}


def _named_inputs(query: object, inputs: Mapping[str, QueryInput]) -> dict[str, QueryInput]:
    """The inputs whose names are words of a query."""
    return {
        name: one
        for name, one in inputs.items()
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", str(query), re.IGNORECASE)
    }


def _spelled(options: Mapping[str, str]) -> Mapping[str, str]:
    """The options of Spark's readers, which take a name in any case, as Spark spells them."""
    spelled: dict[str, str] = {}
    for name in options:
        spelling = _SPELLINGS.get(name.lower(), name)
        same = [other for other in options if _SPELLINGS.get(other.lower(), other).lower() == spelling.lower()]
        if len(same) > 1:
            raise ValueError(f"has {' and '.join(same)}, which are one option; keep one of them")
        spelled[spelling] = options[name]
    return MappingProxyType(spelled)


def _jdbc(options: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
    if info.data.get("format") == "jdbc" and not ("url" in options and {"dbtable", "query"} & set(options)):
        raise ValueError("lacks a place; add url and dbtable (or query)")
    return options


def _only_of(format_: str) -> AfterValidator:
    """A setting that is read in one format alone."""

    def check(value: object, info: ValidationInfo) -> object:
        if (seen := info.data.get("format", format_)) != format_:
            raise ValueError(f'is read where format = "{format_}", and here it is "{seen}"; drop it, or set format')
        return value

    return AfterValidator(check)


def _look_back(days: int, info: ValidationInfo) -> int:
    if days > 1 and not day_paths.has_day(info.data.get("path", DAY)):
        raise ValueError(f'needs a path with a day in it, such as "calls/{DAY}.csv"')
    return days


def _without_day(path: str | None) -> str | None:
    if day_paths.has_day(path):
        raise ValueError(f"is {path!r}, want the folder in which files of all days arrive")
    return path


def _not_a_setting(_: object) -> None:
    raise PydanticKnownError("extra_forbidden")


_Text = Annotated[str, BeforeValidator(_filled)]
_Local = Annotated[_Text, AfterValidator(_absolute)]
_Options = Table[Annotated[_Text, BeforeValidator(_option)]]
_ReaderOptions = Annotated[_Options, AfterValidator(_spelled)]
_Expressions = Table[Annotated[str, BeforeValidator(_expression)]]
_EMPTY: Any = {}


class Expect(Frozen):
    """What must have arrived before a batch is read: less is a hold, not zeros.

    `rows` is the least number of rows; `days` is how many days up to as-of must each have some.
    """

    rows: Annotated[int, Field(ge=0)] = 0
    days: SomeDays = 0

    def __bool__(self) -> bool:
        return self.rows > 0 or self.days > 0


class Arrivals(Frozen):
    """Where the rows of a source arrive one by one, in the shape of its other files: a folder, or a topic of Kafka's
    whose messages are the rows as JSON objects."""

    path: Annotated[_Local | None, AfterValidator(_without_day)] = None
    topic: _Text | None = None


class Stream(Frozen):
    """`[stream]`: how transactions are scored as they arrive.

    `lateness_minutes` is how long after a later one a transaction may arrive and still have all its features.
    `ahead_minutes` is how far ahead of its micro-batch a row may be dated, by a clock that is fast; a row further ahead
    is quarantined. It is at most `lateness_minutes`, so that no row makes those in time late; None = 10, or less where
    `lateness_minutes` is. `servers` are Kafka's; alerts go to the folder or the topic `alerts` beside their table.
    `files` and `rows` bound what one micro-batch takes of each source: files of a folder, messages of a topic.
    `buckets` of keys are worked on side by side; like the features, they are fixed as long as the checkpoint lives.
    """

    checkpoint: _Local
    alerts: _Local
    servers: _Text | None = None
    alerts_topic: _Text | None = None
    lateness_minutes: Annotated[float, Field(ge=0, le=525_600)] = 60
    ahead_minutes: Annotated[float, Field(ge=0)] | None = None
    files: Count = 100
    rows: Count = 50_000
    buckets: Annotated[int, Field(ge=1, le=10_000)] = 4
    options: _Options = _EMPTY

    @model_validator(mode="after")
    def _not_past_lateness(self) -> Stream:
        if self.ahead_minutes is not None and self.ahead_minutes > self.lateness_minutes:
            raise ValueError(
                f"ahead_minutes is {self.ahead_minutes:g}, want at most lateness_minutes, {self.lateness_minutes:g}: a"
                " row that is dated ahead would make those in time late"
            )
        return self

    @property
    def ahead(self) -> timedelta:
        """How far ahead of its micro-batch a row may be dated."""
        return timedelta(minutes=min(10, self.lateness_minutes) if self.ahead_minutes is None else self.ahead_minutes)


def _word(word: str) -> str:
    if not any(map(str.isalnum, word)):
        raise ValueError(f"is {word!r}, want a word with a letter or a digit")
    return word


_Terms = tuple[Annotated[str, AfterValidator(_word)], ...]


class Reasons(Frozen):
    """`[reasons]`: the words by which the reason or the queue of a call belongs to a group; one call may be in several.

    A word counts where it stands by itself: "port" is in "port-out", not in "support". `%` stands for any characters:
    "cancel%" is in "cancelled", "%port%" in "support". Case and accents make no difference; blanks, hyphens and
    underscores are alike. A group that is named has these words alone, one that is not has the English ones.
    """

    complaint: _Terms = ("%complain%", "%dispute%", "%grievance%")
    billing: _Terms = ("%bill%", "%invoice%", "%payment%", "%fee%", "%price%", "%charge%")
    price: _Terms = ("%price%", "%discount%", "%tariff%", "%better offer%", "%competitor%", "%expensive%", "%cheaper%")
    technical: _Terms = ("%technic%", "%outage%", "%fault%", "%service%", "%network%", "%device%")
    leaving: _Terms = (
        *("%cancel%", "%terminat%", "%retention%", "%switch%"),
        *("%close account%", "%closeaccount%", "%port out%", "%portout%"),
    )
    access: _Terms = (
        *("%passw%", "pin", "%login%", "log in", "sign in", "locked", "lockout", "%access%", "%security%"),
        *("%address%", "%phone%", "%device%"),
    )


def _day(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"is {value!r}, want a date such as 2026-12-25") from None


WeekDay = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WeekDays = tuple[WeekDay, ...]
_Holidays = tuple[Annotated[date, BeforeValidator(_day)], ...]


class Column(Frozen):
    """How a column of a contract is made: a Spark SQL expression, and the zone of its local times where it differs from
    the source's."""

    sql: Annotated[str, BeforeValidator(_expression)]
    zone: Annotated[str, AfterValidator(_zone)] | None = None


@dataclass(frozen=True)
class RawInput:
    """Where raw rows are and how they are read: what `[inputs.NAME]` and `[sources.NAME]` share.

    Of csv, `header_line` is the line of the header, counted from 1 (default: it is found), `footer_lines` are left out
    at the end of each file, and so are lines that match the pattern `footer`. Of json, `rows` is the path to the rows
    inside a response, such as "conversations[*]". `types` gives columns a Spark type, such as "string" for a key that
    is an object one day and text the next; a column that no file of a batch has is null. A value that is not of its
    type costs its row.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[SkipJsonSchema[str], BeforeValidator(_not_a_setting)] = ""
    file: Annotated[SkipJsonSchema[Path], BeforeValidator(_not_a_setting)] = Path()
    format: Annotated[Format, BeforeValidator(_filled)] = "csv"
    path: Annotated[_Local | None, Field(validate_default=True), AfterValidator(_place)] = None
    options: Annotated[_ReaderOptions, AfterValidator(_jdbc), Field(validate_default=True)] = field(
        default_factory=dict
    )
    header_line: Annotated[Annotated[int, Field(strict=True, ge=1)] | None, _only_of("csv")] = None
    footer_lines: Annotated[int, Field(strict=True, ge=0), _only_of("csv")] = 0
    footer: Annotated[str | None, _only_of("csv")] = None
    rows: Annotated[str | None, _only_of("json")] = None
    types: Table[str] = field(default_factory=dict)
    look_back: Annotated[int, Field(strict=True, ge=1), AfterValidator(_look_back)] = 1
    last_files: Annotated[SkipJsonSchema[int | None], BeforeValidator(_not_a_setting)] = None
    """So many files at most are read, the last by their names; None = all."""

    kind: ClassVar[str] = "inputs"
    """The table of churn.toml that it stands in."""

    @property
    def is_daily(self) -> bool:
        """Whether it comes as a file a day, or several."""
        return day_paths.has_day(self.path)

    def days(self, as_of: datetime, since: date | None = None) -> list[date]:
        """The days that a batch must have, of a source that comes daily: the last `look_back`, and those from `since`
        on."""
        last = as_of.date()
        most = self.look_back if since is None else max(self.look_back, (last - since).days)
        return [last - timedelta(days=back) for back in range(most, 0, -1)]

    def place(self, day: date | None = None) -> str:
        """The path of a day; without one that of all days, as a Hadoop pattern. JDBC has no path."""
        path = self.path or ""
        return day_paths.of_any_day(path) if day is None else day_paths.of_day(path, day)

    def local_bytes(self) -> int | None:
        """The bytes of its files; null where they are not files of this machine."""
        place = self.place().removeprefix("file:")
        if not self.path or _HAS_SCHEME.match(place):
            return None
        found = [Path(name) for name in glob(place)]  # noqa: PTH207 - a pattern anywhere in the path
        files = [file for one in found for file in (one.rglob("*") if one.is_dir() else [one])]
        return sum(file.stat().st_size for file in files if file.is_file())

    def section(self, part: str | None = None) -> str:
        """The place in the file to point a reader to."""
        return f"{self.file.name}: [{self.kind}.{self.name}{'.' + part if part else ''}]"


@dataclass(frozen=True)
class QueryInput(RawInput):
    """One `[inputs.NAME]`: a table that queries of sources read by its name.

    `zone` is that of its local times. `key` names the columns that no two of its rows share, so that a join cannot
    multiply rows. `reject` maps the name of a rule to a condition over its columns: such rows are quarantined, and no
    query sees them. `unused` says why rows may be in no row of a query's result.
    """

    format: Annotated[Literal["csv", "json", "parquet", "delta", "jdbc"], BeforeValidator(_filled)] = "csv"
    zone: Annotated[_Text, AfterValidator(_zone)] | None = None
    key: tuple[str, ...] = ()
    reject: _Expressions = field(default_factory=dict)
    unused: str | None = None


@dataclass(frozen=True)
class Source(RawInput):
    """One `[sources.NAME]`: where foreign rows are and how they become those of the contract NAME.

    `columns` maps a column of the contract to a Spark SQL expression over the raw ones, and to the zone of its local
    times where it is not the source's `zone`; `reject` maps the name of a rule to a condition over the raw columns. In
    place of a path a `query` may read its `inputs`: each `[inputs.NAME]` that it names. `nulls` are words that stand
    for no value where an id or a number is wanted; `maximum` replaces the greatest value that the contract allows for a
    column. `accept` names rules of doubt that its rows may break, such as customer_id_in_scientific_notation. Messages
    show only the form of the columns `personal`, of ids and of free text. With days in its path a batch reads the
    last `look_back` whole days before its as-of and all since the batch before, the first one all days before it; else
    all there is. `arrivals` is where its rows arrive as a stream. Reasons, holidays, weekend, currency and rates are
    those of the whole file. A dataclass, so that `replace` makes what a batch reads unchecked.
    """

    zone: Annotated[_Text, AfterValidator(_zone)] = "UTC"
    query: Annotated[str, BeforeValidator(_expression)] | None = None
    inputs: Annotated[SkipJsonSchema[Mapping[str, QueryInput]], BeforeValidator(_not_a_setting)] = field(
        default_factory=dict
    )
    columns: Table[Annotated[Column, BeforeValidator(_column)]] = field(default_factory=dict)
    reject: _Expressions = field(default_factory=dict)
    nulls: tuple[str, ...] = NULLS
    maximum: Table[int] = field(default_factory=dict)
    expect: Expect = field(default_factory=Expect)
    max_quarantined: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    personal: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    arrivals: Annotated[Arrivals, Field(alias="stream")] = field(default_factory=Arrivals)
    reasons: Annotated[SkipJsonSchema[Reasons], BeforeValidator(_not_a_setting)] = field(default_factory=Reasons)
    holidays: Annotated[SkipJsonSchema[_Holidays], BeforeValidator(_not_a_setting)] = ()
    currency: Annotated[SkipJsonSchema[str | None], BeforeValidator(_not_a_setting)] = None
    rates: Annotated[SkipJsonSchema[RawInput | None], BeforeValidator(_not_a_setting)] = None
    weekend: Annotated[SkipJsonSchema[_WeekDays], BeforeValidator(_not_a_setting)] = ("saturday", "sunday")

    kind: ClassVar[str] = "sources"

    @property
    def is_daily(self) -> bool:
        """Whether it, or an input of its query, comes as a file a day, or several."""
        return super().is_daily or any(one.is_daily for one in self.inputs.values())

    @property
    def own_rules(self) -> frozenset[str]:
        """The rules under `reject`, and those of the inputs of its query."""
        return frozenset(self.reject).union(*(one.reject for one in self.inputs.values()))

    def zone_of(self, column: str) -> str:
        """The zone of a column's local times."""
        chosen = self.columns[column].zone if column in self.columns else None
        return chosen or self.zone


_Place = TypeVar("_Place", bound=RawInput)


class Uplift(Frozen):
    """`[uplift]`: from which contacts it is learnt whom a campaign moves, and by which outcome.

    Without `input` they are the accepted contacts, `outcome` is one of stayed, bought, called (within `days` of the
    contact) or accepted, and `features` are families or names of the catalogue. With it they are the rows of
    `[inputs.NAME]`: `treated`, `outcome`, `customer`, `campaign` and `cost` are SQL over its columns, and `features`
    are names or patterns of those columns, without those of `exclude`. A row whose `treated` is null is left out. Rows
    of one `customer` are in the same half; by default each row is another customer. `value` is the money that an
    outcome is worth. Learners are fitted on up to `train_rows` rows of a half, and compared on up to `trial_rows`.
    """

    input: str | None = None
    treated: Annotated[str, BeforeValidator(_expression)] | None = None
    outcome: Annotated[str, BeforeValidator(_expression)] = "stayed"
    days: Days = 60
    customer: Annotated[str, BeforeValidator(_expression)] | None = None
    campaign: Annotated[str, BeforeValidator(_expression)] | None = None
    cost: Annotated[str, BeforeValidator(_expression)] | None = None
    value: Annotated[float, Field(ge=0)] | None = None
    features: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.1, 0.2, 0.3, 0.5)
    halves: Annotated[int, Field(ge=1, le=1000)] = 10
    train_rows: Annotated[int, Field(ge=100, le=10**9)] = 300_000
    trial_rows: Annotated[int, Field(ge=100, le=10**9)] = 100_000
    seed: Seed = 17

    @model_validator(mode="after")
    def _of_one_kind(self) -> Uplift:
        if self.input is None:
            if beside := [name for name in ("treated", "customer", "campaign", "cost") if getattr(self, name)]:
                raise ValueError(f"has {beside[0]!r} and no 'input', whose columns it reads; name an [inputs.NAME]")
            if self.outcome not in OUTCOMES:
                raise ValueError(
                    f"has outcome = {self.outcome!r}, which is none of the accepted contacts: {', '.join(OUTCOMES)}; "
                    "name the 'input' whose columns it reads"
                )
        elif not self.treated:
            raise ValueError("lacks 'treated', the condition that tells the rows of 'input' that were contacted")
        elif not self.features:
            raise ValueError(
                "lacks 'features', the columns of 'input' that were known before, such as [\"age\", \"f*\"]"
            )
        return self


class Value(Frozen):
    """`[value]`: what a customer is expected to be worth in the next `horizon` days.

    `margin` is the share of what customers spend that is margin. `method` is purchases (from how often and for how much
    a customer bought), or contracts (the chance that the account is still open, times fee and spend); auto takes
    contracts where there are closures and customers.
    """

    horizon: Days = 365
    margin: Annotated[float, Field(gt=0, le=1)] = 1.0
    method: Literal["auto", "purchases", "contracts"] = "auto"
    seed: Seed = 17


class Offer(Frozen):
    """One `[offers.NAME]`: what a campaign may offer.

    `acceptance` is the share of those about to leave who accept and stay, `stayers` the share of the others who take
    the offer, and cost `cost` each. `suits` is SQL over a customer's columns, with score and value: true for whom it
    is. `budget` is the most that its contacts may cost, if everyone accepts.
    """

    cost: Annotated[float, Field(ge=0)]
    acceptance: Annotated[float, Field(gt=0, le=1)]
    contact_cost: Annotated[float, Field(ge=0)] = 1.0
    stayers: Annotated[float, Field(ge=0, le=1)] = 1.0
    suits: Annotated[str, BeforeValidator(_expression)] | None = None
    budget: Annotated[float, Field(ge=0)] | None = None


class Plan(Frozen):
    """`[plan]`: how many contacts the team makes in a day, for how many days a plan is, and who is left out.

    `hold_out` is the share of the customers who are not contacted though the plan is for them, drawn by id and `seed`:
    what it changed is measured against them. Who was contacted, or planned to be, in `not_within` days before is left
    out, and so is who meets the SQL condition `do_not_contact` over a customer's columns.
    """

    capacity: Count = 100
    days: Days = 1
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    not_within: SomeDays = 30
    do_not_contact: Annotated[str, BeforeValidator(_expression)] | None = None
    seed: Seed = 17


class _Storage(Frozen):
    root: _Local = "lake"


class _Money(Frozen):
    """`[money]`: the currency of all amounts; others are converted by `[sources.rates]`."""

    currency: Annotated[_Text, AfterValidator(str.upper)] | None = None


class _Tracking(Frozen):
    uri: _Local | None = None
    experiment: _Text = "churn"


class Maintenance(Frozen):
    """`[maintenance]`: how long is stored what can be computed again, in days before the as-of of jobs/maintain.py.

    `feature_days` is of features, which a run computes again where it needs older ones; `score_days` is of scores and
    alerts, of batches and of streams, None = for ever. `version_days` is for how long older versions of tables can be
    read, and so for how long a run can be done again by `--inputs-of`.
    """

    feature_days: Days = 800
    score_days: Days | None = None
    version_days: Annotated[int, Field(ge=7, le=MOST_DAYS)] = 90


class Config(Frozen):
    """All of churn.toml, its paths absolute and its variables filled in; `models` is left to the model's own check.

    `catalog` is a folder of the company's own sources, features and labels. `holidays` and the days of the `weekend`
    are by the local time of a source.
    """

    path: Annotated[SkipJsonSchema[Path], BeforeValidator(_not_a_setting), Field(validate_default=False)] = Path()
    catalog: Annotated[Path | None, BeforeValidator(_folder), BeforeValidator(_filled)] = None
    storage: _Storage = _EMPTY
    tracking: _Tracking = _EMPTY
    money: _Money = _EMPTY
    reasons: Reasons = _EMPTY
    holidays: _Holidays = ()
    weekend: _WeekDays = ("saturday", "sunday")
    inputs: Table[QueryInput] = _EMPTY
    sources: Table[Annotated[Source, BeforeValidator(_of_query)]] = _EMPTY
    stream: Stream = _EMPTY
    uplift: Uplift = _EMPTY
    value: Value = _EMPTY
    maintenance: Maintenance = _EMPTY
    offers: Table[Offer] = _EMPTY
    plan: Plan = _EMPTY
    models: Annotated[Table[Table[object]], Field(alias="model")] = _EMPTY
    spark: Table[Annotated[_Text, BeforeValidator(_setting)]] = _EMPTY

    @field_validator("inputs", "sources")
    @classmethod
    def _named(cls, places: Mapping[str, _Place], info: ValidationInfo) -> Mapping[str, _Place]:
        file = _given(info, "file")
        return MappingProxyType({name: replace(place, name=name, file=file) for name, place in places.items()})

    @field_validator("sources")
    @classmethod
    def _with_inputs(cls, sources: Mapping[str, Source], info: ValidationInfo) -> Mapping[str, Source]:
        """Each source with the inputs that its query names."""
        inputs = info.data.get("inputs", {})
        named = {name: _named_inputs(source.query or "", inputs) for name, source in sources.items()}
        return MappingProxyType({name: replace(source, inputs=named[name]) for name, source in sources.items()})

    @field_validator("sources")
    @classmethod
    def _with_meaning(cls, sources: Mapping[str, Source], info: ValidationInfo) -> Mapping[str, Source]:
        """Each source with what the company's words and days mean, which columns of contracts are made by."""
        shared: dict[str, Any] = {
            name: info.data[name] for name in ("reasons", "holidays", "weekend") if name in info.data
        }
        if "money" in info.data:
            shared |= {"currency": info.data["money"].currency, "rates": sources.get("rates")}
        return MappingProxyType({name: replace(source, **shared) for name, source in sources.items()})

    @field_validator("uplift")
    @classmethod
    def _of_an_input(cls, uplift: Uplift, info: ValidationInfo) -> Uplift:
        inputs = info.data.get("inputs", {})
        if uplift.input is not None and uplift.input not in inputs:
            raise ValueError(f"has input = {uplift.input!r}, and there is no [inputs.{uplift.input}]; add it")
        return uplift

    @field_validator("stream", mode="before")
    @classmethod
    def _in_the_lake(cls, stream: object, info: ValidationInfo) -> object:
        root = info.data["storage"].root if "storage" in info.data else ""
        beside = {"checkpoint": f"{root}/_stream", "alerts": f"{root}/_alerts"}
        return {**beside, **stream} if isinstance(stream, dict) else stream

    @property
    def root(self) -> str:
        return self.storage.root

    @property
    def experiment(self) -> str:
        return self.tracking.experiment

    @property
    def tracking_uri(self) -> str:
        """The store's URI; by default a SQLite file beside the lake, or beside churn.toml if the lake is remote."""
        folder = self.path.parent if _HAS_SCHEME.match(self.root) else Path(self.root).parent
        return self.tracking.uri or sqlite_uri(folder / "mlflow.db")

    @property
    def is_small(self) -> bool:
        """Whether all sources are files of this machine, together no more than SMALL_BYTES."""
        sizes = [
            source.local_bytes()
            for source in (*self.inputs.values(), *self.sources.values())
            if source.format != "query"
        ]
        return sum(size for size in sizes if size is not None) <= SMALL_BYTES and None not in sizes


def load(path: Path | str, *, env: Mapping[str, str] | None = None) -> Config:
    """Everything the file says, or one ConfigError that tells of each wrong setting its line, what was seen and wanted.

    Relative paths are relative to the file; `${NAME}` and `${NAME:-default}` are filled in from the environment.
    Names of contracts and columns are checked where contracts are known, before any row is read.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; make one with: churn init {file.parent}")
    try:
        text = file.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name}: not UTF-8 text ({error}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file.name}: not valid TOML: {error}") from None
    context = {"file": file, "env": os.environ if env is None else env}
    return validated(Config, values, file=file, text=text, context=context).model_copy(update={"path": file})
