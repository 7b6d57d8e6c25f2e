"""Small files in the forms in which call records and transactions arrive, each mapped by configuration alone.

`tests/data/foreign` has a folder a form. Every expected value is written out here; the last tests feed each form to a
first, naive mapping, which must end in one message or in quarantine.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import load
from churn.errors import ChurnError
from churn.sources.ingest import QUARANTINE, ingest
from churn.sources.ledger import LedgerRow
from churn.storage import Lake

FOREIGN = Path(__file__).parent.parent / "data" / "foreign"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def money(text: str) -> Decimal:
    return Decimal(text).quantize(Decimal("0.0001"))


@dataclass(frozen=True)
class Form:
    """A mapping of one source, and the rows of its table in the order of their first columns."""

    toml: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    quarantined: Mapping[str, int]


def ingested(spark: SparkSession, folder: Path, toml: str) -> tuple[Lake, list[LedgerRow]]:
    (folder / "churn.toml").write_text(toml, encoding="utf-8")
    lake = Lake(spark, str(folder / "lake"))
    ledger = ingest(spark, lake, load(folder / "churn.toml"), batch="b")
    for row in ledger:
        assert row.rows_in == row.accepted + row.duplicate + row.quarantined
    return lake, ledger


CALLS_04 = """
[sources.calls]
path = "04-doubled-quotes/calls.csv"
[sources.calls.columns]
call_id = "callId"
customer_id = "account"
event_time = "startTime"
known_time = "endTime"
queue = "displayName"
notes = "comment"
wait_seconds = "wait"
"""
CALLS_25 = """
[sources.calls]
path = "25-headers/{file}"
[sources.calls.columns]
call_id = "`CALL ID`"
customer_id = "ACCOUNT"
talk_seconds = "duration_seconds(TALK)"
agent_id = "{agent}"
notes = "`cust.ref` || ' ' || `Téléphone` || ' ' || `{odd}`"
[sources.calls.columns.event_time]
sql = "cast(try_to_timestamp(DATE || ' ' || TIME, 'M/d/yyyy h:mm:ss a') as timestamp_ntz)"
zone = "America/New_York"
"""
ROWS_25 = [
    ("1", "A1", at("2024-05-01 18:05:09"), 90, "7", "r1 0612 x"),
    ("2", "A2", at("2024-05-01 04:00:00"), 5, "8", "r2 0613 y"),
]
COLUMNS_25 = ("call_id", "customer_id", "event_time", "talk_seconds", "agent_id", "notes")
TRANSACTIONS_08 = """
[sources.transactions]
format = "parquet"
path = "08-parquet-ids/{file}.parquet"
[sources.transactions.columns]
transaction_id = "tx"
customer_id = "cast(cast(customer as decimal(38, 0)) as string)"
event_time = "at"
kind = "'purchase'"
amount = "cast(amount as decimal(18, 4))"
[sources.transactions.reject]
no_customer = "customer is null"
"""
CALLS_15 = """
[sources.calls]
format = "parquet"
path = "15-durations/{file}.parquet"
[sources.calls.columns]
call_id = "call"
customer_id = "cust"
event_time = "start_ts"
known_time = "end_ts"
talk_seconds = "{talk}"
"""
ROWS_15 = [
    ("a", "x", at("2024-04-01 09:00:00"), 280),
    ("b", "y", at("2024-04-01 23:59:30"), 250),
    ("c", "x", at("2024-04-02 10:00:00"), None),
]
CALL = ("call_id", "customer_id", "event_time")
SIMPLE = ("transaction_id", "customer_id", "event_time", "amount")

FORMS: Mapping[str, Form] = {
    "01 unix seconds": Form(
        """
[sources.calls]
path = "01-serial-days/calls.txt"
options = { sep = "|" }
[sources.calls.columns]
call_id = "callid"
customer_id = "acctno"
event_time = "timestamp_seconds(try_cast(segstart as bigint))"
queue = "split"
wait_seconds = "duration_seconds(disptime)"
talk_seconds = "duration_seconds(talktime)"
hold_seconds = "duration_seconds(ansholdtime)"
agent_id = "anslogin"
""",
        (*CALL, "wait_seconds", "talk_seconds", "hold_seconds", "agent_id"),
        [
            ("880131", "C-1001", at("2024-08-01 08:00:05"), 14, 183, 0, "7001"),
            ("880132", "C-1002", at("2024-08-01 09:03:10"), 61, 0, 0, None),
            ("880133", "C-1003", at("2024-08-01 09:03:21"), 8, 456, 31, "7003"),
            ("880134", "C-1001", at("2024-08-02 08:00:00"), 3, 97, 0, "7001"),
        ],
        {},
    ),
    "01 serial days": Form(
        """
[sources.calls]
path = "01-serial-days/calls.txt"
options = { sep = "|" }
[sources.calls.columns]
call_id = "callid"
customer_id = "acctno"
event_time = "serial_day(row_date)"
""",
        CALL,
        [
            ("880131", "C-1001", at("2024-08-01")),
            ("880132", "C-1002", at("2024-08-01")),
            ("880133", "C-1003", at("2024-08-01")),
            ("880134", "C-1001", at("2024-08-02")),
        ],
        {},
    ),
    "02 lines above the header": Form(
        """
[sources.transactions]
path = "02-preamble/umsaetze.csv"
zone = "Europe/Berlin"
options = { sep = ";" }
[sources.transactions.columns]
transaction_id = "concat_ws('|', Buchungsdatum, Verwendungszweck, `Betrag (€)`)"
customer_id = "Kundenreferenz"
event_time = "cast(try_to_timestamp(Buchungsdatum, 'dd.MM.yy') as timestamp_ntz)"
kind = "if(`Betrag (€)` like '-%', 'purchase', 'payment')"
amount = "abs(money(`Betrag (€)`, 'de'))"
merchant_id = "`Zahlungsempfänger*in`"
""",
        ("customer_id", "event_time", "kind", "amount", "merchant_id"),
        [
            ("K0001", at("2025-01-01 23:00:00"), "purchase", money("1234.56"), "Muster Markt"),
            ("K0001", at("2025-01-02 23:00:00"), "payment", money("2500"), "Beispiel AG"),
            ("K0002", at("2025-01-04 23:00:00"), "payment", money("12.30"), "Muster Markt"),
        ],
        {},
    ),
    "03 UTF-16 by its byte-order mark": Form(
        """
[sources.transactions]
path = "03-utf16/export.csv"
zone = "Europe/Budapest"
[sources.transactions.columns]
transaction_id = "`Tranzakció azonosító`"
customer_id = "`Ügyfél`"
event_time = "cast(try_to_timestamp(`Könyvelés dátuma`, 'yyyy.MM.dd') as timestamp_ntz)"
kind = "if(`Típus` = 'Vásárlás', 'purchase', 'payment')"
amount = "abs(money(`Összeg`, 'hu'))"
currency = "Devizanem"
""",
        ("transaction_id", "customer_id", "event_time", "kind", "amount", "currency"),
        [
            ("T0001", "U100", at("2025-11-02 23:00:00"), "purchase", money("4990"), "HUF"),
            ("T0002", "U100", at("2025-11-03 23:00:00"), "payment", money("250000"), "HUF"),
            ("T0003", "U101", at("2025-11-04 23:00:00"), "purchase", money("1200"), "HUF"),
        ],
        {},
    ),
    "04 doubled quotes": Form(
        CALLS_04,
        (*CALL, "queue", "notes", "wait_seconds"),
        [
            ("q1", "A1", at("2024-11-03 04:50:00"), "Miller, Jo", "plain", 12),
            ("q2", "A1", at("2024-11-03 07:15:00"), 'William "Bill" Smith', "said ok", 3),
            ("q3", "A2", at("2024-11-04 14:00:00"), "Ann", 'asked for "the boss", then left', 44),
            ("q4", "A2", at("2024-11-04 15:00:00"), "Ann", "path C:\\temp\\", 5),
            ("q5", "A3", at("2024-11-04 16:00:00"), '"Quoted" name', "ok", 6),
            ("q6", "A3", at("2024-11-04 17:00:00"), "Bo", 'he said "no",6,and "yes"', 7),
        ],
        {},
    ),
    "08 ids as doubles, microseconds": Form(
        TRANSACTIONS_08.format(file="micros"),
        SIMPLE,
        [
            ("1", "12345678", at("2024-02-01 10:00"), money("9.5")),
            ("2", "700", at("2024-02-02 11:00"), money("3.25")),
            ("4", "12345678", at("2024-02-04 12:00"), money("2.005")),
        ],
        {"no_customer": 1, "customer_id_missing": 1},
    ),
    "08 ids as doubles, nanoseconds": Form(
        TRANSACTIONS_08.format(file="nanos"),
        SIMPLE,
        [
            ("1", "12345678", at("2024-02-01 10:00"), money("9.5")),
            ("2", "700", at("2024-02-02 11:00"), money("3.25")),
            ("4", "12345678", at("2024-02-04 12:00"), money("2.005")),
        ],
        {"no_customer": 1, "customer_id_missing": 1},
    ),
    "08 ids as decimals": Form(
        TRANSACTIONS_08.format(file="oracle"),
        SIMPLE,
        [
            ("1", "12345678", at("2024-02-01 10:00"), money("9.5")),
            ("2", "700", at("2024-02-02 11:00"), money("3.25")),
            ("3", "12345678", at("2024-02-03 12:00"), money("1")),
        ],
        {},
    ),
    "09 a column that widens": Form(
        """
[sources.calls]
format = "parquet"
path = "09-parquet-drift/daily"
[sources.calls.columns]
call_id = "id"
customer_id = "cust"
event_time = "at"
wait_seconds = "wait"
talk_seconds = "talk"
""",
        (*CALL, "wait_seconds", "talk_seconds"),
        [
            ("2024-06-01-1", "a", at("2024-06-01 09:00"), 5, 100),
            ("2024-06-01-2", "b", at("2024-06-01 10:00"), 6, 200),
            ("2024-06-02-1", "a", at("2024-06-02 09:00"), 7, 110),
            ("2024-06-02-2", "c", at("2024-06-02 10:00"), None, 210),
            ("2024-06-03-1", "b", at("2024-06-03 09:00"), 8, 120),
            ("2024-06-03-2", "c", at("2024-06-03 10:00"), None, 220),
        ],
        {},
    ),
    **{
        f"10 partitions of {form}": Form(
            f"""
[sources.transactions]
format = "{form}"
path = "10-partitions/{folder}"
[sources.transactions.columns]
transaction_id = "id"
customer_id = "acct"
event_time = "dt"
kind = "'purchase'"
amount = "{amount}"
merchant_id = "branch"
""",
            (*SIMPLE, "merchant_id"),
            [
                ("1", "12", at("2024-07-01"), money("9.5"), "007"),
                ("2", "13", at("2024-07-01"), money("1.5"), "007"),
                ("3", "12", at("2024-07-02"), money(third), "0042"),
                ("4", "13", at("2024-07-02"), money(fourth), "0042"),
            ],
            {},
        )
        for form, folder, amount, third, fourth in (
            ("csv", "csv", "amount", "4.5", "2.5"),
            ("parquet", "pq", "cast(amount as decimal(18, 4))", "9.5", "1.5"),
        )
    },
    "15 a duration of two timestamps": Form(
        CALLS_15.format(file="calls", talk="timestampdiff(SECOND, answer_ts, end_ts)"),
        (*CALL, "talk_seconds"),
        ROWS_15,
        {},
    ),
    "15 microseconds": Form(
        CALLS_15.format(file="calls_dur", talk="dur div 1000000"), (*CALL, "talk_seconds"), ROWS_15, {}
    ),
    "15 a time of day that is not used": Form(
        CALLS_15.format(file="calls_tod", talk="timestampdiff(SECOND, answer_ts, end_ts)"),
        (*CALL, "talk_seconds"),
        ROWS_15,
        {},
    ),
    "17 line breaks in cells": Form(
        """
[sources.calls]
path = "17-line-breaks/calls.csv"
options = { multiLine = true }
[sources.calls.columns]
call_id = "id"
customer_id = "account"
event_time = "started"
talk_seconds = "secs"
notes = "note"
""",
        (*CALL, "talk_seconds", "notes"),
        [
            ("1", "A1", at("2024-05-01 09:00"), 60, "short"),
            ("2", "A2", at("2024-05-01 09:10"), 120, "Caller angry.\nWants refund, will call back\n2024-05-03"),
            ("3", "A3", at("2024-05-01 09:20"), 30, "one line"),
            (
                "4",
                "A4",
                at("2024-05-01 09:30"),
                45,
                "first part\n5,A9,2024-05-02 10:00:00,999,pasted from another ticket",
            ),
            ("6", "A5", at("2024-05-01 09:40"), 50, "ok"),
        ],
        {},
    ),
    "17 a line break in the header": Form(
        """
[sources.calls]
path = "17-line-breaks/header.csv"
options = { multiLine = true }
[sources.calls.columns]
call_id = "id"
customer_id = "account"
event_time = "`started (local)`"
notes = "note"
""",
        (*CALL, "notes"),
        [("1", "A1", at("2024-05-01 09:00"), "short"), ("2", "A2", at("2024-05-01 09:10"), "a\nb")],
        {},
    ),
    "20 ids that a spreadsheet rounded": Form(
        """
[sources.transactions]
path = "20-scientific-ids/tx.csv"
[sources.transactions.columns]
transaction_id = "order"
customer_id = "customer"
event_time = "at"
kind = "'purchase'"
amount = "amount"
""",
        SIMPLE,
        [
            ("3", "447900123456", at("2024-01-04"), money("7")),
            ("5", "00123", at("2024-01-06"), money("8")),
            ("6", "123", at("2024-01-06"), money("8")),
        ],
        {"customer_id_in_scientific_notation": 3},
    ),
    "25 two columns of one name": Form(
        CALLS_25.format(file="report.csv", agent="`AGENT (1)`", odd="we``ird"), COLUMNS_25, ROWS_25, {}
    ),
    "25 a backtick": Form(CALLS_25.format(file="report3.csv", agent="AGENT", odd="we``ird"), COLUMNS_25, ROWS_25, {}),
    "25 a dot, a blank and an accent": Form(
        CALLS_25.format(file="report2.csv", agent="AGENT", odd="weird"), COLUMNS_25, ROWS_25, {}
    ),
    "28 no header, blank cells": Form(
        """
[sources.calls]
path = "28-separators/cells.txt"
options = { sep = "\\t", header = false }
[sources.calls.columns]
call_id = "concat_ws('-', _c0, _c1, _c2)"
customer_id = "_c0"
event_time = "timestamp_millis(try_cast(_c1 as bigint))"
queue = "_c2"
notes = "concat_ws(' ', _c3, _c4, _c5, _c6, _c7)"
""",
        ("call_id", "event_time", "queue", "notes"),
        [
            ("1-1383260400000-0", at("2013-10-31 23:00"), "0", "0.081"),
            ("1-1383260400000-39", at("2013-10-31 23:00"), "39", "0.14 0.15 0.16 0.07 11.02"),
            ("1-1383261000000-39", at("2013-10-31 23:10"), "39", "0.27 0.10 9.3"),
        ],
        {},
    ),
    **{
        f"28 {name}": Form(
            f"""
[sources.transactions]
path = "28-separators/{name}"
options = {{ sep = "{sep}" }}
[sources.transactions.columns]
transaction_id = "id"
customer_id = "who"
event_time = "at"
kind = "'purchase'"
amount = "amt"
""",
            SIMPLE,
            [(first, "x", at("2024-01-01"), money("5")), (second, "y", at("2024-01-02"), money("6"))],
            {},
        )
        for name, sep, first, second in (
            ("indexed.tsv", "\\t", "a1", "a2"),
            ("ragged.csv", ",", "1", "2"),
            ("trailing.csv", ";", "1", "2"),
        )
    },
    "31 a sentinel that the owner names": Form(
        """
[sources.closures]
path = "31-sentinel-dates/a.csv"
[sources.closures.columns]
customer_id = "account"
event_time = "closed"
[sources.closures.reject]
still_open = "closed is null or closed like '9999%'"
""",
        ("customer_id", "event_time"),
        [("A1", at("2024-03-01"))],
        {"still_open": 2, "event_time_missing": 1, "event_time_unreadable": 1},
    ),
    "31 sentinels that nobody names": Form(
        """
[sources.closures]
path = "31-sentinel-dates/b.csv"
max_quarantined = 0.9
[sources.closures.columns]
customer_id = "account"
event_time = "closed"
""",
        ("customer_id", "event_time"),
        [("A1", at("2024-03-01"))],
        {"event_time_unreadable": 2},
    ),
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(FOREIGN, tmp_path_factory.mktemp("foreign") / "foreign"))


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read_by_configuration(spark: SparkSession, foreign: Path, tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    toml = form.toml.replace('path = "', f'path = "{foreign}/')
    lake, [row] = ingested(spark, tmp_path, toml)

    rows = lake.read(row.source).select(*form.columns).collect()
    assert sorted(tuple(one) for one in rows) == list(form.rows)
    assert row.accepted == len(form.rows)
    assert dict(row.rules) == form.quarantined


def test_one_bad_cell_costs_one_row(spark: SparkSession, foreign: Path, tmp_path: Path) -> None:
    lake, [row] = ingested(spark, tmp_path, NAIVE["35"][0].replace('path = "', f'path = "{foreign}/'))

    assert (row.rows_in, row.accepted, dict(row.rules)) == (201, 200, {"event_time_unreadable": 1})
    assert lake.read("transactions").agg(F.min("event_time"), F.max("event_time")).collect()[0][:] == (
        at("2024-01-01"),
        at("2024-01-28"),
    )
    [stored] = lake.read(QUARANTINE).select("raw").collect()
    assert '"id":"x","who":"c1","at":"20240-01-05","amount":"5"' in stored["raw"]


RATES = """
[money]
currency = "EUR"
[sources.rates]
path = "rates.csv"
[sources.rates.columns]
event_time = "day"
"""
BALANCE = """
[sources.transactions]
path = "12-currencies/balance.csv"
[sources.transactions.columns]
transaction_id = "id"
customer_id = "`Customer ID`"
event_time = "`Created (UTC)`"
kind = "if(Type = 'refund', 'refund', 'purchase')"
amount = "abs(money(Amount, 'en'))"
currency = "Currency"
[sources.transactions.reject]
payout = "Type = 'payout'"
"""


def test_amounts_of_several_currencies_are_not_added_up(spark: SparkSession, foreign: Path, tmp_path: Path) -> None:
    toml = BALANCE.replace('path = "', f'path = "{foreign}/')
    with pytest.raises(ChurnError, match=r"amounts are in EUR, JPY, USD, which cannot be added up"):
        ingested(spark, tmp_path, toml)
    assert not (tmp_path / "lake").exists()


def test_one_currency_is_stored(spark: SparkSession, foreign: Path, tmp_path: Path) -> None:
    toml = BALANCE.replace('path = "', f'path = "{foreign}/') + "other_currency = \"Currency != 'usd'\"\n"
    lake, [row] = ingested(spark, tmp_path, toml)

    assert dict(row.rules) == {"other_currency": 2, "payout": 1, "customer_id_missing": 1}
    rows = lake.read("transactions").select("transaction_id", "kind", "amount", "currency").collect()
    assert sorted(tuple(one) for one in rows) == [
        ("txn_1", "purchase", money("19.99"), "USD"),
        ("txn_3", "refund", money("19.99"), "USD"),
        ("txn_6", "refund", money("12.50"), "USD"),
    ]


def test_amounts_are_converted_by_rates_that_were_known(spark: SparkSession, foreign: Path, tmp_path: Path) -> None:
    """A rate of a day holds from its first instant, one of a time of day from the next day on; JPY's comes too late."""
    (tmp_path / "rates.csv").write_text(
        "currency,day,rate\n"
        "usd,2024-03-01,0.9\n"
        "usd,2024-03-02 16:00:00,0.8\n"  # known on 2 March at 16:00, so for 3 and 4 March
        "usd,2024-03-05,0.5\n"
        "jpy,2024-03-03,0.006\n"
    )
    toml = RATES + BALANCE.replace('path = "', f'path = "{foreign}/')
    lake, [rates, row] = ingested(spark, tmp_path, toml)

    assert (rates.accepted, rates.quarantined) == (4, 0)
    assert dict(row.rules) == {"currency_without_rate": 1, "payout": 1, "customer_id_missing": 1}
    rows = lake.read("transactions").select("transaction_id", "amount", "currency").collect()
    assert sorted(tuple(one) for one in rows) == [
        ("txn_1", money("17.991"), "EUR"),
        ("txn_3", money("15.992"), "EUR"),
        ("txn_4", money("45"), "EUR"),
        ("txn_6", money("6.25"), "EUR"),
    ]


def naive(source: str, path: str, columns: str, **settings: str) -> str:
    """A mapping as somebody writes it who has seen the header only."""
    head = "".join(f"{name} = {value}\n" for name, value in settings.items())
    kind = "kind = \"'purchase'\"\n" if source == "transactions" else ""
    return f'[sources.{source}]\npath = "{path}"\n{head}[sources.{source}.columns]\n{kind}{columns}'


PARQUET = '"parquet"'
CALL_COLUMNS = 'call_id = "{}"\ncustomer_id = "{}"\nevent_time = "{}"\n'
TRANSACTION_COLUMNS = 'transaction_id = "{}"\ncustomer_id = "{}"\nevent_time = "{}"\namount = "{}"\n'
# name: (churn.toml, what the message says, or the rules that quarantine rows)
NAIVE: Mapping[str, tuple[str, str | Mapping[str, int]]] = {
    "01": (
        naive(
            "calls",
            "01-serial-days/calls.txt",
            CALL_COLUMNS.format("callid", "acctno", "row_date"),
            options='{ sep = "|" }',
        ),
        "4 of 4 rows break the contract, more than max_quarantined = 0.5: event_time_unreadable 4 times",
    ),
    "01 without a separator": (
        naive("calls", "01-serial-days/calls.txt", CALL_COLUMNS.format("callid", "acctno", "row_date")),
        'set sep = "|" under [sources.calls.options]',
    ),
    "02": (
        naive(
            "transactions",
            "02-preamble/umsaetze.csv",
            TRANSACTION_COLUMNS.format("Verwendungszweck", "Kundenreferenz", "Buchungsdatum", "`Betrag (€)`"),
            options='{ sep = ";" }',
        ),
        "event_time_unreadable 3 times",
    ),
    "03": (
        naive(
            "transactions",
            "03-utf16/export.csv",
            TRANSACTION_COLUMNS.format("`Tranzakció azonosító`", "`Ügyfél`", "`Könyvelés dátuma`", "`Összeg`"),
        ),
        "event_time_unreadable 3 times",
    ),
    "08": (
        naive(
            "transactions",
            "08-parquet-ids/micros.parquet",
            TRANSACTION_COLUMNS.format("tx", "customer", "at", "amount"),
            format=PARQUET,
        ),
        "customer_id = 'customer' is double, want text; write cast(cast(customer as decimal(38, 0)) as string)",
    ),
    "08 a decimal": (
        naive(
            "transactions",
            "08-parquet-ids/oracle.parquet",
            TRANSACTION_COLUMNS.format("tx", "customer", "at", "amount"),
            format=PARQUET,
        ),
        "is decimal(38,10), want text; write cast(cast(customer as decimal(38, 0)) as string)",
    ),
    "12": (
        naive(
            "transactions",
            "12-currencies/balance.csv",
            TRANSACTION_COLUMNS.format("id", "`Customer ID`", "`Created (UTC)`", "Amount"),
        ),
        "4 of 6 rows break the contract",
    ),
    "15": (
        naive(
            "calls",
            "15-durations/calls_dur.parquet",
            CALL_COLUMNS.format("call", "cust", "start_ts") + 'talk_seconds = "dur"\n',
            format=PARQUET,
        ),
        "talk_seconds_too_large 2 times",
    ),
    "15 a time of day": (
        naive(
            "calls",
            "15-durations/calls_tod.parquet",
            CALL_COLUMNS.format("call", "cust", "tod"),
            format=PARQUET,
        ),
        "tod",
    ),
    "17": (
        naive("calls", "17-line-breaks/calls.csv", CALL_COLUMNS.format("id", "account", "started")),
        "has cells with line breaks: 2 lines open a quote that ends on another line; set multiLine = true under",
    ),
    "17 in the header": (
        naive("calls", "17-line-breaks/header.csv", CALL_COLUMNS.format("id", "account", "started")),
        "header.csv has a line break in its header; set multiLine = true under [sources.calls.options]",
    ),
    "25": (
        naive(
            "calls",
            "25-headers/report.csv",
            CALL_COLUMNS.format("`CALL ID`", "ACCOUNT", "DATE") + 'agent_id = "AGENT"\n',
        ),
        "agent_id = 'AGENT' names 'AGENT', which the header has 2 times; write `AGENT (1)` or `AGENT (2)`",
    ),
    "28": (
        naive("transactions", "28-separators/indexed.tsv", TRANSACTION_COLUMNS.format("id", "who", "at", "amt")),
        'set sep = "\\t" under [sources.transactions.options]',
    ),
    "31": (
        naive("closures", "31-sentinel-dates/b.csv", 'customer_id = "account"\nevent_time = "closed"\n'),
        "2 of 3 rows break the contract, more than max_quarantined = 0.5: event_time_unreadable 2 times",
    ),
    "31 with a value that is missing": (
        naive("closures", "31-sentinel-dates/a.csv", 'customer_id = "account"\nevent_time = "closed"\n'),
        "event_time_missing 1 times",
    ),
    "35": (
        naive("transactions", "35-one-bad-cell/tx.csv", TRANSACTION_COLUMNS.format("id", "who", "at", "amount")),
        {"event_time_unreadable": 1},
    ),
}


@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_mapping_ends_in_one_message_or_in_quarantine(
    spark: SparkSession, foreign: Path, tmp_path: Path, name: str
) -> None:
    toml, expected = NAIVE[name]
    toml = toml.replace('path = "', f'path = "{foreign}/')
    if isinstance(expected, str):
        with pytest.raises(ChurnError) as error:
            ingested(spark, tmp_path, toml)
        assert expected in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.exit_code == 2
        assert not (tmp_path / "lake").exists()
    else:
        _, [row] = ingested(spark, tmp_path, toml)
        assert dict(row.rules) == expected
