"""Settings as frozen pydantic models, and all that is wrong with them as one ConfigError in plain words."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails

from churn.errors import ConfigError, nearest

_T = TypeVar("_T")
_Model = TypeVar("_Model", bound=BaseModel)
_Path = tuple[str, ...]
_Node = dict[str, Any]

_NO_LINE = sys.maxsize
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "date": "a date",
    "date-time": "a date with a time",
}
_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}

Table = Annotated[Mapping[str, _T], AfterValidator(MappingProxyType), PlainSerializer(dict)]
"""A section whose keys are the user's, such as `[spark]`; read-only."""


MOST_DAYS: Final = 36_500
"""The longest span of days that a setting may have: a hundred years. Longer ones lead to times that cannot be held."""


def _at_most(days: int) -> int:
    if days > MOST_DAYS:
        raise ValueError(f"is {days}, want at most {MOST_DAYS} days")
    return days


Days = Annotated[int, Field(ge=1), AfterValidator(_at_most)]
SomeDays = Annotated[int, Field(ge=0), AfterValidator(_at_most)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy, scikit-learn and MLlib all take."""


class Frozen(BaseModel):
    """Settings that cannot change: no unknown keys, and no conversion, such as of "3" or true to a number. Numbers are
    finite.

    The text of a ValueError in a field's validator follows the key (`is 3, want an even number`); in a validator of the
    model or of a Table it follows the section. A ChurnError passes unchanged.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        arbitrary_types_allowed=True,
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Keep the fields strict, but accept a mapping for a nested model, which pydantic's strict mode refuses."""
        schema = handler(source)
        model: Any = handler.resolve_ref_schema(schema)
        while model["type"] != "model":
            model = model["schema"]
        model["strict"] = False
        return schema


def validated(
    cls: type[_Model],
    values: Mapping[str, Any],
    *,
    file: Path | None = None,
    text: str | None = None,
    section: str = "",
    where: str = "churn.toml",
    context: dict[str, Any] | None = None,
) -> _Model:
    """The model of the values under `[section]`, or one ConfigError with a line for each wrong one.

    Lists become tuples. Errors name `file`, else `where`, and their line in its TOML `text`; validators of the model
    see `context`.

    >>> class Gate(Frozen):
    ...     floor: float = 0.5
    >>> validated(Gate, {"flor": 1}, text="[gate]\\nflor = 1", section="gate")
    Traceback (most recent call last):
    churn.errors.ConfigError: churn.toml line 2: [gate] has no setting 'flor'; did you mean 'floor'?
    """
    try:
        return cls.model_validate(_tuples(values), context=context)
    except ValidationError as error:
        schema, lines = cls.model_json_schema(schema_generator=_Schema), _lines(text or "")
        parents = tuple(section.split(".")) if section else ()
        problems = [_problem(one, schema, parents) for one in error.errors()]
    name = file.name if file else where
    found = sorted(((_line(path, lines), problem) for path, problem in problems), key=lambda one: one[0])
    listed = (f"{name}{f' line {line}' if line < _NO_LINE else ''}: {problem}" for line, problem in found)
    raise ConfigError("\n".join(dict.fromkeys(listed)))


def close_to(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a hint, nothing where none is near."""
    hint = nearest(name, known)
    return hint if "did you mean" in hint else ""


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# --- what is wrong ----------------------------------------------------------------------------------------------------


class _Schema(GenerateJsonSchema):
    """The JSON schema of a model, from which a message takes what is known and wanted."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic declares it so

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        return {}


def _problem(error: ErrorDetails, schema: _Node, parents: _Path) -> tuple[_Path, str]:
    """The path of the setting that is wrong, and a sentence that begins with its section."""
    kind, loc = error["type"], error["loc"]
    seen = list(error["input"]) if isinstance(error["input"], tuple) else error["input"]
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        nodes, path, _ = _resolved(schema, loc[:-1], parents)
        key, known = str(loc[-1]), [name for node in nodes for name in node.get("properties", ())]
        return (*path, key), f"{_place(path)}has no setting {key!r}{nearest(key, known)}"
    nodes, path, index = _resolved(schema, loc, parents)
    wanted = " or ".join(dict.fromkeys(filter(None, (_wanted(node, path) for node in nodes))))
    if kind == "missing":
        example = '"..."' if wanted == "text" else f"<{wanted}>"
        return path, f"{_place(path[:-1])}lacks {path[-1]!r}; add {path[-1]} = {example}"
    if raised := error.get("ctx", {}).get("error"):
        problem = str(raised)
        if any(node.get("type") == "object" for node in nodes):
            return path, f"{_place(path)}{problem}"
    elif not wanted or kind.startswith(("too_", "string_too_", "string_pattern_", "union_tag_")):
        problem = f"is {seen!r}: {error['msg']}"
    else:
        choices = [choice for node in nodes for choice in node.get("enum", ())]
        wanted = wanted.replace("a number", "a finite number") if kind == "finite_number" else wanted
        problem = f"is {seen!r}, want {wanted}{close_to(seen, choices) if isinstance(seen, str) else ''}"
    return path, f"{_place(path[:-1])}{''.join(path[-1:])}{index} {problem}"


def _resolved(schema: _Node, loc: Iterable[str | int], parents: _Path) -> tuple[list[_Node], _Path, str]:
    """The schema of a setting, its path in the file, and its index if it is an item of a list."""
    defs: _Node = schema.get("$defs", {})
    nodes, path, index = _alternatives(schema, defs), parents, ""
    for part in loc:
        if inner := [one for node in nodes for one in _inner(node, part, defs)]:  # else it names a member of a union
            nodes = inner
            path, index = (path, f"{index}[{part}]") if isinstance(part, int) else ((*path, part), "")
    return nodes, path, index


def _inner(node: _Node, part: str | int, defs: _Node) -> list[_Node]:
    anything = node.get("additionalProperties")
    found = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part, anything)
    return _alternatives(found, defs) if isinstance(found, dict) else []


def _alternatives(node: _Node, defs: _Node) -> list[_Node]:
    """The schemas that a value may follow, null aside."""
    if "$ref" in node:
        return _alternatives(defs[node["$ref"].rpartition("/")[2]], defs)
    if members := node.get("anyOf") or node.get("oneOf"):
        return [one for member in members for one in _alternatives(member, defs)]
    return [] if node.get("type") == "null" else [node]


def _wanted(node: _Node, path: _Path) -> str:
    """What a schema admits, in words."""
    kind = node.get("type", "")
    if choices := node.get("enum") or ([node["const"]] if "const" in node else []):
        return f"one of {', '.join(map(str, choices))}"
    if kind == "array":
        each = _wanted(node.get("items", {}), path)
        return f"a list, each {each}" if each else "a list"
    noun = _KINDS.get(node.get("format", ""), _KINDS.get(kind, ""))
    bounds = "".join(f" {word} {node[bound]:.12g}" for bound, word in _BOUNDS.items() if bound in node)
    return f"a section [{'.'.join(path)}]" if kind == "object" else f"{noun}{bounds}"


def _place(section: _Path) -> str:
    return f"[{'.'.join(section)}] " if section else ""


# --- lines ------------------------------------------------------------------------------------------------------------


def _lines(text: str) -> dict[_Path, int]:
    """The line on which each section and key of a TOML text begins.

    >>> _lines('a.b = 1\\n["c d".e]\\nf = [\\n  2,\\n]\\ng = { h = 3 }')[("c d", "e", "g", "h")]
    6
    """
    lines: dict[_Path, int] = {}
    section: _Path = ()
    statement, begin = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            paths = list(_paths(tomllib.loads(statement)))
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        is_header = statement.lstrip().startswith("[")
        for path in paths:
            lines.setdefault(path if is_header else (*section, *path), begin)
        if is_header:
            section = paths[-1]
            lines[section] = begin  # not where a section inside it came before
        statement, begin = "", number + 1
    return lines


def _paths(table: Mapping[str, Any], above: _Path = ()) -> Iterator[_Path]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


def _line(path: _Path, lines: Mapping[_Path, int]) -> int:
    """The line of a setting, else of the nearest section around it, else _NO_LINE."""
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), _NO_LINE)
