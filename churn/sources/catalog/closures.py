"""Accounts that were closed."""

from __future__ import annotations

from churn.sources.contract import Contract, Field

CLOSURES = Contract(
    name="closures",
    doc="The end of a customer's account.",
    grain="one account closed",
    key=("customer_id",),
    event="When the account was closed.",
    known="When our systems first had it.",
    fields=(
        Field(
            "kind",
            "string",
            "Whether the customer left (voluntary) or was made to (involuntary); null = voluntary.",
            values=("voluntary", "involuntary"),
        ),
    ),
)
