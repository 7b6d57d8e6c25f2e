"""What churn.toml says, read once, checked whole, and frozen."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from glob import glob
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import available_timezones

from churn.errors import ConfigError, nearest

FORMATS: Final = ("csv", "json", "parquet", "delta", "jdbc")

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*))?\}")
DAY: Final = "${day}"
"""In the path of a source: the day that a file brings, as 2026-09-30."""

SMALL_BYTES: Final = 16 << 20
"""Of all files of a company: below, plans and compilers cost more than rows, see docs/decisions/0008."""

_HAS_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_SQLITE = "sqlite:///"
_REQUIRED: Final = object()


def _frozen(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(values))


@dataclass(frozen=True)
class Expect:
    """What must have arrived before a batch is read: less is a hold, not zeros.

    `rows` is the least number of rows; `days` is how many days up to as-of must each have some.
    """

    rows: int = 0
    days: int = 0

    def __bool__(self) -> bool:
        return self.rows > 0 or self.days > 0


@dataclass(frozen=True)
class Arrivals:
    """Where the rows of a source arrive one by one, in the shape of its other files: a folder, or a topic of Kafka's
    whose messages are the rows as JSON objects."""

    path: str | None = None
    topic: str | None = None


@dataclass(frozen=True)
class Stream:
    """`[stream]`: how transactions are scored as they arrive.

    `lateness_minutes` is how long after a later one a transaction may come and still be told of in full. `servers` are
    Kafka's; alerts go to the folder or the topic `alerts` beside their table. `files` and `rows` bound what one
    micro-batch takes of each source: files of a folder, messages of a topic. `buckets` of keys are worked on side by
    side; like the features, they are fixed as long as the checkpoint lives.
    """

    checkpoint: str
    alerts: str
    servers: str | None = None
    alerts_topic: str | None = None
    lateness_minutes: float = 60
    files: int = 100
    rows: int = 50_000
    buckets: int = 4
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One `[sources.NAME]`: where foreign rows are and how they become those of the contract NAME.

    `columns` maps a column of the contract to a Spark SQL expression over the raw ones; `reject` maps the name of a
    rule to a condition over the raw columns. `zone` is that of times that carry none. With `${day}` in its path a batch
    reads the last `look_back` whole days before its as-of, the first one all days before it; else all there is.
    `arrivals` is where its rows arrive as a stream.
    """

    name: str
    file: Path
    format: str
    path: str | None = None
    zone: str = "UTC"
    options: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    reject: Mapping[str, str] = field(default_factory=dict)
    expect: Expect = Expect()
    max_quarantined: float = 0.5
    arrivals: Arrivals = Arrivals()
    look_back: int = 1

    @property
    def is_daily(self) -> bool:
        """Whether it comes as a file a day, or several."""
        return self.path is not None and DAY in self.path

    def days(self, as_of: datetime) -> list[date]:
        """The days that a batch must have, of a source that comes daily."""
        return [as_of.date() - timedelta(days=back) for back in range(self.look_back, 0, -1)]

    def place(self, *days: str) -> str:
        """The path of these days, as a Hadoop pattern; of none, that of any day. JDBC has no path."""
        path = self.path or ""
        alternatives = ",".join(days)
        return path.replace(DAY, f"{{{alternatives}}}" if len(days) > 1 else alternatives or "*")

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
        return f"{self.file.name}: [sources.{self.name}{'.' + part if part else ''}]"


@dataclass(frozen=True)
class Config:
    """All of churn.toml, its paths absolute and its variables filled in; `models` is left to the model's own check."""

    path: Path
    root: str
    tracking_uri: str
    stream: Stream
    experiment: str = "churn"
    sources: Mapping[str, Source] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    spark: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_small(self) -> bool:
        """Whether all sources are files of this machine, together no more than SMALL_BYTES."""
        sizes = [source.local_bytes() for source in self.sources.values()]
        return sum(size for size in sizes if size is not None) <= SMALL_BYTES and None not in sizes


@dataclass
class _Section:
    """The settings of one section that are still to be taken; what is left over at the end is unknown."""

    file: Path
    name: str
    left: dict[str, Any]
    env: Mapping[str, str]
    known: list[str] = field(default_factory=list)

    def error(self, problem: str) -> ConfigError:
        place = f"[{self.name}] " if self.name else ""
        return ConfigError(f"{self.file.name}: {place}{problem}")

    def take(self, key: str, kind: type | tuple[type, ...], wanted: str, default: Any = _REQUIRED) -> Any:
        self.known.append(key)
        if key not in self.left:
            if default is _REQUIRED:
                raise self.error(f"lacks {key!r}; add {key} = {wanted}")
            return default
        value = self.left.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"{key} is {value!r}, want {wanted}")
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.take(key, str, '"..."', default)
        return self.filled(key, value) if isinstance(value, str) else value

    def number(self, key: str, default: float, *, least: float, most: float = float("inf"), whole: bool = False) -> Any:
        wanted = f"a {'whole ' if whole else ''}number from {least:g}" + (
            f" to {most:g}" if most < float("inf") else ""
        )
        value = self.take(key, int if whole else (int, float), wanted, default)
        if not least <= value <= most:
            raise self.error(f"{key} is {value!r}, want {wanted}")
        return value

    def texts(self, key: str, *, expressions: bool = False) -> Mapping[str, str]:
        """A section of texts; numbers and truth values are written as such, except where SQL is meant."""
        inner = self.section(key)
        values: dict[str, str] = {}
        for name, given in inner.left.items():
            value = str(given).lower() if isinstance(given, bool | int | float) and not expressions else given
            if not isinstance(value, str) or not value.strip():
                wanted = 'a Spark SQL expression in quotes, such as "other_name"' if expressions else "text"
                raise inner.error(f"{name} is {value!r}, want {wanted}")
            values[name] = value if expressions else inner.filled(name, value)
        return _frozen(values)

    def section(self, key: str) -> _Section:
        name = f"{self.name}.{key}" if self.name else key
        return _Section(self.file, name, dict(self.take(key, dict, f"a section [{name}]", {})), self.env)

    def filled(self, key: str, text: str) -> str:
        """The text with ${NAME} and ${NAME:-default} replaced from the environment."""

        def value(match: re.Match[str]) -> str:
            if match[0] == DAY and key == "path":
                return DAY
            found = self.env.get(match["name"]) or match["default"]
            if found is None:
                raise self.error(
                    f"{key} is {text!r}, but the environment has no {match['name']};"
                    f" set it, or write ${{{match['name']}:-default}}"
                )
            return found

        return _VARIABLE.sub(value, text)

    def path(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.text(key, default)
        return _absolute(self.file, value) if isinstance(value, str) else value

    def finish(self) -> None:
        for key in self.left:
            raise self.error(f"has no setting {key!r}{nearest(key, self.known)}")


def load(path: Path | str, *, env: Mapping[str, str] | None = None) -> Config:
    """Everything the file says, or a ConfigError that names the file, the key, what was seen and what is wanted.

    Relative paths are relative to the file; `${NAME}` and `${NAME:-default}` are filled in from the environment.
    Names of contracts and columns are checked where contracts are known, before any row is read.
    """
    file = Path(path).absolute()
    top = _Section(file, "", _parsed(file), os.environ if env is None else env)
    storage, tracking, spark = top.section("storage"), top.section("tracking"), top.texts("spark")
    root = storage.path("root", str(file.parent / "lake"))
    uri = _tracking_uri(file, tracking.text("uri", None), root)
    experiment = tracking.text("experiment", "churn")
    sources, models = top.section("sources"), top.section("model")
    stream = _stream(top.section("stream"), root)
    for section in (storage, tracking, top):
        section.finish()
    return Config(
        path=file,
        root=root,
        tracking_uri=uri,
        stream=stream,
        experiment=experiment,
        sources=_frozen({name: _source(sources.section(name), name) for name in list(sources.left)}),
        models=_frozen({name: _frozen(models.section(name).left) for name in list(models.left)}),
        spark=spark,
    )


def _parsed(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; make one with: churn init {file.parent}")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name}: not UTF-8 text ({error}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file.name}: not valid TOML: {error}") from None


def _source(section: _Section, name: str) -> Source:
    kind = section.text("format", "csv")
    if kind not in FORMATS:
        raise section.error(f"format is {kind!r}, want one of {', '.join(FORMATS)}{nearest(kind, FORMATS)}")
    zone = section.text("zone", "UTC")
    if zone not in available_timezones():
        raise section.error(f"zone is {zone!r}, want an IANA name such as 'Europe/Paris'{_near_zone(zone)}")
    expect, arrivals = section.section("expect"), section.section("stream")
    source = Source(
        name=name,
        file=section.file,
        format=kind,
        path=section.path("path", None if kind == "jdbc" else _REQUIRED),
        zone=zone,
        options=section.texts("options"),
        columns=section.texts("columns", expressions=True),
        reject=section.texts("reject", expressions=True),
        expect=Expect(
            rows=expect.number("rows", 0, least=0, whole=True), days=expect.number("days", 0, least=0, whole=True)
        ),
        max_quarantined=section.number("max_quarantined", 0.5, least=0, most=1),
        arrivals=Arrivals(path=arrivals.path("path", None), topic=arrivals.text("topic", None)),
        look_back=section.number("look_back", 1, least=1, whole=True),
    )
    expect.finish()
    arrivals.finish()
    section.finish()
    if source.look_back > 1 and not source.is_daily:
        raise section.error(f'look_back needs a path with a day in it, such as "calls/{DAY}.csv"')
    if kind == "jdbc" and not ("url" in source.options and {"dbtable", "query"} & set(source.options)):
        raise section.error(f"lacks a place; add url and dbtable (or query) under [sources.{name}.options]")
    return source


def _stream(section: _Section, root: str) -> Stream:
    stream = Stream(
        checkpoint=section.path("checkpoint", f"{root}/_stream"),
        alerts=section.path("alerts", f"{root}/_alerts"),
        servers=section.text("servers", None),
        alerts_topic=section.text("alerts_topic", None),
        lateness_minutes=section.number("lateness_minutes", 60, least=0),
        files=section.number("files", 100, least=1, whole=True),
        rows=section.number("rows", 50_000, least=1, whole=True),
        buckets=section.number("buckets", 4, least=1, most=10_000, whole=True),
        options=section.texts("options"),
    )
    section.finish()
    return stream


def _near_zone(zone: str) -> str:
    hint = nearest(zone, available_timezones())
    return hint if "did you mean" in hint else ""


def _absolute(file: Path, path: str) -> str:
    """A local path made absolute; a Hadoop URI as it is."""
    if _HAS_SCHEME.match(path):
        return path
    return os.path.normpath(file.parent / Path(path).expanduser())


def _tracking_uri(file: Path, uri: str | None, root: str) -> str:
    """The store's URI, absolute; by default a SQLite file beside the lake, or beside churn.toml if that is remote."""
    if uri is None:
        folder = file.parent if _HAS_SCHEME.match(root) else Path(root).parent
        return f"{_SQLITE}{folder / 'mlflow.db'}"
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{_absolute(file, uri.removeprefix(_SQLITE))}"
    return _absolute(file, uri)
