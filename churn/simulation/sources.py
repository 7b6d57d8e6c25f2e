"""The company's own file formats: its columns, codes and formats instead of the contracts', and its typical errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.simulation.draw import Draws
from churn.simulation.noise import Dirt, with_broken_fields, with_delivery_errors


@dataclass(frozen=True)
class SourceFormat:
    """The files of one source. `monthly_rows` is about how many a customer has, to size the files; 0 = as simulated.

    `columns`: SQL over the contract's columns by the file's column. `before_correction`: SQL of the wrong value that a
    correction replaces, by the contract's column. `broken`: pairs of a file's column and SQL of an invalid value.
    """

    key: tuple[str, ...]
    monthly_rows: float
    columns: Mapping[str, str]
    before_correction: Mapping[str, str]
    broken: tuple[tuple[str, str], ...]

    def file_rows(self, df: DataFrame, draws: Draws, dirt: Dirt) -> DataFrame:
        """The rows of the files, with `arrived`, the time of each row's arrival."""
        arriving = with_delivery_errors(df, self.key, self.before_correction, draws, dirt)
        rows = arriving.select(
            *(F.expr(sql).alias(name) for name, sql in self.columns.items()),
            F.col("known_time").alias("arrived"),
            F.xxhash64(*self.key, F.col("copy") == 1).alias("delivery"),
        )
        return with_broken_fields(rows, [F.col("delivery")], self.broken, draws, dirt.broken).drop("delivery")


LOADED: Final = {"loaded_at": "CAST(known_time AS STRING)"}

SOURCES: Final[Mapping[str, SourceFormat]] = {
    "customers": SourceFormat(
        key=("customer_id", "event_time"),
        monthly_rows=0.12,
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
        before_correction={"region": "'unknown'"},
        broken=(
            ("account", "NULL"),
            ("valid_from", "'31.02.2025'"),
            ("fee", "replace(fee, '.', ',')"),
            ("fee", "concat('-', fee)"),
        ),
    ),
    "calls": SourceFormat(
        key=("call_id",),
        monthly_rows=0.25,
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
        before_correction={"resolved": "NOT resolved", "csat": "if(csat IS NULL, NULL, 1 + csat % 5)"},
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
    "transactions": SourceFormat(
        key=("transaction_id",),
        monthly_rows=0.0,
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
        before_correction={"amount": "amount * 10"},
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
    "closures": SourceFormat(
        key=("customer_id",),
        monthly_rows=0.02,
        columns={
            "account": "customer_id",
            "closed": "date_format(event_time, 'dd/MM/yyyy HH:mm:ss')",
            "how": "upper(left(kind, 1))",
            **LOADED,
        },
        before_correction={"kind": "if(kind = 'voluntary', 'involuntary', 'voluntary')"},
        broken=(("account", "NULL"), ("closed", "'pending'"), ("how", "'?'")),
    ),
    "fraud_reports": SourceFormat(
        key=("transaction_id",),
        monthly_rows=0.02,
        columns={
            "txn": "transaction_id",
            "account": "customer_id",
            "reported": "CAST(event_time AS STRING)",
            "verdict": "if(is_fraud, 'fraud', 'genuine')",
            **LOADED,
        },
        before_correction={"is_fraud": "NOT is_fraud"},
        broken=(("txn", "NULL"), ("reported", "'yesterday'"), ("verdict", "''")),
    ),
    "contacts": SourceFormat(
        key=("customer_id", "campaign"),
        monthly_rows=0.06,
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
        before_correction={"accepted": "NOT accepted"},
        broken=(("account", "NULL"), ("sent", "'TBD'"), ("arm", "'X'"), ("cost", "replace(cost, '.', ',')")),
    ),
}
"""By the contract's name."""
