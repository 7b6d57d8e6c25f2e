"""What a campaign plan changed, once its outcomes have matured: customers who were contacted against those held out.

Grain: one row a plan. Both arms were chosen in the same way and separated by a hash, so that the difference between
them is what the contacts did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from churn.dataset.examples import examples
from churn.decisions.plan import plan_table
from churn.model_spec import ModelSpec, Sources
from churn.sources.catalog.contacts import HELD_OUT, TREATED
from churn.storage import Lake

MOST_PLANS: Final = 24
"""The most plans that are measured in one run, the newest."""
_Z: Final = 1.96


@dataclass(frozen=True)
class PlanOutcome:
    """`retained` is how many of the contacted customers stayed because they were; `earned` what that is worth, less the
    cost of the contacts as planned. Each with the bounds that hold it with 95 %."""

    as_of: datetime
    treated: int
    held_out: int
    left_treated: float
    """The share of the contacted customers who left."""
    left_held_out: float
    retained: tuple[float, float, float]
    earned: tuple[float, float, float]


def plan_outcome(as_of: datetime, rows: pd.DataFrame) -> PlanOutcome | None:
    """The outcome of a plan from (arm, label, value, cost), a row a customer; None where an arm has fewer than two.

    The bounds of `retained` are those of Agresti & Caffo 2000, American Statistician 54:280-288, which hold with few
    leavers too; those of `earned` are normal, from the variances of the two arms.
    """
    treated, held = rows[rows["arm"] == TREATED], rows[rows["arm"] == HELD_OUT]
    if min(len(treated), len(held)) < 2:
        return None
    rates = [float(arm["label"].mean()) for arm in (treated, held)]
    shrunk = [(float(arm["label"].sum()) + 1) / (len(arm) + 2) for arm in (treated, held)]
    variances = [p * (1 - p) / (len(arm) + 2) for p, arm in zip(shrunk, (treated, held), strict=True)]
    spread = float(np.sqrt(sum(variances)))
    count, saved, centre = len(treated), rates[1] - rates[0], shrunk[1] - shrunk[0]
    worth = [(arm["value"] * (1 - arm["label"])).to_numpy(np.float64) for arm in (treated, held)]
    earned = len(treated) * float(worth[0].mean() - worth[1].mean()) - float(treated["cost"].sum())
    error = len(treated) * float(np.sqrt(sum(one.var(ddof=1) / len(one) for one in worth)))
    return PlanOutcome(
        as_of=as_of,
        treated=len(treated),
        held_out=len(held),
        left_treated=rates[0],
        left_held_out=rates[1],
        retained=(count * saved, count * (centre - _Z * spread), count * (centre + _Z * spread)),
        earned=(earned, earned - _Z * error, earned + _Z * error),
    )


def plan_outcomes(lake: Lake, spec: ModelSpec, sources: Sources, known_until: datetime) -> list[PlanOutcome]:
    """The outcomes of the plans whose label windows had matured by a time, in the order of time."""
    if not lake.exists(plan_table(spec)):
        return []
    plans = lake.read(plan_table(spec))
    planned = sorted(row["as_of"] for row in plans.select("as_of").distinct().collect())
    matured = [as_of for as_of in planned if spec.window.matured_at(as_of) <= known_until][-MOST_PLANS:]
    if not matured:
        return []
    chosen = plans.where(F.col("as_of").isin(*matured)).select("customer_id", "as_of", "arm", "value", "cost")
    # Treated customers are what is measured.
    labels = examples(spec).labels_of_all(sources, chosen.select("customer_id", "as_of"), known_until=known_until)
    rows = chosen.join(labels.select("customer_id", "as_of", "label"), on=["customer_id", "as_of"], how="inner")
    found = rows.toPandas().sort_values(["as_of", "customer_id"], ignore_index=True)
    outcomes = [plan_outcome(as_of, found[found["as_of"] == as_of]) for as_of in matured]
    return [one for one in outcomes if one is not None]
