"""What a score is worth in money to a retention campaign: EMPC, MPC and the profit curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from churn.evaluation.ranking import Floats
from churn.model_spec import Campaign
from churn.training.profit import row_profits


@dataclass(frozen=True)
class Profit:
    """Per customer of the cohort, contacted or not, in the currency of the campaign's settings.

    `empc` is the expected maximum profit over the distribution of the acceptance rate, `empc_fraction` the expected
    share of customers to contact for it. `mpc` and `mpc_fraction` are the same at the mean acceptance rate alone.
    """

    empc: float
    empc_fraction: float
    mpc: float
    mpc_fraction: float


def profit(label: ArrayLike, score: ArrayLike, campaign: Campaign) -> Profit:
    """The profit of a ranking, a higher score being likelier to leave (Verbraken, Verbeke & Baesens 2013, eq. 8, 15).

    `label` is 1 or 0. Rows of equal score are contacted together or not at all.
    """
    labels, rows = np.asarray(label), row_profits(label, score, campaign)
    pays = rows.least_acceptance < campaign.mean_acceptance
    return Profit(
        empc=float(rows.expected.mean()),
        empc_fraction=float(rows.contacted.mean()),
        mpc=float(_profit(campaign, float(labels[pays].sum()), float(pays.sum()))) / len(labels),
        mpc_fraction=float(pays.mean()),
    )


def profit_of_share(campaign: Campaign, share: Floats, reached: Floats, rate: float) -> Floats:
    """The profit curve: that per customer of the cohort, at the mean acceptance rate, of contacting a `share` of them
    that holds the share `reached` of those who leave; `rate` is the share of all customers who leave."""
    return _profit(campaign, rate * reached, share)


def _profit(campaign: Campaign, leavers: Floats | float, contacted: Floats | float) -> Floats:
    of_leaver = campaign.mean_acceptance * (campaign.clv - campaign.offer_cost) - campaign.contact_cost
    stayer_cost = campaign.offer_cost + campaign.contact_cost
    return np.asarray(leavers * of_leaver - (contacted - leavers) * stayer_cost, dtype=np.float64)
