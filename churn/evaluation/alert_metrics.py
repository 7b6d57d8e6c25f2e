"""What a fraud score is worth to investigators, who can review so many cards, or alerts, a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd

from churn.model_spec import ModelSpec

CARDS: Final = 100
"""The cards a day that card precision is given for."""
CARD_PRECISION: Final = f"card_precision_at_{CARDS}"


def card_precision(rows: pd.DataFrame, *, cards: int = CARDS) -> float:
    """Card precision top-k: of the `cards` with the highest score on a day, the share with a fraud on it; the mean of
    the days.

    Rows are transactions (customer_id, day, label, score). A card is as risky as its riskiest transaction of the day; a
    card whose fraud was found is blocked, and not counted on a later day. Source: Le Borgne et al. 2022, Reproducible
    Machine Learning for Credit Card Fraud Detection, 4.4.
    """
    blocked_cards: set[Any] = set()
    precisions = []
    for _, of_day in rows.groupby("day", sort=True):
        open_cards = of_day[~of_day["customer_id"].isin(blocked_cards)]
        each = open_cards.groupby("customer_id", sort=True)[["score", "label"]].max()
        top = each.sort_values("score", ascending=False, kind="stable").head(cards)
        precisions.append(top["label"].sum() / cards)
        blocked_cards |= set(top.index[top["label"] == 1])
    return float(np.mean(precisions))


def alerts(rows: pd.DataFrame, *, alert_budget: int) -> dict[str, float | None]:
    """What alerts on the `alert_budget` transactions a day with the highest score would find.

    precision and recall count transactions; `amount_caught` is the share of the money of all frauds; null where there
    is no alert, or no fraud, to divide by. Rows are transactions (transaction_id, day, label, score, amount).
    """
    ordered = rows.sort_values(["day", "score", "transaction_id"], ascending=[True, False, True])
    raised = ordered.groupby("day", sort=True).head(alert_budget)
    caught, frauds = int(raised["label"].sum()), int(rows["label"].sum())
    money = rows["amount"].astype(float)
    lost = float((money * rows["label"]).sum())
    return {
        "a_day": len(raised) / rows["day"].nunique(),
        "precision": caught / len(raised) if len(raised) else None,
        "recall": caught / frauds if frauds else None,
        "amount_caught": float((money.loc[raised.index] * raised["label"]).sum()) / lost if lost else None,
        "false_positives_per_fraud": (len(raised) - caught) / caught if caught else None,
    }


def _alerts(spec: ModelSpec, rows: pd.DataFrame) -> dict[str, Any]:
    assert spec.alerts is not None  # else its examples name no such metric
    return {"alerts": alerts(rows, alert_budget=spec.alerts.alert_budget)}


DAILY_METRICS: Final[Mapping[str, Callable[[ModelSpec, pd.DataFrame], dict[str, Any]]]] = MappingProxyType(
    {"card_precision": lambda _, rows: {CARD_PRECISION: card_precision(rows)}, "alerts": _alerts}
)
"""What a ranking is worth to people who handle so many rows a day: metrics by their names."""
