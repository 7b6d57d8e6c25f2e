"""Sales: customers who buy more, in one of three ways."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn.model_spec import Label, LabelWindow, Names, Sources
from churn.sources.activity import is_activity
from churn.sources.versions import known_by
from churn.validation import Days
from churn.vocabulary import SALES

_KEY: Final = ["customer_id", "as_of"]


class Upgrade(Label):
    """1 where the customer changes to a larger plan inside the window, else 0.

    `plans` are the names of the plans from the smallest to the largest; a change to or from another is none. Without
    them a plan is larger if its monthly fee is higher, so that a fee that rises within a plan is no upgrade. Rows are
    left out where an upgrade was announced by as-of, as the customer has decided already.
    """

    name = "upgrade"
    entity = "customer"
    sources = ("customers",)
    vocabulary = SALES

    plans: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        return "changes to a larger plan"

    def _upgrades(self, states: DataFrame, *key: str) -> DataFrame:
        """Of the states of agreements those that begin with a change to a larger plan, within the rows of a key."""
        in_time = Window.partitionBy(*key).orderBy("event_time")
        size = F.col("monthly_fee")
        if self.plans:
            size = F.nullif(F.array_position(F.lit([*self.plans]), F.col("plan")), F.lit(0))
        sized = states.withColumn("_size", size)
        before = {f"{name}_before": F.lag(name).over(in_time) for name in ("plan", "_size")}
        is_larger = (F.col("plan") != F.col("plan_before")) & (F.col("_size") > F.col("_size_before"))
        return sized.withColumns(before).where(is_larger)

    def undecided(self, rows: DataFrame, versions: Sources) -> DataFrame:
        """Without customers who had announced at as-of that they change to a larger plan."""
        known = rows.select(*_KEY).join(versions["customers"], on="customer_id", how="inner")
        announced = self._upgrades(known.where(known_by(F.col("as_of"))), *_KEY).where("event_time >= as_of")
        return rows.join(announced.select(*_KEY).distinct(), on=_KEY, how="left_anti")

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        upgrades = self._upgrades(sources["customers"], "customer_id")
        return _with_label(rows, upgrades.select("customer_id", F.col("event_time").alias("_at")), window)


class AddOn(Label):
    """1 where the customer has an approved transaction of the `kinds`, with one of the `merchants` if there are any,
    inside the window, else 0. With `first_only`, customers who had one before as-of are left out."""

    name = "add_on"
    entity = "customer"
    sources = ("transactions",)
    vocabulary = SALES

    kinds: Names = ("purchase",)
    merchants: tuple[str, ...] = ()
    first_only: bool = False

    @property
    def outcome(self) -> str:
        at = f" at {' or '.join(self.merchants)}" if self.merchants else ""
        first = " for the first time" if self.first_only else ""
        return f"makes a {' or '.join(self.kinds)}{at}{first}"

    def _bought(self, transactions: DataFrame) -> DataFrame:
        at_merchant = F.col("merchant_id").isin(*self.merchants) if self.merchants else F.lit(True)
        return transactions.where(is_activity(self.kinds) & at_merchant)

    def undecided(self, rows: DataFrame, versions: Sources) -> DataFrame:
        if not self.first_only:
            return rows
        bought = self._bought(versions["transactions"]).select(
            "customer_id", "event_time", "known_time", "superseded_at"
        )
        earlier = rows.select(*_KEY).join(bought, on="customer_id", how="inner")
        had = earlier.where((F.col("event_time") < F.col("as_of")) & known_by(F.col("as_of")))
        return rows.join(had.select(*_KEY).distinct(), on=_KEY, how="left_anti")

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        bought = self._bought(sources["transactions"]).select("customer_id", F.col("event_time").alias("_at"))
        return _with_label(rows, bought, window)


class MoreSpend(Label):
    """1 where approved transactions of the `kinds` in the window add up to more than `factor` times the customer's own
    trend: what they were in the `trend_days` before as-of, for as many days. Customers without any then are left out:
    they have no trend."""

    name = "more_spend"
    entity = "customer"
    sources = ("transactions",)
    vocabulary = SALES

    kinds: Names = ("purchase",)
    factor: Annotated[float, Field(gt=0)] = 1.5
    trend_days: Days = 180

    @property
    def outcome(self) -> str:
        return f"spends more than {self.factor:g} times as much a day as in the {self.trend_days} days before"

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        as_of, at = F.col("as_of"), F.col("_at")
        spent = sources["transactions"].where(is_activity(self.kinds))
        spent = spent.select("customer_id", F.col("event_time").alias("_at"), "amount")
        before = (at < as_of) & (at >= as_of - F.make_dt_interval(F.lit(self.trend_days)))
        sums = (
            rows.select(*_KEY)
            .join(spent, on="customer_id", how="inner")
            .groupBy(*_KEY)
            .agg(
                F.sum(F.when(before, F.col("amount"))).alias("_before"),
                F.sum(F.when(window.contains(at), F.col("amount"))).alias("_within"),
            )
            .where("_before > 0")
        )
        expected = F.col("_before").cast("double") * (self.factor * window.horizon / self.trend_days)
        is_more = F.coalesce(F.col("_within").cast("double"), F.lit(0.0)) > expected
        return rows.join(sums, on=_KEY, how="inner").withColumn("label", is_more.cast("int")).drop("_before", "_within")


def _with_label(rows: DataFrame, happened: DataFrame, window: LabelWindow) -> DataFrame:
    """The rows with 1 where something happened to the customer, (customer_id, _at), inside the window, else 0."""
    found = rows.select(*_KEY).join(happened, on="customer_id", how="inner").where(window.contains(F.col("_at")))
    ones = found.select(*_KEY, F.lit(1).alias("label")).distinct()
    return rows.join(ones, on=_KEY, how="left").withColumn("label", F.coalesce("label", F.lit(0)))
