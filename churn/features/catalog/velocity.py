"""Velocity: a transaction against the last minutes to weeks of its customer, merchant and device.

Features of a transaction, by what was known just before it; from fraud reports too, only what was reported by then.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from churn.features.catalog.calls import in_group
from churn.features.declarations import HOUR, MINUTE, derived, windowed
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.fraud_reports import FRAUD_REPORTS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.sources.local_time import local_time

SHORT_WINDOWS = (15 * MINUTE, HOUR, 6 * HOUR, 1, 7, 30)
LONG_WINDOWS = (1, 7, 30)


def _amount() -> Column:
    """The amount of purchases, payments and transfers, declined ones too: fees are the company's own, refunds
    come back."""
    return F.when(F.col("kind").isin("purchase", "payment", "transfer"), F.col("amount"))


# ---------------------------------------------------------------- the customer


@windowed(TRANSACTIONS, agg="count", days=SHORT_WINDOWS, unit="transactions", fill=0)
def customer_payments() -> Column:
    """Purchases, payments and transfers of the customer, declined ones too."""
    return _amount()


@windowed(TRANSACTIONS, agg="sum", days=SHORT_WINDOWS, unit="money", fill=0)
def customer_spend() -> Column:
    """The amount of the customer's purchases, payments and transfers, declined ones too."""
    return _amount()


@windowed(TRANSACTIONS, agg="mean", days=LONG_WINDOWS, unit="money", fill=None)
def customer_amount_mean() -> Column:
    """The customer's mean amount; null = none in the window."""
    return _amount()


@windowed(TRANSACTIONS, agg="std", days=(30,), unit="money", fill=None)
def customer_amount_std() -> Column:
    """The standard deviation of the customer's amounts; null = fewer than two."""
    return _amount()


@windowed(TRANSACTIONS, agg="max", days=LONG_WINDOWS, unit="money", fill=None)
def customer_amount_max() -> Column:
    """The customer's largest amount; null = none in the window."""
    return _amount()


@windowed(TRANSACTIONS, agg="count", days=(HOUR, 1, 7), unit="transactions", fill=0)
def customer_declines() -> Column:
    """Transactions of the customer that were declined."""
    return F.when(F.col("status") == "declined", F.lit(1))


@windowed(TRANSACTIONS, agg="days_since_last", unit="days", fill=None)
def days_since_customer_payment() -> Column:
    """Days since the customer's last transaction; null = this is the first."""
    return _amount()


@windowed(TRANSACTIONS, agg="days_since_first", unit="days", fill=None)
def days_since_customer_first_payment() -> Column:
    """Days since the customer's first transaction; null = this is the first."""
    return _amount()


@windowed(FRAUD_REPORTS, agg="count", days=(30,), unit="transactions", fill=0)
def customer_frauds() -> Column:
    """The customer's transactions that are known to be frauds by then."""
    return F.when(F.col("is_fraud"), F.lit(1))


@derived(unit="ratio", fill=1, days=LONG_WINDOWS)
def amount_to_customer_mean(amount: Column, customer_amount_mean: Column) -> Column:
    """The amount over the customer's mean; 1 = no history."""
    return F.try_divide(amount.cast("double"), customer_amount_mean)


@derived(unit="ratio", fill=1, days=LONG_WINDOWS)
def amount_to_customer_max(amount: Column, customer_amount_max: Column) -> Column:
    """The amount over the customer's largest; 1 = no history."""
    return F.try_divide(amount.cast("double"), customer_amount_max)


@derived(unit="ratio", fill=1)
def customer_week_max_to_mean(customer_amount_max_7d: Column, customer_amount_mean_30d: Column) -> Column:
    """The customer's largest amount of 7 days over the mean of 30; 1 = none in 7 days."""
    return F.try_divide(customer_amount_max_7d, customer_amount_mean_30d)


@derived(unit="deviations", fill=0)
def amount_zscore(amount: Column, customer_amount_mean_30d: Column, customer_amount_std_30d: Column) -> Column:
    """The amount less the customer's mean of 30 days, in standard deviations; 0 = too little history."""
    return F.try_divide(amount.cast("double") - customer_amount_mean_30d, customer_amount_std_30d)


# ---------------------------------------------------------------- the merchant


@windowed(TRANSACTIONS, agg="count", days=(HOUR, 1, 7, 30), by="merchant_id", unit="transactions", fill=0)
def merchant_payments() -> Column:
    """Transactions at the merchant, of all customers."""
    return _amount()


@windowed(TRANSACTIONS, agg="mean", days=(1, 7, 30), by="merchant_id", unit="money", fill=None)
def merchant_amount_mean() -> Column:
    """The mean amount at the merchant; null = none in the window."""
    return _amount()


@windowed(TRANSACTIONS, agg="count", days=LONG_WINDOWS, by="merchant_id", delayed=True, unit="transactions", fill=0)
def merchant_matured_payments() -> Column:
    """Transactions at the merchant in a window that ends a maturity ago, so that their fraud reports are complete."""
    return _amount()


@windowed(FRAUD_REPORTS, agg="count", days=LONG_WINDOWS, by="merchant_id", delayed=True, unit="transactions", fill=0)
def merchant_matured_frauds() -> Column:
    """Transactions at the merchant that are known to be frauds, in a window that ends a maturity ago."""
    return F.when(F.col("is_fraud"), _amount())


@derived(unit="share", fill=0, days=LONG_WINDOWS)
def merchant_fraud_share(merchant_matured_frauds: Column, merchant_matured_payments: Column) -> Column:
    """The share of frauds among the merchant's transactions, in a window that ends a maturity ago; 0 = none there.

    Le Borgne et al. 2022, Reproducible Machine Learning for Credit Card Fraud Detection, 3.4, with its delay.
    """
    return F.try_divide(merchant_matured_frauds, merchant_matured_payments)


@windowed(FRAUD_REPORTS, agg="count", days=(7, 30), by="merchant_id", unit="transactions", fill=0)
def merchant_frauds() -> Column:
    """Transactions at the merchant that are known to be frauds by then."""
    return F.when(F.col("is_fraud"), _amount())


@windowed(FRAUD_REPORTS, agg="days_since_last", by="merchant_id", days=(30,), unit="days", fill=None)
def days_since_merchant_fraud() -> Column:
    """Days since the last transaction at the merchant that is known to be a fraud; null = none in the window."""
    return F.when(F.col("is_fraud"), _amount())


@windowed(FRAUD_REPORTS, agg="days_since_first", by="merchant_id", days=(30,), unit="days", fill=None)
def days_since_merchant_first_fraud() -> Column:
    """Days since the first transaction at the merchant that is known to be a fraud; null = none in the window."""
    return F.when(F.col("is_fraud"), _amount())


@derived(unit="ratio", fill=1, days=(7, 30))
def amount_to_merchant_mean(amount: Column, merchant_amount_mean: Column) -> Column:
    """The amount over the merchant's mean; 1 = no history."""
    return F.try_divide(amount.cast("double"), merchant_amount_mean)


@windowed(TRANSACTIONS, agg="count", by=("customer_id", "merchant_id"), unit="transactions", fill=0)
def customer_merchant_payments() -> Column:
    """Earlier transactions of this customer at this merchant; 0 = a new merchant."""
    return _amount()


# ---------------------------------------------------------------- the device and the country


@windowed(TRANSACTIONS, agg="count", days=(HOUR, 1, 7), by="device_id", unit="transactions", fill=0)
def device_payments() -> Column:
    """Transactions with the device, of all customers."""
    return _amount()


@windowed(TRANSACTIONS, agg="sum", days=(HOUR, 1, 7), by="device_id", unit="money", fill=0)
def device_spend() -> Column:
    """The amount of transactions with the device, of all customers."""
    return _amount()


@windowed(TRANSACTIONS, agg="count", by=("customer_id", "device_id"), unit="transactions", fill=0)
def customer_device_payments() -> Column:
    """Earlier transactions of this customer with this device; 0 = a new device."""
    return _amount()


@windowed(TRANSACTIONS, agg="count", by=("customer_id", "country"), unit="transactions", fill=0)
def customer_country_payments() -> Column:
    """Earlier transactions of this customer in this country; 0 = a new country."""
    return _amount()


# ---------------------------------------------------------------- the call centre


@windowed(CALLS, agg="count", days=(HOUR, 1, 7, 365), unit="calls", fill=0)
def customer_calls() -> Column:
    """Calls of the customer."""
    return F.when(F.coalesce(F.col("direction"), F.lit("inbound")) == "inbound", F.lit(1))


@windowed(CALLS, agg="count", days=(HOUR, 1, 7), unit="calls", fill=0)
def access_calls() -> Column:
    """Calls about access to the account: a password, a PIN, an address, a telephone number, a device."""
    return F.when(in_group("access"), F.lit(1))


@derived(unit="yes/no", fill=0)
def first_call_in_a_year(customer_calls_1d: Column, customer_calls_365d: Column) -> Column:
    """1 = the customer called in the last day, and not in the year before."""
    return ((customer_calls_1d > 0) & (customer_calls_365d == customer_calls_1d)).cast("int")


# ---------------------------------------------------------------- the transaction itself


@derived(unit="money", fill=None)
def transaction_amount(amount: Column) -> Column:
    """The amount."""
    return amount.cast("double")


@derived(unit="hour", fill=None)
def hour_of_day(event_time: Column, utc_offset: Column) -> Column:
    """The hour of the day, local time, from 0 to 23."""
    return F.hour(local_time(event_time, utc_offset))


@derived(unit="yes/no", fill=None)
def is_night(event_time: Column, utc_offset: Column) -> Column:
    """1 = from midnight to 6, local time."""
    return (F.hour(local_time(event_time, utc_offset)) < 6).cast("int")


@derived(unit="yes/no", fill=None)
def is_weekend(is_day_off: Column) -> Column:
    """1 = on a weekend or a holiday, local time."""
    return is_day_off.cast("int")


@derived(unit="kind", fill="unknown")
def transaction_kind(kind: Column) -> Column:
    """The kind of the transaction: purchase, payment, transfer, fee or refund."""
    return kind


@derived(unit="channel", fill="unknown")
def transaction_channel(channel: Column) -> Column:
    """The channel of the transaction."""
    return channel
