"""What each offer is predicted to change for each customer, learnt from past campaigns that held customers out.

Only what is known at the plan's as-of is read: contacts whose outcomes have matured by then, with features as of each
contact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.config import Uplift
from churn.decisions.uplift import measure_uplift
from churn.decisions.uplift_model import UPLIFT, uplift_pipeline
from churn.decisions.uplift_rows import KEY, OUTCOME, TREATED, UpliftRows, contact_features, contact_rows
from churn.errors import BadInputError
from churn.model_spec import ModelSpec, Sources
from churn.storage import Lake, quoted

Floats = npt.NDArray[np.float64]

OUTCOMES: Final[Mapping[str, str]] = {"closure": "stayed", "inactivity": "bought"}
"""The outcome of a contact that is the opposite of a label; other labels have none."""
SPREAD: Final = 0.5
"""How much stronger or weaker than all offers one is expected to be, as a deviation, before its contacts are seen."""


@dataclass(frozen=True)
class Effects:
    """`uplift` has customer_id and `uplift_0`, ... of each offer: what a contact adds to the chance that the customer
    stays. None where there is no model that beats none. `why` says so in a sentence, with what it rests on."""

    why: str
    uplift: DataFrame | None = None


def predicted_effects(
    lake: Lake, spec: ModelSpec, uplift: Uplift, sources: Sources, customers: DataFrame, as_of: datetime,
    offers: Sequence[str],
) -> Effects:  # fmt: skip
    """The effect of each offer on each of the customers (customer_id), by a learner fitted on past contacts.

    There are none where the log has no matured outcomes of both arms, is not about what the model predicts, or where
    the mean of the Qini coefficient, over halves of the contacts, is not above 0. Its interval may hold 0: what the
    effects replace, a stated acceptance, no contacts have shown at all, and where these say little, learners give all
    customers nearly the effect that all contacts had.
    """
    if uplift.input is not None:
        return Effects(f"[uplift] reads the log {uplift.input!r}, whose columns the customers do not have")
    if uplift.outcome != OUTCOMES.get(spec.label.name):
        return Effects(f"the outcome {uplift.outcome!r} of [uplift] is not what {spec.name} predicts")
    try:
        found = contact_rows(uplift, sources, by=as_of)
        found.rows.persist()
        try:
            return _learnt(lake, uplift, sources, customers, as_of, offers, found)
        finally:
            found.rows.unpersist()
    except BadInputError as error:
        return Effects(str(error))


def _learnt(
    lake: Lake, uplift: Uplift, sources: Sources, customers: DataFrame, as_of: datetime, offers: Sequence[str],
    found: UpliftRows,
) -> Effects:  # fmt: skip
    measured = measure_uplift(found, uplift)
    mean, interval = measured.results["qini"]["mean"], measured.results["qini"]["interval"]
    if not interval:
        return Effects("one half of the contacts gives no interval: set halves = 2 or more in [uplift]")
    figure = (
        f"{found.counts['used']:,} past contacts have a Qini of {mean:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"
    )
    if mean <= 0:
        return Effects(f"{figure}, which is not better than chance")
    model = uplift_pipeline(lake.spark, measured.effect, measured.preparation, lake.scratch)
    spine = customers.select("customer_id", F.lit(as_of).alias("as_of"))
    known, _ = contact_features(uplift, sources, spine, [as_of])
    as_learnt = [
        F.col(quoted(name)).cast("double" if name in found.numbers else "string").alias(name)
        for name in measured.preparation.columns
    ]
    logged = model.transform(found.rows).select(
        KEY, UPLIFT, F.col(TREATED).alias("treated"), F.col(OUTCOME).alias("outcome"), "offer"
    )
    factors = offer_factors(logged.toPandas().sort_values(KEY), offers)
    effects = model.transform(known.select("customer_id", *as_learnt)).select(
        "customer_id",
        *((F.col(UPLIFT) * F.lit(factor)).alias(f"uplift_{number}") for number, factor in enumerate(factors)),
    )
    sure = "" if interval[0] > 0 else " in the mean alone: the interval holds 0"
    return Effects(f"{figure}, better than chance{sure}", effects)


def offer_factors(contacts: pd.DataFrame, offers: Sequence[str]) -> list[float]:
    """How strong each offer is beside all of the log, 1 where it does not name the offer.

    `contacts` have uplift (predicted), treated, outcome and offer. Along the prediction, an effect has the slope
    sum(uplift * z) / sum(uplift^2), where z is the outcome of a treated row divided by the share of the treated, and
    of a row held out, negative, by the share of those held out: on average z is a row's effect. The ratio of an
    offer's slope to that of all offers is shrunk to 1, the more so the less its contacts say.
    """
    together, _ = _slope(contacts)
    if together <= 0:
        return [1.0] * len(offers)
    factors = []
    for offer in offers:
        part = contacts[~contacts["treated"].to_numpy(bool) | (contacts["offer"] == offer).to_numpy(bool)]
        if part["treated"].nunique() < 2:
            factors.append(1.0)
            continue
        slope, error = _slope(part)
        weight = SPREAD**2 / (SPREAD**2 + (error / together) ** 2)
        factors.append(max(0.0, 1 + weight * (slope / together - 1)))
    return factors


def _slope(contacts: pd.DataFrame) -> tuple[float, float]:
    """The slope of the effect along the prediction, and its standard error."""
    predicted, outcome = contacts[UPLIFT].to_numpy(np.float64), contacts["outcome"].to_numpy(np.float64)
    treated = contacts["treated"].to_numpy(bool)
    share = treated.mean()
    # Less the mean outcome: the effect is the same, with less noise.
    effect: Floats = (outcome - outcome.mean()) * np.where(treated, 1 / share, -1 / (1 - share))
    square = float((predicted**2).sum())
    if square == 0:
        return 0.0, np.inf
    slope = float((predicted * effect).sum()) / square
    return slope, float(np.sqrt((predicted**2 * (effect - slope * predicted) ** 2).sum())) / square
