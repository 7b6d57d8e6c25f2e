"""The page of a campaign plan: what it is expected to earn, by which offers, and where the capacity pays."""

from __future__ import annotations

from datetime import datetime

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from churn.decisions.plan import CampaignPlan
from churn.model_spec import ModelSpec
from churn.reporting.html import picture, template
from churn.reporting.plots import MODEL, STYLE

_SHOWN = 10


def render(spec: ModelSpec, plan: CampaignPlan, as_of: datetime) -> str:
    """The page as HTML, nothing fetched; the same plan gives the same bytes."""
    total, low, high = plan.expected
    treated = plan.treated
    by_offer = [
        {
            "name": name,
            "contacts": len(part),
            "profit": float(part["expected_profit"].sum()),
            "price": plan.offer_prices.get(str(name), 0.0),
        }
        for name, part in treated.groupby("offer", sort=True)
    ]
    return _TEMPLATE.render(
        spec=spec,
        vocabulary=spec.vocabulary,
        plan=plan,
        as_of=as_of,
        total=total,
        low=low,
        high=high,
        contacts=len(treated),
        held_out=len(plan.rows) - len(treated),
        by_offer=by_offer,
        first=treated.head(_SHOWN).to_dict("records"),
        curve=picture(_drawn(plan)),
    )


def _drawn(plan: CampaignPlan) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.linspace(0, plan.capacity, len(plan.curve)), plan.curve, color=MODEL, linewidth=2)
        axes.set(xlim=(0, plan.capacity), xlabel="contacts, the most profitable first", ylabel="expected profit")
        return figure


_TEMPLATE = template("campaign_report.html.j2")
