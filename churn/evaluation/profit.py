"""What a retention campaign led by a score would earn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from churn.evaluation.ranking import Ranked


@dataclass(frozen=True)
class Profit:
    """The best campaign: contact the `fraction` with the highest scores, down to `threshold` (None: contact nobody)."""

    total: float
    per_entity: float
    fraction: float
    threshold: float | None


def expected_profit(
    label: ArrayLike,
    score: ArrayLike,
    *,
    value: ArrayLike,
    contact_cost: float,
    offer_cost: float,
    accept_rate: float,
) -> Profit:
    """The maximum profit of a campaign that contacts everyone above a cut with an offer, for which some leavers stay.

    Contacting a leaver earns `accept_rate * (value - offer_cost) - contact_cost`, contacting anyone else loses
    `contact_cost + offer_cost`: who would have stayed takes the offer too. `value` is what a customer who stays is
    worth, one figure or one for each. Equal scores are contacted together. Source: the maximum profit measure of
    Verbraken, Verbeke & Baesens 2013 (IEEE TKDE 25:961-973), with a fixed accept rate. The cut is chosen on the
    rows it is judged by, so the figure is the ceiling of a campaign, not its forecast.
    """
    ranked = Ranked.of(np.asarray(label), np.asarray(score))
    worth = np.broadcast_to(np.asarray(value, dtype=np.float64), ranked.label.shape)[ranked.order]
    gain = np.where(ranked.label == 1, accept_rate * (worth - offer_cost) - contact_cost, -(contact_cost + offer_cost))
    totals = np.concatenate(([0.0], np.cumsum(gain)[ranked.ends - 1]))
    best = int(totals.argmax())
    contacted = int(ranked.ends[best - 1]) if best else 0
    return Profit(
        total=float(totals[best]),
        per_entity=float(totals[best]) / len(ranked.label),
        fraction=contacted / len(ranked.label),
        threshold=float(ranked.score[contacted - 1]) if contacted else None,
    )
