"""The raw inputs of a query: the tables that it sees, and a count of every row that it does not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, StringType, StructType

from churn.config import QueryInput, Source
from churn.errors import BadInputError, ConfigError, HoldError, form, nearest
from churn.sources.blanks import BLANKS
from churn.sources.expressions import check_expression
from churn.sources.functions import expanded
from churn.sources.readers import read
from churn.sources.readers.declared_types import hint
from churn.sources.readers.files import FILE, UNPARSED, find_files
from churn.sources.readers.parquet_files import unreadable_columns
from churn.sources.spark_errors import SPARK_ERRORS, plain_line, unlogged
from churn.sources.tried import failed_rules, tried, value_of
from churn.storage import literal, quoted

_TRIMMED: Final = ("csv", "json")
_IS_LEFT_OUT: Final = "_is_left_out"


@dataclass(frozen=True)
class ReadInput:
    """An input as it was read for one query."""

    setting: QueryInput
    raw: DataFrame
    """Its rows, with a flag for each rule, and one for those that are left out."""
    cells: Mapping[str, str]
    """By column, its value in SQL over the raw row; the text of csv and json is trimmed, and empty text is null."""
    table: DataFrame
    """What the query sees."""


def read_input(spark: SparkSession, source: Source, setting: QueryInput, *, with_file: bool) -> ReadInput:
    """Read an input of a source's query; `with_file` shows the query from which file a row is.

    Raises BadInputError where it cannot be read, HoldError where rows of the source are expected, ConfigError for a key
    or a rule that does not fit its columns.
    """
    try:
        raw = read(spark, setting)
    except BadInputError as error:
        if source.expect and setting.path and not find_files(spark, setting):
            raise HoldError(f"{source.name}: {error}; rows are expected of it, so try again when it has come") from None
        raise
    kinds = {field.name: field.dataType for field in raw.schema if field.name not in (UNPARSED, FILE)}
    if unknown := [name for name in setting.key if name not in kinds]:
        raise ConfigError(f"{setting.section()} key {unknown[0]!r} is no column of it{nearest(unknown[0], kinds)}")
    cells = {
        name: f"nullif(btrim({quoted(name)}, {literal(BLANKS)}), '')"
        if setting.format in _TRIMMED and isinstance(kind, StringType)
        else quoted(name)
        for name, kind in kinds.items()
    }
    flagged = _flagged(spark, raw, setting, kinds)
    file = [FILE] if with_file and FILE in raw.columns else []
    visible = flagged.where(f"NOT {_IS_LEFT_OUT}")
    table = visible.selectExpr(*(f"{cell} AS {quoted(name)}" for name, cell in cells.items()), *file)
    return ReadInput(setting, flagged, cells, table)


def without_rows(spark: SparkSession, one: ReadInput) -> DataFrame:
    """A table of the same columns, whose plan is a leaf."""
    return spark.createDataFrame([], StructType(one.table.schema.fields))


def reason(
    error: PySparkException | Py4JJavaError, columns: Mapping[str, Iterable[str]], frames: Iterable[DataFrame]
) -> str:
    """Why SQL over these tables, each with its columns, cannot run, as a clause; `frames` are their raw rows."""
    is_explained = isinstance(error, PySparkException)
    condition, details = (error.getCondition() or "", error.getMessageParameters() or {}) if is_explained else ("", {})
    if condition.startswith("UNRESOLVED_COLUMN"):
        named = details.get("objectName", "").replace("`", "")
        unreadable = {name.lower(): why for frame in frames for name, why in unreadable_columns(frame).items()}
        if why := unreadable.get(named.lower(), unreadable.get(named.lower().rpartition(".")[2])):
            return f"names {named!r}, which Spark cannot read: {why}"
        listed = "; ".join(f"{name} has {', '.join(names)}" for name, names in columns.items())
        return f"names {named!r}, which is no column: {listed}{hint(named.rpartition('.')[2])}"
    return f"cannot run: {plain_line(error)}"


def _flagged(spark: SparkSession, raw: DataFrame, setting: QueryInput, columns: Collection[str]) -> DataFrame:
    """The raw rows with the line that could not be parsed, whether each rule is broken, and whether any is."""
    for name in setting.reject:
        _check_rule(spark, raw, setting, name, columns)
    columns_read = [quoted(name) for name in raw.columns if name != UNPARSED]
    unparsed = F.expr(UNPARSED if UNPARSED in raw.columns else "cast(null AS string)").alias(UNPARSED)
    values = (tried(raw, rule).alias(f"_value_{name}") for name, rule in setting.reject.items())
    tested = raw.select(*columns_read, unparsed, *values)
    flags = [
        *(f"{value_of(rule, _value(name))} IS TRUE AS {_flag(name)}" for name, rule in setting.reject.items()),
        *(f"{_value(name)} IS NULL AS {_flag(failed)}" for name, failed in failed_rules(setting.reject).items()),
    ]
    any_of = " OR ".join([f"{UNPARSED} IS NOT NULL", *map(_flag, rules_of(setting))])
    return tested.selectExpr(*columns_read, UNPARSED, *flags).selectExpr("*", f"{any_of} AS {_IS_LEFT_OUT}")


def rules_of(setting: QueryInput) -> list[str]:
    """The owner's rules, and those of rows on which one of them raises an error."""
    return [*setting.reject, *failed_rules(setting.reject).values()]


def _check_rule(spark: SparkSession, raw: DataFrame, setting: QueryInput, name: str, columns: Collection[str]) -> None:
    """Raises ConfigError where a rule is no condition over the columns."""
    rule = setting.reject[name]
    place = f"{setting.section('reject')} {name} = {rule!r}"
    if refused := check_expression(spark, rule, columns):
        raise ConfigError(f"{place} {refused}")
    try:
        with unlogged():
            kind = raw.select(F.expr(expanded(rule))).schema[0].dataType
    except SPARK_ERRORS as error:
        raise ConfigError(f"{place} {reason(error, {setting.name: columns}, [raw])}") from None
    if not isinstance(kind, BooleanType):
        raise ConfigError(f"{place} is {kind.simpleString()}, want boolean: a condition such as \"kind = 'TEST'\"")


# --- counts -----------------------------------------------------------------------------------------------------------


def count_inputs(inputs: Iterable[ReadInput]) -> dict[str, Row]:
    """By input: its `rows`, those `left_out`, of them `malformed`, and by each of its `rules`.

    Raises BadInputError where several rows have one key.
    """
    inputs = list(inputs)
    counts = {row["input"]: row for row in reduce(DataFrame.unionByName, map(_counted, inputs)).collect()}
    for one in inputs:
        count = counts[one.setting.name]
        if count["repeated"]:
            key = ", ".join(one.setting.key)
            raise BadInputError(
                f"{one.setting.section()} key {key} is not unique: {count['repeated']:,} of its values are in several"
                f" rows, such as {shown_key(count['example'])}, and a join would multiply rows; find them by group by"
                f" {key} having count(*) > 1, then mend the input, name rows to leave out in"
                f" [inputs.{one.setting.name}.reject], or correct the key"
            )
    return counts


def _counted(one: ReadInput) -> DataFrame:
    setting, first = one.setting, quoted(next(iter(one.cells)))
    key = {name: one.cells[name] for name in setting.key}
    sums = {
        # Spark refuses to read the line that could not be parsed without another column.
        "rows": f"count_if({first} IS NULL) + count_if({first} IS NOT NULL)"
        if setting.format in _TRIMMED
        else "count(*)",
        "left_out": f"count_if({_IS_LEFT_OUT})",
        "malformed": f"count({UNPARSED})",
        **{f"rule_{n}": f"count_if({UNPARSED} IS NULL AND {_flag(name)})" for n, name in enumerate(rules_of(setting))},
    }
    rules = f"cast(array({', '.join(name for name in sums if name.startswith('rule_'))}) AS array<bigint>) AS rules"
    columns = (f"{literal(setting.name)} AS input", "rows", "left_out", "malformed", rules)
    aggregates = [F.expr(sql).alias(name) for name, sql in sums.items()]
    if not key:
        return one.raw.agg(*aggregates).selectExpr(*columns, "0L AS repeated", "cast(null AS string) AS example")
    is_in_table = " AND ".join([f"NOT {_IS_LEFT_OUT}", *(f"{cell} IS NOT NULL" for cell in key.values())])
    struct = f"struct({', '.join(f'{cell} AS {quoted(name)}' for name, cell in key.items())})"
    by_key = one.raw.groupBy(F.expr(f"if({is_in_table}, {struct}, null)").alias("key")).agg(*aggregates)
    totals = by_key.selectExpr(
        *(f"coalesce(sum({name}), 0L) AS {name}" for name in sums),
        "count_if(key IS NOT NULL AND rows > 1) AS repeated",
        "min(if(key IS NOT NULL AND rows > 1, to_json(key), null)) AS example",
    )
    return totals.selectExpr(*columns, "repeated", "example")


def left_out(inputs: Iterable[ReadInput], counts: Mapping[str, Row]) -> DataFrame | None:
    """The rows that no query sees: `rules`, none where the line is malformed, and `raw` as JSON; None = no rows."""
    frames = [_left_out(one) for one in inputs if counts[one.setting.name]["left_out"]]
    return reduce(DataFrame.unionByName, frames) if frames else None


def _left_out(one: ReadInput) -> DataFrame:
    rules = ", ".join(f"if({_flag(rule)}, {literal(rule)}, null)" for rule in rules_of(one.setting))
    shared = [f"{literal(one.setting.name)} AS _input", *([FILE] if FILE in one.raw.columns else [])]
    line = f"struct({', '.join([*shared, f'{UNPARSED} AS line'])})"
    row = f"struct({', '.join([*shared, *map(quoted, one.cells)])})"
    return one.raw.where(_IS_LEFT_OUT).selectExpr(
        f"if({UNPARSED} IS NULL, array_compact(cast(array({rules}) AS array<string>)), array()) AS rules",
        f"if({UNPARSED} IS NULL, to_json({row}, map('ignoreNullFields', 'false')), to_json({line})) AS raw",
    )


def unused_rows(inputs: Sequence[ReadInput], result: DataFrame) -> dict[str, tuple[int, str]]:
    """By input: how many of its rows have a key that the result of a query does not have, and such a key."""
    frames = []
    for one in inputs:
        names = {column: f"key_{n}" for n, column in enumerate(one.setting.key)}
        columns = [f"{quoted(column)} AS {name}" for column, name in names.items()]
        struct = ", ".join(f"{name} AS {quoted(column)}" for column, name in names.items())
        used = result.selectExpr(*columns).distinct()
        rest = one.table.selectExpr(*columns).join(used, on=[*names.values()], how="left_anti")
        example = f"min(to_json(struct({struct}))) AS example"
        frames.append(rest.selectExpr(f"{literal(one.setting.name)} AS input", "count(*) AS n", example))
    rows = reduce(DataFrame.unionByName, frames).collect() if frames else []
    return {row["input"]: (row["n"], row["example"]) for row in rows}


def shown_key(example: str) -> str:
    """A key, as JSON, for a message: its values by their form."""
    return json.dumps({name: form(str(value)) for name, value in json.loads(example).items()}, ensure_ascii=False)


def _value(rule: str) -> str:
    return quoted(f"_value_{rule}")


def _flag(rule: str) -> str:
    return quoted(f"_flag_{rule}")
