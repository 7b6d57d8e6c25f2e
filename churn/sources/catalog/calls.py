"""Calls between customers and the call centre."""

from __future__ import annotations

from churn.sources.contract import Contract, Field
from churn.sources.local_time import IS_DAY_OFF, UTC_OFFSET
from churn.sources.reasons import reason_groups

DAY = 86_399
"""Seconds: a call that takes a day or more is in another unit, or was never hung up."""

CALLS = Contract(
    name="calls",
    doc="What happened on a call, from ringing to hanging up.",
    grain="one call",
    key=("call_id",),
    event="When the call began.",
    known="When the call's record was complete: its end, or later.",
    fields=(
        Field("direction", "string", "Who called whom; null = inbound.", values=("inbound", "outbound")),
        Field("queue", "string", "The queue or skill the call was routed to."),
        Field("reason", "string", "Why the customer called, in the company's own words."),
        Field(
            "wait_seconds",
            "int",
            "Time in the queue before an agent answered or the caller left.",
            "s",
            minimum=0,
            maximum=DAY,
        ),
        Field(
            "talk_seconds",
            "int",
            "Time talking to an agent, hold time not counted; 0 = no agent.",
            "s",
            minimum=0,
            maximum=DAY,
        ),
        Field("hold_seconds", "int", "Time on hold after an agent had answered.", unit="s", minimum=0, maximum=DAY),
        Field("transfers", "int", "How often the call was passed on to another agent.", unit="transfers", minimum=0),
        Field("abandoned", "boolean", "The caller left before an agent answered; null = not recorded."),
        Field("resolved", "boolean", "The matter was settled on this call; null = not recorded."),
        Field("agent_id", "string", "The agent who answered; null = none."),
        Field("csat", "int", "Satisfaction the customer gave; null = not asked.", unit="1..5", minimum=1, maximum=5),
        Field("notes", "string", "What the agent wrote down.", personal=True),
        Field(
            "reason_groups",
            "string",
            "Groups that the reason or the queue belongs to (complaint, billing, price, technical, leaving, access),"
            " separated by blanks; null = none. Default: by the words of `[reasons]`.",
            default=reason_groups,
        ),
        UTC_OFFSET,
        IS_DAY_OFF,
    ),
)
