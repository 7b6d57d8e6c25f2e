"""The files of an input: found by their names, whatever characters these have, and looked into."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrameReader, SparkSession

from churn.config import RawInput, Source
from churn.errors import BadInputError, ChurnError, HoldError
from churn.sources.spark_errors import first_line
from churn.storage import java_class

UNPARSED: Final = "_unparsed"
"""Column of a raw row: the line that does not fit its header or syntax, where there is one."""
FILE: Final = "_file"
"""Column of a raw row that was read from a file: its local path, or its address where it is not local."""

SPECIAL: Final = re.compile(r"[*?\[\]{}\\]")
_WITHOUT_CHECKSUMS: Final = {
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}
_HEAD: Final = 1 << 16
"""Bytes of a file that are looked into."""
_MAGIC: Final = {
    b"\x1f\x8b": "a gzip file without .gz at the end of its name",
    b"PK\x03\x04": "a zip file, or a workbook of Excel",
    b"BZh": "a bzip2 file without .bz2 at the end of its name",
    b"\x28\xb5\x2f\xfd": "a zstd file without .zst at the end of its name",
    b"\xfd7zXZ\x00": "an xz file",
    b"PAR1": "a parquet file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3\x00": "a SQLite database",
    b"%PDF-": "a PDF file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old workbook of Excel",
}

_UNFINISHED: Final = re.compile(r".*(\.(?:tmp|temp|part|partial|filepart|crdownload|inprogress))", re.IGNORECASE)
_EMPTY_SIZES: Final = {".bz2": 14, ".lz4": 4, ".snappy": 4}
"""Bytes of a file that holds nothing, of the codecs that find nothing in what is not theirs."""
_EXPORT: Final = "export its rows as parquet"
_TABLES: Final = {
    "_delta_log": (None, "Delta Lake", 'set format = "delta", and path to this folder'),
    ".hoodie": (None, "Hudi", _EXPORT),
    "metadata": (re.compile(r"(v\d+|\d+-[\da-f-]{36})\.(gz\.)?metadata\.json"), "Iceberg", _EXPORT),
}
"""What the folder of a table holds: a name, and that of a file in it where the first says too little."""


@dataclass(frozen=True)
class File:
    """A file, its size in bytes as it is stored, and its first bytes, decompressed where its name says how."""

    name: str
    size: int
    head: bytes

    @property
    def is_whole(self) -> bool:
        """Whether the first bytes are all."""
        return len(self.head) < _HEAD


def find_files(spark: SparkSession, source: RawInput) -> list[tuple[str, int]] | None:
    """The files of a path, a folder or a pattern with their sizes, in the order of their names; None where nothing has
    such a name.

    A name that is there as it is written comes before what it means as a pattern. Below a folder or a pattern, names
    that begin with "_" or "." are left out, as Spark does. Found by Hadoop's file systems, which alone know the
    settings of an s3a or hdfs address. Raises BadInputError for a name that Java cannot decode.
    """
    return _found(spark, source)[0]


def _found(spark: SparkSession, source: RawInput) -> tuple[list[tuple[str, int]] | None, Mapping[str, BadInputError]]:
    """The files, and of the folders that were listed those that are tables of another format, with why to refuse one of
    their files."""
    path = hadoop_path(spark, source.path or "")
    folders = _Folders(spark, source, path.getFileSystem(hadoop_conf(spark)))
    matches = [match for text in _alternatives(path.toString()) for match in folders.matches(text)]
    local_path = path.toUri().getPath()
    if not matches and folders.is_local and os.path.lexists(local_path):
        raise folders.passed_over(local_path)
    files = [file for status, is_named in matches for file in folders.files(status, is_named)]
    return sorted(files) if matches else None, folders.tables


@dataclass(frozen=True)
class _Folders:
    """The folders of a file system, listed for an input."""

    spark: SparkSession
    source: RawInput
    system: Any
    tables: dict[str, BadInputError] = field(default_factory=dict)
    """Why files are refused, by the folder that is a table of another format."""

    @property
    def is_local(self) -> bool:
        return bool(self.system.getUri().getScheme() == "file")

    def matches(self, path: str) -> list[tuple[Any, bool]]:
        """What a path or a pattern stands for, each with whether its last part is named as it is written."""
        root, parts = address_parts(path)
        fixed = next((number for number, part in enumerate(parts) if SPECIAL.search(part)), len(parts))
        for number in range(1, fixed):
            above = self._status(f"{root}/{'/'.join(parts[:number])}")
            if above is not None:
                self._note_table(above.getPath().toString())
        start = self._status(f"{root}/{'/'.join(parts[:fixed])}")
        found = [(start, True)] if start is not None else []
        for part in parts[fixed:]:
            found = [child for status, _ in found if status.isDirectory() for child in self._children(status, part)]
        return found

    def files(self, status: Any, is_named: bool, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, int]]:
        """The files at or below a place, with their sizes; `above` are the folders it is in. Raises BadInputError for a
        folder that holds a link to itself, whose files have no end."""
        path = status.getPath()
        if not is_named and is_hidden(path.getName()):
            return
        if status.isFile():
            yield path.toString(), status.getLen()
            return
        here = path.toUri().getPath()
        real = os.path.realpath(here) if self.is_local else here
        if real in above:
            raise BadInputError(
                f"{self.source.section()} path {self.source.path}: {here} is a link to a folder that it is in, so its "
                "files have no end; remove the link"
            )
        for name, child in self._list(status):
            if child is not None:
                yield from self.files(child, is_named=False, above=above | {real})
            elif not is_hidden(name):
                raise self.passed_over(name)

    def passed_over(self, name: str) -> BadInputError:
        """Why a file that is there cannot be read: Java passes over it without a word."""
        place = f"{self.source.section()} path {self.source.path}"
        if self._is_decodable(name):
            return BadInputError(f"{place}: {name} is a link to a file that is not there; bring it back, or remove it")
        return BadInputError(
            f"{place}: the name {os.fsencode(name)!r} is no text in {self._encoding}, in which Java reads the names of"
            " files; rename it, or start with LC_ALL=C.UTF-8"
        )

    def _note_table(self, folder: str, names: Sequence[str] | None = None) -> None:
        """Add a folder to `tables` if it is one, by the names in it where they are known.

        Its log alone says which rows of its files were not replaced or deleted.
        """
        for part, (log, kind, then) in _TABLES.items() if self.source.format != "delta" else ():
            inside = f"{folder}/{part}"
            is_there = self._status(inside) is not None if names is None else part in names
            if is_there and (log is None or any(log.fullmatch(name) for name, _ in self._list(self._status(inside)))):
                self.tables[folder] = BadInputError(
                    f"{self.source.section()} path {self.source.path}: {folder} holds {part}, so it is a table of"
                    f" {kind}, whose files also have rows that were replaced or deleted; {then}"
                )

    def _status(self, path: str) -> Any:
        place = hadoop_path(self.spark, path)
        return self.system.getFileStatus(place) if self.system.exists(place) else None

    def _children(self, folder: Any, part: str) -> list[tuple[Any, bool]]:
        """What a folder holds of this name; where there is nothing, what matches it as a pattern."""
        named = self._status(f"{folder.getPath().toString().rstrip('/')}/{part}")
        if named is not None:
            return [(named, True)]
        listed = self._list(folder) if SPECIAL.search(part) else []
        for pattern in _patterns(part):
            if matched := {name: status for name, status in listed if pattern.fullmatch(name)}:
                if undecoded := [name for name, status in matched.items() if status is None]:
                    raise self.passed_over(undecoded[0])
                return [(status, False) for status in matched.values()]
        return []

    def _list(self, folder: Any) -> list[tuple[str, Any]]:
        """What a folder holds, by name. None is one that Java passes over: a name that it cannot decode, or a link to a
        file that is not there."""
        listed = [(status.getPath().getName(), status) for status in self.system.listStatus(folder.getPath())]
        self._note_table(folder.getPath().toString(), [name for name, _ in listed])
        if not self.is_local:
            return listed
        here, found = folder.getPath().toUri().getPath(), {name for name, _ in listed}
        names = [name for name in os.listdir(here) if name not in found]  # noqa: PTH208 - bytes kept
        lost = [name for name in names if not self._is_decodable(name) or _is_broken_link(f"{here}/{name}")]
        return [*listed, *((name, None) for name in lost)]

    def _is_decodable(self, name: str) -> bool:
        with suppress(UnicodeDecodeError):
            os.fsencode(name).decode(self._encoding)
            return True
        return False

    @cached_property
    def _encoding(self) -> str:
        return java_class(self.spark, "java.lang.System").getProperty("sun.jnu.encoding") or "UTF-8"


def _is_broken_link(path: str) -> bool:
    return os.path.lexists(path) and not os.path.exists(path)  # noqa: PTH110 - bytes kept


def address_parts(path: str) -> tuple[str, list[str]]:
    """The scheme and authority of an address, and the parts of its path."""
    root = re.match(r"(?:[A-Za-z][\w+.-]*:)?(?://[^/]*)?", path)[0]  # type: ignore[index]
    return root, path[len(root) :].strip("/").split("/")


def _alternatives(path: str) -> list[str]:
    """The path once for each alternative of a brace that has a slash inside."""
    brace = re.search(r"\{([^{}]*/[^{}]*)\}", path)
    if brace is None:
        return [path]
    before, after = path[: brace.start()], path[brace.end() :]
    return [one for inner in brace[1].split(",") for one in _alternatives(before + inner + after)]


def _patterns(part: str) -> Iterator[re.Pattern[str]]:
    """What a part of a path means: as a pattern of Hadoop's; as a name, but for a star and days.

    >>> [bool(pattern.fullmatch("calls [new] 1.csv")) for pattern in _patterns("calls [new] *.csv")]
    [False, True]
    """
    with suppress(re.error):
        yield re.compile(_regex(part), re.DOTALL)
    texts = re.split(r"(\*|\{\d[\d._ -]{4,}(?:,\d[\d._ -]{4,})*\})", part)
    yield re.compile("".join((re.escape, _regex)[n % 2](text) for n, text in enumerate(texts)), re.DOTALL)


def _regex(pattern: str) -> str:
    """A pattern of Hadoop's, without a slash, as a regular expression.

    >>> _regex("[!a]{b,c}?*")
    '[^a](?:b|c)..*'
    """
    text, depth = "", 0
    for mark in re.findall(r"\\.|\[[^\]]+\]|.", pattern, re.DOTALL):
        if len(mark) > 1 and mark[0] == "[":
            is_negated = mark[1] in "!^"
            characters = re.sub(r"([\\\[^&~|])", r"\\\1", mark[1 + is_negated : -1])
            text += f"[{'^' * is_negated}{characters}]"
        elif mark in ("*", "?"):
            text += ".*" if mark == "*" else "."
        elif mark == "{" or (mark in (",", "}") and depth):
            depth += {"{": 1, ",": 0, "}": -1}[mark]
            text += {"{": "(?:", ",": "|", "}": ")"}[mark]
        else:
            text += re.escape(mark[-1])
    return text


def is_hidden(name: str) -> bool:
    """Whether Spark leaves out a file of this name."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name.endswith("._COPYING_")


def existing_files(spark: SparkSession, source: RawInput) -> list[tuple[str, int]]:
    """The files of the source, or its `last_files`. Raises BadInputError, or HoldError, where there are none."""
    files, tables = _found(spark, source)
    if files is None:
        raise absent(source, "does not exist")
    if refused := [
        error for folder, error in tables.items() if any(name.startswith(f"{folder}/") for name, _ in files)
    ]:
        raise refused[0]
    if not files:
        raise absent(source, "holds no files")
    if any(is_hidden(name.rsplit("/", 1)[-1]) for name, _ in files):
        raise BadInputError(
            f"{source.section()} path {source.path} has a name that Spark leaves out, as it does any that begins with"
            ' "_" or "."; rename the file'
        )
    for name, _ in files:
        if (found := _UNFINISHED.fullmatch(name)) and not (source.path or "").endswith(found[1]):
            raise BadInputError(
                f"{source.section()} path {source.path}: {plain_name(name)} has the name of a file that is still being"
                f" written; try again when it is whole, or leave such files out by a pattern, such as path ="
                f' "folder/*.csv", or read them by one that ends in {found[1]}'
            )
    if source.last_files is not None:
        files = [file for file in files if file[1]][-source.last_files :] or files
    return files


def file_reader(spark: SparkSession, files: Sequence[str]) -> DataFrameReader:
    """Spark's reader for these names of files: none is read as a pattern, and no folder `name=value` makes a column."""
    reader = spark.read.options(__globPaths__="false", recursiveFileLookup="true")
    return reader.options(**_WITHOUT_CHECKSUMS) if any(map(_has_colon, files)) else reader


def _has_colon(file: str) -> bool:
    """Whether the name of a local file has a colon: that of its checksum, `.a:b.crc`, would be no path of Hadoop's."""
    return file.startswith("file:") and ":" in file.rsplit("/", 1)[-1]


def hadoop_path(spark: SparkSession, name: str) -> Any:
    return java_class(spark, "org.apache.hadoop.fs.Path")(name)


def hadoop_conf(spark: SparkSession, files: Sequence[str] = ()) -> Any:
    conf = spark._jsparkSession.sessionState().newHadoopConf()
    if any(map(_has_colon, files)):
        for name, value in _WITHOUT_CHECKSUMS.items():
            conf.set(name, value)
    return conf


def read_heads(spark: SparkSession, source: RawInput) -> list[File]:
    """The files that are not empty, with their first bytes. Raises BadInputError, or HoldError, without any file."""
    found = [(name, size) for name, size in existing_files(spark, source) if size]
    conf = hadoop_conf(spark, [name for name, _ in found])
    files = [File(name, size, _head(spark, conf, source, name, size)) for name, size in found]
    return [file for file in files if file.head]


def read_tail(spark: SparkSession, source: RawInput, file: File) -> bytes:
    """The last bytes of a file, decompressed where its name says how."""
    if file.is_whole:
        return file.head
    conf = hadoop_conf(spark, [file.name])
    with _opened(spark, conf, source, file.name) as (stream, codec):
        if codec is None:
            stream.seek(max(file.size - _HEAD, 0))
            return bytes(stream.readNBytes(_HEAD))
        tail = b""
        while block := bytes(stream.readNBytes(_HEAD * 16)):
            tail = (tail + block)[-_HEAD:]
        return tail


def binary_kind(file: File) -> str | None:
    """What a file is that is no text, by its first bytes; None = it may be text."""
    if file.head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for start, kind in _MAGIC.items() if file.head.startswith(start)), None)


def _head(spark: SparkSession, conf: Any, source: RawInput, file: str, size: int) -> bytes:
    with _opened(spark, conf, source, file) as (stream, codec):
        head = bytes(stream.readNBytes(_HEAD))
        if codec and not head and size != _EMPTY_SIZES.get(codec, size):
            raise _packed_otherwise(source, file, codec, "it holds nothing of this form")
        return head


@contextmanager
def _opened(spark: SparkSession, conf: Any, source: RawInput, file: str) -> Iterator[tuple[Any, str | None]]:
    """The file as a Java stream, and the ending that says how it is decompressed, if it is. Raises BadInputError where
    it cannot be."""
    path = hadoop_path(spark, file)
    stream = path.getFileSystem(conf).open(path)
    codec = java_class(spark, "org.apache.hadoop.io.compress.CompressionCodecFactory")(conf).getCodec(path)
    try:
        if codec is None:
            yield stream, None
            return
        try:
            yield codec.createInputStream(stream), codec.getDefaultExtension()
        except (Py4JError, PySparkException) as error:
            raise _packed_otherwise(source, file, codec.getDefaultExtension(), first_line(error)) from None
    finally:
        stream.close()


def _packed_otherwise(source: RawInput, file: str, codec: str, reason: str) -> BadInputError:
    return BadInputError(
        f"{source.section()} {plain_name(file)} cannot be decompressed as Hadoop's {codec}: {reason}; fetch it again if"
        " it is cut off, else unpack it, or pack it with gzip"
    )


def plain_name(file: str) -> str:
    """The name of a file in a message, and in `FILE`: a local path without its scheme."""
    return re.sub("^file:(//)?", "", file)


def absent(source: RawInput, problem: str) -> ChurnError:
    """BadInputError, as the path is wrong; HoldError where the source expects rows, which have not come yet."""
    if isinstance(source, Source) and source.expect:
        return HoldError(
            f"{source.name}: {source.path} {problem}; rows are expected there, so try again when it has come"
        )
    return BadInputError(f"{source.section()} path {source.path} {problem}; fix the path, or drop the section")
