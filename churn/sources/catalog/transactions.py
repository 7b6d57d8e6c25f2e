"""Money that moved, or was meant to."""

from __future__ import annotations

from churn.sources.contract import Contract, Field
from churn.sources.local_time import IS_DAY_OFF, UTC_OFFSET

TRANSACTIONS = Contract(
    name="transactions",
    doc="Money that moved between a customer and a merchant or the company.",
    grain="one transaction",
    key=("transaction_id",),
    event="When the transaction was made.",
    known="When our systems first had it.",
    fields=(
        Field(
            "kind",
            "string",
            "What the money moved for; it also says which way.",
            required=True,
            values=("purchase", "payment", "refund", "fee", "transfer"),
        ),
        Field("amount", "decimal(18,4)", "How much, never negative.", unit="money", required=True, minimum=0),
        Field("currency", "string", "ISO 4217 code; null = the company's one currency.", upper=True),
        Field("channel", "string", "How it was made: web, branch, card, ..."),
        Field("merchant_id", "string", "Who was paid."),
        Field("device_id", "string", "The device or card it was made with."),
        Field("country", "string", "Where it was made."),
        Field("status", "string", "Whether it went through; null = approved.", values=("approved", "declined")),
        UTC_OFFSET,
        IS_DAY_OFF,
    ),
)
