"""A source that is a query over raw inputs: its rows, and an account of every row of every input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import Config, load
from churn.errors import BadInputError, ConfigError, HoldError
from churn.sources.holds import Report
from churn.sources.ingest import ingest, validate
from churn.sources.ledger import InputRow, LedgerRow
from churn.storage import Lake

LEGS = """\
Call Start,Connected Time,Ring Time,Caller,Direction,Is Internal,Call ID,Continuation
2024/07/11 10:06:32,00:00:35,7,2055550101,I,0,1000040,1
2024/07/11 10:07:14,00:02:10,3,2055550101,I,0,1000040,1
2024/07/11 10:09:30,00:01:01,5,2055550101,I,0,1000040,0
2024/07/11 10:20:00,00:00:00,40,2055550102,I,0,1000041,0
2024/07/11 23:59:40,00:03:00,4, 2055550103 ,I,0,1000042,0
"""
CALLS = """
[inputs.legs]
path = "legs.csv"
zone = "Europe/London"
[sources.calls]
query = '''
select
  `Call ID` as call_id,
  min(Caller) as customer_id,
  replace(min(`Call Start`), '/', '-') as event_time,
  sum(3600 * int(split_part(`Connected Time`, ':', 1)) + 60 * int(split_part(`Connected Time`, ':', 2))
    + int(split_part(`Connected Time`, ':', 3))) as talk_seconds,
  count(*) - 1 as transfers,
  max(`Connected Time`) = '00:00:00' as abandoned
from legs  -- one row a leg
group by `Call ID`;
'''
"""
CALL = ("call_id", "customer_id", "event_time", "talk_seconds", "transfers", "abandoned")
CALLS_OF_LEGS = [
    # London is an hour ahead of UTC in July; 35 + 130 + 61 seconds in three legs
    ("1000040", "2055550101", datetime(2024, 7, 11, 9, 6, 32), 226, 2, False),
    ("1000041", "2055550102", datetime(2024, 7, 11, 9, 20), 0, 0, True),
    ("1000042", "2055550103", datetime(2024, 7, 11, 22, 59, 40), 180, 0, False),
]

ORDERS = "order_id,customer_id,order_status,bought_at\no1,c1,delivered,2017-10-02 10:56:33\n"
ORDERS += "o2,c2,delivered,2018-07-24 20:41:37\no3,c3,canceled,2018-08-08 08:38:49\n"
PAYMENTS = "order_id,sequence,value\no1,1,18.12\no1,2,2.00\no2,1,141.46\no3,1,179.12\n"
CUSTOMERS = "customer_id,person_id\n c1 ,u1\nc2,u1\nc3,u2\nc4,u3\n"
LOOKUP = """
[inputs.orders]
path = "orders.csv"
key = ["order_id"]
[inputs.payments]
path = "payments.csv"
[inputs.customers]
path = "customers.csv"
key = ["customer_id"]
[sources.transactions]
query = '''
with totals as (select order_id, sum(cast(value as decimal(18, 4))) as amount from payments group by order_id)
select o.order_id, o.order_id as transaction_id, c.person_id, c.customer_id as account, bought_at, amount
from orders o join totals t on o.order_id = t.order_id join customers c on o.customer_id = c.customer_id
'''
[sources.transactions.columns]
customer_id = "person_id"
event_time = "bought_at"
kind = "'purchase'"
"""


def company(folder: Path, toml: str, files: Mapping[str, str]) -> Config:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    (folder / "churn.toml").write_text(toml, "utf-8")
    return load(folder / "churn.toml")


def write(spark: SparkSession, config: Config, as_of: datetime, batch: str | None = None) -> LedgerRow:
    [row] = ingest(spark, Lake(spark, config.root), config, batch=batch or f"{as_of:%Y-%m-%d}", as_of=as_of)
    return row


def table(spark: SparkSession, config: Config, name: str, *columns: str) -> list[tuple[object, ...]]:
    return sorted((tuple(row) for row in Lake(spark, config.root).read(name).select(*columns).collect()), key=str)


def report(spark: SparkSession, config: Config) -> Report:
    [one] = validate(spark, config)
    return one


def counts(row: LedgerRow) -> tuple[int, int, int, int]:
    return row.rows_in, row.accepted, row.duplicate, row.quarantined


# ---------------------------------------------------------------- what queries make


def test_legs_become_one_call(spark: SparkSession, tmp_path: Path) -> None:
    config = company(tmp_path, CALLS, {"legs.csv": LEGS})
    row = write(spark, config, datetime(2024, 7, 12))
    assert table(spark, config, "calls", *CALL) == CALLS_OF_LEGS
    assert counts(row) == (3, 3, 0, 0)
    assert row.inputs == (InputRow("legs", 5, 5, 0, 0, 0, {}, None),)


def test_two_feeds_fill_one_contract(spark: SparkSession, tmp_path: Path) -> None:
    """Each with its own separator, format of times, unit of money, and zone."""
    toml = """
    [inputs.charges]
    path = "charges.csv"
    [inputs.refunds]
    path = "refunds.csv"
    options = { sep = ";" }
    zone = "Europe/Berlin"
    [inputs.chargebacks]
    format = "json"
    path = "chargebacks.jsonl"
    [sources.transactions]
    zone = "UTC"
    query = '''
    select id as transaction_id, customer as customer_id, created as event_time, 'purchase' as kind,
      cast(amount as decimal(18, 4)) / 100 as amount, if(status = 'succeeded', 'approved', 'declined') as status
    from charges
    union all by name
    select refund_id as transaction_id, customer_ref as customer_id, 'refund' as kind,
      replace(refunded_amount, ',', '.') as amount,
      in_zone(regexp_replace(refunded_at, '(..)/(..)/(....) (.*)', '$3-$2-$1 $4'), 'Europe/Berlin') as event_time
    from refunds
    union all by name
    select id as transaction_id, who.id as customer_id, at as event_time, 'fee' as kind, fee as amount from chargebacks
    '''
    """
    config = company(
        tmp_path,
        toml.replace("\n    ", "\n"),
        {
            "charges.csv": "id,customer,created,amount,status\nch_1,cus_1,2024-02-01 10:00:00,2500,succeeded\n"
            "ch_2,cus_2,2024-02-02 10:00:00,1000,failed\n",
            # refunds of the hour that Berlin's clock repeats, and of the one that it skips
            "refunds.csv": "refund_id;customer_ref;refunded_at;refunded_amount\nre_1;cus_1;03/02/2024 09:30;25,00\n"
            "re_2;cus_1;27/10/2024 02:30;1,00\nre_3;cus_1;31/03/2024 02:30;1,00\n",
            "chargebacks.jsonl": '{"id": "cb_1", "who": {"id": "cus_1"}, "at": "2024-03-01T00:00:00Z", "fee": 15}\n',
        },
    )
    row = write(spark, config, datetime(2025, 1, 1))
    assert table(spark, config, "transactions", "transaction_id", "customer_id", "event_time", "kind", "amount") == [
        ("cb_1", "cus_1", datetime(2024, 3, 1), "fee", Decimal("15.0000")),
        ("ch_1", "cus_1", datetime(2024, 2, 1, 10), "purchase", Decimal("25.0000")),
        ("ch_2", "cus_2", datetime(2024, 2, 2, 10), "purchase", Decimal("10.0000")),
        ("re_1", "cus_1", datetime(2024, 2, 3, 8, 30), "refund", Decimal("25.0000")),
        ("re_2", "cus_1", datetime(2024, 10, 27, 1, 30), "refund", Decimal("1.0000")),
    ]
    assert (counts(row), row.rules) == ((6, 5, 0, 1), {"event_time_missing": 1})


def test_ids_are_joined_and_unused_rows_counted(spark: SparkSession, tmp_path: Path) -> None:
    files = {"orders.csv": ORDERS, "payments.csv": PAYMENTS, "customers.csv": CUSTOMERS}
    config = company(tmp_path, LOOKUP.replace("account", "customer_id"), files)
    found = report(spark, config)
    row = write(spark, config, datetime(2019, 1, 1))
    assert table(spark, config, "transactions", "transaction_id", "customer_id", "event_time", "amount") == [
        ("o1", "u1", datetime(2017, 10, 2, 10, 56, 33), Decimal("20.1200")),
        ("o2", "u1", datetime(2018, 7, 24, 20, 41, 37), Decimal("141.4600")),
        ("o3", "u2", datetime(2018, 8, 8, 8, 38, 49), Decimal("179.1200")),
    ]
    assert row.inputs == found.row.inputs
    assert row.inputs == (
        InputRow("orders", 3, 3, 0, 0, 0, {}, None),
        InputRow("payments", 4, 4, 0, 0, 0, {}, None),
        InputRow("customers", 4, 3, 1, 0, 0, {}, None),  # c4 bought nothing
    )
    [note] = found.notes
    assert note == (
        "transactions: 1 of 4 rows of the input customers are in no row of the result, such as"
        ' {"customer_id": "x9"}; mend the query, or name the reason: unused = "..." under [inputs.customers]'
    )


def test_the_reason_for_unused_rows_is_in_the_ledger(spark: SparkSession, tmp_path: Path) -> None:
    toml = LOOKUP.replace("account", "customer_id").replace(
        'path = "customers.csv"', 'path = "customers.csv"\nunused = "some never bought"'
    )
    files = {"orders.csv": ORDERS, "payments.csv": PAYMENTS, "customers.csv": CUSTOMERS}
    config = company(tmp_path, toml, files)
    assert report(spark, config).notes == ()
    write(spark, config, datetime(2019, 1, 1))
    [ledger] = (
        Lake(spark, config.root).read("ledger").selectExpr("inline(inputs)").where("name = 'customers'").collect()
    )
    assert ledger.asDict() == {
        "name": "customers",
        "rows": 4,
        "used": 3,
        "unused": 1,
        "rejected": 0,
        "malformed": 0,
        "rules": {},
        "reason": "some never bought",
    }


def test_a_union_by_name_may_be_anywhere_in_a_query(spark: SparkSession, tmp_path: Path) -> None:
    """In a `with`, in brackets, more than once; with a column less, one in another place, and without `all`."""
    toml = """
[inputs.one]
path = "one.csv"
[inputs.two]
path = "two.csv"
[sources.calls]
query = '''
with both(call_id, customer_id, event_time) as (
  select id, who, at from one union by name select at, id, who from two union all by name select id, who, at from two
)
select b.*, queue from both b join (
  select id, queue from one  -- not: union all by name
  union all by name
  select id, 'union all by name' as queue from two where id != '1'
) q on b.call_id = q.id
union all by name
(select max(at) as event_time, 'last' as call_id, max(who) as customer_id from two)
'''
"""
    files = {"one.csv": "id,who,at,queue\n1,ann,2024-07-01,a\n", "two.csv": "at,who,id\n2024-07-02,bob,2\n"}
    config = company(tmp_path, toml, files)
    row = write(spark, config, datetime(2024, 8, 1))
    assert table(spark, config, "calls", "call_id", "customer_id", "event_time", "queue") == [
        ("1", "ann", datetime(2024, 7, 1), "a"),
        ("2", "bob", datetime(2024, 7, 2), "union all by name"),
        ("last", "bob", datetime(2024, 7, 2), None),
    ]
    assert (counts(row), [one.used for one in row.inputs]) == ((3, 3, 0, 0), [1, 1])


def test_nested_responses_are_exploded(spark: SparkSession, tmp_path: Path) -> None:
    toml = """
[inputs.responses]
format = "json"
path = "responses.jsonl"
[sources.calls]
query = '''
select c.id as call_id, c.who as customer_id, c.at as event_time,
  cast(aggregate(c.talks, 0L, (total, one) -> total + cast(one as bigint)) / 1000 as int) as talk_seconds
from responses lateral view explode(conversations) as c
'''
"""
    conversations = [
        {"id": "c-1", "who": "ann", "at": "2024-05-01T08:00:00.123Z", "talks": [200_000, 90_000]},
        {"id": "c-2", "who": "bob", "at": "2024-05-01T23:58:30Z", "talks": [250_000]},
        {"id": "c-3", "who": "cy", "at": "2024-05-02T07:00:00Z", "talks": []},
    ]
    pages = [{"conversations": conversations[:2], "page": 1}, {"conversations": conversations[2:], "page": 2}]
    config = company(tmp_path, toml, {"responses.jsonl": "".join(f"{json.dumps(page)}\n" for page in pages)})
    row = write(spark, config, datetime(2024, 6, 1))
    assert table(spark, config, "calls", "call_id", "customer_id", "event_time", "talk_seconds") == [
        ("c-1", "ann", datetime(2024, 5, 1, 8, 0, 0, 123_000), 290),
        ("c-2", "bob", datetime(2024, 5, 1, 23, 58, 30), 250),
        ("c-3", "cy", datetime(2024, 5, 2, 7), 0),
    ]
    assert row.inputs == (InputRow("responses", 2, 2, 0, 0, 0, {}, None),)


def test_typed_inputs_are_read_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    """Delta and parquet: instants stay instants, beside local times as text."""
    spark.sql("select 1L as id, timestamp '2024-07-01 12:00:00Z' as began").write.parquet(f"{tmp_path}/began")
    spark.sql("select 1L as id, ' ann ' as who").write.format("delta").save(f"{tmp_path}/who")
    toml = """
[inputs.began]
format = "parquet"
path = "began"
[inputs.who]
format = "delta"
path = "who"
key = ["id"]
[sources.calls]
zone = "Europe/Paris"
query = "select began.id as call_id, who as customer_id, began from began join who using (id)"
columns.event_time = { sql = "began", zone = "UTC" }
"""
    config = company(tmp_path, toml, {})
    write(spark, config, datetime(2024, 7, 2))
    assert table(spark, config, "calls", "call_id", "customer_id", "event_time") == [
        ("1", "ann", datetime(2024, 7, 1, 12))
    ]


# ---------------------------------------------------------------- every row is accounted for


def test_rejected_and_malformed_rows_never_reach_the_query(spark: SparkSession, tmp_path: Path) -> None:
    legs = LEGS + "2024/07/11 11:00:00,00:00:09,1,211,O,1,1000043,0\n"  # internal
    legs += "2024/07/11 12:00:00,00:00:09,1,2055550104,I,0,1000044,0,one,more\n"  # more cells than the header
    toml = CALLS + "[inputs.legs.reject]\ninternal = \"`Is Internal` = '1'\"\n"
    config = company(tmp_path, toml, {"legs.csv": legs})
    row = write(spark, config, datetime(2024, 7, 12))
    assert table(spark, config, "calls", *CALL) == CALLS_OF_LEGS
    assert (counts(row), row.rules) == ((5, 3, 0, 2), {"internal": 1, "malformed_row": 1})
    assert row.inputs == (InputRow("legs", 7, 5, 0, 1, 1, {"internal": 1}, None),)
    raw = {rules[0]: json.loads(raw) for rules, raw in table(spark, config, "quarantine", "rules", "raw")}
    assert raw["malformed_row"]["_input"] == raw["internal"]["_input"] == "legs"
    assert raw["malformed_row"]["line"] == "2024/07/11 12:00:00,00:00:09,1,2055550104,I,0,1000044,0,one,more"
    assert (raw["internal"]["Call ID"], raw["internal"]["Direction"]) == ("1000043", "O")


def test_a_row_on_which_a_rule_raises_an_error_never_reaches_the_query(spark: SparkSession, tmp_path: Path) -> None:
    legs = LEGS + "2024/07/11 11:00:00,00:00:09,soon,211,O,1,1000043,0\n"
    legs += "2024/07/11 11:00:00,00:00:09,99,211,O,1,1000044,0\n"
    toml = CALLS + '[inputs.legs.reject]\nslow = "int(`Ring Time`) > 90"\n'
    config = company(tmp_path, toml, {"legs.csv": legs})
    row = write(spark, config, datetime(2024, 7, 12))
    assert table(spark, config, "calls", *CALL) == CALLS_OF_LEGS
    assert (counts(row), row.rules) == ((5, 3, 0, 2), {"slow": 1, "slow_failed": 1})
    assert row.inputs == (InputRow("legs", 7, 5, 0, 2, 0, {"slow": 1, "slow_failed": 1}, None),)


def test_malformed_rows_of_an_input_count_towards_the_limit(spark: SparkSession, tmp_path: Path) -> None:
    legs = LEGS + "2024/07/11 12:00:00,1,2,3,I,0,1000044,0,more\n" * 4
    with pytest.raises(BadInputError, match="calls: 4 of 7 rows break the contract, more than max_quarantined"):
        write(spark, company(tmp_path, CALLS, {"legs.csv": legs}), datetime(2024, 7, 12))
    assert not (tmp_path / "lake").exists()


def test_a_row_of_the_query_that_breaks_a_rule_is_in_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    config = company(tmp_path, CALLS, {"legs.csv": LEGS + "soon,00:00:09,1,7,I,0,1000043,0\n"})
    row = write(spark, config, datetime(2024, 7, 12))
    assert (counts(row), row.rules) == ((4, 3, 0, 1), {"event_time_unreadable": 1})
    [(_, raw)] = table(spark, config, "quarantine", "rules", "raw")
    assert json.loads(str(raw)) == {
        "call_id": "1000043",
        "customer_id": "7",
        "event_time": "soon",
        "talk_seconds": 9,
        "transfers": 0,
        "abandoned": False,
    }


def test_a_key_that_is_not_unique_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    files = {"orders.csv": ORDERS, "payments.csv": PAYMENTS, "customers.csv": CUSTOMERS + " c1 ,u9\n,u7\n,u8\n"}
    with pytest.raises(BadInputError) as error:
        report(spark, company(tmp_path, LOOKUP, files))
    assert str(error.value) == (
        "churn.toml: [inputs.customers] key customer_id is not unique: 1 of its values are in several rows, such as"
        ' {"customer_id": "x9"}, and a join would multiply rows; find them by group by customer_id having count(*) > 1,'
        " then mend the input, name rows to leave out in [inputs.customers.reject], or correct the key"
    )


def test_a_join_that_nothing_checks_is_noted(spark: SparkSession, tmp_path: Path) -> None:
    """Without its key, the second row of c1 gives o1 to two persons: both are quarantined."""
    files = {"orders.csv": ORDERS, "payments.csv": PAYMENTS, "customers.csv": CUSTOMERS + "c1,u9\n"}
    found = report(spark, company(tmp_path, LOOKUP.replace('key = ["customer_id"]', ""), files))
    assert (counts(found.row), found.row.rules) == ((4, 2, 0, 2), {"conflicting_id": 2})
    [note] = found.notes
    assert note == (
        "transactions: the query joins, and payments, customers name no key, so nothing tells whether a join multiplies"
        " rows; set key = [...] for the inputs in which each row has its own"
    )


# ---------------------------------------------------------------- time


def test_a_late_leg_makes_another_version_of_the_call(spark: SparkSession, tmp_path: Path) -> None:
    config = company(tmp_path, CALLS, {"legs.csv": LEGS})
    write(spark, config, datetime(2024, 7, 12))
    late = LEGS + "2024/07/11 10:11:00,00:00:10,2,2055550101,I,0,1000040,0\n"
    company(tmp_path, CALLS, {"legs.csv": late})
    row = write(spark, config, datetime(2024, 7, 13))
    assert counts(row) == (3, 1, 2, 0)
    versions = table(spark, config, "calls", "call_id", "talk_seconds", "transfers", "known_time", "superseded_at")
    assert versions[:2] == [
        ("1000040", 226, 2, datetime(2024, 7, 11, 9, 6, 32), datetime(2024, 7, 13)),
        ("1000040", 236, 3, datetime(2024, 7, 13), None),
    ]
    before = table(spark, config, "ledger", "*"), table(spark, config, "calls", "*")
    assert write(spark, config, datetime(2024, 7, 13)) == row
    assert (table(spark, config, "ledger", "*"), table(spark, config, "calls", "*")) == before


DAILY = CALLS.replace('"legs.csv"', '"legs/${day}.csv"\nlook_back = 2').replace("Europe/London", "UTC")
HEADER = LEGS.splitlines(keepends=True)[0]


def leg(call: int, at: str, talk: str = "00:01:00") -> str:
    return f"2024/07/{at},{talk},1,ann,I,0,{call},0\n"


def test_legs_of_two_days_are_one_call_and_never_a_part_of_one(spark: SparkSession, tmp_path: Path) -> None:
    """Call 1 runs over midnight of the 2nd: a batch that no longer reads the 1st must not replace it by its end."""
    files = {
        "legs/2024-07-01.csv": HEADER + leg(1, "01 23:59:00"),
        "legs/2024-07-02.csv": HEADER + leg(1, "02 00:00:30") + leg(2, "02 12:00:00"),
        "legs/2024-07-03.csv": HEADER + leg(3, "03 12:00:00"),
    }
    config = company(tmp_path, DAILY, files)
    first, then, last = (write(spark, config, datetime(2024, 7, day)) for day in (2, 3, 4))
    assert counts(first) == (1, 1, 0, 0)
    assert counts(then) == (2, 2, 0, 0)  # call 1 in full, call 2
    assert (counts(last), last.rules) == ((3, 1, 1, 1), {"began_before_batch": 1})
    assert [row.inputs[0].rows for row in (first, then, last)] == [1, 3, 3]
    assert table(spark, config, "calls", "call_id", "event_time", "talk_seconds", "superseded_at") == [
        ("1", datetime(2024, 7, 1, 23, 59), 120, None),
        ("1", datetime(2024, 7, 1, 23, 59), 60, datetime(2024, 7, 3)),
        ("2", datetime(2024, 7, 2, 12), 60, None),
        ("3", datetime(2024, 7, 3, 12), 60, None),
    ]
    [(rules, raw)] = table(spark, config, "quarantine", "rules", "raw")
    assert (rules, json.loads(str(raw))["talk_seconds"]) == (["began_before_batch"], 60)
    assert write(spark, config, datetime(2024, 7, 4)) == last


def test_a_missing_day_of_an_input_holds_the_batch(spark: SparkSession, tmp_path: Path) -> None:
    """Other inputs are read whole."""
    toml = DAILY.replace("from legs", "from legs join names on Caller = name").replace(
        "[inputs.legs]", '[inputs.names]\npath = "names.csv"\nkey = ["name"]\n[inputs.legs]'
    )
    files = {"legs/2024-07-01.csv": HEADER + leg(1, "01 12:00:00"), "names.csv": "name\nann\n"}
    config = company(tmp_path, toml, files)
    assert counts(write(spark, config, datetime(2024, 7, 2))) == (1, 1, 0, 0)
    with pytest.raises(HoldError, match=r"^calls: input legs: .*2024-07-02\.csv has not come; nothing was written"):
        write(spark, config, datetime(2024, 7, 3))
    with pytest.raises(ConfigError, match="comes daily, so a batch of it needs an as-of"):
        ingest(spark, Lake(spark, config.root), config, batch="x")


def test_rows_are_expected_of_the_last_day_alone(spark: SparkSession, tmp_path: Path) -> None:
    files = {f"legs/2024-07-0{day}.csv": HEADER + leg(day, f"0{day} 12:00:00") for day in (1, 2)}
    config = company(tmp_path, DAILY + "[sources.calls.expect]\nrows = 2\n", files)
    with pytest.raises(HoldError, match="1 rows of 2024-07-02 have come, at least 2 are expected"):
        write(spark, config, datetime(2024, 7, 3))


def test_an_input_that_is_not_there_is_a_hold_where_rows_are_expected(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"\[inputs.legs\] path .*legs.csv does not exist"):
        report(spark, company(tmp_path, CALLS, {}))
    with pytest.raises(HoldError, match=r"\[inputs.legs\] path .*legs.csv does not exist"):
        report(spark, company(tmp_path, CALLS + "[sources.calls.expect]\nrows = 1\n", {}))


# ---------------------------------------------------------------- the session


def test_nothing_of_the_session_is_seen_or_changed(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("select 'of the session' as other").createOrReplaceTempView("legs")
    try:
        before = [row["tableName"] for row in spark.sql("show tables").collect()]
        assert counts(report(spark, company(tmp_path, CALLS, {"legs.csv": LEGS})).row) == (3, 3, 0, 0)
        assert [row["tableName"] for row in spark.sql("show tables").collect()] == before
        assert spark.table("legs").columns == ["other"]
    finally:
        spark.catalog.dropTempView("legs")


# ---------------------------------------------------------------- errors


def changed(old: str, new: str, text: str = CALLS) -> str:
    assert old in text
    return text.replace(old, new)


WRONG: Mapping[str, tuple[str, str]] = {
    "no such input": (
        changed("from legs ", "from leg join legs "),
        "[sources.calls] query reads leg, want one of the inputs: legs",
    ),
    "an input that no query reads": (
        CALLS + '[inputs.persons]\npath = "persons.csv"\n',
        "[inputs.persons] is read by no query; name it after FROM in one, or drop the section",
    ),
    "no input": (
        changed("from legs ", "from (select 1) -- legs "),
        "[sources.calls] query reads no [inputs.NAME]; name one after FROM",
    ),
    "a column of the contract is missing": (
        changed("`Call ID` as call_id", "`Call ID` as id"),
        '[sources.calls.columns] lacks call_id; add call_id = "an expression over: id, customer_id,',
    ),
    "no such column": (
        changed("min(Caller)", "min(Calller)"),
        "[sources.calls] query names 'Calller', which is no column: legs has Call Start, Connected Time,",
    ),
    "syntax": (
        changed("as customer_id,", "as customer_id"),
        "[sources.calls] query is not Spark SQL: Syntax error at or near 'replace' on line 4, at character 3",
    ),
    "a type": (
        changed("min(Caller)", "explode(Caller)"),
        "[sources.calls] query cannot run:",
    ),
    "a column twice": (
        changed("as transfers", "as Call_ID"),
        "[sources.calls] query has two columns named call_id; give one another name: ... AS other_name",
    ),
    "a bad cell": (
        changed("count(*) - 1 as", "sum(int(Direction)) as"),
        "where an expression may meet a bad cell, write try_cast(...)",
    ),
    "a number that is too large": (
        changed("count(*) - 1 as", "unix_seconds(timestamp_seconds(bigint(min(Caller)) * 1000000000)) as"),
        "long overflow; where an expression may meet a number that is too large, test it first, such as if(x between 0",
    ),
    "the key is no column": (
        changed("zone =", 'key = ["Call Id"]\nzone ='),
        "[inputs.legs] key 'Call Id' is no column of it; did you mean 'Call ID'?",
    ),
    "a rule that is no condition": (
        CALLS + '[inputs.legs.reject]\nx = "Caller"\n',
        "[inputs.legs.reject] x = 'Caller' is string, want boolean: a condition such as",
    ),
    "a rule over no column": (
        CALLS + '[inputs.legs.reject]\nx = "Internal = 1"\n',
        "[inputs.legs.reject] x = 'Internal = 1' names 'Internal', which is no column: legs has Call Start,",
    ),
    "a rule of the contract": (
        CALLS + '[inputs.legs.reject]\nmalformed_row = "true"\n',
        "malformed_row is a rule of the contract; choose another name",
    ),
    "local times made instants": (
        changed("replace(min(`Call Start`), '/', '-')", "to_timestamp(min(`Call Start`), 'yyyy/MM/dd HH:mm:ss')"),
        "event_time = 'event_time' is a TIMESTAMP, an instant already, so zone 'Europe/London' cannot apply",
    ),
    "a zone that nothing applies": (
        changed("[sources.calls]", '[sources.calls]\nzone = "Asia/Tokyo"'),
        (
            "[inputs.legs] zone = 'Europe/London' is not that of [sources.calls], 'Asia/Tokyo'; in the query write"
            " in_zone(time, 'Europe/London') for its local times, or drop zone"
        ),
    ),
    "days that differ": (
        changed('"legs.csv"', '"legs/${day}.csv"')
        .replace("from legs ", "from legs join old using (Caller) ")
        .replace("[inputs.legs]", '[inputs.old]\npath = "${day}.csv"\nlook_back = 3\n[inputs.legs]'),
        "query reads inputs with different look_back: legs 1, old 3; give all the same",
    ),
    "the clock": (
        changed("min(Caller)", "string(now())"),
        "[sources.calls] query calls now(), which reads the clock, so a rerun would differ; use a column instead",
    ),
    "a file": (
        changed("from legs ", "from legs join text.`/etc/passwd` on true "),
        "[sources.calls] query reads text.`/etc/passwd`, want one of the inputs: legs",
    ),
    "an order of rows": (
        changed("min(Caller)", "first(Caller)"),
        "[sources.calls] query calls first(), whose result depends on the order of rows, so a rerun would differ;",
    ),
    "sums of doubles": (
        changed("count(*) - 1 as", "sum(`Ring Time`) as"),
        "which adds floating-point numbers",
    ),
    "a rule that reads the clock": (
        CALLS + '[inputs.legs.reject]\nx = "`Call Start` > string(now())"\n',
        "[inputs.legs.reject] x = '`Call Start` > string(now())' calls now(), which reads the clock",
    ),
    "an unknown zone": (
        changed("min(Caller)", "string(in_zone(min(Caller), 'Europe/Lond'))"),
        "calls in_zone() with 'Europe/Lond', want an IANA name in quotes such as 'Europe/Paris'",
    ),
    "a path beside the query": (
        changed("[sources.calls]", '[sources.calls]\npath = "legs.csv"'),
        "[sources.calls] path stands beside a query, which reads [inputs.NAME]; name the file there",
    ),
    "options beside the query": (
        changed("[sources.calls]", '[sources.calls]\noptions = { sep = ";" }'),
        "[sources.calls] has options beside a query, which reads [inputs.NAME]; set it there",
    ),
    "a format without its query": (
        '[sources.calls]\nformat = "query"\n',
        "[sources.calls] lacks 'query', the text that reads [inputs.NAME]",
    ),
    "an input that is a query": (
        changed("[inputs.legs]", '[inputs.legs]\nformat = "query"'),
        "[inputs.legs] format is 'query', want one of csv, json, parquet, delta, jdbc",
    ),
    "a stream": (
        CALLS + '[sources.calls.stream]\npath = "arriving"\n',
        "[sources.calls.stream] cannot be read: its rows arrive one by one, and a query needs all of them",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_one_clear_message(spark: SparkSession, tmp_path: Path, name: str) -> None:
    toml, message = WRONG[name]
    with pytest.raises(BadInputError) as error:
        report(spark, company(tmp_path, toml, {"legs.csv": LEGS}))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "churn.toml" in str(error.value)


# ---------------------------------------------------------------- the example


def test_the_example_of_call_legs(spark: SparkSession, tmp_path: Path) -> None:
    """The tables of its README."""
    config = load(Path(__file__).parents[2] / "docs" / "examples" / "call_legs" / "churn.toml")
    lake = Lake(spark, str(tmp_path))
    calls, customers = ingest(spark, lake, config, batch="2024-04-01", as_of=datetime(2024, 4, 1))
    assert (counts(calls), calls.rules) == ((6, 4, 0, 2), {"customer_id_missing": 1, "internal": 1, "unidentified": 1})
    assert calls.inputs == (
        InputRow("legs", 8, 7, 0, 1, 0, {"internal": 1}, None),
        InputRow("persons", 4, 3, 1, 0, 0, {}, "not every person called"),
    )
    assert (counts(customers), customers.rules) == ((3, 3, 0, 0), {})
    assert customers.inputs == (InputRow("persons", 4, 4, 0, 0, 0, {}, "not every person called"),)
    columns = ("call_id", "customer_id", "event_time", "wait_seconds", "talk_seconds", "hold_seconds", "transfers")
    rows = lake.read("calls").select(*columns, "abandoned", "agent_id").orderBy("call_id").collect()
    assert [tuple(row) for row in rows] == [
        ("1000042", "P-17", datetime(2024, 3, 29, 23, 59, 40), 4, 180, 0, 0, False, "211"),
        ("1000043", "P-17", datetime(2024, 3, 30, 10, 6, 32), 7, 226, 12, 2, False, "214"),
        ("1000044", "P-18", datetime(2024, 3, 30, 10, 20), 40, 0, 0, 0, True, "390000"),
        ("1000046", "P-17", datetime(2024, 3, 31, 8, 15), 6, 245, 20, 0, False, "211"),
    ]
