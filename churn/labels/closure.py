"""Churn as a closed account."""

from __future__ import annotations

from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.model_spec import Label, LabelWindow, Names, Sources
from churn.sources.announcements import is_closing
from churn.sources.closed_accounts import closed_accounts
from churn.sources.versions import known_by
from churn.vocabulary import CHURN

_TIMES: Final = ("event_time", "known_time", "superseded_at")


class Closure(Label):
    """1 where the account is closed inside the window by one of `kinds`, else 0.

    It is the first closure from as-of on; those before are of a customer who came back. Rows without a known label are
    left out: a closure that was announced by as-of (the customer has decided already); an account closed between as-of
    and the window, or before as-of and known only later (nobody could have called in time), unless it was opened again
    before as-of; and one closed in the window for another kind, such as non-payment (what the customer would have done
    is not known).
    """

    name = "closure"
    entity = "customer"
    sources = ("closures",)
    optional = ("customers", "transactions")
    vocabulary = CHURN
    prevented_by_contacts = True

    kinds: Names = ("voluntary",)

    @property
    def outcome(self) -> str:
        return f"closes the account ({', '.join(self.kinds)})"

    def undecided(self, rows: DataFrame, versions: Sources) -> DataFrame:
        """Without customers who had announced at as-of that they leave, or who had left and nobody knew it."""
        as_of, event, key = F.col("as_of"), F.col("event_time"), ["customer_id", "as_of"]
        closings = versions["closures"].where(is_closing()).select("customer_id", *_TIMES)
        of_rows = rows.select(*key).join(closings, on="customer_id", how="inner")
        announced = of_rows.where(known_by(as_of) & (event >= as_of)).select(*key)
        is_late = (event < as_of) & (F.col("known_time") > as_of)
        in_hindsight = {
            name: of.where(F.col("superseded_at").isNull()).withColumn("known_time", event)
            for name, of in versions.items()
        }
        closed = closed_accounts(in_hindsight, rows.select("as_of").distinct())
        late = of_rows.where(is_late).select(*key).join(closed, on=key, how="left_semi")
        return rows.join(announced.union(late).distinct(), on=key, how="left_anti")

    def compute(self, rows: DataFrame, sources: Sources, window: LabelWindow) -> DataFrame:
        closing = F.struct(F.col("event_time").alias("at"), F.coalesce("kind", F.lit("voluntary")).alias("kind"))
        closings = sources["closures"].where(is_closing()).groupBy("customer_id")
        of_customer = closings.agg(F.collect_list(closing).alias("_closings"))
        first = F.expr("array_min(filter(_closings, one -> one.at >= as_of))")
        found = rows.join(of_customer, on="customer_id", how="left").withColumn("_first", first)
        closed_at = F.col("_first.at")
        closed_within = F.coalesce(window.contains(closed_at), F.lit(False))
        too_early = F.coalesce(closed_at < window.start(F.col("as_of")), F.lit(False))
        other_kind = closed_within & ~F.col("_first.kind").isin(*self.kinds)
        return (
            found.where(~too_early & ~other_kind)
            .withColumn("label", closed_within.cast("int"))
            .drop("_closings", "_first")
        )
