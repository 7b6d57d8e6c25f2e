"""One currency for the amounts of a contract: convert by dated rates, as-of safe."""

from __future__ import annotations

from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.storage import literal

WITHOUT_RATE: Final = "currency_without_rate"
"""The rule of a row whose currency has no rate on the day of its event."""

_VALID_DAYS: Final = 31
"""How long a rate holds without a newer one."""


def with_one_currency(rows: DataFrame, currency: str, rates: DataFrame | None, flag: str) -> DataFrame:
    """Rows with `amount` and `currency` in the company's currency; no currency is the company's.

    `rates` are those of the contract `rates`: how much of the company's currency one unit of another is worth. A rate
    holds from the first whole day (UTC) that begins after its event and known time, so that none is used before it was
    known, until the next one, at most for 31 days. `flag` is the column that says where there is none: the amount stays
    as it is there, and the row must not be used.
    """
    own = f"coalesce(currency, {literal(currency)}) = {literal(currency)}"
    unchanged = [name for name in rows.columns if name not in ("amount", "currency")]
    if rates is None:
        return rows.selectExpr(*unchanged, "amount", "currency", f"NOT ({own}) AS {flag}")
    by_day = _by_day(rates)
    joined = rows.selectExpr("*", "cast(event_time AS date) AS _day").join(
        by_day.hint("broadcast"), on=["currency", "_day"], how="left"
    )
    return joined.selectExpr(
        *unchanged,
        f"if({own}, amount, try_cast(amount * coalesce(_rate, 1) AS decimal(18,4))) AS amount",
        f"if({own} OR _rate IS NOT NULL, {literal(currency)}, currency) AS currency",
        f"(NOT ({own}) AND _rate IS NULL) AS {flag}",
    )


def _by_day(rates: DataFrame) -> DataFrame:
    """The rate of each currency on each day: (currency, _day, _rate)."""
    known = "greatest(event_time, known_time)"
    first = f"cast({known} AS date) + if({known} = date_trunc('day', {known}), 0, 1)"
    newest = "max_by(rate, struct(event_time, known_time)) AS _rate"
    of_currency = "OVER (PARTITION BY currency ORDER BY _first)"
    last = f"least(coalesce(lead(_first) {of_currency} - 1, _first + {_VALID_DAYS - 1}), _first + {_VALID_DAYS - 1})"
    return (
        rates.selectExpr("currency", "rate", "event_time", "known_time", f"{first} AS _first")
        .groupBy("currency", "_first")
        .agg(F.expr(newest))
        .selectExpr("currency", "_rate", "_first", f"{last} AS _last")
        .selectExpr("currency", "explode(sequence(_first, _last)) AS _day", "_rate")
    )
