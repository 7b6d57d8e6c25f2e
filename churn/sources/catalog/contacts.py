"""Contacts of campaigns with customers."""

from __future__ import annotations

from typing import Final

from churn.sources.contract import Contract, Field

TREATED: Final = "treated"
HELD_OUT: Final = "held_out"

CONTACTS = Contract(
    name="contacts",
    doc="Whom a campaign contacted, with which offer, and what came of it; and whom it held out to compare with.",
    grain="one customer chosen for one campaign",
    key=("customer_id", "contact_id"),
    event="When the customer was contacted; of one held out, when the contact would have been made.",
    known="When our systems first had it, in this version: an answer comes later, as a correction.",
    fields=(
        Field(
            "contact_id",
            "string",
            "Which contact of the customer's: rows with the same are versions. Default: its campaign and event time.",
            default=lambda source: "concat_ws(' ', campaign, cast(event_time AS string))",
        ),
        Field("campaign", "string", "The campaign that the contact was part of; null = none."),
        Field(
            "arm",
            "string",
            "Whether the customer was contacted (treated), or chosen and left out at random (held_out);"
            " null = contacted.",
            values=(TREATED, HELD_OUT),
        ),
        Field("channel", "string", "How the customer was contacted: call, mail, ..."),
        Field("offer", "string", "What was offered; null = nothing."),
        Field("cost", "decimal(18,4)", "What the contact and its offer cost; null = not known.", "money", minimum=0),
        Field("accepted", "boolean", "Whether the customer accepted the offer; null = no answer is known."),
    ),
)
