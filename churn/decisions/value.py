"""What customers will be worth: their expected margin over a horizon, with an interval, and a backtest of it.

Grain of the table: one row a customer and as-of. Only rows known by the as-of are read; the backtest reads what
happened after.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.config import Value
from churn.decisions.contract_model import ContractModel, contract_rows, fit_contracts
from churn.decisions.purchase_model import HALF_LIVES, Floats, History, PurchaseModel, fit_purchases, gini
from churn.errors import BadInputError
from churn.model_spec import Sources
from churn.sampling import drawn
from churn.sources.activity import is_approved
from churn.sources.completeness import ALWAYS, begin, complete_until
from churn.sources.versions import known_by
from churn.storage import Lake

VALUES: Final = "values"
"""The table of values."""
MOST_CUSTOMERS: Final = 200_000
"""About as many customers as a model is fitted on, sampled by id."""
DECAY_UNIT: Final = 1 << 40
"""Decayed counts are added as whole numbers of this part, so that their order makes no difference."""
_EVIDENCE: Final = {"purchases": ("transactions",), "contracts": ("closures", "transactions")}
"""The sources that show what a customer was worth."""
_EARLIER: Final = 3
"""The earlier origin leaves two thirds of the history to learn from, and a third to learn from what happened then."""
_SCHEMA: Final = (
    "customer_id string, as_of timestamp, value double, value_low double, value_high double, purchases double,"
    " spend double, realised double, realised_purchases double"
)
_Model = PurchaseModel | ContractModel


@dataclass(frozen=True)
class Valuation:
    """The values of the customers at an as-of, (customer_id, as_of, value, value_low, value_high, purchases), and the
    model and the settings that they are from."""

    rows: DataFrame
    method: str
    model: _Model
    settings: Value

    def write(self, lake: Lake, as_of: datetime) -> None:
        """Replace the values of the as-of in VALUES, where a plan reads them, by these with their `method` and their
        `settings`, as JSON."""
        beside = {"method": F.lit(self.method), "settings": F.lit(self.settings.model_dump_json())}
        lake.replace(self.rows.withColumns(beside), VALUES, {"as_of": as_of}, widen=True)


def check_values(lake: Lake, as_of: datetime, settings: Value) -> None:
    """Raises BadInputError where VALUES has no rows of the as-of, or they were computed by other settings."""
    wanted = settings.model_dump_json()
    rows = lake.read(VALUES).where(F.col("as_of") == F.lit(as_of)) if lake.exists(VALUES) else None
    seen = [] if rows is None else [row["settings"] for row in rows.select("settings").distinct().collect()]
    if seen != [wanted]:
        found = f"were computed by {seen[0]}" if seen else "are missing"
        raise BadInputError(
            f"values of as-of {as_of:%Y-%m-%d} {found}, want [value] {wanted}: run jobs/value.py for it first"
        )


def valuation(spark: SparkSession, sources: Sources, as_of: datetime, settings: Value) -> Valuation:
    """The expected margin of each customer over `settings.horizon` days from `as_of`.

    By purchases they are all who ever bought; by contracts those with an open account. `value_low` to `value_high`
    holds the margin with a chance of 80 %. Raises BadInputError where the sources hold too little.
    """
    method = method_of(sources, settings)
    model, rows = _fitted(spark, sources, as_of, settings, settings.horizon, method)
    columns = ("customer_id", "as_of", "value", "value_low", "value_high", "purchases")
    return Valuation(_predicted(rows, model, as_of, settings.margin).select(*columns), method, model, settings)


def method_of(sources: Sources, settings: Value) -> str:
    """How values are computed. Raises BadInputError where a source that it needs is missing."""
    has_contracts = {"customers", "closures"} <= set(sources)
    method = settings.method if settings.method != "auto" else "contracts" if has_contracts else "purchases"
    needed = {"customers", "closures"} if method == "contracts" else {"transactions"}
    if missing := sorted(needed - set(sources)):
        raise BadInputError(
            f"values by {method} need {', '.join(missing)}, and there are only {', '.join(sorted(sources)) or 'none'}; "
            f"map [sources.{missing[0]}] in churn.toml, or set method in [value]"
        )
    return method


def backtested(spark: SparkSession, sources: Sources, as_of: datetime, settings: Value) -> dict[str, Any]:
    """What was predicted at `as_of` for the days known since, up to the horizon, against what happened.

    `total_ratio` and `correlation` (by customer) are of predicted and actual purchases; by contracts of the margin, as
    there the margin is predicted itself. `gini` is how well the values rank the customers by their margin,
    `gini_past_spend` how well their past spend does. They are None, and `data_until` says how far the sources are
    complete, where that is no whole day after `as_of`.
    """
    method = method_of(sources, settings)
    evidence = [name for name in _EVIDENCE[method] if name in sources]
    end = min(complete_until(sources, evidence, by=ALWAYS).values())
    days = min(settings.horizon, (end - as_of).days)
    if days < 1:
        beside = {"data_until": f"{end:%Y-%m-%d}", "total_ratio": None, "correlation": None, "gini": None}
        return {"method": method, "evaluated_days": 0, **beside}
    model, rows = _fitted(spark, sources, as_of, settings, days, method)
    found = _predicted(rows, model, as_of, settings.margin).toPandas().sort_values("customer_id", ignore_index=True)
    return {
        "method": method,
        "evaluated_days": days,
        **figures(found, by_purchases=method == "purchases"),
        "model": dict(model.parameters),
    }


def figures(found: pd.DataFrame, *, by_purchases: bool) -> dict[str, Any]:
    """The figures of a backtest, from value, value_low, value_high, purchases, spend (past), realised (margin) and
    realised_purchases, a row each customer. Deciles are by value, the first the most valuable."""
    predicted, actual = (
        found[name].to_numpy(np.float64)
        for name in (("purchases", "realised_purchases") if by_purchases else ("value", "realised"))
    )
    value, realised = found["value"].to_numpy(np.float64), found["realised"].to_numpy(np.float64)
    order = np.argsort(-value, kind="stable")
    deciles = [
        {
            "decile": number,
            "customers": len(part),
            "predicted": float(value[part].mean()),
            "realised": float(realised[part].mean()),
        }
        for number, part in enumerate(np.array_split(order, 10), start=1)
        if len(part)
    ]
    inside = (realised >= found["value_low"].to_numpy()) & (realised <= found["value_high"].to_numpy())
    return {
        "customers": len(found),
        "total_ratio": _ratio(predicted, actual),
        "correlation": _correlation(predicted, actual),
        "gini": gini(value, realised),
        "gini_past_spend": gini(found["spend"], realised),
        "margin": {
            "predicted": float(value.sum()),
            "realised": float(realised.sum()),
            "ratio": _ratio(value, realised),
            "correlation": _correlation(value, realised),
            "within_interval": float(inside.mean()),
        },
        "deciles": deciles,
    }


def _ratio(predicted: Floats, actual: Floats) -> float | None:
    return float(predicted.sum() / actual.sum()) if actual.sum() > 0 else None


def _correlation(predicted: Floats, actual: Floats) -> float | None:
    varies = len(actual) > 1 and predicted.std() > 0 and actual.std() > 0
    return float(np.corrcoef(predicted, actual)[0, 1]) if varies else None


# ---------------------------------------------------------------- from sources to a model


def _fitted(
    spark: SparkSession, sources: Sources, as_of: datetime, settings: Value, days: int, method: str
) -> tuple[_Model, DataFrame]:
    """A model for so many days from as-of, and the rows that it reads."""
    if method == "contracts":
        rows = contract_rows(spark, sources, as_of, days)
        return fit_contracts(sources, as_of, days), rows
    daily = daily_spend(sources["transactions"], as_of)
    first = begin({"transactions": sources["transactions"]}, by=as_of)
    since = min(days, (as_of - first).days // _EARLIER)
    now = histories(daily, as_of, as_of + timedelta(days=days))
    sample = _sample(now, settings.seed)
    if sample.empty:
        raise BadInputError(
            f"no purchase is known before {as_of:%Y-%m-%d}; use a later as-of, or check the column kind of "
            "[sources.transactions]"
        )
    if since >= 1:
        origin = as_of - timedelta(days=since)
        earlier = _sample(histories(daily.where("is_before"), origin, as_of), settings.seed)
    else:
        earlier = sample.iloc[:0]
    model = fit_purchases(
        History.of(sample),
        days,
        History.of(earlier),
        since,
        earlier["bought_after"].to_numpy(np.float64),
        earlier["spent_after"].to_numpy(np.float64),
    )
    return model, now


def daily_spend(transactions: DataFrame, as_of: datetime) -> DataFrame:
    """(customer_id, day, is_before, bought, net) of each day of a customer with approved purchases or refunds.

    Days before as-of are as they were known at as-of, later ones as they are known now.
    """
    at = F.lit(as_of)
    is_before = F.col("event_time") < at
    is_seen = F.when(is_before, known_by(at)).otherwise(F.col("superseded_at").isNull())
    is_purchase = F.col("kind") == "purchase"
    signed = F.when(is_purchase, F.col("amount")).otherwise(-F.col("amount"))
    return (
        transactions.where(F.col("kind").isin("purchase", "refund") & is_approved() & is_seen)
        .groupBy("customer_id", F.to_date("event_time").alias("day"), is_before.alias("is_before"))
        .agg(F.max(is_purchase.cast("int")).alias("bought"), F.sum(signed).alias("net"))
    )


def histories(daily: DataFrame, origin: datetime, end: datetime) -> DataFrame:
    """The columns of `History` of each customer with a purchase before the origin, and what came then.

    `bought_after` and `spent_after` are the days with a purchase, and the spend, from the origin to `end`.
    """
    first_day, end_day = F.lit(origin).cast("date"), F.lit(end).cast("date")
    is_before = F.col("day") < first_day
    is_after = ~is_before & (F.col("day") < end_day)
    bought = F.when(is_before & (F.col("bought") == 1), F.col("day"))
    days_ago = F.datediff(first_day, F.col("day"))

    def decayed(half_life: int) -> Any:
        part = F.round(F.pow(F.lit(0.5), days_ago / half_life) * DECAY_UNIT).cast("long")
        return (F.sum(F.when(bought.isNotNull(), part)) / DECAY_UNIT).alias(f"decayed_{half_life}")

    return (
        daily.groupBy("customer_id")
        .agg(
            F.count(bought).cast("double").alias("purchases"),
            F.datediff(F.max(bought), F.min(bought)).cast("double").alias("recency"),
            F.datediff(first_day, F.min(bought)).cast("double").alias("age"),
            F.coalesce(F.sum(F.when(is_before, F.col("net"))), F.lit(0)).cast("double").alias("spend"),
            *(decayed(half_life) for half_life in HALF_LIVES),
            F.coalesce(F.sum(F.when(is_after, F.col("bought"))), F.lit(0)).cast("double").alias("bought_after"),
            F.coalesce(F.sum(F.when(is_after, F.col("net"))), F.lit(0)).cast("double").alias("spent_after"),
        )
        .where("purchases > 0")
    )


def _sample(rows: DataFrame, seed: int) -> pd.DataFrame:
    """About MOST_CUSTOMERS of the rows, in the order of their id."""
    share = MOST_CUSTOMERS / max(1, rows.count())
    chosen = rows if share >= 1 else rows.where(drawn(["customer_id"], seed) < share)
    return chosen.toPandas().sort_values("customer_id", ignore_index=True)


# ---------------------------------------------------------------- from a model to values


def _predicted(rows: DataFrame, model: _Model, as_of: datetime, margin: float) -> DataFrame:
    """`_SCHEMA` of each row."""
    task = partial(_predict, model=pickle.dumps(model), as_of=as_of, margin=margin)
    return rows.mapInArrow(task, _SCHEMA)


def _predict(
    batches: Iterable[pa.RecordBatch], *, model: bytes, as_of: datetime, margin: float
) -> Iterator[pa.RecordBatch]:
    predictor: _Model = pickle.loads(model)  # noqa: S301 - what this job made
    for batch in batches:
        rows = batch.to_pandas()
        found = predictor.predict_rows(rows)
        yield pa.RecordBatch.from_pydict(
            {
                "customer_id": pa.array(rows["customer_id"], pa.string()),
                "as_of": pa.array([as_of] * len(rows), pa.timestamp("us", "UTC")),
                "value": margin * found.spend,
                "value_low": margin * found.low,
                "value_high": margin * found.high,
                "purchases": found.purchases,
                "spend": rows["spend"].to_numpy(np.float64),
                "realised": margin * rows["spent_after"].to_numpy(np.float64),
                "realised_purchases": rows["bought_after"].to_numpy(np.float64),
            }
        )
