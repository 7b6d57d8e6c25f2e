"""Whether SQL of churn.toml may run: what it calls and reads is in an allow-list, and a rerun gives the same rows.

Spark's own parser makes the tree that is checked, before anything is resolved or run. It is fetched as JSON, in one
call into the JVM. Whatever a check does not know is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Final

from py4j.java_gateway import JavaClass
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from churn.sources import sql_rules
from churn.sources.functions import FUNCTIONS, Token, expanded, tokens
from churn.sources.spark_errors import unlogged
from churn.sources.time_patterns import problem


def check_expression(spark: SparkSession, text: str, columns: Collection[str] = ()) -> str | None:
    """Why an expression over one row may not run, as a clause; null = it may.

    `columns` are those of the row: `user` and `current_date` are functions where no column has the name. Text that
    Spark cannot parse is not refused: analysis says where its error is. What may run is `expanded(text)`.

    >>> check_expression(spark, "date(NOW/**/())")  # doctest: +SKIP
    'calls NOW(), which reads the clock, so a rerun would differ; use a column instead'
    """
    try:
        plain = expanded(text)
    except ValueError as error:
        return str(error)
    known = frozenset(column.lower() for column in columns)
    return next(_checked(spark, text, plain, _Context(columns=known)), None)


def check_query(spark: SparkSession, text: str, allowed: Collection[str]) -> list[str]:
    """Why a query may not run, a clause each; none = it may. It reads only the relations that `allowed` names.

    Order is checked as far as the text shows it. What it cannot show is the owner's: rows that tie in an `order by`,
    and the values of `min_by` and `max_by` that tie. `check_frame` sees the rest. What may run is `expanded(text)`.
    """
    try:
        plain = expanded(text)
    except ValueError as error:
        return [str(error)]
    names = frozenset(name.lower() for name in allowed)
    return list(dict.fromkeys(_checked(spark, text, plain, _Context(is_query=True, relations=names, inputs=names))))


def check_frame(frame: DataFrame) -> list[str]:
    """Why a rerun of an analysed frame would differ, as only its types and constants show, a clause each.

    A constant such as 'now' that is compared with or cast to a time is the time of the run, however it is spelled; sums
    of floating-point numbers depend in their last digits on the order of rows; a variable belongs to the session.
    """
    spark = frame.sparkSession
    plan: Any = frame._jdf.queryExecution().analyzed()
    readable = _object(spark, "optimizer.ReplaceExpressions")
    at_run = [_object(spark, f"optimizer.{name}") for name in ("SpecialDatetimeValues", "ComputeCurrentTime")]
    problems: list[str] = []
    for part in (plan, *_seq(plan.subqueriesAll())):
        replaced = readable.apply(part)
        if any(not rule.apply(replaced).fastEquals(replaced) for rule in at_run):
            problems = [f"makes a time of a word such as 'now', which {sql_rules.CLOCK}"]
    patterns = _java(spark, "trees.TreePattern")
    if any(plan.containsPattern(found) for found in (patterns.AGGREGATE_EXPRESSION(), patterns.VARIABLE_REFERENCE())):
        problems += dict.fromkeys(_unstable(plan))
    return problems


# --- text -------------------------------------------------------------------------------------------------------------

_SIMPLE_NAME = re.compile(r"\s*(?:[A-Za-z]\w*|`[^`]+`)\s*")
_DOUBTFUL = re.compile(r"now|today|tomorrow|yesterday|\\u|\\\d|--|/\*", re.IGNORECASE)
_ENDS: Final = frozenset({")", "]", "end", "null", "true", "false"})
"""What a value ends with, beside names and constants."""
_OPERATORS: Final = frozenset("+-*/%=<>!|&^~(),.[]")


def _checked(spark: SparkSession, text: str, plain: str, context: _Context) -> Iterator[str]:
    if "${" in text:
        yield "has ${, which Spark replaces by a setting or an environment variable; write the value itself"
        return
    if not context.is_query and _is_simple(spark, text, context.columns):
        return
    parts = tokens(plain)
    if any(part.kind == "blank" and "/*" in part.text[2:] for part in parts):
        yield "has a comment inside a comment; drop it"
        return
    literals = list(_typed_literals(parts))
    for word, value in literals:
        if not re.match(r"[rR]?['\"]\s*[-+]?\d", value):
            yield f"has {word} {value}, which may be the time of the run; use a column, or a time in digits"
            return
    try:
        with unlogged():
            parser = spark._jsparkSession.sessionState().sqlParser()
            parsed = parser.parsePlan(plain) if context.is_query else parser.parseExpression(plain)
        tree = _tree(json.loads(parsed.toJSON()))
    except PySparkException:  # the parser of the analysis, which says where the error is, is the same
        return
    except (Py4JError, ValueError) as error:
        yield f"cannot be checked ({type(error).__name__}); write it simpler"
        return
    check = _Check(spark)
    # Spark itself names what `payload:customer.id` takes out of a variant.
    if tree.kind == "Alias" and tree.children[0].kind != "SemiStructuredExtract":
        yield f"has a value and a name for it, {tree.fields['name']!r}; leave the name out"
    yield from check.problems(tree, context)
    if len(check.time_literals) > len(literals):
        yield "has a date or a timestamp whose text cannot be checked; write it simpler"


def _typed_literals(parts: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Each `date '...'`: the type and the string."""
    solid = [part for part in parts if part.kind != "blank"]
    for word, value in pairwise(solid):
        if word.kind == "word" and word.text.lower() in sql_rules.TYPED and value.kind == "string":
            yield word.text, value.text


def _is_simple(spark: SparkSession, text: str, columns: frozenset[str]) -> bool:
    """Whether an expression is so simple that its tokens tell that it may run: names, constants, operators, and calls
    of allowed functions. Most expressions are; a parser and its tree take a hundred times as long.
    """
    functions = sql_rules.CLOCK_NAMES | sql_rules.SESSION_NAMES
    if _SIMPLE_NAME.fullmatch(text):
        return text.lower().strip(" \t\r\n`") not in functions - columns
    if _DOUBTFUL.search(text) or not text.isascii():
        return False
    end = Token("other", "")
    solid = [end, *(part for part in tokens(text) if part.kind != "blank"), end, end]
    depths = accumulate((part.text == "(") - (part.text == ")") for part in solid)
    if any(depth == 0 and part.text.lower() == "as" for depth, part in zip(depths, solid, strict=True)):
        return False
    if any(part.text.lower() in sql_rules.WITH_PATTERN for part in solid) and any(
        part.kind == "string" and problem(part.text[1:-1], is_known=partial(_is_pattern, spark), is_parsed=True)
        for part in solid
    ):
        return False
    return all(
        _is_simple_token(before, part, after) and (after.text != "(" or _is_simple_call(spark, before, part, behind))
        for before, part, after, behind in zip(solid, solid[1:], solid[2:], solid[3:], strict=False)
    )


def _is_simple_token(before: Token, part: Token, after: Token) -> bool:
    if part.kind == "other":
        return part.text in _OPERATORS
    if _is_operand(part) and (_is_operand(before) or before.text.lower() in _ENDS):
        return False  # a value and a name for it
    if part.kind == "string":  # not a part of a typed constant, date '2024-01-01'
        is_operand = before.kind == "other" or before.text.lower() in sql_rules.KEYWORDS
        return part.text[0] == "'" and is_operand
    return after.text == "(" or part.text.lower().strip("`") not in sql_rules.NOT_SIMPLE


def _is_operand(part: Token) -> bool:
    return part.kind in ("quoted", "number", "string") or (
        part.kind == "word" and part.text.lower() not in sql_rules.KEYWORDS
    )


def _is_simple_call(spark: SparkSession, before: Token, part: Token, behind: Token) -> bool:
    """Whether what stands in front of a bracket is an operator, a keyword, or a function that may be called."""
    name = part.text.lower()
    if before.text == ".":
        return False
    if part.kind == "other" or name in sql_rules.KEYWORDS:
        return True
    if part.kind != "word" or behind.text == ")" or name in sql_rules.NOT_SIMPLE:
        return False
    found = _builtin(spark, name)
    return name in _OWN or (found is not None and found.group in sql_rules.ROW_GROUPS and found.kind not in _NOT_IN_ROW)


_OWN: Final = frozenset(function.name for function in FUNCTIONS)
_NOT_IN_ROW: Final = frozenset(sql_rules.DENIED) | sql_rules.TIME_WINDOWS


# --- tree -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Builtin:
    kind: str
    group: str


def _java(spark: SparkSession, name: str) -> Any:
    """A class of Spark's catalyst. Its whole name is given: py4j would ask the JVM for each part of it."""
    gateway: Any = spark.sparkContext._gateway
    return JavaClass(f"org.apache.spark.sql.catalyst.{name}", gateway._gateway_client)


def _object(spark: SparkSession, name: str) -> Any:
    """An object of Scala in Spark's catalyst."""
    return getattr(_java(spark, f"{name}$"), "MODULE$")


_builtins: dict[str, _Builtin | None] = {}


def _builtin(spark: SparkSession, name: str) -> _Builtin | None:
    """The class and the group of a function that Spark has by itself, whatever the session has registered."""
    if name not in _builtins:
        registry = _java(spark, "analysis.FunctionRegistry").builtin()
        found = registry.lookupFunction(_java(spark, "FunctionIdentifier")(name))
        if found.isDefined():
            info = found.get()
            _builtins[name] = _Builtin(info.getClassName().rpartition(".")[2], info.getGroup())
        else:
            _builtins[name] = None
    return _builtins[name]


@dataclass(eq=False)
class _Node:
    """A node of the tree: the class, the fields beside the children, and the children."""

    kind: str
    fields: dict[str, Any]
    children: list[_Node] = field(default_factory=list)

    def names(self, name: str) -> list[str]:
        """A list of names, which JSON has as the text "[a, b]"."""
        return str(self.fields.get(name, "[]"))[1:-1].split(", ")

    @property
    def text(self) -> str | None:
        """The value of a constant text."""
        is_text = self.kind == "Literal" and str(self.fields.get("dataType", "")).startswith("string")
        return self.fields.get("value") if is_text else None


def _tree(records: Sequence[dict[str, Any]]) -> _Node:
    """The tree of nodes that are listed each before its children."""
    nodes = [_Node(record["class"].rpartition(".")[2].split("$")[0], record) for record in records]
    open_nodes = [(nodes[0], records[0]["num-children"])]
    for node, record in zip(nodes[1:], records[1:], strict=True):
        while open_nodes[-1][1] == 0:
            open_nodes.pop()
        parent, missing = open_nodes.pop()
        parent.children.append(node)
        open_nodes += [(parent, missing - 1), (node, record["num-children"])]
    return nodes[0]


def _trees(value: object) -> Iterator[_Node]:
    """The trees inside a field."""
    if isinstance(value, list):
        if value and isinstance(value[0], dict) and "class" in value[0]:
            yield _tree(value)
        else:
            for item in value:
                yield from _trees(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _trees(item)


@dataclass(frozen=True)
class _Context:
    """Where a node stands: in a query or a row, which relations have a name there, and whether order matters."""

    is_query: bool = False
    columns: frozenset[str] = frozenset()
    relations: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    is_sorted: bool = False
    """What reads the array of this node does not depend on its order."""
    window: bool | None = None
    """Whether the window that this function is over has an order; null = it is over none."""


class _Check:
    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self.time_literals: set[tuple[str, str]] = set()
        self.aliases: set[str] = set()

    def problems(self, tree: _Node, context: _Context) -> Iterator[str]:
        if context.is_query:
            self.aliases = set(_aliases(tree)) | context.inputs
        waiting = [(tree, context)]
        while waiting:
            node, here = waiting.pop()
            found = list(self._of_node(node, here))
            yield from found
            if not (found and node.kind in _REFUSED_KINDS):
                waiting += reversed(list(_below(node, here)))

    def _of_node(self, node: _Node, context: _Context) -> Iterator[str]:
        kind = node.kind
        allowed = (
            sql_rules.PLAIN_EXPRESSIONS | sql_rules.QUERY_EXPRESSIONS | sql_rules.PLANS
            if context.is_query
            else sql_rules.PLAIN_EXPRESSIONS
        )
        if kind not in allowed:
            yield _refusal(node, context)
        elif kind == "UnresolvedFunction":
            yield from self._of_call(node, context)
        elif kind == "UnresolvedAttribute":
            yield from self._of_name(node.names("nameParts"), context)
        elif kind in {"First", "Last", "AnyValue"}:
            yield from _of_order(_SQL_NAMES[kind], kind, node, context)
        elif kind == "Literal":
            kind = str(node.fields["dataType"])
            if kind in sql_rules.TIMES and node.fields["value"] is not None:
                self.time_literals.add((kind, node.fields["value"]))
        elif kind == "Cast":
            yield from _of_constant(node.children[0], node.fields["dataType"] in sql_rules.TIMES)
        elif kind == "UnresolvedRelation":
            yield from _of_relation(node, context)
        elif kind in {"UnresolvedTableValuedFunction", "UnresolvedGenerator"}:
            name = node.fields["name"]
            name = name["funcName"] if isinstance(name, dict) else name[1:-1]
            if name.lower() not in sql_rules.TABLE_FUNCTIONS:
                yield f"reads the table function {name}(); use an input, or explode an array"
        elif kind == "UnresolvedWith" and node.fields.get("allowRecursion"):
            yield "is recursive, which may not end; write the levels out"
        elif kind in {"GlobalLimit", "Offset"} and not _has_order(node):
            yield f"has a limit or an offset without order by, {sql_rules.RERUN}; order the rows by their key first"

    def _of_name(self, parts: Sequence[str], context: _Context) -> Iterator[str]:
        name = parts[0].lower()
        if len(parts) == 1 and name in sql_rules.CLOCK_NAMES | sql_rules.SESSION_NAMES and name not in context.columns:
            reason = sql_rules.CLOCK if name in sql_rules.CLOCK_NAMES else sql_rules.SESSION
            hint = f" (a column of that name is t.{parts[0]})" if context.is_query else ""
            yield f"has {parts[0]}, which {reason}{hint}"
        elif len(parts) > 1 and name in sql_rules.VARIABLES - context.columns - self.aliases:
            yield f"has {'.'.join(parts)}, a variable, which {sql_rules.SESSION}"

    def _of_call(self, node: _Node, context: _Context) -> Iterator[str]:
        parts = node.names("nameParts")
        shown, name = ".".join(parts), parts[-1].lower()
        found = _builtin(self.spark, name)
        if found is None or [part.lower() for part in parts[:-1]] not in ([], ["builtin"], ["system", "builtin"]):
            own = ", ".join(sorted(_OWN))
            yield f"calls {shown}(), which is neither a function that Spark has by itself nor one of {own}"
            return
        arguments = len(node.fields.get("arguments") or [])
        reason = sql_rules.DENIED.get(found.kind) or _reason_of_group(found, context)
        if found.kind == "UnixTimestamp" and not arguments:
            reason = sql_rules.CLOCK
        elif (found.kind == "XmlToStructs" and arguments > 2) or (found.kind == "SchemaOfXml" and arguments > 1):
            reason = sql_rules.XML_OPTIONS
        elif not (
            reason or arguments or found.kind in sql_rules.WITHOUT_ARGUMENTS or found.group in sql_rules.QUERY_GROUPS
        ):
            reason = (
                f"has no arguments, so its value does not come from the row, {sql_rules.RERUN}; use a column instead"
            )
        if reason:
            yield f"calls {shown}(), which {reason}"
            return
        if context.is_query:
            yield from _of_order(name, found.kind, node, context)
        if name in sql_rules.AS_TIMES and node.children:
            yield from _of_constant(node.children[0], is_time=True)
        yield from self._of_patterns(name, node)

    def _of_patterns(self, name: str, node: _Node) -> Iterator[str]:
        texts = [child.text for child in node.children]
        patterns = texts[1:2] if name in sql_rules.PARSED_BY | sql_rules.WRITTEN_BY else []
        if name == "map":  # the options of from_json, from_csv, to_json
            patterns = [
                value
                for key, value in zip(texts[::2], texts[1::2], strict=False)
                if (key or "").lower() in sql_rules.PATTERN_OPTIONS
            ]
        for pattern in filter(None, patterns):
            found = problem(
                pattern, is_known=partial(_is_pattern, self.spark), is_parsed=name not in sql_rules.WRITTEN_BY
            )
            if found:
                yield found


_patterns: dict[str, bool] = {}


def _is_pattern(spark: SparkSession, pattern: str) -> bool:
    """Whether Spark can read and write times by a pattern."""
    if pattern not in _patterns:
        zone = spark._jvm.java.time.ZoneOffset.UTC  # type: ignore[union-attr]
        try:
            _object(spark, "util.TimestampFormatter").apply(pattern, zone, True).validatePatternString(True)
            _patterns[pattern] = True
        except (PySparkException, Py4JError):
            _patterns[pattern] = False
    return _patterns[pattern]


_SQL_NAMES: Final = {"First": "first", "Last": "last", "AnyValue": "any_value"}
_REFUSED_KINDS: Final = frozenset(sql_rules.REFUSED) | frozenset(sql_rules.REFUSED_IN_QUERY)


def _refusal(node: _Node, context: _Context) -> str:
    if context.is_query and node.kind in sql_rules.REFUSED_IN_QUERY:
        return sql_rules.REFUSED_IN_QUERY[node.kind]
    if node.kind in sql_rules.REFUSED:
        reason = sql_rules.REFUSED[node.kind]
        return reason if reason.split(" ")[0] in {"has", "makes"} else f"has a function that {reason}"
    what = "one select over the inputs" if context.is_query else "an expression over the columns of one row"
    shown = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", node.kind).lower()
    return f"has {shown!r}, want {what}"


def _reason_of_group(found: _Builtin, context: _Context) -> str | None:
    if found.group in sql_rules.ROW_GROUPS:
        is_window = found.kind in sql_rules.TIME_WINDOWS and not context.is_query
        return sql_rules.MORE_ROWS if is_window else None
    if context.is_query and found.group in sql_rules.QUERY_GROUPS:
        return None
    return sql_rules.GROUPS.get(found.group, "is of a kind that is not allowed; use another")


def _of_constant(node: _Node, is_time: bool) -> Iterator[str]:
    if is_time and node.text is not None and sql_rules.SPECIAL.match(node.text):
        yield f"makes a time of {node.text!r}, which {sql_rules.CLOCK}"


def _of_relation(node: _Node, context: _Context) -> Iterator[str]:
    parts = node.names("multipartIdentifier")
    known = ", ".join(sorted(context.inputs)) or "none"
    if node.fields.get("isStreaming"):
        yield "reads a stream; name the input alone"
    elif len(parts) > 1:
        yield f"reads {parts[0]}.`{'.'.join(parts[1:])}`, want one of the inputs: {known}"
    elif parts[0].lower() not in context.relations:
        yield f"reads {parts[0]}, want one of the inputs: {known}"


def _of_order(name: str, kind: str, node: _Node, context: _Context) -> Iterator[str]:
    """What depends on the order of rows in an aggregate, or in a function over a window."""
    if context.window is not None and kind in sql_rules.NEEDS_ORDER:
        if not context.window:
            yield f"calls {name}() over a window without order by, {sql_rules.RERUN}; add order by"
        return
    if sql_rules.SKETCH.search(kind):
        yield f"calls {name}(), which {sql_rules.GROUPS['sketch_funcs']}"
        return
    arguments = len(node.fields.get("arguments") or [])
    has_order = _has_order_by(node) or (kind == "ModeBuilder" and arguments > 1)
    if kind in sql_rules.ORDERED_AGGREGATES and not has_order and not context.is_sorted:
        instead = sql_rules.ORDERED_AGGREGATES[kind].format(name=name)
        yield f"calls {name}(), whose result depends on the order of rows, {sql_rules.RERUN}; write {instead}"


def _has_order_by(node: _Node) -> bool:
    """Whether a window or an aggregate has an order by that is no constant."""
    waiting = [child for child in node.children if child.kind == "SortOrder"]
    while waiting:
        part = waiting.pop()
        if part.kind == "UnresolvedAttribute":
            return True
        waiting += part.children
    return False


def _has_order(node: _Node) -> bool:
    """Whether the rows of a limit or an offset are sorted."""
    while node.kind in {"GlobalLimit", "LocalLimit", "Offset", "PipeOperator"}:
        node = node.children[0]
    return node.kind == "Sort" and bool(node.fields.get("global"))


def _aliases(tree: _Node) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if node.kind == "SubqueryAlias":
            yield str(node.fields["identifier"]["name"]).lower()
        elif node.kind == "Generate":
            yield str(node.fields.get("qualifier")).lower()
        waiting += [
            *node.children,
            *_trees([value for value in node.fields.values() if isinstance(value, list | dict)]),
        ]


def _below(node: _Node, context: _Context) -> Iterator[tuple[_Node, _Context]]:
    """The children of a node and the trees in its fields, and where each stands."""
    plain = replace(context, is_sorted=False, window=None)
    if node.kind == "UnresolvedWith":
        names = context.relations
        for relation in node.fields["cteRelations"]:
            yield from ((tree, replace(plain, relations=names)) for tree in _trees(relation))
            names |= {str(relation["_1"]).lower()}
        yield from ((child, replace(plain, relations=names)) for child in node.children)
        return
    if node.kind == "WindowExpression":
        function, window = node.children
        yield function, replace(plain, window=_has_order_by(window))
        yield window, plain
        return
    if node.kind in sql_rules.PLANS or node.kind in {"ScalarSubquery", "Exists", "ListQuery", "LateralSubquery"}:
        yield from ((tree, plain) for value in node.fields.values() for tree in _trees(value))
    below = plain
    if node.kind == "AggregateExpression":
        below = context
    elif node.kind == "UnresolvedFunction":
        name = node.names("nameParts")[-1].lower()
        by_place = any(child.kind == "LambdaFunction" and len(child.children) > 2 for child in node.children)
        passes = context.is_sorted and name in sql_rules.ELEMENT_BY_ELEMENT and not by_place
        below = replace(plain, is_sorted=name in sql_rules.SORTED_BY or passes)
    yield from ((child, below) for child in node.children)


def _unstable(plan: Any) -> Iterator[str]:
    """Variables, and sums of floating-point numbers that nothing rounds, in an analysed plan."""
    plans = [plan, *_seq(plan.subqueriesAll())]
    while plans:
        node = plans.pop()
        below = _seq(node.children())
        plans += below
        for expression in _seq(node.expressions()) if below else []:
            yield from _unstable_parts(expression)


def _unstable_parts(expression: Any) -> Iterator[str]:
    waiting = [(expression, False)]
    while waiting:
        part, is_rounded = waiting.pop()
        kind = part.getClass().getSimpleName()
        children = _seq(part.children())
        if kind in sql_rules.FLOATING and not is_rounded and any(_is_floating(child) for child in children):
            sql = part.sql()
            yield (
                f"has {sql}, which adds floating-point numbers: the last digits depend on the order of rows,"
                f" {sql_rules.RERUN}; add decimals (cast(x as decimal(18,4))), or write round({sql}, 4)"
            )
        if kind == "VariableReference":
            yield f"has {part.sql()}, a variable, which {sql_rules.SESSION}"
        is_rounded = (
            kind in sql_rules.ROUNDED
            or (kind == "Cast" and not _is_floating(part))
            or (is_rounded and kind in {"AggregateExpression", "WindowExpression", "Alias"})
        )
        waiting += [(child, is_rounded) for child in children]


def _is_floating(expression: Any) -> bool:
    return expression.dataType().typeName() in {"double", "float"}


def _seq(values: Any) -> list[Any]:
    return [values.apply(place) for place in range(values.size())]
