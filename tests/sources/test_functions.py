from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.sources.functions import expanded, table

AMOUNTS = [
    # The decimal mark is known from the language: thousands by point, blank or apostrophe.
    ("1.234,56", "de", "1234.5600"),
    ("1.234", "de", "1234.0000"),
    ("1234,5", "de", "1234.5000"),
    ("0,05", "de", "0.0500"),
    (",5", "de", "0.5000"),
    ("12.345.678,90", "de_AT", "12345678.9000"),
    ("1 234,56", "fr", "1234.5600"),
    ("1\u202f234,56", "fr_FR", "1234.5600"),
    ("1\u00a0234\u00a0567,8", "pl", "1234567.8000"),
    ("1\u2009234,56", "sv-SE", "1234.5600"),
    ("1.234,567891", "de", "1234.5679"),
    ("1.5", "de", None),
    ("0.123", "de", None),
    ("1.23,4", "de", None),
    ("1.234.56", "de", None),
    ("1,234,56", "de", None),
    ("1,234.56", "en", "1234.5600"),
    ("1,234", "en", "1234.0000"),
    ("1,234,567.8", "en_US", "1234567.8000"),
    ("12,5", "en", None),
    ("0,123", "en", None),
    ("1.234.567", "en", None),
    ("12,34,567.50", "en", None),
    ("12,34,567.50", "en_IN", "1234567.5000"),
    ("1,23,456", "hi", "123456.0000"),
    ("1,234,567", "en_IN", "1234567.0000"),
    ("1,2,345", "en_IN", None),
    ("1'234.50", "de_CH", "1234.5000"),
    ("1\u2019234\u2019567.05", "fr_CH", "1234567.0500"),
    ("1'23.50", "de_CH", None),
    ("1,234.5", "es_MX", "1234.5000"),
    ("1.234,5", "es", "1234.5000"),
    ("1.234,56", ",", "1234.5600"),
    ("1,234.56", ".", "1234.5600"),
    # Which side of zero.
    ("-1.234,56", "de", "-1234.5600"),
    ("1.234,56-", "de", "-1234.5600"),
    ("\u22121.234,56", "de", "-1234.5600"),
    ("+5,00", "de", "5.0000"),
    ("- 5,00 \u20ac", "de", "-5.0000"),
    ("(1,234.56)", "en", "-1234.5600"),
    ("($1,234.56)", "en", "-1234.5600"),
    ("$(12.50)", "en", "-12.5000"),
    ("$-12.50", "en", "-12.5000"),
    ("12.50- USD", "en", "-12.5000"),
    ("100.00 DR", "en", "-100.0000"),
    ("100.00Cr.", "en", "100.0000"),
    ("-100.00 DR", "en", None),
    ("(-5.00)", "en", None),
    ("--5", "en", None),
    ("-5-", "en", None),
    ("(5.00", "en", None),
    # Currencies before and behind.
    ("\u20ac 1.234,56", "de", "1234.5600"),
    ("1.234,56 EUR", "de", "1234.5600"),
    ("12,50 kr", "sv", "12.5000"),
    ("R$ 1.234,56", "pt_BR", "1234.5600"),
    ("CHF 1'234.50", "de_CH", "1234.5000"),
    ("CHF 50.-", "de_CH", "50.0000"),
    ("12,-", "nl", "12.0000"),
    ("1.250,00 z\u0142", "pl", "1250.0000"),
    ("1 234,50 \u0440\u0443\u0431.", "ru", "1234.5000"),
    ("USD 12.50", "en", "12.5000"),
    ("usd12.50", "en", "12.5000"),
    ("US$12.50", "en", "12.5000"),
    ("Rs. 500", "en_IN", "500.0000"),
    ("\u20b91,23,456.00", "en_IN", "123456.0000"),
    ("500/-", "en_IN", "500.0000"),
    ("\u00a52,500", "ja", "2500.0000"),
    ("2,500\u5186", "ja", "2500.0000"),
    # Digits of other scripts are digits.
    ("\uff11\uff0c\uff12\uff13\uff14\uff0e\uff15", "ja", "1234.5000"),
    ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "ar", "1234.5000"),
    ("\u200e12.50\u200f", "he", "12.5000"),
    # What is no amount.
    ("50\u00a2", "en", None),
    ("1e5", "en", None),
    ("1.5E+3", "en", None),
    ("0x1F", "en", None),
    ("NaN", "en", None),
    ("Infinity", "en", None),
    ("", "en", None),
    ("-", "en", None),
    ("EUR", "en", None),
    ("12.50%", "en", None),
    ("1.2k", "en", None),
    ("Nov 2024", "en", None),
    ("REF 123", "en", None),
    ("12 50", "en", None),
    ("5 EUR 6", "en", None),
    ("1 EUR234", "en", None),
    ("=5", "en", None),
    ("12.5.2024", "en", None),
    ("123456789012345.5", "en", None),
    # Without a language only what is clear is read.
    ("1234", None, "1234.0000"),
    ("12.50", None, "12.5000"),
    ("12,5", None, "12.5000"),
    ("1234,567", None, "1234.5670"),
    ("0,123", None, "0.1230"),
    (".75", None, "0.7500"),
    ("1.234,56", None, "1234.5600"),
    ("1,234.56", None, "1234.5600"),
    ("1.234.567", None, "1234567.0000"),
    ("1 234,567", None, "1234.5670"),
    ("1'234.50", None, "1234.5000"),
    ("\u20ac 12,-", None, "12.0000"),
    ("(12.50)", None, "-12.5000"),
    ("1,234", None, None),
    ("1.234", None, None),
    ("-123.456", None, None),
    ("1,23,456", None, None),
    ("1.234.56", None, None),
    ("1,234.567,8", None, None),
]


@pytest.fixture(scope="module")
def amounts(spark: SparkSession) -> dict[tuple[str, str | None], Decimal | None]:
    """What money() reads of each text above, in one query."""
    calls = [f"money('{text}')" if locale is None else f"money('{text}', '{locale}')" for text, locale in _cells()]
    [row] = spark.createDataFrame([(1,)], "one int").selectExpr(*map(expanded, calls)).collect()
    return dict(zip(_cells(), row, strict=True))


def _cells() -> list[tuple[str, str | None]]:
    return [(text.replace("'", "\\'"), locale) for text, locale, _ in AMOUNTS]


@pytest.mark.parametrize(("text", "locale", "amount"), AMOUNTS)
def test_money(
    amounts: dict[tuple[str, str | None], Decimal | None], text: str, locale: str | None, amount: str | None
) -> None:
    found = amounts[text.replace("'", "\\'"), locale]
    assert found == (None if amount is None else Decimal(amount))


def test_money_takes_a_column_of_numbers_as_it_is(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1.234, Decimal("1234.5"), 7, None)], "a double, b decimal(10,2), c int, d string")
    row = frame.selectExpr(*(expanded(f"money({name}, 'de')") for name in "abcd")).first()
    assert row is not None
    assert list(row) == [Decimal("1.2340"), Decimal("1234.5000"), Decimal("7.0000"), None]


def test_functions_work_in_every_place_of_a_query(spark: SparkSession) -> None:
    rows = [("a", "1.000,50", "0:01:30"), ("a", "2,50 EUR", "97"), ("b", "(3,00)", "1h")]
    spark.createDataFrame(rows, "k string, x string, d string").repartition(2).createOrReplaceTempView("cells")
    query = """
        select k, sum(abs(money(x, 'de'))) as paid, max(duration_seconds(d)) as longest,
               transform(array('1,5', '2'), v -> money(v, 'de'))[0] as first
        from cells lateral view explode(array(money(x, 'de'))) as amount
        where money /* of the cell */ (x, 'de') <> 0 -- money(
        group by k order by sum(money(x, 'de')) desc
    """
    try:
        found = [tuple(row) for row in spark.sql(expanded(query)).collect()]
    finally:
        spark.catalog.dropTempView("cells")
    assert found == [
        ("a", Decimal("1003.0000"), 97, Decimal("1.5000")),
        ("b", Decimal("3.0000"), 3600, Decimal("1.5000")),
    ]


DURATIONS = [
    ("0:01:30", 90),
    ("1:02:03", 3723),
    ("25:00:00", 90000),
    ("1:30", 90),  # minutes and seconds
    ("90:00", 5400),
    ("00:04:50", 290),
    ("97", 97),
    ("97.5", 98),
    ("14.337", 14),
    ("14,6", 15),
    ("0.5", 1),
    ("-5", -5),
    ("-0:00:05", -5),
    ("1h 2m 3s", 3723),
    ("2m", 120),
    ("3 min 20 sec", 200),
    ("1 hour 5 minutes", 3900),
    ("45s", 45),
    ("PT1H2M3.4S", 3723),
    ("P1DT1S", 86401),
    ("1.02:03:04", 93784),
    ("2 days, 0:00:01", 172801),
    ("1.2E2", 120),
    ("1:75", None),
    ("1,234", None),
    ("1,234 s", None),
    ("12,5", 13),
    ("0,250", 0),
    ("1:60:00", None),
    ("", None),
    ("t", None),
    ("P", None),
    ("n/a", None),
    ("10 apples", None),
    ("2024-01-01 00:04:50", None),
    ("5|6", None),
    ("99999999999", None),
]


def test_durations(spark: SparkSession) -> None:
    texts = spark.createDataFrame([(text,) for text, _ in DURATIONS], "x string")
    found = texts.selectExpr("x", expanded("duration_seconds(x)")).collect()
    assert [tuple(row) for row in found] == DURATIONS


def test_durations_of_other_types(spark: SparkSession) -> None:
    times = spark.createDataFrame(
        [(datetime(2024, 1, 1, 23, 59, 50), datetime(2024, 1, 2, 0, 1, 0, 600000), 1e7, 12)],
        "a timestamp_ntz, b timestamp_ntz, c double, d int",
    )
    columns = ["b - a", "a - b", "c", "d", "time '00:04:50'", "timestamp_ntz '2024-01-03 00:00:00' - a"]
    row = times.selectExpr(*(expanded(f"duration_seconds({column})") for column in columns)).first()
    assert row is not None
    assert list(row) == [71, -71, 10_000_000, 12, 290, 86410]


def test_days_of_a_spreadsheet(spark: SparkSession) -> None:
    days = ["44413", "45505.5", "45505,25", "45505.4242824074", "61"]
    unread = ["60", "0.5", "2958466", "-1", "45,505.5", "x", None]
    cells = spark.createDataFrame([(cell,) for cell in [*days, *unread]], "x string")
    times = cells.select(F.expr(expanded("serial_day(x)")).alias("time"))
    assert times.dtypes == [("time", "timestamp_ntz")]
    assert [row.time for row in times.collect()] == [
        datetime(2021, 8, 5),
        datetime(2024, 8, 1, 12),
        datetime(2024, 8, 1, 6),
        datetime(2024, 8, 1, 10, 10, 58),
        datetime(1900, 3, 1),
        *[None] * len(unread),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("money()", "calls money() with 0 arguments, want money(text [, locale])"),
        ("money(a, 'de', 'x')", "calls money() with 3 arguments, want money(text [, locale])"),
        ("money(a, lang)", "calls money() with lang, want a locale in quotes, such as money(amount, 'de')"),
        ("money(a, 'xx')", "calls money() for 'xx', whose decimal mark is not known; write it: money(amount, ',') or"),
        ("money(a, 'en_ZA')", "calls money() for 'en_ZA', whose decimal mark is not known"),
        ("serial_day(a, b)", "calls serial_day() with 2 arguments, want serial_day(days)"),
    ],
)
def test_wrong_arguments_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^calls ") as raised:
        expanded(text)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "money + 1",
        "t.money(x)",
        "'money(x)'",
        "`money`",
        "a -- money(x)",
        "/* money(x) */ a",
        "money",
        "my_money(x)",
        '"money(x)"',
        "money(x",
    ],
)
def test_only_calls_are_expanded(text: str) -> None:
    assert expanded(text) == text


@pytest.mark.parametrize("call", ["money(x)", "money(x, 'en_IN')", "duration_seconds(x)", "serial_day(x)"])
def test_expanded_sql_has_nothing_that_the_session_would_fill_in(call: str) -> None:
    assert "${" not in expanded(call)


def test_the_reference_lists_every_function() -> None:
    page = Path(__file__).parents[2] / "docs/reference/functions.md"
    assert table() in page.read_text("utf-8")
