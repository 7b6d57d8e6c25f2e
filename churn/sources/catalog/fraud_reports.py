"""Transactions that were reported as frauds, or cleared."""

from __future__ import annotations

from churn.sources.contract import Contract, Field

FRAUD_REPORTS = Contract(
    name="fraud_reports",
    doc="What was found out about a transaction. A later report on the same transaction is a correction.",
    grain="one transaction reported on",
    key=("transaction_id",),
    event="When the report was made.",
    known="When our systems first had it.",
    fields=(
        Field("customer_id", "string", "The customer; null = not recorded, the transaction has it."),
        Field("is_fraud", "boolean", "Whether the transaction was a fraud; false = it was cleared.", required=True),
    ),
    of_customers=False,
)
