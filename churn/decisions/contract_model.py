"""What a contract is worth: the chance that the account stays open, times what it brings in a day.

Closures have a hazard that differs with the tenure: a piecewise exponential survival (Friedman 1982, Annals of
Statistics 10:101-113), estimated by closures over days at risk in the year before the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.cohort import open_accounts
from churn.decisions.purchase_model import Floats, Prediction
from churn.model_spec import Sources
from churn.sources.activity import is_approved
from churn.sources.announcements import is_closing
from churn.sources.versions import known_by

BANDS: Final = (0, 90, 365, 1095)
"""The days of tenure at which a band of one hazard begins."""
YEAR: Final = 365
MONTH: Final = YEAR / 12
_PRIOR_DAYS: Final = 50 * YEAR
"""At risk, at the hazard of all tenures, that each band is shrunk by."""


@dataclass(frozen=True)
class ContractModel:
    """What open accounts bring in `days`; `hazards` are closures a day by band of tenure."""

    days: float
    hazards: tuple[float, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters, as JSON has them."""
        return {"closures_a_year": dict(zip(map(str, BANDS), (YEAR * one for one in self.hazards), strict=True))}

    def predict_rows(self, rows: pd.DataFrame) -> Prediction:
        """The expected margin of rows with `tenure` and `daily`, and its interval: that of the days until the account
        closes. Purchases are not counted."""
        open_days, low, high = self.open_days(rows["tenure"].to_numpy(np.float64))
        daily = rows["daily"].to_numpy(np.float64)
        # Of an account that costs more than it brings, more days are worse.
        bounds = np.sort(np.column_stack([low * daily, high * daily]), axis=1)
        return Prediction(np.zeros(len(rows)), open_days * daily, bounds[:, 0], bounds[:, 1])

    def open_days(self, tenure: Floats) -> tuple[Floats, Floats, Floats]:
        """How many of the next `days` an account is open: expected, and the bounds that hold it with 80 %."""
        survival, expected, elapsed = np.ones(len(tenure)), np.zeros(len(tenure)), np.zeros(len(tenure))
        bounds = {share: np.full(len(tenure), float(self.days)) for share in (0.9, 0.1)}
        for begin, end, hazard in zip(BANDS, (*BANDS[1:], np.inf), self.hazards, strict=True):
            spent = np.clip(np.minimum(end, tenure + self.days) - np.maximum(begin, tenure), 0.0, None)
            after = survival * np.exp(-hazard * spent)
            expected += (survival - after) / hazard
            for share, bound in bounds.items():
                ends_here = (survival > share) & (after <= share)
                bound[ends_here] = elapsed[ends_here] + np.log(survival[ends_here] / share) / hazard
            survival, elapsed = after, elapsed + spent
        return expected, bounds[0.9], bounds[0.1]


def fit_contracts(sources: Sources, as_of: datetime, days: int) -> ContractModel:
    """The hazards of closing, from accounts and closures known at as-of, in the year before it."""
    at, begin = F.lit(as_of), F.lit(as_of - timedelta(days=YEAR))
    opened = _opened(sources, as_of)
    closed = (
        sources["closures"]
        .where(known_by(at) & is_closing() & (F.col("event_time") < at))
        .groupBy("customer_id")
        .agg(F.max("event_time").alias("closed_at"))
    )
    accounts = opened.join(closed, on="customer_id", how="left").where(
        F.col("closed_at").isNull() | (F.col("closed_at") > F.col("opened_at"))
    )
    until = F.least(at, F.coalesce(F.col("closed_at"), at))
    sums: list[Column] = []
    for number, (first, last) in enumerate(zip(BANDS, (*BANDS[1:], 36_500), strict=True)):
        low = F.greatest(begin, F.col("opened_at") + F.make_dt_interval(F.lit(first)))
        high = F.least(until, F.col("opened_at") + F.make_dt_interval(F.lit(last)))
        at_risk = F.greatest(F.lit(0), F.unix_micros(high) - F.unix_micros(low))
        is_here = (F.col("closed_at") >= low) & (F.col("closed_at") <= high) & (at_risk > 0)
        sums += [
            F.coalesce(F.sum(at_risk), F.lit(0)).alias(f"days_{number}"),
            F.coalesce(F.sum(is_here.cast("int")), F.lit(0)).alias(f"closures_{number}"),
        ]
    (found,) = accounts.agg(*sums).collect()
    at_risk_days = np.array([found[f"days_{number}"] / 86_400e6 for number in range(len(BANDS))])
    closures = np.array([found[f"closures_{number}"] for number in range(len(BANDS))], np.float64)
    overall = (closures.sum() + 0.5) / (at_risk_days.sum() + YEAR)
    hazards = (closures + overall * _PRIOR_DAYS) / (at_risk_days + _PRIOR_DAYS)
    return ContractModel(float(days), tuple(float(one) for one in hazards))


def contract_rows(spark: SparkSession, sources: Sources, as_of: datetime, days: int) -> DataFrame:
    """(customer_id, tenure, daily, spend, spent_after, bought_after) of each customer with an open account at as-of.

    `daily` is the fee and the spend of the last year, or of the tenure if that is shorter, a day; `spend` the same for
    the past, `spent_after` what fees and purchases bring in the `days` from as-of, until the account closes.
    """
    at = F.lit(as_of)
    as_ofs = spark.createDataFrame([(as_of,)], "as_of timestamp")
    members = open_accounts({name: sources[name] for name in ("customers", "closures")}, as_ofs).select("customer_id")
    fees = (
        sources["customers"]
        .where(known_by(at) & (F.col("event_time") <= at))
        .groupBy("customer_id")
        .agg(F.max_by("monthly_fee", "event_time").cast("double").alias("fee"))
    )
    tenure = F.datediff(at, F.col("opened_at")).cast("double")
    seen = F.least(F.greatest(tenure, F.lit(1.0)), F.lit(float(YEAR)))
    end = as_of + timedelta(days=days)
    left = (
        sources["closures"]
        .where(F.col("superseded_at").isNull() & is_closing())
        .where((F.col("event_time") >= at) & (F.col("event_time") < F.lit(end)))
        .groupBy("customer_id")
        .agg(F.min("event_time").alias("left_at"))
    )
    open_days = F.coalesce(F.datediff(F.col("left_at"), at), F.lit(days))
    rows = members.join(_opened(sources, as_of), on="customer_id", how="inner").join(fees, on="customer_id", how="left")
    rows = rows.join(left, on="customer_id", how="left")
    rows = rows.join(_spent(sources, as_of, end), on="customer_id", how="left").fillna(
        {"fee": 0.0, "spent_before": 0.0, "spent_since": 0.0, "bought_since": 0.0}
    )
    daily = F.col("fee") / MONTH + F.col("spent_before") / seen
    return rows.select(
        "customer_id",
        tenure.alias("tenure"),
        daily.alias("daily"),
        (daily * seen).alias("spend"),
        (F.col("fee") / MONTH * open_days + F.col("spent_since")).alias("spent_after"),
        F.col("bought_since").alias("bought_after"),
    )


def _opened(sources: Sources, as_of: datetime) -> DataFrame:
    """When each account that is known at as-of was opened: (customer_id, opened_at)."""
    at = F.lit(as_of)
    opened = F.coalesce("opened_at", "event_time")
    return (
        sources["customers"]
        .where(known_by(at) & (F.col("event_time") <= at) & (opened < at))
        .groupBy("customer_id")
        .agg(F.max(opened).alias("opened_at"))
    )


def _spent(sources: Sources, as_of: datetime, end: datetime) -> DataFrame:
    """Net purchases of each customer in the year before as-of and from it to `end`; none without transactions."""
    columns = "customer_id string, spent_before double, spent_since double, bought_since double"
    if "transactions" not in sources:
        return next(iter(sources.values())).sparkSession.createDataFrame([], columns)
    at, event = F.lit(as_of), F.col("event_time")
    is_before = (event < at) & (event >= F.lit(as_of - timedelta(days=YEAR))) & known_by(at)
    is_since = (event >= at) & (event < F.lit(end)) & F.col("superseded_at").isNull()
    is_purchase = F.col("kind") == "purchase"
    signed = F.when(is_purchase, F.col("amount")).otherwise(-F.col("amount"))
    return (
        sources["transactions"]
        .where(F.col("kind").isin("purchase", "refund") & is_approved() & (is_before | is_since))
        .groupBy("customer_id")
        .agg(
            F.sum(F.when(is_before, signed)).cast("double").alias("spent_before"),
            F.sum(F.when(is_since, signed)).cast("double").alias("spent_since"),
            F.countDistinct(F.when(is_since & is_purchase, F.to_date("event_time")))
            .cast("double")
            .alias("bought_since"),
        )
    )
