"""A campaign plan: whom to contact on which day with which offer, under the team's capacity and each offer's budget.

Grain: one row a customer of the plan, contacted or held out. Only what is known at as-of is read.

What an offer is expected to earn is its effect on the chance that the customer stays, times his value, less its cost,
which who would have stayed takes too. The effect is the uplift learnt from past campaigns where there is a model of it
that beats none; else, as in the model of EMPC (churn.training.profit), the score times the offer's acceptance.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.config import Offer, Plan, Uplift
from churn.decisions.assignment import NOBODY, Assignment, assign, by_price, within_reach
from churn.decisions.plan_effects import predicted_effects
from churn.decisions.value import VALUES
from churn.errors import BadInputError, ConfigError
from churn.model_spec import ModelSpec, Sources
from churn.sampling import drawn
from churn.scoring.batch import score_table
from churn.sources.catalog.contacts import HELD_OUT, TREATED
from churn.sources.contacts import is_treated
from churn.sources.expressions import check_expression
from churn.sources.functions import expanded
from churn.sources.versions import known_by
from churn.storage import Lake

Floats = npt.NDArray[np.float64]

COLUMNS: Final = (
    "customer_id", "as_of", "arm", "day", "rank", "offer", "score", "value", "expected_profit", "profit_low",
    "profit_high", "cost", "reasons", "model_version", "effect", "effect_by",
)  # fmt: skip
SCHEMA: Final = (
    "customer_id string, as_of timestamp, arm string, day date, rank int, offer string, score double, value double,"
    " expected_profit double, profit_low double, profit_high double, cost double, reasons string, model_version string,"
    " effect double, effect_by string"
)
_READ: Final = ("customer_id", "score", "value", "value_low", "value_high", "reasons", "model_version")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins with one of these is run as a formula by a spreadsheet."""


def plan_table(spec: ModelSpec) -> str:
    """The name of a model's table of plans."""
    return f"plan_{spec.name}"


@dataclass(frozen=True)
class CampaignPlan:
    """A plan: its `rows` (COLUMNS), how many customers could be contacted, and what one more contact would earn.

    `by_uplift` is whether effects are uplift learnt from past contacts, rather than from the offers' acceptance; `why`
    says what speaks for it.
    """

    rows: pd.DataFrame
    eligible: int
    left_out: Mapping[str, int]
    """Scored customers who are not eligible, by the reason."""
    capacity: int
    capacity_price: float
    offer_prices: Mapping[str, float]
    curve: Floats
    """The expected profit of the best plan with room for so many contacts, from 0 to `capacity` in even steps."""
    by_uplift: bool = False
    why: str = ""

    @property
    def records(self) -> list[tuple[Any, ...]]:
        """The rows as Spark takes them, in the order of SCHEMA."""
        plain = self.rows.astype(object).itertuples(index=False, name=None)
        return [tuple(one.to_pydatetime() if isinstance(one, pd.Timestamp) else one for one in row) for row in plain]

    @property
    def treated(self) -> pd.DataFrame:
        return self.rows[self.rows["arm"] == TREATED]

    @property
    def expected(self) -> tuple[float, float, float]:
        """The expected profit of the contacts, and the bounds that hold the sum with 95 %, customers being
        independent."""
        treated = self.treated
        total = float(treated["expected_profit"].sum())
        # The bounds of a row are two deviations from its profit.
        deviation = float(np.sqrt((((treated["profit_high"] - treated["profit_low"]) / 4) ** 2).sum()))
        return total, total - 1.96 * deviation, total + 1.96 * deviation


@dataclass(frozen=True)
class Eligible:
    """The scored and valued customers who may be contacted, in the order of their id.

    `rows` have customer_id, score, value, value_low, value_high, reasons, model_version, held, suits_0, ... of each
    offer, and uplift_0, ... where a model of uplift beats none; `why` says whether one does, and what shows it.
    """

    rows: pd.DataFrame
    left_out: Mapping[str, int]
    why: str = ""


def plan_campaign(
    lake: Lake,
    spec: ModelSpec,
    sources: Sources,
    as_of: datetime,
    settings: Plan,
    offers: Mapping[str, Offer],
    uplift: Uplift = Uplift(),
) -> CampaignPlan:
    """The plan of most expected profit for the customers scored and valued at `as_of`.

    Raises ConfigError where there is no offer, a condition is not SQL over the columns, or the model predicts nothing
    that contacts prevent; BadInputError where scores or values of the as-of are missing.
    """
    return chosen(eligible(lake, spec, sources, as_of, settings, offers, uplift), as_of, settings, offers)


def check_model(spec: ModelSpec) -> None:
    """Raises ConfigError where a model predicts nothing that contacts with customers prevent."""
    if spec.label.entity != "customer" or not spec.label.prevented_by_contacts:
        raise ConfigError(
            f"model {spec.name} predicts which {spec.label.entity} {spec.label.outcome}, and contacts do not prevent "
            "that; plan with a model of customers whose label they prevent, such as closure or inactivity"
        )


def eligible(
    lake: Lake,
    spec: ModelSpec,
    sources: Sources,
    as_of: datetime,
    settings: Plan,
    offers: Mapping[str, Offer],
    uplift: Uplift,
) -> Eligible:
    """Who may be contacted, and with what effect. Raises as `plan_campaign` does."""
    check_model(spec)
    if not offers:
        raise ConfigError(
            "there is nothing to offer: add [offers.NAME] with cost and acceptance to churn.toml, one for each offer"
        )
    customers = _customers(lake, spec, sources, as_of)
    excluded = _left_out(lake, spec, sources, as_of, settings, customers)
    by_reason = excluded.where("why IS NOT NULL").groupBy("why").agg(F.count("*").alias("n"))
    counted = {row["why"]: row["n"] for row in by_reason.collect()}
    usable = excluded.where("why IS NULL").drop("why")
    suits = [
        _suits(usable, name, offer).alias(f"suits_{number}") for number, (name, offer) in enumerate(offers.items())
    ]
    is_held = drawn(["customer_id"], f"hold out {as_of:%Y-%m-%d} {settings.seed}") < settings.hold_out
    rows = usable.select(*_READ, is_held.alias("held"), *suits)
    effects = predicted_effects(lake, spec, uplift, sources, usable, as_of, list(offers))
    if effects.uplift is not None:
        rows = rows.join(effects.uplift, on="customer_id", how="inner")
    return Eligible(rows.toPandas().sort_values("customer_id", ignore_index=True), counted, effects.why)


def chosen(customers: Eligible, as_of: datetime, settings: Plan, offers: Mapping[str, Offer]) -> CampaignPlan:
    """The plan for the customers who may be contacted."""
    found = customers.rows
    names, capacity = list(offers), settings.capacity * settings.days
    money = profits(found, list(offers.values()))
    profit = money[0]
    limits = np.array([limit(offer, len(found)) for offer in offers.values()], np.int64)
    held = found["held"].to_numpy(bool)
    open_ = np.flatnonzero(~held)
    candidates = open_[within_reach(profit[open_], capacity)]
    best = assign(profit[candidates], capacity, limits)
    offer = np.full(len(found), NOBODY, np.int64)
    offer[candidates] = best.offer
    offer[held] = by_price(profit[held], best)
    rows = _rows(found, offer, money, names, as_of, settings)
    return CampaignPlan(
        rows=rows,
        eligible=len(found),
        left_out=dict(customers.left_out),
        capacity=capacity,
        capacity_price=best.capacity_price,
        offer_prices=dict(zip(names, (float(price) for price in best.offer_prices), strict=True)),
        curve=_curve(profit[candidates], best, capacity),
        by_uplift="uplift_0" in found.columns,
        why=customers.why,
    )


def profits(found: pd.DataFrame, offers: Sequence[Offer]) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """(customers, offers): the expected profit of contacting each with each, two deviations below and above, the
    expected cost, and the effect on the chance that the customer stays.

    NaN where an offer does not suit. The effect is `uplift_0` ... of the customers where they have it, else score *
    acceptance. A contact earns value - cost with the chance `effect` (and loses the value where it is negative), loses
    cost with (1 - score) * stayers, and loses the cost of the contact in any case.
    """
    score, value = found["score"].to_numpy(np.float64), found["value"].to_numpy(np.float64)
    # Of a normal distribution, 80 % lie within 2.56 deviations.
    spread = (found["value_high"].to_numpy(np.float64) - found["value_low"].to_numpy(np.float64)) / 2.56
    columns = []
    for number, offer in enumerate(offers):
        predicted = found.get(f"uplift_{number}")
        effect = score * offer.acceptance if predicted is None else predicted.to_numpy(np.float64)
        saved, lost, taken = np.maximum(effect, 0), np.maximum(-effect, 0), (1 - score) * offer.stayers
        expected = saved * (value - offer.cost) - lost * value - taken * offer.cost - offer.contact_cost
        square = saved * ((value - offer.cost) ** 2 + spread**2) + taken * offer.cost**2
        square += lost * (value**2 + spread**2)
        deviation = np.sqrt(np.maximum(square - (expected + offer.contact_cost) ** 2, 0))
        suits = found[f"suits_{number}"].to_numpy(bool)
        cost = (saved + taken) * offer.cost + offer.contact_cost
        money = (expected, expected - 2 * deviation, expected + 2 * deviation, cost, effect)
        columns.append([np.where(suits, one, np.nan) for one in money])
    shape = (len(found), len(offers))
    expected, low, high, cost, effect = (np.column_stack(each).reshape(shape) for each in zip(*columns, strict=True))
    return expected, low, high, cost, effect


def limit(offer: Offer, most: int) -> int:
    """How many contacts an offer's budget is enough for, if everyone accepts."""
    each = offer.cost + offer.contact_cost
    return most if offer.budget is None or each == 0 else min(most, int(offer.budget / each + 1e-9))


def _curve(profit: Floats, best: Assignment, capacity: int, points: int = 50) -> Floats:
    """The profit by contacts made, the best first."""
    made = best.offer != NOBODY
    each = np.sort(profit[made, best.offer[made]])[::-1]
    earned = np.concatenate([[0.0], np.cumsum(each)])
    return np.asarray(np.interp(np.linspace(0, capacity, points + 1), np.arange(len(earned)), earned), np.float64)


def _rows(
    found: pd.DataFrame,
    offer: npt.NDArray[np.int64],
    money: tuple[Floats, ...],
    names: Sequence[str],
    as_of: datetime,
    settings: Plan,
) -> pd.DataFrame:
    """COLUMNS of the customers with an offer; the most profitable are contacted first."""
    planned = np.flatnonzero(offer != NOBODY)
    columns = offer[planned]
    expected, low, high, cost, effect = (one[planned, columns] for one in money)
    part = found.iloc[planned]
    rows = pd.DataFrame(
        {
            "customer_id": part["customer_id"].to_numpy(),
            "as_of": as_of,
            "arm": np.where(part["held"].to_numpy(bool), HELD_OUT, TREATED),
            "offer": [names[column] for column in columns],
            "score": part["score"].to_numpy(np.float64),
            "value": part["value"].to_numpy(np.float64),
            "expected_profit": expected,
            "profit_low": low,
            "profit_high": high,
            "cost": cost,
            "reasons": part["reasons"].to_numpy(),
            "model_version": part["model_version"].to_numpy(),
            "effect": effect,
            "effect_by": "uplift" if "uplift_0" in found.columns else "acceptance",
        }
    )
    rows = rows.sort_values(["expected_profit", "customer_id"], ascending=[False, True], ignore_index=True)
    # A held-out customer has the rank and the day that he would have had.
    is_treated = rows["arm"].to_numpy() == TREATED
    before = np.cumsum(is_treated) - is_treated
    rows["rank"] = before + 1
    number = np.minimum(before // settings.capacity, settings.days - 1)
    rows["day"] = [(as_of + timedelta(days=int(one))).date() for one in number]
    return rows[list(COLUMNS)]


# ---------------------------------------------------------------- who may be contacted


def _customers(lake: Lake, spec: ModelSpec, sources: Sources, as_of: datetime) -> DataFrame:
    """The scored customers with their values, null where they have none, and the columns of the customers source."""
    at = F.lit(as_of)
    scores, values = _of_as_of(lake, score_table(spec), "score", as_of), _of_as_of(lake, VALUES, "value", as_of)
    texts = F.lit(None).cast("string")  # a model whose trees are too deep has no reasons
    if "reasons" in scores.columns:
        texts = F.array_join(F.transform("reasons", lambda one: one["text"]), "; ")
    scored = scores.select("customer_id", "score", "model_version", texts.alias("reasons"))
    found = scored.join(values.select("customer_id", "value", "value_low", "value_high"), on="customer_id", how="left")
    if "customers" not in sources:
        return found
    current = sources["customers"].where(known_by(at) & (F.col("event_time") <= at))
    columns = [name for name in current.columns if name not in found.columns and not name.startswith("_")]
    newest = current.groupBy("customer_id").agg(F.max_by(F.struct(*columns), "event_time").alias("newest"))
    return found.join(newest, on="customer_id", how="left").select(*found.columns, "newest.*")


def _of_as_of(lake: Lake, table: str, job: str, as_of: datetime) -> DataFrame:
    rows = lake.read(table).where(F.col("as_of") == F.lit(as_of)) if lake.exists(table) else None
    if rows is None or rows.isEmpty():
        raise BadInputError(f"{table} has no rows of as-of {as_of:%Y-%m-%d}: run jobs/{job}.py for it first")
    return rows


def _left_out(
    lake: Lake, spec: ModelSpec, sources: Sources, as_of: datetime, settings: Plan, customers: DataFrame
) -> DataFrame:
    """The customers with `why` they may not be contacted; null = they may."""
    at, since = F.lit(as_of), F.lit(as_of - timedelta(days=settings.not_within))
    recent = [_planned_before(lake, spec, as_of, settings)]
    if "contacts" in sources:
        made = is_treated()
        in_time = (F.col("event_time") >= since) & (F.col("event_time") < at) & known_by(at)
        recent.append(sources["contacts"].where(made & in_time).select("customer_id"))
    why = F.when(F.col("value").isNull(), "no value")
    if settings.do_not_contact:
        refused = _condition(customers, settings.do_not_contact, "[plan] do_not_contact")
        why = F.coalesce(why, F.when(refused, "do not contact"))
    for number, ids in enumerate(one for one in recent if one is not None):
        flag = f"_recent_{number}"
        customers = customers.join(ids.distinct().withColumn(flag, F.lit(True)), on="customer_id", how="left")
        why = F.coalesce(why, F.when(F.col(flag), "contacted recently"))
    return customers.withColumn("why", why)


def _planned_before(lake: Lake, spec: ModelSpec, as_of: datetime, settings: Plan) -> DataFrame | None:
    """Who an earlier plan has contacted in the days before; held-out customers may be planned again."""
    if not lake.exists(plan_table(spec)):
        return None
    since = (as_of - timedelta(days=settings.not_within)).date()
    is_recent = (F.col("as_of") < F.lit(as_of)) & (F.col("day") >= F.lit(since)) & (F.col("arm") == TREATED)
    return lake.read(plan_table(spec)).where(is_recent).select("customer_id")


def check_not_made(lake: Lake, spec: ModelSpec, sources: Sources, as_of: datetime, settings: Plan) -> None:
    """Raises BadInputError where contacts of the as-of's stored plan have been made: with other arms its outcome would
    be measured by contacts that nobody made.

    Whom it contacts, no other plan does in `not_within` days, so a contact in that time is one of this plan.
    """
    if "contacts" not in sources or not lake.exists(plan_table(spec)):
        return
    end = as_of + timedelta(days=max(settings.days, settings.not_within))
    is_since = (F.col("event_time") >= F.lit(as_of)) & (F.col("event_time") < F.lit(end))
    made = sources["contacts"].where(is_treated() & F.col("superseded_at").isNull() & is_since)
    planned = lake.read(plan_table(spec)).where((F.col("as_of") == F.lit(as_of)) & (F.col("arm") == TREATED))
    if count := planned.join(made, on="customer_id", how="left_semi").count():
        raise BadInputError(
            f"{plan_table(spec)} of as-of {as_of:%Y-%m-%d} has been acted on: {count:,} of its customers were "
            f"contacted before {end:%Y-%m-%d}, and a new plan would replace their arms; plan a later as-of"
        )


def _suits(rows: DataFrame, name: str, offer: Offer) -> Column:
    return _condition(rows, offer.suits, f"[offers.{name}] suits") if offer.suits else F.lit(True)


def _condition(rows: DataFrame, text: str, setting: str) -> Column:
    """A condition of churn.toml over the columns of the rows; null is false. Raises ConfigError."""
    if refused := check_expression(rows.sparkSession, text, rows.columns):
        raise ConfigError(f"{setting} = {text!r} {refused}")
    try:
        condition = F.expr(expanded(text))
        kind = rows.select(condition.alias("one")).schema["one"].dataType.simpleString()
    except (AnalysisException, ParseException) as error:
        raise ConfigError(
            f"{setting} = {text!r} is not a condition over {', '.join(rows.columns)}: {str(error).splitlines()[0]}"
        ) from None
    if kind != "boolean":
        raise ConfigError(f"{setting} = {text!r} is {kind}, want a condition, true or false")
    return F.coalesce(condition, F.lit(False))


# ---------------------------------------------------------------- for a call centre


def as_csv(plan: CampaignPlan) -> str:
    """The contacts as CSV, in the order in which they are to be made; held-out customers are not in it.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    columns = ("day", "rank", "customer_id", "offer", "reasons", "score", "value", "expected_profit")
    writer.writerow(columns)
    for row in plan.treated[list(columns)].itertuples(index=False):
        writer.writerow([_cell(value) for value in row])
    return sink.getvalue()


def _cell(value: Any) -> str:
    """A number as it is, text without a formula."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
