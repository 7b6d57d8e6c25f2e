"""Contracts: the columns, types and rules of each source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from churn.config import Source
from churn.errors import ContractError, nearest
from churn.storage import literal, quoted

_NONE: Mapping[str, int] = {}
MICROS_PER_DAY: Final = 86_400_000_000
"""Microseconds in a day of UTC; the engine's time is whole microseconds."""

_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_TYPES: Mapping[str, DataType] = {
    kind.simpleString(): kind
    for kind in (BooleanType(), DateType(), IntegerType(), LongType(), StringType(), TimestampType())
}


def _data_type(ddl: str) -> DataType:
    """The type a DDL word names, without asking a Spark session (contracts are read before there is one)."""
    if decimal := re.fullmatch(r"decimal\((\d+),(\d+)\)", ddl):
        return DecimalType(int(decimal[1]), int(decimal[2]))
    if ddl not in _TYPES:
        raise ContractError(f"no type {ddl!r} for a field{nearest(ddl, [*_TYPES, 'decimal(18,4)'])}")
    return _TYPES[ddl]


@dataclass(frozen=True)
class Field:
    """One column of a contract. `values`, `minimum` and `maximum` bind only where it is not null. Text is made `upper`
    case; messages show only the form of what is `personal`.

    `default` is SQL over the columns before it, by the settings of a source: the value where the source has none. A
    plain DataFrame may lack such a column.
    """

    name: str
    type: str
    doc: str
    unit: str | None = None
    required: bool = False
    values: tuple[str, ...] | None = None
    minimum: int | None = None
    maximum: int | None = None
    personal: bool = False
    upper: bool = False
    default: Callable[[Source], str] | None = None

    @property
    def data_type(self) -> DataType:
        return _data_type(self.type)

    @property
    def is_id(self) -> bool:
        """Whether it names a thing, so that other sources may meet it."""
        return self.name.endswith("_id")

    @property
    def is_personal(self) -> bool:
        """Whether messages show only the form of its values."""
        return self.is_id or self.personal

    def rules(self, maximum: int | None = None) -> dict[str, str]:
        """What the field forbids: rule name -> SQL condition, true where broken, never null. `maximum` replaces the
        field's own."""
        maximum = self.maximum if maximum is None else maximum
        broken: dict[str, str] = {}
        if self.required:
            broken[f"{self.name}_missing"] = f"`{self.name}` IS NULL"
        if self.values is not None:
            allowed = ", ".join(map(literal, self.values))
            broken[f"{self.name}_unknown"] = f"coalesce(`{self.name}` NOT IN ({allowed}), false)"
        if self.minimum is not None:
            broken[f"{self.name}_too_small"] = f"coalesce(`{self.name}` < {self.minimum}, false)"
        if maximum is not None:
            broken[f"{self.name}_too_large"] = f"coalesce(`{self.name}` > {maximum}, false)"
        return broken


BOOKKEEPING: Final = (
    Field("superseded_at", "timestamp", "When the next version of the same row became known; null = the current one."),
    Field("batch", "string", "The batch that first brought this version."),
)
"""What an accepted table carries beyond its contract; a plain DataFrame may lack either."""


@dataclass(frozen=True)
class Contract:
    """The typed promise of one source.

    `event` and `known` say what the two times mean in this source; `fields` are those beyond the key, `customer_id` and
    the two times, which every contract has; without `of_customers` no `customer_id` is demanded. A row of an
    `announced` one may be known before its event time, which is when it takes effect.
    """

    name: str
    doc: str
    grain: str
    key: tuple[str, ...]
    event: str
    known: str
    fields: tuple[Field, ...]
    announced: bool = False
    of_customers: bool = True

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """Every field in the table's order: ids, the two times, the rest."""
        declared = {"customer_id", "event_time", *(field.name for field in self.fields)}
        own_ids = (
            Field(name, "string", f"The id of {self.grain}.", required=True)
            for name in self.key
            if name not in declared
        )
        customer = (Field("customer_id", "string", "The customer.", required=True),)
        return (
            *own_ids,
            *(customer if self.of_customers else ()),
            Field("event_time", "timestamp", self.event, required=True),
            Field("known_time", "timestamp", self.known, required=True),
            *self.fields,
        )

    @cached_property
    def schema(self) -> StructType:
        return StructType([StructField(field.name, field.data_type) for field in self.columns])

    @property
    def defaults(self) -> Mapping[str, Callable[[Source], str]]:
        """The default of each column that has one."""
        return {field.name: field.default for field in self.columns if field.default}

    @property
    def content(self) -> list[str]:
        """The columns by which versions of a row differ: not when it became known, nor what follows from the others."""
        return [field.name for field in self.columns if field.name != "known_time" and not field.default]

    def with_defaults(self, df: DataFrame) -> DataFrame:
        """The frame with the columns that have a default, by the settings of a source that has none of its own."""
        absent = {name: default(Source()) for name, default in self.defaults.items() if name not in df.columns}
        if not absent:
            return df
        null = [field for field in self.columns if field.name not in df.columns and not field.default]
        rows = df.selectExpr("*", *(f"cast(null AS {field.type}) AS {field.name}" for field in null))
        for name, default in absent.items():
            rows = rows.selectExpr("*", f"{default} AS {name}")
        return rows.select(*(quoted(name) for name in df.columns), *absent)

    def widened(self, df: DataFrame) -> DataFrame:
        """An accepted table with the columns that the contract has gained since it was written, null or the default."""
        rows = self.with_defaults(df)
        new = [field for field in self.columns if field.name not in rows.columns and not field.required]
        return rows.selectExpr("*", *(f"cast(null AS {field.type}) AS {field.name}" for field in new))

    def check(self, df: DataFrame, *, complete: bool = False) -> DataFrame:
        """The same frame, if its columns are those promised, in any order; if `complete`, those with a default too.

        Raises ContractError naming every discrepancy: missing, unexpected, wrong type.
        """
        wanted = {field.name: field.data_type for field in self.columns}
        optional = {field.name: field.data_type for field in BOOKKEEPING}
        seen = {field.name: field.dataType for field in df.schema}
        wrong = [
            f"{name} is {seen[name].simpleString()}, want {kind.simpleString()}"
            for name, kind in {**wanted, **optional}.items()
            if name in seen and seen[name] != kind
        ]
        missing = [
            f"{name} is missing, want {kind.simpleString()}"
            for name, kind in wanted.items()
            if name not in seen and (complete or name not in self.defaults)
        ]
        unexpected = [f"{name} is not in the contract" for name in seen if name not in wanted and name not in optional]
        if discrepancies := wrong + missing + unexpected:
            raise ContractError(
                f"{self.name}: {'; '.join(discrepancies)}; fix [sources.{self.name}.columns] in churn.toml"
            )
        return df

    def rules(self, maximum: Mapping[str, int] = _NONE) -> dict[str, str]:
        """Everything the contract forbids: rule name -> SQL condition, true where broken, never null. `maximum`
        replaces the greatest value of a column.

        Text rather than columns: a source has some thirty, and each column would be a dozen calls into the JVM.
        """
        broken = {name: rule for field in self.columns for name, rule in field.rules(maximum.get(field.name)).items()}
        if not self.announced:
            broken["known_before_event"] = "coalesce(known_time < event_time, false)"
        broken["before_1900"] = f"coalesce(least(event_time, known_time) < {literal(_EARLIEST)}, false)"
        return broken
