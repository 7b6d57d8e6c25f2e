"""`union all by name` in a query, which Spark has for frames and not in its SQL: the query as steps, each plain SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from pyspark.sql import DataFrame, SparkSession

from churn.sources.functions import Token, tokens
from churn.storage import quoted


@dataclass(frozen=True)
class Step:
    """A table that later steps may read: a query, or several whose rows are put together by the names of columns.

    A column that one of them lacks is null in its rows.
    """

    name: str
    queries: tuple[str, ...]
    columns: tuple[str, ...] = ()
    """Other names of the columns; empty = their own."""
    is_distinct: bool = False


def without_by_name(text: str) -> str:
    """The query with each `by name` blank: what Spark can parse, all else in its place.

    >>> without_by_name("select 1 union all by name select 2")
    'select 1 union all         select 2'
    """
    parts = tokens(text)
    dropped = {place for union in _unions(parts) for place in union.by_name}
    return "".join(" " * len(part.text) if place in dropped else part.text for place, part in enumerate(parts))


def steps(text: str) -> list[Step]:
    """A query that Spark can parse but for `by name`, as steps; the last one is its result.

    >>> steps("select 1")
    [Step(name='', queries=('select 1',), columns=(), is_distinct=False)]
    >>> [step.queries for step in steps("with a as (select 1 as x) select * from a union all by name select 2 as y")]
    [('select 1 as x',), ('select * from a ', ' select 2 as y')]
    """
    parts, found = tokens(text), list[Step]()
    if not list(_unions(parts)):
        return [Step("", (text,))]
    _add(parts, found, "")
    return found


def run(spark: SparkSession, query: Sequence[Step], tables: Mapping[str, DataFrame]) -> DataFrame:
    """The result of a query over tables of these names, which come before any other of the session."""
    known = dict(tables)
    for step in query:
        frames = [_run(spark, text, known) for text in step.queries]
        rows = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
        rows = rows.distinct() if step.is_distinct else rows
        known[step.name] = rows.toDF(*step.columns) if step.columns else rows
    return known[query[-1].name]


def _run(spark: SparkSession, text: str, tables: Mapping[str, DataFrame]) -> DataFrame:
    views = {f"table_{n}": table for n, table in enumerate(tables.values())}
    named = zip(map(_braced, map(quoted, tables)), views, strict=True)
    with_tables = ", ".join(f"{name} AS (TABLE {{{view}}})" for name, view in named)
    return spark.sql(f"WITH {with_tables}\n(\n{_braced(text)}\n)", None, **views)


def _braced(text: str) -> str:
    """Text for a template, as it is."""
    return text.replace("{", "{{").replace("}", "}}")


# --- steps of the text ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Union:
    """Where a `union by name` begins and ends, where its `by name` is, and how many brackets are open."""

    begin: int
    end: int
    by_name: tuple[int, int]
    depth: int
    is_all: bool


def _unions(parts: Sequence[Token]) -> Iterator[_Union]:
    solid, depth = _solid(parts), 0
    for n, place in enumerate(solid):
        depth += (parts[place].text == "(") - (parts[place].text == ")")
        texts = [parts[at].text.lower() for at in solid[n : n + 4]]
        quantifier = [text for text in texts[1:2] if text in ("all", "distinct")]
        if texts[: 3 + len(quantifier)] == ["union", *quantifier, "by", "name"]:
            by, name = solid[n + 1 + len(quantifier) : n + 3 + len(quantifier)]
            yield _Union(place, name + 1, (by, name), depth, quantifier == ["all"])


def _solid(parts: Sequence[Token]) -> list[int]:
    """The places of the tokens that are neither blanks nor comments."""
    return [place for place, part in enumerate(parts) if part.kind != "blank"]


def _add(parts: Sequence[Token], found: list[Step], name: str, columns: tuple[str, ...] = ()) -> None:
    """Add the steps of a query: those of its `with` and of its subqueries, then its own."""
    rest = _with_subqueries(parts[_add_named(parts, found) :], found)
    unions = [union for union in _unions(rest) if union.depth == 0]
    starts, ends = [0, *(union.end for union in unions)], [*(union.begin for union in unions), len(rest)]
    queries = tuple("".join(part.text for part in rest[a:b]) for a, b in zip(starts, ends, strict=True))
    found.append(Step(name, queries, columns, any(not union.is_all for union in unions)))


def _add_named(parts: Sequence[Token], found: list[Step]) -> int:
    """Add a step for each table of a `with`, and return where the query behind it begins."""
    solid = _solid(parts)
    if parts[solid[0]].text.lower() != "with":
        return 0
    place = 0
    while place == 0 or parts[solid[place]].text == ",":
        name, columns, place = _name(parts[solid[place + 1]]), tuple[str, ...](), place + 2
        if parts[solid[place]].text == "(":
            end = _closing(parts, solid[place])
            columns = tuple(map(_name, (part for part in parts[solid[place] : end] if part.kind in ("word", "quoted"))))
            place = solid.index(end) + 1
        place += parts[solid[place]].text.lower() == "as"
        end = _closing(parts, solid[place])
        _add(parts[solid[place] + 1 : end], found, name, columns)
        place = solid.index(end) + 1
    return solid[place]


def _with_subqueries(parts: Sequence[Token], found: list[Step]) -> list[Token]:
    """The tokens, with a table in place of each query in brackets that has a union by name."""
    rest, place = list[Token](), 0
    while place < len(parts):
        rest.append(parts[place])
        place += 1
        if rest[-1].text == "(":
            inside = parts[place : _closing(parts, place - 1)]
            if any(True for _ in _unions(inside)) and _is_query(inside):
                _add(inside, found, "")
                found[-1] = replace(found[-1], name=f"_union_{len(found)}")
                rest.append(Token("word", f"TABLE {found[-1].name}"))
                place += len(inside)
    return rest


def _is_query(parts: Sequence[Token]) -> bool:
    return parts[_solid(parts)[0]].text.lower() in ("select", "with", "from", "table", "(")


def _closing(parts: Sequence[Token], begin: int) -> int:
    """Where the bracket closes that opens at `begin`."""
    depth = 0
    for place in range(begin, len(parts)):
        depth += (parts[place].text == "(") - (parts[place].text == ")")
        if depth == 0:
            return place
    return len(parts)


def _name(part: Token) -> str:
    return part.text[1:-1].replace("``", "`") if part.kind == "quoted" else part.text
