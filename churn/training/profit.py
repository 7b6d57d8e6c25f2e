"""The expected maximum profit of a retention campaign that contacts the customers at the top of a ranking (EMPC).

Source: Verbraken, Verbeke & Baesens 2013, A Novel Profit Maximizing Metric for Measuring Classification Performance of
Customer Churn Prediction Models, IEEE TKDE 25(5):961-973, doi:10.1109/TKDE.2012.50, sections 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import betaincc

from churn.model_spec import Campaign

Floats = npt.NDArray[np.float64]

_NONE: Final = 1e-12
"""A share of leavers that is 0 but for rounding."""


@dataclass(frozen=True)
class RowProfits:
    """What each row adds to the profit of a campaign, in its currency, and how likely it is contacted.

    In the order of the rows. The mean of `expected` is the EMPC, that of `contacted` the share of customers that is
    contacted at the most profit, both expected over the acceptance rate.
    """

    expected: Floats
    contacted: Floats
    least_acceptance: Floats
    """The acceptance rate above which contacting the row pays, at most 1."""


def row_profits(label: npt.ArrayLike, score: npt.ArrayLike, campaign: Campaign) -> RowProfits:
    """The profit of each row where every acceptance rate has the threshold that is best for it.

    At an acceptance rate g a threshold that reaches a leaver earns (clv - offer_cost) g - contact_cost, and one that
    reaches a customer who stays costs offer_cost + contact_cost: such a customer always accepts. The best thresholds
    are the corners of the convex hull of the ROC curve, which pooling of adjacent violators finds (Fawcett &
    Niculescu-Mizil 2007, Machine Learning 68:97-106): the rows of a segment have one share p of leavers, and are
    contacted from the g on at which p ((clv - offer_cost) g - contact_cost) = (1 - p) (offer_cost + contact_cost).
    The integrals over g are incomplete beta functions, so nothing is approximated.
    """
    labels = np.asarray(label, dtype=np.float64)
    _, step, rows = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True, return_counts=True)
    share = np.bincount(step, labels, minlength=len(rows)) / rows
    pooled = isotonic_regression(share, weights=rows, increasing=False).x[step]
    stayer_cost = campaign.offer_cost + campaign.contact_cost
    has_leavers = pooled > _NONE
    cost = stayer_cost * (1 - pooled) / np.maximum(pooled, _NONE) + campaign.contact_cost
    least = np.where(has_leavers, np.minimum(cost / (campaign.clv - campaign.offer_cost), 1.0), 1.0)
    contacted = betaincc(campaign.alpha, campaign.beta, least)
    accepted = campaign.mean_acceptance * betaincc(campaign.alpha + 1, campaign.beta, least)
    of_leaver = (campaign.clv - campaign.offer_cost) * accepted - campaign.contact_cost * contacted
    return RowProfits(np.where(labels == 1, of_leaver, -stayer_cost * contacted), contacted, least)
