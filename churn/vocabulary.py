"""What reports, plots and errors call the rows and outcomes of a label: customers and leavers, not rows and ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Vocabulary:
    """The words of one label, as they are used in a sentence: "all 57 customers stayed", "call the top 10 %"."""

    entity: str
    entities: str
    positive: str
    positives: str
    happened: str
    absent: str
    act: str
    acted: str
    likeliest: str


CHURN: Final = Vocabulary(
    entity="customer",
    entities="customers",
    positive="leaver",
    positives="leavers",
    happened="left",
    absent="stayed",
    act="call",
    acted="called",
    likeliest="likeliest to leave",
)
"""Of labels about customers who leave, and of metrics computed without a label."""

SALES: Final = Vocabulary(
    entity="customer",
    entities="customers",
    positive="buyer",
    positives="buyers",
    happened="bought",
    absent="did not buy",
    act="contact",
    acted="contacted",
    likeliest="likeliest to buy",
)
"""Of labels about customers who buy more."""
