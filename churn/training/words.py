"""What an outcome is called, so that tables, plots and errors speak of customers and leavers, not of rows and ones."""

from __future__ import annotations

from dataclasses import dataclass

from churn.training.spec import ModelSpec


@dataclass(frozen=True)
class Words:
    """The words of one kind of model, as they stand in a sentence: "all 57 customers stayed", "call the top 10 %"."""

    entity: str
    entities: str
    positive: str
    positives: str
    happened: str
    absent: str
    act: str
    acted: str
    likeliest: str


CHURN = Words(
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

FRAUD = Words(
    entity="transaction",
    entities="transactions",
    positive="fraud",
    positives="frauds",
    happened="were frauds",
    absent="were legitimate",
    act="look at",
    acted="looked at",
    likeliest="likeliest frauds",
)


def words_of(spec: ModelSpec) -> Words:
    return FRAUD if spec.of_transactions else CHURN
