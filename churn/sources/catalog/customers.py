"""Who the customers are, and what was agreed with them."""

from __future__ import annotations

from churn.sources.contract import Contract, Field

CUSTOMERS = Contract(
    name="customers",
    doc="What was agreed with a customer, from when on. What is announced counts from its event time on.",
    grain="one customer and change",
    key=("customer_id", "event_time"),
    event="When this state of the customer took effect, or will.",
    known="When our systems first had it.",
    announced=True,
    fields=(
        Field(
            "opened_at",
            "timestamp",
            "When the account was opened, the newest one of a customer who came back; null = not known.",
        ),
        Field("region", "string", "Where the customer lives, in the company's own words."),
        Field("segment", "string", "The company's own grouping of its customers."),
        Field("plan", "string", "The product or tariff agreed."),
        Field("monthly_fee", "decimal(18,4)", "The agreed fee a month; null = not known.", unit="money", minimum=0),
        Field("contract_ends_on", "date", "The last day of the binding term; null = none."),
    ),
)
