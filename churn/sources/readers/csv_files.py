"""Read files of separated text: every cell as text, by RFC 4180 unless the options of Spark's reader say otherwise."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from churn.config import RawInput
from churn.errors import BadInputError
from churn.runtime.session import with_settings
from churn.sources.blanks import BLANKS
from churn.sources.readers.encodings import decode, java_charset, unknown_encoding
from churn.sources.readers.files import (
    FILE,
    UNPARSED,
    File,
    absent,
    binary_kind,
    file_reader,
    plain_name,
    read_heads,
    read_tail,
)
from churn.sources.readers.partitions import with_file_columns
from churn.storage import literal, quoted

_FIXED: Final = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": UNPARSED,
    "columnPruning": "false",
    "enforceSchema": "true",
}
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins as that of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SAMPLE: Final = 50
_SEPARATOR, _END, _FEED, _RETURN = "\ue000", "\ue001", "\ue002", "\ue003"
"""Characters for private use, in place of a separator and line breaks that Python's reader does not take."""
_PAGE: Final = re.compile(r"\s*<(!doctype|\?xml|html|head|body|table)\b", re.IGNORECASE)
_JSON: Final = re.compile(r'\s*(\[\s*)?\{\s*"(?:[^"\\]|\\.)*"\s*:')
_ESCAPED: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(0[0-7]{2})|t)")
_LINES, _EXTRA = "value", "_extra"
_CELLS, _NUMBER = "\x01cells", "\x01number"
"""Columns of a row that may be a line that is left out: its cells, joined, and which of those that are equal it is."""


@dataclass(frozen=True)
class _Layout:
    """What the lines of a file are: the names of its columns, its encoding, and the lines that hold no row."""

    names: tuple[str, ...]
    encoding: str
    head: tuple[str, ...]
    """The lines up to the header, each as its cells, joined; empty = there is none."""
    foot: tuple[str, ...]
    """The lines that are left out at the end."""


def read_csv(spark: SparkSession, source: RawInput) -> DataFrame:
    """Every cell as text, with `UNPARSED` for a line that has more cells than the header, or opens a quote that it does
    not close. Cells that are missing at the end of a line are null.

    Files are grouped by their header, so that columns in another order cannot fill the wrong places. A name that occurs
    twice gets a number: `agent (1)`, `agent (2)`. Raises BadInputError for what is no text, has no such header, or has
    cells with line breaks without `multiLine`.
    """
    options = dialect(spark, source)
    files = [file for file in read_heads(spark, source) if file.head.strip(b"\0\xff\xfe\xef\xbb\xbf \t\r\n")]
    if not files:
        raise absent(source, "is empty: no rows and no header")
    groups: dict[tuple[tuple[str, ...], str], list[tuple[File, _Layout]]] = {}
    for file in files:
        layout = _layout(spark, source, file, options)
        groups.setdefault((layout.names, layout.encoding), []).append((file, layout))
    _check_headers(source, groups)
    frames = [_read_group(spark, source, options, group) for group in groups.values()]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)


def _check_headers(source: RawInput, groups: Mapping[tuple[tuple[str, ...], str], list[tuple[File, _Layout]]]) -> None:
    """Raises BadInputError for a file whose first line is a row, which would be lost as its header: it has numbers, and
    no name of the other files' headers."""
    times = Counter(name for names in {names for names, _ in groups} for name in {one.lower() for one in names})
    for (names, _), files in groups.items():
        is_alone = all(times[name.lower()] == 1 for name in names)
        if len(times) > len(names) and is_alone and any(map(_is_mostly_digits, names)):
            raise BadInputError(
                f"{source.section()} {plain_name(files[0][0].name)} has no header, or is another kind of file: its"
                " first line has none of the names that other files have; give it a header, or leave it out of the path"
            )


def dialect(spark: SparkSession, source: RawInput) -> dict[str, str]:
    """The options of Spark's reader: RFC 4180, with what the source says, and Java's name of its encoding.

    The session reads any encoding of Java's from then on, as a frame is read after this returns.
    """
    quote = source.options.get("quote", '"')
    separator = source.options.get("delimiter", ",")
    options = {"header": "true", "sep": separator, "quote": quote, "escape": quote, **source.options}
    options["sep"] = _ESCAPED.sub(_character, options["sep"])
    if not options["sep"] or "\\" in options["sep"]:
        raise BadInputError(
            f"{source.section('options')} sep is {options['sep']!r}, want a character that is no backslash, or several;"
            r" that of a code is written such as sep = '\t' or '\u0001'"
        )
    if named := options.pop("charset", options.get("encoding")):
        charset = java_charset(spark, named)
        if charset is None:
            raise unknown_encoding(source, named)
        spark.conf.set("spark.sql.legacy.javaCharsets", "true")
        options["encoding"] = charset
    return options


def _character(escape: re.Match[str]) -> str:
    """The character that an escape stands for, which TOML leaves as it is between single quotes: `'\\t'`."""
    code = next((int(digits, base) for digits, base in zip(escape.groups(), (16, 16, 8), strict=True) if digits), 9)
    return chr(code)


# --- rows -------------------------------------------------------------------------------------------------------------


def _read_group(
    spark: SparkSession, source: RawInput, options: Mapping[str, str], group: Sequence[tuple[File, _Layout]]
) -> DataFrame:
    """The rows of files with one header."""
    files, layout = [file for file, _ in group], group[0][1]
    names = [file.name for file in files]
    options = {**options, **_FIXED, "encoding": layout.encoding}
    has_own_breaks = decode(spark, b"\n", layout.encoding) != "\n"  # such as UTF-16: no lines to Hadoop
    if has_own_breaks or _is_true(options.get("multiLine")):
        options |= {"multiLine": "true"}
    has_lines_above = any(len(one.head) > 1 for _, one in group)
    if has_lines_above:
        options |= {"header": "false"}
    schema = _ddl([*layout.names, UNPARSED])
    in_lines = options.get("multiLine") != "true"
    if in_lines and _has_open_quotes(spark, source, options, layout.encoding, files):
        lines = _text(spark, source, layout.encoding, names)
        has_lines_above = True
        read = f"from_csv({_LINES}, {literal(schema)}, {_sql_map(options)})"
        is_open = _opens_quote(options, _LINES)
        parsed = lines.selectExpr(f"{read} AS row", _LINES).where(f"btrim({_LINES}) != ''")
        frame = parsed.selectExpr(
            *(f"row.{quoted(name)}" for name in layout.names),
            f"if({is_open}, {_LINES}, row.{UNPARSED}) AS {UNPARSED}",
        )
    else:
        frame = file_reader(spark, names).options(**options).schema(schema).csv(names)
    if source.footer is not None:
        line = f"coalesce({UNPARSED}, concat_ws({literal(options['sep'])}, {', '.join(map(quoted, layout.names))}))"
        frame = frame.where(f"NOT rlike({line}, {literal(source.footer)})")
    edges = {plain_name(file.name): (*(one.head if has_lines_above else ()), *one.foot) for file, one in group}
    has_edges = any(edges.values())
    if has_edges:
        filled = ", ".join(f"coalesce({quoted(name)}, '')" for name in layout.names)
        frame = frame.selectExpr("*", f"concat_ws('\x01', {filled}) AS {quoted(_CELLS)}")
    frame = with_file_columns(frame, names, source.path or "")
    if has_edges:
        frame = _without(frame, edges)
    file_columns = [name for name in frame.columns if name not in (*layout.names, UNPARSED)]
    rows = frame.selectExpr(
        *map(quoted, layout.names), f"{_more_cells(layout.names, options)} AS {UNPARSED}", *map(quoted, file_columns)
    )
    values = ", ".join(f"nullif({quoted(name)}, '')" for name in (*layout.names, UNPARSED))
    return rows.where(f"coalesce({values}) IS NOT NULL")  # a line of separators alone is a blank one


def _without(frame: DataFrame, lines: Mapping[str, Sequence[str]]) -> DataFrame:
    """The rows without these lines of each file, by `FILE` and by their cells, in `_CELLS`.

    Of equal rows as many are left out as there are such lines. Which ones they are makes no difference.
    """
    times = Counter(f"{file}\x01{line}" for file, inside in lines.items() for line in inside)
    left_out = [f"{line}\x01{number}" for line, most in times.items() for number in range(1, most + 1)]
    line = f"concat({FILE}, '\x01', {quoted(_CELLS)})"
    is_equal = f"{line} IN ({_literals(times)})"
    number = f"row_number() OVER (PARTITION BY {line} ORDER BY {UNPARSED})"
    equal = frame.where(is_equal).selectExpr("*", f"{number} AS {quoted(_NUMBER)}")
    retained = equal.where(f"concat({line}, '\x01', {quoted(_NUMBER)}) NOT IN ({_literals(left_out)})")
    return frame.where(f"NOT {is_equal}").union(retained.drop(_NUMBER)).drop(_CELLS)


def _literals(texts: Iterable[str]) -> str:
    return ", ".join(map(literal, texts))


def _text(spark: SparkSession, source: RawInput, encoding: str, names: Sequence[str]) -> DataFrame:
    """The lines of files, decoded as Spark's reader of csv does: U+FFFD stands for bytes that are no text."""
    options = {name: source.options[name] for name in ("lineSep",) if name in source.options}
    lines = file_reader(spark, names).options(**options).text(list(names))
    if encoding == "UTF-8":
        return lines
    with with_settings(spark, {"spark.sql.legacy.codingErrorAction": "true"}):
        return lines.selectExpr(f"decode(cast({_LINES} AS binary), {literal(encoding)}) AS {_LINES}")


def _more_cells(names: Sequence[str], options: Mapping[str, str]) -> str:
    """The line where it has more cells than the header, blank ones at its end not counted, or opens a quote; else null.

    Spark keeps a line of any other number of cells than the header's.
    """
    end = f"[{re.escape(options['sep'])}{re.escape(BLANKS)}]+$"
    row = f"from_csv(regexp_replace({UNPARSED}, {literal(end)}, ''), {literal(_ddl([*names, _EXTRA]))}, "
    is_open = f" OR {_opens_quote(options, UNPARSED)}" if options.get("multiLine") != "true" else ""
    has_more = f"{row}{_sql_map(options)}).{_EXTRA} IS NOT NULL{is_open}"
    return f"CASE WHEN {UNPARSED} IS NULL THEN null WHEN {has_more} THEN {UNPARSED} END"


def _has_open_quotes(
    spark: SparkSession,
    source: RawInput,
    options: Mapping[str, str],
    encoding: str,
    files: Sequence[File],
) -> bool:
    """Whether a line opens a quote that it does not close, which Spark's reader takes for a cell without quotes.

    Raises BadInputError where other lines close one: cells have line breaks, and parts of them would become rows.
    """
    quote = options["quote"]
    if not quote or all(file.is_whole and quote.encode() not in file.head for file in files):
        return False
    lines = _text(spark, source, encoding, [file.name for file in files])
    closes = f"{_is_odd(options, _LINES)} AND rlike({_LINES}, {literal(re.escape(quote) + _end_of_cell(options))})"
    row = (
        lines.where(f"contains({_LINES}, {literal(quote)})")
        .selectExpr(
            f"count_if({_opens_quote(options, _LINES)}) AS opened",
            f"count_if({closes} AND NOT {_opens_quote(options, _LINES)}) AS closed",
        )
        .collect()[0]
    )
    if row["opened"] and row["closed"] and "multiLine" not in options:
        raise BadInputError(
            f"{source.section()} has cells with line breaks: {row['opened']} lines open a quote that ends on another"
            f" line; set multiLine = true under [{source.kind}.{source.name}.options], or multiLine = false if these"
            " quotes are mistakes, whose lines are then quarantined"
        )
    return bool(row["opened"])


def _is_odd(options: Mapping[str, str], line: str) -> str:
    """SQL: whether a line has an odd number of quotes."""
    quote, escape = options["quote"], options["escape"]
    text = line if escape in ("", quote) else f"replace({line}, {literal(escape + quote)}, '')"
    return f"(length({text}) - length(replace({text}, {literal(quote)}, ''))) % 2 = 1"


def _opens_quote(options: Mapping[str, str], line: str) -> str:
    """SQL: whether a line ends inside a quoted cell."""
    quote = options["quote"]
    if not quote:
        return "false"
    last = f"(^|{re.escape(options['sep'])})\\s*{re.escape(quote)}([^{re.escape(quote)}]|{re.escape(quote) * 2})*$"
    return f"({_is_odd(options, line)} AND rlike({line}, {literal(last)}))"


def _end_of_cell(options: Mapping[str, str]) -> str:
    return f"\\s*({re.escape(options['sep'])}|$)"


# --- the lines above, and the header ----------------------------------------------------------------------------------


def _layout(spark: SparkSession, source: RawInput, file: File, options: Mapping[str, str]) -> _Layout:
    """What the lines of a file are, by its first ones."""
    place = f"{source.section()} {plain_name(file.name)}"
    if kind := binary_kind(file):
        raise BadInputError(f"{place} is {kind}, want text; unpack it or export it as csv, or set format")
    encoding = _encoding(place, file.head, options)
    text = decode(spark, file.head, encoding)
    if _PAGE.match(text):
        raise BadInputError(
            f"{place} is a page of HTML or XML, such as a server's error, want text; get it again, or export it as csv"
        )
    has_header = _is_true(options["header"])
    if has_header and _JSON.match(text):
        raise BadInputError(f'{place} begins as JSON, want separated text; set format = "json" if its rows are objects')
    records = list(_records(text, options, is_whole=file.is_whole))
    if not records:
        raise absent(source, "is empty: no rows and no header")
    header = _header_index(place, source, records, options) if has_header or source.header_line else -1
    if header < 0:
        names: tuple[str, ...] = tuple(f"_c{number}" for number in range(max(_width(row) for _, row in records)))
    else:
        names = _names(place, source, records[header][1], options)
    head = tuple(_joined(row, len(names)) for _, row in records[: header + 1])
    last = _last_lines(spark, source, file, encoding) if source.footer_lines else []
    foot = tuple(_joined(row, len(names)) for line in last for _, row in _records(line, options))
    return _Layout(names, encoding, head, foot)


def _encoding(place: str, head: bytes, options: Mapping[str, str]) -> str:
    """The encoding that the options name, or a byte-order mark, else UTF-8."""
    if named := options.get("encoding"):
        return named
    marked = [name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)]
    if not marked and (zeros := head.count(0)) > len(head) // 4:
        first, second = (head[at::2].count(0) for at in (0, 1))
        if min(first, second) * 10 < zeros:
            order = "LE" if second > first else "BE"
            raise BadInputError(f'{place} looks like UTF-16; set encoding = "UTF-16{order}" under options')
        raise BadInputError(
            f"{place} holds {zeros} bytes of zero in its first {len(head)}, want text; export it as csv, or leave them"
            " out (tr -d '\\000')"
        )
    return marked[0] if marked else "UTF-8"


def _records(text: str, options: Mapping[str, str], *, is_whole: bool = True) -> Iterable[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its first line; the last one may be cut off."""
    quote, escape, comment = options["quote"], options["escape"], options.get("comment")
    for foreign, own in _replacements(options):
        text = text.replace(foreign, own)
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=options["sep"] if len(options["sep"]) == 1 else _SEPARATOR,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        doublequote=escape in ("", quote),
        escapechar=None if escape in ("", quote) else escape,
    )
    numbered = []
    first = 1
    for row in rows:
        numbered.append((first, [_restored(cell, options) for cell in row]))
        first = rows.line_num + 1
    complete = numbered if is_whole or len(numbered) < 2 else numbered[:-1]
    for number, row in complete:
        if any(cell.strip(BLANKS) for cell in row) and not (comment and row[0].startswith(comment)):
            yield number, row


def _replacements(options: Mapping[str, str]) -> list[tuple[str, str]]:
    """What to replace in a text, in this order, so that Python's reader takes it."""
    line_break = options.get("lineSep")
    separator = [(options["sep"], _SEPARATOR)] if len(options["sep"]) > 1 else []
    breaks = [(line_break, _END), ("\n", _FEED), ("\r", _RETURN), (_END, "\n")] if line_break else []
    return separator + breaks


def _restored(cell: str, options: Mapping[str, str]) -> str:
    for foreign, own in ((options["sep"], _SEPARATOR), ("\n", _FEED), ("\r", _RETURN)):
        cell = cell.replace(own, foreign)
    return cell


def _width(row: Sequence[str]) -> int:
    """How many cells a line has, blank ones at its end not counted."""
    return max((number for number, cell in enumerate(row, 1) if cell.strip(BLANKS)), default=0)


def _header_index(
    place: str, source: RawInput, records: Sequence[tuple[int, list[str]]], options: Mapping[str, str]
) -> int:
    """Which record is the header: the one on `header_line`, else the first, unless most lines have more cells and one
    of the lines below looks like their header."""
    if source.header_line is not None:
        at = [number for number, (line, _) in enumerate(records) if line == source.header_line]
        if not at:
            seen = _shown(records, options)
            raise BadInputError(f"{place} has no header on line {source.header_line}; it has {seen}")
        return at[0]
    widths = [_width(row) for _, row in records[:_SAMPLE]]
    typical = Counter(widths[1:]).most_common(1)[0][0] if len(widths) > 1 else 0
    is_padded = len(records[0][1]) >= typical
    if is_padded and sum(bool(cell.strip(BLANKS)) for cell in records[0][1]) * 2 >= typical:
        return 0
    for number, (_, row) in enumerate(records[:_SAMPLE]):
        if _width(row) >= typical:
            cells = [cell.strip(BLANKS) for cell in row[: _width(row)]]
            if all(cells) and len(set(cells)) == len(cells) and not any(map(_is_mostly_digits, cells)):
                return number
            if not is_padded:
                return 0
    if is_padded:
        raise BadInputError(
            f"{place} names few of its {typical} columns on its first line; set header_line to the line of its header,"
            f" counted from 1: {_shown(records, options)}"
        )
    return 0


def _shown(records: Sequence[tuple[int, list[str]]], options: Mapping[str, str]) -> str:
    return "; ".join(f"line {line}: {options['sep'].join(row)[:60]!r}" for line, row in records[:5])


def _is_mostly_digits(cell: str) -> bool:
    return sum(character.isdigit() for character in cell) > len(cell) // 2


def _names(place: str, source: RawInput, row: Sequence[str], options: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the columns; a line break in one is a blank."""
    if any("\ufffd" in cell for cell in row):
        raise BadInputError(
            f"{place} has a header that is not {options.get('encoding', 'UTF-8')}: {options['sep'].join(row)!r}; set"
            f' encoding, such as "windows-1252", under [{source.kind}.{source.name}.options]'
        )
    if any("\n" in cell or "\r" in cell for cell in row) and not _is_true(options.get("multiLine")):
        raise BadInputError(
            f"{place} has a line break in its header; set multiLine = true under [{source.kind}.{source.name}.options]"
        )
    names = [re.sub(r"\s*[\r\n]+\s*", " ", cell.strip(BLANKS)) or f"_c{number}" for number, cell in enumerate(row)]
    times = Counter(name.lower() for name in names)
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        seen[name.lower()] += 1
        if times[name.lower()] > 1:
            names[number] = f"{name} ({seen[name.lower()]})"
    return tuple(names)


def _last_lines(spark: SparkSession, source: RawInput, file: File, encoding: str) -> list[str]:
    tail = decode(spark, read_tail(spark, source, file), encoding)
    break_ = source.options.get("lineSep")
    lines = tail.split(break_) if break_ else re.split("\r\n|\n|\r", tail)
    return [line for line in lines if line.strip(BLANKS)][-source.footer_lines :]


def _joined(row: Sequence[str], width: int) -> str:
    """The cells of a line as one text, as many as the header has."""
    return "\x01".join([*row, *[""] * width][:width])


# --- options ----------------------------------------------------------------------------------------------------------


def _is_true(value: str | None) -> bool:
    return (value or "").lower() == "true"


def _ddl(names: Iterable[str]) -> str:
    return ", ".join(f"{quoted(name)} string" for name in names)


def _sql_map(options: Mapping[str, str]) -> str:
    """Options as SQL, without those that mean files, not lines."""
    meant = {name: value for name, value in options.items() if name not in ("header", "encoding", "charset", "lineSep")}
    return f"map({', '.join(literal(text) for item in meant.items() for text in item)})"
