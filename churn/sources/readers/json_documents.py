"""The records of a JSON document, each as the text that was written: elements of lists, rows inside a response."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import pyarrow as pa

from churn.sources.blanks import BLANKS

CONTENT: Final = "_content"
"""Column of a document: its bytes."""
TEXT: Final = "_text"
"""Column of a record: its text."""
IS_RECORD: Final = "_is_record"
"""Column of a record: whether its text may be an object; false for an element of a document that is none."""

_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_BETWEEN: Final = re.compile(f"[{BLANKS},]*")
_COLON: Final = re.compile(f"[{BLANKS}]*:[{BLANKS}]*")
_STEP: Final = re.compile(r"(?:`((?:[^`]|``)+)`|([^`.\[\]]+))((?:\[\*\])*)(?:\.(?=.)|$)")
_GOES_ON: Final = re.compile(r"[{\[:]$|[^}\]],$")
"""At the end of a line, after which an object is one inside."""
_CHUNK: Final = 4096
_SHOWN: Final = 200

Element = tuple[str, bool]
"""The text of a record or of what is none, and whether it is a record."""


def path_steps(path: str) -> tuple[str, ...] | None:
    """The keys that lead to the rows: `data.items[*]` is data, items; None where it is no such path. A list along the
    path stands for all its elements, with or without `[*]`.

    >>> path_steps("$.pages[*].`a.b`[*]")
    ('pages', 'a.b')
    >>> path_steps("data[0]") is None
    True
    """
    rest = re.sub(r"^\$?(\[\*\])*\.?", "", path.strip())
    steps, at = [], 0
    while at < len(rest):
        if not (step := _STEP.match(rest, at)):
            return None
        steps.append((step[1] or step[2]).replace("``", "`"))
        at = step.end()
    return tuple(steps) or None


def split_documents(
    batches: Iterator[pa.RecordBatch], *, named: str | None, steps: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The records of documents: `TEXT` and `IS_RECORD` in place of `CONTENT`, the other columns as they are."""
    for batch in batches:
        passed = [name for name in batch.schema.names if name != CONTENT]
        for number, content in enumerate(batch.column(CONTENT)):
            document = content.as_py() or b""
            elements = split(document, encoding_of(document, named), steps)
            while chunk := list(islice(elements, _CHUNK)):
                texts, are_records = zip(*chunk, strict=True)
                same = pa.array([number] * len(chunk), pa.int64())
                columns = {name: batch.column(name).take(same) for name in passed}
                yield pa.RecordBatch.from_pydict(
                    {TEXT: pa.array(texts, pa.string()), IS_RECORD: pa.array(are_records, pa.bool_()), **columns}
                )


def split(content: bytes, encoding: str, steps: Sequence[str] = ()) -> Iterator[Element]:
    """The records of a document: of values one after another, the objects and those in lists; with steps, the objects
    that they lead to.

    What is no object, or cannot be parsed, is an element too, up to a line that must be the next one's, or the end. So
    is an object without the key of a step; a null holds none.

    >>> list(split(b'{"n": 2, "calls": [{"id": 0.10}, 7]}', "utf-8", ["calls"]))
    [('{"id": 0.10}', True), ('7', False)]
    """
    try:
        text, is_damaged = content.decode(encoding), False
    except UnicodeDecodeError:
        text, is_damaged = content.decode(encoding, errors="replace"), True
    for element, is_record in _Splitter(text, steps).elements():
        yield element, is_record and not (is_damaged and "\ufffd" in element)


def encoding_of(content: bytes, named: str | None) -> str:
    """Python's name of the encoding: by the byte-order mark or the zeros of UTF-16, else the one named, else UTF-8."""
    detected = json.detect_encoding(content[:4])
    name = codecs.lookup(named).name if named and not detected.startswith(("utf-16", "utf-32")) else detected
    return "utf-8-sig" if name == "utf-8" else name


def has_lines(head: str, *, is_whole: bool) -> bool:
    """Whether a document, of which this is the beginning, is one object a line.

    >>> has_lines('{"id": 1}\\n{"id": 2}\\n', is_whole=True), has_lines('[{"id": 1},\\n{"id": 2}]', is_whole=True)
    (True, False)
    """
    begins = head.lstrip(BLANKS)
    if begins.startswith("["):
        return False
    try:
        _, end = _DECODER.raw_decode(begins)
    except (ValueError, RecursionError):
        lines = [line for line in (line.strip(BLANKS) for line in begins.split("\n")) if line]
        if not is_whole and len(lines) == 1:
            return True
        whole_lines = lines if is_whole else lines[:-1]
        objects = [line for line in whole_lines if line.startswith("{") and line.endswith("}")]
        return len(objects) * 2 > len(whole_lines)
    return "\n" not in begins[:end] and not begins[end:].partition("\n")[0].strip(BLANKS)


class _Splitter:
    """Walks over a text; `at` is how far it has come."""

    def __init__(self, text: str, steps: Sequence[str]) -> None:
        self.text, self.steps, self.at = text, steps, 0

    def elements(self) -> Iterator[Element]:
        while self.at < len(self.text):
            try:
                yield from self._values(self.steps, is_list=False)
            except (ValueError, RecursionError):
                start = self.at
                self._go_to_object("")
                # Where the text ends between two values, nothing is left to show but what stands before.
                yield self.text[start : self.at].strip(BLANKS) or self.text[-_SHOWN:], False

    def _values(self, steps: Sequence[str], *, is_list: bool) -> Iterator[Element]:
        """Values with blanks and commas between them, up to the end of the list or of the text."""
        while self._skip(_BETWEEN):
            if self.text[self.at] != "]":
                yield from self._value(steps, is_list=is_list)
                continue
            self.at += 1
            if is_list:
                return
        if is_list:
            raise ValueError("a list does not end")

    def _value(self, steps: Sequence[str], *, is_list: bool) -> Iterator[Element]:
        start = self.at
        if self.text[start] == "[":
            self.at += 1
            yield from self._values(steps, is_list=True)
        elif self.text[start] == "{" and steps:
            yield from self._inside(steps)
        else:
            try:
                _, self.at = _DECODER.raw_decode(self.text, start)
            except (ValueError, RecursionError):
                indent = self.text[self.text.rfind("\n", 0, start) + 1 : start]
                if not is_list or indent.strip(BLANKS) or not self._go_to_object(indent):
                    self.at = start
                    raise
                yield self.text[start : self.at].rstrip(BLANKS + ","), False
            else:
                yield self.text[start : self.at], self.text[start] == "{"

    def _inside(self, steps: Sequence[str]) -> Iterator[Element]:
        """The records that the steps lead to in an object."""
        start, is_found = self.at, False
        self.at += 1
        while self._skip(_BETWEEN) and self.text[self.at] != "}":
            if self.text[self.at] != '"':
                raise ValueError("want a key")
            key, end = _DECODER.raw_decode(self.text, self.at)
            if not (colon := _COLON.match(self.text, end)):
                raise ValueError("want a colon")
            if key.lower() != steps[0].lower():
                _, self.at = _DECODER.raw_decode(self.text, colon.end())
                continue
            is_found, self.at = True, colon.end()
            if self.text.startswith("null", self.at):
                self.at += len("null")
            elif self.text[self.at : self.at + 1] in ("[", "{"):
                yield from self._value(steps[1:], is_list=False)
            else:
                value, (_, self.at) = self.at, _DECODER.raw_decode(self.text, self.at)
                yield self.text[value : self.at], False
        if self.at == len(self.text):
            raise ValueError("an object does not end")
        self.at += 1
        if not is_found:
            yield self.text[start : self.at], False

    def _skip(self, between: re.Pattern[str]) -> bool:
        """Go over what stands between two values; false at the end of the text."""
        if found := between.match(self.text, self.at):
            self.at = found.end()
        return self.at < len(self.text)

    def _go_to_object(self, indent: str) -> bool:
        """Go to the next line that begins with an object, if all lines before it are further in, as those inside an
        object are; else to the end of the text."""
        inside = tuple(indent + character for character in " \t}]")
        end = self.text.find("\n", self.at)
        before = self.text[self.at : end]
        while end >= 0:
            following = self.text.find("\n", end + 1)
            line = self.text[end + 1 : following if following >= 0 else len(self.text)]
            if line.startswith(indent + "{") and not _GOES_ON.search(before.rstrip(BLANKS)):
                self.at = end
                return True
            if line.strip(BLANKS):
                if not line.startswith(inside):
                    break
                before = line
            end = following
        self.at = len(self.text)
        return False
