"""When a batch is not written: held while rows are still to come, refused where the mapping must be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyspark.sql import Window
from pyspark.sql import functions as F

from churn.config import Source
from churn.errors import BadInputError, ChurnError, HoldError, form
from churn.sources.catalog.calls import CALLS
from churn.sources.classification import Batch
from churn.sources.ledger import LedgerRow
from churn.sources.mapping import IN_FUTURE, MALFORMED, RAW, RULES
from churn.sources.privacy import is_personal, shown
from churn.sources.reasons import ungrouped_reasons
from churn.sources.tried import cannot_fail

_EXAMPLES = 3
_TOP_RULES = 3


@dataclass(frozen=True)
class Report:
    """What a first ingest would make of a source: `examples` are up to three raw rows of each rule that was broken.

    `problem` is why ingest would hold or refuse the batch; None = it would not. `notes` say what an owner should
    look at in rows that are accepted.
    """

    row: LedgerRow
    examples: Mapping[str, tuple[str, ...]]
    problem: str | None
    notes: tuple[str, ...] = ()


def report(batch: Batch) -> Report:
    """What would become of a batch."""
    return Report(batch.row, _examples(batch), _problem(batch), tuple(_notes(batch)))


def hold(batch: Batch) -> None:
    """Raises HoldError if rows that are expected have not come."""
    source, row, missing = batch.mapped.source, batch.row, batch.missing_days
    received, day = batch.received
    if received < source.expect.rows:
        of_day = f" of {day}" if day else ""
        raise HoldError(
            f"{row.source}: {received} rows{of_day} have come, at least {source.expect.rows} are expected; nothing was"
            " written, try again when the rest has come"
        )
    if missing:
        more = f" and {len(missing) - _EXAMPLES} more days" if len(missing) > _EXAMPLES else ""
        raise HoldError(
            f"{row.source}: no rows on {', '.join(map(str, missing[:_EXAMPLES]))}{more}; nothing was written, try again"
            " when they have come"
        )


def refuse(batch: Batch) -> None:
    """Raises BadInputError if so many rows break the contract that the mapping is to be doubted, not the rows, or if
    amounts are in several currencies."""
    source, row = batch.mapped.source, batch.row
    if len(batch.currencies) > 1 and source.currency is None:
        raise BadInputError(
            f"{row.source}: amounts are in {', '.join(batch.currencies)}, which cannot be added up; nothing was"
            f' written; set [money] currency = "{batch.currencies[0]}" and map [sources.rates] to convert others, or'
            f" keep one by a rule in [sources.{row.source}.reject]"
        )
    broken = row.quarantined - batch.declared
    if broken <= source.max_quarantined * row.rows_in:
        return
    examples = _examples(batch)
    worst = [rule for rule in row.rules if rule not in source.own_rules][:_TOP_RULES]
    named = "; ".join(
        f"{rule} {row.rules[rule]} times{_made_by(rule, source)}, such as {examples[rule][0]}" for rule in worst
    )
    if source.format == "csv" and row.rules.get(MALFORMED) == row.rows_in:
        named += (
            "; where each line has a cell more than the header, such as the name of a row, set header = false among"
            " the options and map _c0, _c1, ..."
        )
    if row.as_of is not None and row.rules.get(IN_FUTURE, 0) > broken / 2:
        named += f"; these lie more than a year after the as-of {row.as_of:%Y-%m-%d}: give a later one"
    raise BadInputError(
        f"{row.source}: {broken} of {row.rows_in} rows break the contract, more than max_quarantined ="
        f" {source.max_quarantined:g}: {named}; nothing was written; fix {source.section('columns')} or its options,"
        f" name rows to leave out in [sources.{row.source}.reject], or raise max_quarantined"
    )


def _made_by(rule: str, source: Source) -> str:
    """The expression that gives null, where a value is missing by it and not by its cell, or that raises an error."""
    name, _, failure = rule.rpartition("_")
    column = source.columns.get(name)
    if column is not None and failure == "missing" and "(" in column.sql:
        return f" (null by {column.sql!r})"
    if column is not None and failure == "unreadable" and not cannot_fail(column.sql):
        return f" (by {column.sql!r})"
    return f" (by {source.reject[name]!r})" if failure == "failed" and name in source.reject else ""


def _notes(batch: Batch) -> Iterator[str]:
    yield from batch.notes
    accepted = batch.rows.where("_status = 'accepted'")
    contract, source = batch.mapped.contract, batch.mapped.source
    if contract is CALLS:
        hidden = any(is_personal(column, source, contract) for column in ("reason", "queue"))
        if note := ungrouped_reasons(accepted, form if hidden else str):
            yield note


def _problem(batch: Batch) -> str | None:
    try:
        hold(batch)
        refuse(batch)
    except ChurnError as error:
        return str(error)
    return None


def _examples(batch: Batch) -> dict[str, tuple[str, ...]]:
    """The first raw rows of each broken rule, in the order of their text."""
    if batch.quarantined is None:
        return {}
    by_rule = batch.quarantined.select(F.explode(RULES).alias("rule"), F.col(RAW).alias("raw"))
    ranked = by_rule.withColumn("rank", F.row_number().over(Window.partitionBy("rule").orderBy("raw")))
    examples: dict[str, tuple[str, ...]] = dict.fromkeys(batch.row.rules, ())
    for row in ranked.where(F.col("rank") <= _EXAMPLES).orderBy("rule", "rank").collect():
        examples[row["rule"]] += (shown(row["raw"], batch.mapped.source, batch.mapped.contract),)
    return examples
