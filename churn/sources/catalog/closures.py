"""Accounts that were closed."""

from __future__ import annotations

from churn.sources.announcements import RETRACTED
from churn.sources.contract import Contract, Field

CLOSURES = Contract(
    name="closures",
    doc="The end of a customer's account. One that is announced counts from its event time on.",
    grain="one account closed",
    key=("customer_id", "closure_id"),
    event="When the account was closed, or will be.",
    known="When our systems first had it.",
    announced=True,
    fields=(
        Field(
            "closure_id",
            "string",
            "Which closure of the customer's, such as the account's id: rows with the same are versions, of which the"
            " latest known counts. Default: its event time.",
            default=lambda source: "cast(event_time AS string)",
        ),
        Field(
            "kind",
            "string",
            "Whether the customer leaves (voluntary), is made to (involuntary), or stays after all (retracted);"
            " null = voluntary.",
            values=("voluntary", "involuntary", RETRACTED),
        ),
    ),
)
