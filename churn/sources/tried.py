"""Expressions of churn.toml that raise an error on a row, such as a cast of a bad cell: the error costs that row alone.

Spark's own `try_` functions are each for one operation. Its expression TryEval, on which they rest, is for any.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, VariantType

from churn.sources.functions import FUNCTIONS, expanded, tokens
from churn.sources.readers.files import UNPARSED
from churn.sources.sql_rules import KEYWORDS
from churn.storage import java_class, quoted

_VALUE: Final = "value"
_NEVER_FAIL: Final = frozenset(
    {"try_cast", "try_to_date", "try_to_timestamp", *(function.name for function in FUNCTIONS)}
)
_OPERATORS: Final = KEYWORDS - {"as", "try_cast", "null", "true", "false"}
_TYPES: Final = frozenset({"char", "decimal", "varchar"})
"""What stands before a bracket in the name of a type."""


def cannot_fail(text: str) -> bool:
    """Whether an expression raises an error on no row: a column, a constant, or one call that reads what it can.

    >>> cannot_fail("`Call ID`"), cannot_fail("'purchase'"), cannot_fail("try_cast(talk as decimal(9, 2))")
    (True, True, True)
    >>> cannot_fail("cast(talk as int)"), cannot_fail("try_cast(to_date(day) as timestamp)"), cannot_fail("a = 1")
    (False, False, False)
    """
    parts = [part for part in tokens(text) if part.kind != "blank"]
    if any(part.text not in "(),." for part in parts if part.kind == "other"):
        return False
    if any(part.text.lower() in _OPERATORS for part in parts):
        return False
    called = [part.text.lower() for part, after in pairwise(parts) if after.text == "("]
    if not called:
        return all((part.text == ".") == (number % 2 == 1) for number, part in enumerate(parts))
    return parts[1].text == "(" and called[0] in _NEVER_FAIL and _TYPES.issuperset(called[1:])


def tried(frame: DataFrame, text: str) -> Column:
    """An expression over one row of a frame, whose value is `value_of` it.

    Where it may raise an error it is a struct: null where it does, or where the row could not be parsed.
    """
    if cannot_fail(text):
        return F.expr(expanded(text))
    sql = f"if({_not_foldable(frame)}, named_struct('{_VALUE}', {expanded(text)}\n), null)"
    spark = frame.sparkSession
    parsed = spark._jsparkSession.sessionState().sqlParser().parseExpression(sql)
    expression = java_class(spark, "org.apache.spark.sql.catalyst.expressions.TryEval")(parsed)
    return Column(java_class(spark, "org.apache.spark.sql.classic.ExpressionUtils").column(expression))


def value_of(text: str, column: str) -> str:
    """SQL: the value of a tried expression, which is a column now."""
    return column if cannot_fail(text) else f"{column}.{_VALUE}"


def failed_rule(rule: str) -> str:
    """The rule of rows on which an owner's rule raises an error."""
    return f"{rule}_failed"


def failed_rules(reject: Mapping[str, str]) -> dict[str, str]:
    """The `failed_rule` of each of an owner's rules that may raise an error."""
    return {name: failed_rule(name) for name, rule in reject.items() if not cannot_fail(rule)}


def _not_foldable(frame: DataFrame) -> str:
    """A condition that holds for every parsed row, which Spark's optimiser cannot know.

    What stands in a branch of a condition is computed there. Elsewhere Spark computes what several expressions have in
    common once, ahead of all of them, and an error would be raised outside of any TryEval.
    """
    if UNPARSED in frame.columns:
        return f"{UNPARSED} IS NULL"
    kinds = ((field.name, field.dataType) for field in frame.schema)
    name = next(
        (name for name, kind in kinds if isinstance(kind, AtomicType) and not isinstance(kind, VariantType)), None
    )
    return "true" if name is None else f"hash({quoted(name)}) >= {-(2**31)}"
