from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.errors import ContractError
from churn.sources import CONTRACTS
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.closures import CLOSURES
from churn.sources.contract import Contract, Field
from churn.sources.reference import markdown

CLOSURE = "customer_id string, event_time timestamp, known_time timestamp, kind string"


def test_every_contract_is_found_and_has_the_shared_columns() -> None:
    assert {name: contract.key for name, contract in CONTRACTS.items()} == {
        "calls": ("call_id",),
        "closures": ("customer_id", "closure_id"),
        "contacts": ("customer_id", "contact_id"),
        "customers": ("customer_id", "event_time"),
        "fraud_reports": ("transaction_id",),
        "rates": ("currency", "event_time"),
        "transactions": ("transaction_id",),
    }
    for contract in CONTRACTS.values():
        assert {"event_time", "known_time", *contract.key} <= set(contract.schema.names)
        customer = [field.required for field in contract.columns if field.name == "customer_id"]
        assert customer == {"rates": [], "fraud_reports": [False]}.get(contract.name, [True])


def test_check_returns_the_frame_in_any_order_of_columns_and_with_the_lakes_own(spark: SparkSession) -> None:
    df = spark.createDataFrame([], f"batch string, kind string, superseded_at timestamp, {CLOSURE[:-13]}")
    assert CLOSURES.check(df) is df


def test_check_names_every_discrepancy_at_once(spark: SparkSession) -> None:
    df = spark.createDataFrame([], "customer_id bigint, event_time timestamp, kind string, colour string")
    with pytest.raises(ContractError) as error:
        CLOSURES.check(df)
    assert str(error.value) == (
        "closures: customer_id is bigint, want string; known_time is missing, want timestamp;"
        " colour is not in the contract; fix [sources.closures.columns] in churn.toml"
    )


def test_rules_are_true_where_broken_and_never_null(spark: SparkSession) -> None:
    rows = [
        # sound: nothing optional is given
        ("1", "a", "2026-01-01", "2026-01-01", None, None),
        # on the edges of what is allowed
        ("2", "a", "1900-01-01", "2026-01-01", 0, 5),
        ("3", "a", "2026-01-02", "2026-01-01", -1, 6),
        (None, None, "1899-12-31", None, None, 0),
    ]
    schema = "call_id string, customer_id string, event string, known string, wait_seconds int, csat int"
    absent = {field.name: field.type for field in CALLS.fields if field.name not in ("wait_seconds", "csat")}
    df = spark.createDataFrame(rows, schema).selectExpr(
        "*",
        "cast(event as timestamp) as event_time",
        "cast(known as timestamp) as known_time",
        *(f"cast(null as {kind}) as {name}" for name, kind in absent.items()),
    )
    rules = CALLS.rules()

    found = df.selectExpr(*(f"{rule} AS {name}" for name, rule in rules.items())).collect()

    assert [{name for name in rules if row[name]} for row in found] == [
        set(),
        set(),
        {"known_before_event", "wait_seconds_too_small", "csat_too_large"},
        {"call_id_missing", "customer_id_missing", "known_time_missing", "before_1900", "csat_too_small"},
    ]
    assert not any(row[name] is None for row in found for name in rules)


def test_a_field_of_an_unknown_type_fails_with_the_known_ones() -> None:
    contract = Contract("visits", "", "one visit", ("visit_id",), "", "", (Field("shop", "strin", ""),))
    with pytest.raises(ContractError, match=r"no type 'strin' for a field; did you mean 'string'\?"):
        _ = contract.schema


def test_the_reference_page_is_generated_from_the_contracts() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "contracts.md"
    assert page.read_text("utf-8") == markdown(), "generate it: see docs/add-a-source.md"
