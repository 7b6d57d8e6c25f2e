"""What customers are worth: published examples, rows by hand, and nothing known later."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.config import Value
from churn.decisions.contract_model import BANDS, YEAR, ContractModel
from churn.decisions.purchase_model import (
    HALF_LIVES,
    BgNbd,
    GammaGamma,
    History,
    PurchaseModel,
    fit_purchases,
    gini,
)
from churn.decisions.value import backtested, daily_spend, figures, histories, valuation
from churn.errors import BadInputError

AS_OF = datetime(2026, 7, 1)
DATA = Path(os.environ.get("CHURN_BENCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_published_expectation_of_the_bg_nbd() -> None:
    """Fader, Hardie & Lee 2005, Implementing the BG/NBD Model in Excel: 1.226 purchases of the customer of CDNOW with
    x = 2, t_x = 30.43 and T = 38.86 in the 39 weeks to come."""
    model = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
    found = model.expected(np.array([2.0]), np.array([30.43]), np.array([38.86]), 39.0)
    assert found == pytest.approx([1.226], abs=5e-4)


def test_published_expectation_of_the_gamma_gamma() -> None:
    """Fader & Hardie 2013, The Gamma-Gamma Model of Monetary Value, with p = 6.25, q = 3.74, gamma = 15.44: two
    purchases of 22.35 on average are (15.44 + 44.70) * 6.25 / (2 * 6.25 + 2.74) = 24.66 to come."""
    found = GammaGamma(6.25, 3.74, 15.44).expected(np.array([2.0]), np.array([44.70]))
    assert found == pytest.approx([24.66], abs=5e-3)


def test_the_bg_nbd_finds_the_parameters_of_made_up_customers() -> None:
    """Its own process: rates from gamma(1, 10), a drop-out after each purchase with a chance from beta(1, 3)."""
    rng = np.random.default_rng(8)
    x, t_x = np.zeros(4000), np.zeros(4000)
    for number, (rate, drop) in enumerate(zip(rng.gamma(1, 1 / 10, 4000), rng.beta(1, 3, 4000), strict=True)):
        at = rng.exponential(1 / rate)
        while at < 50:
            x[number], t_x[number] = x[number] + 1, at
            if rng.random() < drop:
                break
            at += rng.exponential(1 / rate)
    found = BgNbd.fit(x, t_x, np.full(4000, 50.0), np.ones(4000))
    assert (found.r, found.alpha) == pytest.approx((1, 10), rel=0.2)
    assert found.a / (found.a + found.b) == pytest.approx(1 / 4, rel=0.2)


def test_gini_by_hand() -> None:
    """Best first: of 4 customers the first has all, so the curve is (1/4, 1), (1, 1): area 2 * (7/8) - 1 = 3/4."""
    assert gini([4, 3, 2, 1], [10, 0, 0, 0]) == 1.0
    # Second of four: (1/4, 0), (1/2, 1), (1, 1): 2 * (1/8 + 1/2) - 1 = 1/4, a third of the best.
    assert gini([3, 4, 2, 1], [10, 0, 0, 0]) == pytest.approx(1 / 3)
    assert gini([1, 1, 1, 1], [10, 0, 0, 0]) == pytest.approx(0)
    assert gini([1, 2, 3, 4], [10, 0, 0, 0]) == pytest.approx(-1)


def history(purchases: Sequence[float], age: float = 200.0) -> History:
    count = len(purchases)
    bought = np.array(purchases, np.float64)
    return History(
        purchases=bought,
        recency=np.where(bought > 1, age / 2, 0.0),
        age=np.full(count, age),
        spend=20 * bought,
        decayed={days: bought * 0.5 ** (age / 2 / days) for days in HALF_LIVES},
    )


def test_a_few_customers_are_not_corrected() -> None:
    """With less than 200 purchases after the earlier origin there is nothing to learn from: the BG/NBD stands."""
    model = fit_purchases(history([1, 1, 2, 3, 5]), 90, history([1, 1, 2]), 60, np.ones(3), np.full(3, 20.0))
    assert (model.base_share, model.shape, model.mix) == (1.0, None, 1.0)
    found = model.predict(history([1, 2, 5]))
    assert found.spend.tolist() == sorted(found.spend)
    assert (found.low <= found.spend).all()
    assert (found.spend > 0).all()


def test_a_customers_value_does_not_depend_on_who_else_is_there() -> None:
    """Predictions are made a batch at a time."""
    model = PurchaseModel(90, BgNbd(0.5, 5, 1, 2), GammaGamma(6, 4, 15), 0.01, 0.8, None, 0.5, 1.5, 1.0, 2.0)
    together, alone = model.predict(history([1, 3, 9])), model.predict(history([3]))
    for name in ("purchases", "spend", "low", "high"):
        assert getattr(together, name)[1] == getattr(alone, name)[0]


def test_the_interval_holds_what_the_model_draws() -> None:
    """Drawn from the model: negative binomial purchases of gamma spends around a customer's own mean."""
    rng = np.random.default_rng(3)
    model = PurchaseModel(90, BgNbd(2, 8, 0.4, 4), GammaGamma(3, 6, 40), 0.05, 1.0, None, 1.0, 2.0)
    some = replace(history([60]), recency=np.array([199.0]))
    found = model.predict(some)
    mean = float(found.purchases[0])
    bought = rng.poisson(rng.gamma(2.0, mean / 2.0, 40_000))
    rates = rng.gamma(3 * 60 + 6, 1 / (40 + 60 * 20), 40_000)
    spent = np.where(bought > 0, rng.gamma(np.maximum(3 * bought, 1e-9), 1 / rates), 0.0)
    assert spent.mean() == pytest.approx(float(found.spend[0]), rel=0.03)
    assert np.mean((spent >= found.low[0]) & (spent <= found.high[0])) == pytest.approx(0.8, abs=0.02)


def test_a_contract_by_hand() -> None:
    """With one hazard h of closing, the expected days open of D are (1 - exp(-h D)) / h; 2 a day for 100 of them."""
    hazard = 0.01
    model = ContractModel(100.0, (hazard,) * len(BANDS))
    found = model.predict_rows(pd.DataFrame({"tenure": [30.0, 5000.0], "daily": [2.0, 2.0]}))
    assert found.spend == pytest.approx([2 * (1 - np.exp(-1)) / hazard] * 2)
    # With a chance of 10 % it closes within -ln(0.9) / h days; with 37 % it is open to the end.
    assert found.low == pytest.approx([2 * -np.log(0.9) / hazard] * 2)
    assert found.high == pytest.approx([200.0] * 2)


def test_the_hazard_changes_with_the_tenure() -> None:
    """60 days of tenure: 30 days at the first hazard, then at the second."""
    model = ContractModel(100.0, (0.02, 0.001, 0.001, 0.001))
    expected = (1 - np.exp(-0.6)) / 0.02 + np.exp(-0.6) * (1 - np.exp(-0.07)) / 0.001
    assert model.open_days(np.array([60.0]))[0] == pytest.approx([expected])


def test_one_customer_has_no_other_half_to_learn_from() -> None:
    """Who bought on 300 days after the earlier origin, which is enough to correct by, is expected to go on."""
    daily = replace(history([600]), recency=np.array([599.0]), age=np.array([600.0]))
    model = fit_purchases(daily, 300.0, daily, 300, np.array([300.0]), np.array([3000.0]))
    assert model.shape is None
    assert model.purchases(daily) == pytest.approx([300.0], rel=0.25)


# ---------------------------------------------------------------- rows


def transactions(spark: SparkSession, rows: Sequence[tuple[object, ...]]) -> DataFrame:
    """(customer, event day, kind, amount, status, known day, superseded day)."""
    columns = (
        "customer_id string, event_time timestamp, kind string, amount decimal(18,4), status string,"
        " known_time timestamp, superseded_at timestamp"
    )
    return spark.createDataFrame(rows, columns).repartition(3)


def day(number: int) -> datetime:
    """So many days from as-of."""
    return AS_OF + timedelta(days=number)


def test_what_is_known_of_a_customer(spark: SparkSession) -> None:
    """Days with a purchase, not purchases; refunds lower the spend; later rows, and rows known later, are not seen."""
    rows = [
        ("a", day(-90), "purchase", Decimal(10), None, day(-90), None),
        ("a", day(-90) + timedelta(hours=5), "purchase", Decimal(5), None, day(-90), None),  # the same day
        ("a", day(-30), "purchase", Decimal(20), "declined", day(-30), None),  # did not go through
        ("a", day(-45), "purchase", Decimal(30), None, day(-45), None),
        ("a", day(-44), "refund", Decimal(12), None, day(-44), None),
        ("a", day(-10), "purchase", Decimal(99), None, day(1), None),  # known after as-of
        ("a", day(0), "purchase", Decimal(7), None, day(0), None),  # what happens
        ("a", day(20), "refund", Decimal(2), None, day(20), None),
        ("a", day(60), "purchase", Decimal(50), None, day(60), None),  # after the window
        ("b", day(3), "purchase", Decimal(7), None, day(3), None),  # no customer yet
    ]
    daily = daily_spend(transactions(spark, rows), AS_OF)
    (found,) = histories(daily, AS_OF, day(60)).collect()
    seen = {name: found[name] for name in found.asDict() if not name.startswith("decayed")}
    assert seen == {
        "customer_id": "a",
        "purchases": 2,
        "recency": 45,
        "age": 90,
        "spend": 33,  # 10 + 5 + 30 - 12
        "bought_after": 1,
        "spent_after": 5,
    }
    assert found["decayed_45"] == pytest.approx(1 / 4 + 1 / 2)


@pytest.fixture(scope="module")
def shop(spark: SparkSession) -> DataFrame:
    """300 customers of a shop who buy at rates of their own, half a year before and after as-of."""
    rng = np.random.default_rng(12)
    rows = []
    for number in range(300):
        rate, spend = rng.gamma(1.0, 1 / 20), rng.gamma(4, 10)
        days = np.flatnonzero(rng.random(360) < rate) - 180
        for one in {*days.tolist(), int(rng.integers(-180, -100))}:
            amount = Decimal(str(round(float(rng.gamma(4, spend / 4)), 2)))
            rows.append((f"c{number:03}", day(one), "purchase", amount, None, day(one), None))
    return transactions(spark, rows).persist()


def test_values_rest_on_what_was_known_and_on_no_order(spark: SparkSession, shop: DataFrame) -> None:
    """Rows at or after as-of may change, and rows be partitioned otherwise: the values are the same to the bit."""
    settings = Value(horizon=90)

    def values(rows: DataFrame) -> list[tuple[object, ...]]:
        found = valuation(spark, {"transactions": rows}, AS_OF, settings)
        assert found.method == "purchases"
        return sorted(tuple(row) for row in found.rows.collect())

    before = values(shop)
    later = F.when(F.col("event_time") >= F.lit(AS_OF), F.col("amount") * 1000).otherwise(F.col("amount"))
    changed = shop.withColumn("amount", later.cast("decimal(18,4)")).repartition(5, "amount")
    assert values(changed.where("event_time < '2026-08-01'")) == before
    assert len(before) == 300


def test_a_backtest_compares_with_what_happened(spark: SparkSession, shop: DataFrame) -> None:
    """Purchases of stationary customers are met within a tenth, and ranked far better than by chance; the days that
    are known are fewer than the horizon."""
    found = backtested(spark, {"transactions": shop}, AS_OF, Value(horizon=365, margin=0.25))
    assert (found["evaluated_days"], found["customers"]) == (180, 300)
    assert found["total_ratio"] == pytest.approx(1, abs=0.1)
    assert found["correlation"] > 0.8
    assert found["gini"] > 0.6
    assert found["margin"]["within_interval"] == pytest.approx(0.8, abs=0.12)
    spent = shop.where(F.col("event_time") >= F.lit(AS_OF)).agg(F.sum("amount")).collect()[0][0]
    assert found["margin"]["realised"] == pytest.approx(0.25 * float(spent))
    assert [one["customers"] for one in found["deciles"]] == [30] * 10
    assert found["deciles"][0]["realised"] > 5 * found["deciles"][9]["realised"]


def test_nothing_known_since_gives_no_figures(spark: SparkSession, shop: DataFrame) -> None:
    found = backtested(spark, {"transactions": shop}, day(200), Value())
    assert (found["evaluated_days"], found["total_ratio"]) == (0, None)
    assert found["data_until"] <= f"{day(200):%Y-%m-%d}"


def test_a_source_that_is_missing_is_named(spark: SparkSession, shop: DataFrame) -> None:
    with pytest.raises(BadInputError, match="values by purchases need transactions, and there are only calls"):
        valuation(spark, {"calls": shop}, AS_OF, Value())
    with pytest.raises(BadInputError, match="no row of transactions is known before 2020-01-01"):
        valuation(spark, {"transactions": shop}, datetime(2020, 1, 1), Value())


def test_contracts_are_worth_fee_and_spend_while_they_last(spark: SparkSession) -> None:
    """Two open accounts of 30 a month, one with 365 of spend a year; one closed before as-of is worth nothing more."""
    opened = day(-2 * YEAR)
    fee = Decimal(30)
    customers = spark.createDataFrame(
        [(name, opened, opened, opened, None, fee) for name in ("a", "b", "closed")],
        "customer_id string, event_time timestamp, opened_at timestamp, known_time timestamp,"
        " superseded_at timestamp, monthly_fee decimal(18,4)",
    )
    closures = spark.createDataFrame(
        [
            ("closed", "1", day(-100), day(-100), None, "voluntary"),
            ("b", "2", day(73), day(73), None, "voluntary"),  # a fifth of a year after as-of
        ],
        "customer_id string, closure_id string, event_time timestamp, known_time timestamp, superseded_at timestamp,"
        " kind string",
    )
    spent = transactions(spark, [("a", day(-30), "purchase", Decimal(365), None, day(-30), None)])
    sources = {"customers": customers, "closures": closures, "transactions": spent}
    found = valuation(spark, sources, AS_OF, Value())
    assert found.method == "contracts"
    rows = {row["customer_id"]: row for row in found.rows.collect()}
    assert set(rows) == {"a", "b"}
    assert rows["a"]["value"] / rows["b"]["value"] == pytest.approx((360 + 365) / 360)
    assert 250 < rows["b"]["value"] < 360  # a year's fees, less the chance of closing
    assert rows["b"]["value_low"] <= rows["b"]["value"] <= rows["b"]["value_high"]


def test_deciles_and_ratio_by_hand() -> None:
    found = figures(
        pd.DataFrame(
            {
                "value": [4.0, 2.0],
                "value_low": [0.0, 0.0],
                "value_high": [5.0, 1.0],
                "purchases": [2.0, 1.0],
                "spend": [1.0, 9.0],
                "realised": [3.0, 2.0],
                "realised_purchases": [3.0, 1.0],
            }
        ),
        by_purchases=True,
    )
    assert (found["total_ratio"], found["margin"]["ratio"]) == (0.75, 1.2)
    assert found["margin"]["within_interval"] == 0.5
    assert (found["gini"], found["gini_past_spend"]) == (1.0, -1.0)
    assert [(one["predicted"], one["realised"]) for one in found["deciles"]] == [(4.0, 3.0), (2.0, 2.0)]


@pytest.mark.skipif(not (DATA / "cdnow").is_dir(), reason="no benchmark inputs; set CHURN_BENCH_DATA")
def test_the_customers_of_cdnow() -> None:
    """Better than the BG/NBD at the level and at the order of purchases, from what was known by October 1997."""
    rows = pd.read_csv(DATA / "cdnow" / "cdnow_transactions.csv.gz", dtype={"customer_id": str}, parse_dates=["date"])
    rows = rows.drop_duplicates()
    as_of, end = pd.Timestamp("1997-10-01"), pd.Timestamp("1998-07-01")
    origin = as_of - pd.Timedelta(days=91)
    now, (bought, spent) = known(rows, as_of), after(rows, as_of, end)
    earlier = known(rows, origin)
    model = fit_purchases(History.of(now), 273, History.of(earlier), 91, *(
        one.reindex(earlier.index).fillna(0).to_numpy(np.float64) for one in after(rows, origin, as_of)
    ))  # fmt: skip
    found = model.predict(History.of(now))
    actual = bought.reindex(now.index).fillna(0).to_numpy(np.float64)
    assert actual.sum() == 19_684
    base = model.base.expected(*History.of(now).statistics, 39.0)
    assert (model.base.r, model.base.a) == pytest.approx((0.25, 0.73), abs=0.03)
    assert base.sum() / actual.sum() == pytest.approx(0.85, abs=0.01)
    assert 0.90 <= found.purchases.sum() / actual.sum() <= 1.10
    assert np.corrcoef(found.purchases, actual)[0, 1] >= 0.675
    worth = spent.reindex(now.index).fillna(0).to_numpy(np.float64)
    assert gini(found.spend, worth) > gini(now["spend"], worth) + 0.02


def known(rows: pd.DataFrame, origin: pd.Timestamp) -> pd.DataFrame:
    daily = rows[rows["date"] < origin].groupby(["customer_id", "date"])["amount"].sum().reset_index()
    by = daily.groupby("customer_id")
    found = pd.DataFrame(
        {
            "purchases": by.size(),
            "recency": (by["date"].max() - by["date"].min()).dt.days,
            "age": (origin - by["date"].min()).dt.days,
            "spend": by["amount"].sum(),
        }
    )
    ago = (origin - daily["date"]).dt.days
    for days in HALF_LIVES:
        found[f"decayed_{days}"] = (0.5 ** (ago / days)).groupby(daily["customer_id"]).sum()
    return found


def after(rows: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp) -> tuple[pd.Series, pd.Series]:
    since = rows[(rows["date"] >= begin) & (rows["date"] < end)]
    return since.groupby("customer_id")["date"].nunique(), since.groupby("customer_id")["amount"].sum()
