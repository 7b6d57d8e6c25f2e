"""Calls between customers and the call centre."""

from __future__ import annotations

from churn.sources.contract import Contract, Field

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
        Field("wait_seconds", "int", "Time in the queue before an agent answered or the caller left.", "s", minimum=0),
        Field("talk_seconds", "int", "Time talking to an agent, hold time not counted; 0 = no agent.", "s", minimum=0),
        Field("hold_seconds", "int", "Time on hold after an agent had answered.", unit="s", minimum=0),
        Field("transfers", "int", "How often the call was passed on to another agent.", unit="transfers", minimum=0),
        Field("abandoned", "boolean", "The caller left before an agent answered; null = not recorded."),
        Field("resolved", "boolean", "The matter was settled on this call; null = not recorded."),
        Field("agent_id", "string", "The agent who answered; null = none."),
        Field("csat", "int", "Satisfaction the customer gave; null = not asked.", unit="1..5", minimum=1, maximum=5),
        Field("notes", "string", "What the agent wrote down."),
    ),
)
