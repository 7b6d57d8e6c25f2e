"""Exchange rates."""

from __future__ import annotations

from churn.sources.contract import Contract, Field

RATES = Contract(
    name="rates",
    doc="What other currencies are worth in the company's, from when on.",
    grain="one currency and day",
    key=("currency", "event_time"),
    event="When the rate was fixed.",
    known="When it was published.",
    fields=(
        Field("currency", "string", "ISO 4217 code of the other currency.", required=True, upper=True),
        Field(
            "rate",
            "decimal(18,9)",
            "How much of the company's currency one unit of this one is worth.",
            required=True,
            minimum=0,
        ),
    ),
    of_customers=False,
)
