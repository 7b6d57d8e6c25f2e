"""What looks wrong in rows that keep every rule: units, ids that do not meet, one id that stands for many things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.errors import form
from churn.sources.classification import Batch
from churn.sources.contract import Contract

FIRST_YEAR: Final = 1980
"""The year before which not all events of a source can lie."""
LONG_SECONDS: Final = 3_600
"""Half of all durations of a call centre are shorter by far."""
LEAST_KNOWN: Final = 0.9
"""The share of rows whose customer is among the customers, below which ids are doubted."""
GREATEST_SHARE: Final = 0.2
"""The share of all rows that one customer may have, where there are more than a few."""
_FEW: Final = 20
_EXAMPLES: Final = 3


def doubts(batches: Sequence[Batch]) -> Iterator[tuple[str, str]]:
    """Pairs of a source and a sentence for its owner."""
    customers = next((_sound(one) for one in batches if one.row.source == "customers"), None)
    for batch in batches:
        contract = batch.mapped.contract
        for note in (
            *_times(batch),
            *_units(batch),
            *_currency(batch),
            *(_ids(batch, customers) if contract.of_customers else ()),
        ):
            yield contract.name, note


def _sound(batch: Batch) -> DataFrame:
    return batch.rows.where("_status = 'accepted'")


def _times(batch: Batch) -> Iterator[str]:
    """Events that are all older than call centres and cards, as where a number of seconds is read as milliseconds."""
    name, last = batch.mapped.contract.name, batch.row.last_event
    if last is not None and last.year < FIRST_YEAR:
        yield (
            f"{name}: all events are of {last.year} or before, which looks like a wrong unit; check event_time in"
            f" [sources.{name}.columns]: timestamp_seconds(...), timestamp_millis(...) or timestamp_micros(...)"
        )


def _currency(batch: Batch) -> Iterator[str]:
    """Amounts without a currency beside those of one that is not known to be the company's."""
    contract, source = batch.mapped.contract, batch.mapped.source
    if source.currency is not None or not {"amount", "currency"} <= set(contract.schema.names):
        return
    without, codes = _sound(batch).selectExpr("count_if(currency IS NULL)", "min(currency)").collect()[0]
    if without and codes:
        yield (
            f"{contract.name}: {without:,} rows have no currency, the rest {codes}, and their amounts are added up;"
            f" write currency = \"coalesce(currency, '{codes}')\" if they are alike, else reject them by name, or set"
            " [money] currency and rates"
        )


def _units(batch: Batch) -> Iterator[str]:
    """Durations whose median looks like milliseconds or microseconds."""
    contract: Contract = batch.mapped.contract
    durations = [field.name for field in contract.columns if field.unit == "s" and field.minimum == 0]
    if not durations:
        return
    medians = _sound(batch).selectExpr(
        *(f"percentile_approx(if({name} > 0, {name}, null), 0.5) AS {name}" for name in durations)
    )
    for name, median in medians.collect()[0].asDict().items():
        if median is not None and median > LONG_SECONDS:
            unit = "microseconds" if median > LONG_SECONDS * 1_000 else "milliseconds"
            yield (
                f"{contract.name}: half of {name} are {median:,} s or more, which looks like {unit}; divide them in"
                f" [sources.{contract.name}.columns]"
            )


def _ids(batch: Batch, customers: DataFrame | None) -> Iterator[str]:
    name = batch.mapped.contract.name
    by_customer = _sound(batch).groupBy("customer_id").agg(F.expr("count(*) AS n")).persist()
    try:
        top = by_customer.selectExpr("max_by(customer_id, n) AS id", "max(n) AS n", "sum(n) AS rows", "count(*) AS ids")
        greatest = top.collect()[0]
        if greatest["rows"] and greatest["ids"] > _FEW and greatest["n"] > GREATEST_SHARE * greatest["rows"]:
            share = greatest["n"] / greatest["rows"]
            yield (
                f"{name}: one customer, of the form {form(greatest['id'])!r}, has {share:.0%} of all rows; if it is"
                f" no customer, name it in [sources.{name}.reject] or in nulls"
            )
        if customers is not None and name != "customers" and greatest["rows"]:
            yield from _unknown(name, by_customer, customers)
    finally:
        by_customer.unpersist()


def _unknown(name: str, by_customer: DataFrame, customers: DataFrame) -> Iterator[str]:
    """Whether the customers of a source are among the customers."""
    known = customers.select("customer_id").distinct().withColumn("_known", F.lit(True))
    joined = by_customer.join(known, on="customer_id", how="left")
    share, unknown = joined.selectExpr(
        "sum(if(_known, n, 0)) / sum(n)",
        f"slice(sort_array(collect_set(if(_known, null, customer_id))), 1, {_EXAMPLES})",
    ).collect()[0]
    if share is not None and share < LEAST_KNOWN:
        there = [
            row["customer_id"]
            for row in customers.select("customer_id").distinct().orderBy("customer_id").take(_EXAMPLES)
        ]
        yield (
            f"{name}: {share:.0%} of the rows have a customer who is among the customers; ids here have forms such as"
            f" {', '.join(map(repr, map(form, unknown)))}, those of customers {', '.join(map(repr, map(form, there)))};"
            f" make them alike in [sources.{name}.columns]"
        )
