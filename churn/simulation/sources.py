"""The company's own files: its names, codes and formats for what the contracts call otherwise, and its typical dirt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.simulation.draw import Dice
from churn.simulation.noise import Dirt, break_some, on_the_way


@dataclass(frozen=True)
class Own:
    """How one source leaves the company. `rows`: about how many a customer and month, to size the files; 0 = as asked.

    `columns`: the file's column -> SQL over the contract's. `told_first`: contract column -> SQL of the wrong value
    that a correction replaces. `broken`: file column and SQL over the file's columns that cannot be right.
    """

    key: tuple[str, ...]
    rows: float
    columns: Mapping[str, str]
    told_first: Mapping[str, str]
    broken: tuple[tuple[str, str], ...]

    def files_rows(self, df: DataFrame, dice: Dice, dirt: Dirt) -> DataFrame:
        """The rows of the files, and `arrived`, which is when each came."""
        sent = on_the_way(df, self.key, self.told_first, dice, dirt)
        own = sent.select(
            *(F.expr(sql).alias(name) for name, sql in self.columns.items()),
            F.col("known_time").alias("arrived"),
            F.xxhash64(*self.key, F.col("copy") == 1).alias("letter"),
        )
        return break_some(own, [F.col("letter")], self.broken, dice, dirt.broken).drop("letter")


LOADED: Final = {"loaded_at": "CAST(known_time AS STRING)"}

SOURCES: Final[Mapping[str, Own]] = {
    "customers": Own(
        key=("customer_id", "event_time"),
        rows=0.12,
        columns={
            "account": "customer_id",
            "since": "CAST(opened_at AS STRING)",
            "valid_from": "CAST(event_time AS STRING)",
            "region": "region",
            "segment": "segment",
            "tariff": "upper(plan)",
            "fee": "CAST(CAST(monthly_fee AS DECIMAL(18,2)) AS STRING)",
            "bound_until": "CAST(contract_ends_on AS STRING)",
            **LOADED,
        },
        told_first={"region": "'unknown'"},
        broken=(
            ("account", "NULL"),
            ("valid_from", "'31.02.2025'"),
            ("fee", "replace(fee, '.', ',')"),
            ("fee", "concat('-', fee)"),
        ),
    ),
    "calls": Own(
        key=("call_id",),
        rows=0.25,
        columns={
            "call_ref": "call_id",
            "account": "customer_id",
            "started": "replace(CAST(event_time AS STRING), ' ', 'T') || 'Z'",
            "direction": "if(direction = 'inbound', 'IN', 'OUT')",
            "queue": "queue",
            "topic": "reason",
            "wait_s": "CAST(wait_seconds AS STRING)",
            "dur_s": "CAST(talk_seconds + hold_seconds AS STRING)",
            "hold_s": "CAST(hold_seconds AS STRING)",
            "transfers": "CAST(transfers AS STRING)",
            "gave_up": "if(abandoned, 'Y', 'N')",
            "solved": "if(resolved, 'Y', 'N')",
            "agent": "agent_id",
            "rating": "CAST(csat AS STRING)",
            "note": "notes",
            **LOADED,
        },
        told_first={"resolved": "NOT resolved", "csat": "if(csat IS NULL, NULL, 1 + csat % 5)"},
        broken=(
            ("call_ref", "NULL"),
            ("account", "NULL"),
            ("started", "'0000-00-00T00:00:00Z'"),
            ("wait_s", "'-1'"),
            ("dur_s", "concat(dur_s, ' sec')"),
            ("direction", "'??'"),
            ("rating", "'9'"),
        ),
    ),
    "transactions": Own(
        key=("transaction_id",),
        rows=0.0,
        columns={
            "txn": "transaction_id",
            "account": "customer_id",
            "booked": "CAST(event_time AS STRING)",
            "type": "upper(left(kind, 3))",
            "amount": "CAST(CAST(amount AS DECIMAL(18,2)) AS STRING)",
            "ccy": "currency",
            "channel": "channel",
            "merchant": "merchant_id",
            "device": "device_id",
            "country": "country",
            "result": "if(status = 'approved', '00', '51')",
            **LOADED,
        },
        told_first={"amount": "amount * 10"},
        broken=(
            ("txn", "NULL"),
            ("account", "' '"),
            ("booked", "concat(left(booked, 5), '13-45')"),
            ("booked", "concat('2099', substr(booked, 5))"),
            ("amount", "replace(amount, '.', ',')"),
            ("amount", "concat('-', amount)"),
            ("type", "'XXX'"),
        ),
    ),
    "closures": Own(
        key=("customer_id",),
        rows=0.02,
        columns={
            "account": "customer_id",
            "closed": "date_format(event_time, 'dd/MM/yyyy HH:mm:ss')",
            "how": "upper(left(kind, 1))",
            **LOADED,
        },
        told_first={"kind": "if(kind = 'voluntary', 'involuntary', 'voluntary')"},
        broken=(("account", "NULL"), ("closed", "'pending'"), ("how", "'?'")),
    ),
    "fraud_reports": Own(
        key=("transaction_id",),
        rows=0.02,
        columns={
            "txn": "transaction_id",
            "account": "customer_id",
            "reported": "CAST(event_time AS STRING)",
            "verdict": "if(is_fraud, 'fraud', 'genuine')",
            **LOADED,
        },
        told_first={"is_fraud": "NOT is_fraud"},
        broken=(("txn", "NULL"), ("reported", "'yesterday'"), ("verdict", "''")),
    ),
    "contacts": Own(
        key=("customer_id", "campaign"),
        rows=0.06,
        columns={
            "account": "customer_id",
            "campaign": "campaign",
            "sent": "CAST(event_time AS STRING)",
            "arm": "if(arm = 'treated', 'T', 'C')",
            "offer": "offer",
            "cost": "CAST(CAST(cost AS DECIMAL(18,2)) AS STRING)",
            "accepted": "if(accepted, 'Y', 'N')",
            **LOADED,
        },
        told_first={"accepted": "NOT accepted"},
        broken=(("account", "NULL"), ("sent", "'TBD'"), ("arm", "'X'"), ("cost", "replace(cost, '.', ',')")),
    ),
}
"""Every source of the company by its contract's name."""
