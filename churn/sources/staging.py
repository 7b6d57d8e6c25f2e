"""A source that is a SQL query over raw inputs: the rows of the query, and what became of the rows of each input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, Row, SparkSession

from churn.config import Config, QueryInput, Source
from churn.errors import ConfigError
from churn.sources.expressions import check_frame, check_query
from churn.sources.functions import expanded
from churn.sources.ledger import InputRow
from churn.sources.query_inputs import (
    ReadInput,
    count_inputs,
    left_out,
    read_input,
    reason,
    rules_of,
    shown_key,
    unused_rows,
    without_rows,
)
from churn.sources.readers.files import FILE
from churn.sources.spark_errors import SPARK_ERRORS, plain_line, unlogged
from churn.sources.union_by_name import Step, run, steps, without_by_name

PARTIAL: Final = "began_before_batch"
"""The rule that a row of a query breaks which is made of only a part of the rows, as the others were not read again."""


@dataclass(frozen=True)
class Staged:
    """A query with its inputs, each row of which is counted."""

    source: Source
    rows: DataFrame
    """The query's rows."""
    inputs: tuple[ReadInput, ...]
    counts: Mapping[str, Row]
    left_out: DataFrame | None
    """The raw rows that the query does not see, with `rules` and `raw`; None = there are none."""
    has_groups: bool
    """Whether a row may be made of several rows of one input."""
    joins: int

    @property
    def measured(self) -> tuple[ReadInput, ...]:
        """The inputs whose key the result has, which tells the rows that were used."""
        names = set(self.rows.columns)
        return tuple(one for one in self.inputs if one.setting.key and set(one.setting.key) <= names)


def check_inputs(config: Config) -> None:
    """Raises ConfigError where inputs and the queries that name them do not fit; nothing is read."""
    used = {config.uplift.input, *(name for source in config.sources.values() for name in source.inputs)}
    for name, one in config.inputs.items():
        if name not in used:
            raise ConfigError(f"{one.section()} is read by no query; name it after FROM in one, or drop the section")
    for source in config.sources.values():
        if source.query is None:
            continue
        if source.arrivals.path or source.arrivals.topic:
            raise ConfigError(
                f"{source.section('stream')} cannot be read: its rows arrive one by one, and a query needs all of them;"
                " give the source a path, or drop the section"
            )
        look_backs = {one.name: one.look_back for one in source.inputs.values() if one.is_daily}
        if len(set(look_backs.values())) > 1:
            listed = ", ".join(f"{name} {days}" for name, days in sorted(look_backs.items()))
            raise ConfigError(
                f"{source.section()} query reads inputs with different look_back: {listed}; give all the same, so that"
                " no row is made of a part of them"
            )
        zones = {source.zone, *(column.zone for column in source.columns.values())}
        for one in source.inputs.values():
            if one.zone is not None and one.zone not in zones and one.zone not in source.query:
                raise ConfigError(
                    f"{one.section()} zone = {one.zone!r} is not that of [sources.{source.name}], {source.zone!r}; in"
                    f" the query write in_zone(time, {one.zone!r}) for its local times, or drop zone"
                )


def stage(spark: SparkSession, source: Source) -> Staged:
    """The rows of a source's query, and the counts of its inputs, which are read for that.

    The query sees its inputs, and nothing else of the session. Raises ConfigError for a query that cannot run, or could
    give other rows when it runs again; BadInputError for an input that cannot be read, or whose key is not unique.
    """
    query, inputs = _read_inputs(spark, source)
    plan = _check(spark, source, query, inputs)
    counts = count_inputs(inputs)
    return Staged(
        source=source,
        rows=run(spark, query, {one.setting.name: one.table for one in inputs}),
        inputs=inputs,
        counts=counts,
        left_out=left_out(inputs, counts),
        has_groups=_nodes(plan, "Aggregate|Window") > 0,
        joins=_nodes(plan, "Join"),
    )


def query_rows(spark: SparkSession, source: Source) -> DataFrame:
    """The rows of a source's query alone."""
    query, inputs = _read_inputs(spark, source)
    _check(spark, source, query, inputs)
    return run(spark, query, {one.setting.name: one.table for one in inputs})


def account(staged: Staged) -> tuple[tuple[InputRow, ...], tuple[str, ...]]:
    """What became of the rows of each input, and what its owner should know of them.

    Rows that the query reads count as used; where its result has the key of the input, those whose key is there.
    """
    unused, name = unused_rows(staged.measured, staged.rows), staged.source.name
    rows, notes = [], []
    for one in staged.inputs:
        setting, count = one.setting, staged.counts[one.setting.name]
        n, example = unused.get(setting.name, (0, ""))
        rows.append(
            InputRow(
                name=setting.name,
                rows=count["rows"],
                used=count["rows"] - count["left_out"] - n,
                unused=n,
                rejected=count["left_out"] - count["malformed"],
                malformed=count["malformed"],
                rules={rule: broken for rule, broken in zip(rules_of(setting), count["rules"], strict=True) if broken},
                reason=setting.unused,
            )
        )
        if n and setting.unused is None:
            notes.append(
                f"{name}: {n:,} of {count['rows']:,} rows of the input {setting.name} are in no row of the result,"
                f' such as {shown_key(example)}; mend the query, or name the reason: unused = "..." under'
                f" [inputs.{setting.name}]"
            )
    without_key = [one.setting.name for one in staged.inputs if not one.setting.key]
    if staged.joins > len(staged.inputs) - len(without_key):
        notes.append(
            f"{name}: the query joins, and {', '.join(without_key)} name no key, so nothing tells whether a join"
            " multiplies rows; set key = [...] for the inputs in which each row has its own"
        )
    return tuple(rows), tuple(notes)


# --- the query --------------------------------------------------------------------------------------------------------


def _read_inputs(spark: SparkSession, source: Source) -> tuple[list[Step], tuple[ReadInput, ...]]:
    """The query as SQL of Spark, and the inputs that it reads."""
    written = (source.query or "").rstrip("; \t\r\n")
    if reasons := check_query(spark, without_by_name(written), list(source.inputs)):
        raise ConfigError(f"{source.section()} query {'; '.join(reasons)}")
    text = expanded(written)
    try:
        with unlogged():
            parsed = spark._jsparkSession.sessionState().sqlParser().parsePlan(without_by_name(text)).toString()
    except SPARK_ERRORS as error:
        found = re.search(r"\(line (\d+), pos (\d+)\)", str(error))
        place = f" on line {found[1]}, at character {int(found[2]) + 1}" if found else ""
        problem = plain_line(error).rstrip(".")
        raise ConfigError(f"{source.section()} query is not Spark SQL: {problem}{place}") from None
    tables = {name.strip("`").lower() for name in re.findall(r"UnresolvedRelation \[([^\]]*)\]", parsed)}
    used: list[QueryInput] = [one for name, one in source.inputs.items() if name.lower() in tables]
    if not used:
        raise ConfigError(f"{source.section()} query reads no [inputs.NAME]; name one after FROM")
    return steps(text), tuple(read_input(spark, source, one, with_file=FILE in text) for one in used)


def _check(spark: SparkSession, source: Source, query: Sequence[Step], inputs: Sequence[ReadInput]) -> str:
    """The plan of the query over its inputs without their rows, and without what reads them."""
    place = f"{source.section()} query"
    try:
        with unlogged():
            rows = run(spark, query, {one.setting.name: without_rows(spark, one) for one in inputs})
    except SPARK_ERRORS as error:
        columns = {one.setting.name: one.cells for one in inputs}
        raise ConfigError(f"{place} {reason(error, columns, [one.raw for one in inputs])}") from None
    if reasons := check_frame(rows):
        raise ConfigError(f"{place} {'; '.join(reasons)}")
    plan = rows._jdf.queryExecution().analyzed()
    if not plan.deterministic():
        raise ConfigError(f"{place} has a part that may differ when it runs again; use columns instead")
    times = Counter(name.lower() for name in rows.columns)
    if twice := [name for name in rows.columns if times[name.lower()] > 1]:
        raise ConfigError(f"{place} has two columns named {twice[0]}; give one another name: ... AS other_name")
    return str(plan.toString())


def _nodes(plan: str, names: str) -> int:
    """How many nodes of a plan have one of the names."""
    return len(re.findall(rf"^[\s:+|-]*'?({names})\b", plan, re.MULTILINE))
