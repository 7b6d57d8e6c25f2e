"""Names of the JVM are resolved once."""

from __future__ import annotations

from typing import Any

import pytest
from py4j.java_gateway import GatewayClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def test_a_name_is_resolved_once(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    jvm: Any = spark._jvm
    resolved: list[str] = []
    client = type(jvm._gateway_client)
    assert issubclass(client, GatewayClient)
    send = client.send_command

    def sent(self: GatewayClient, command: str, *args: Any, **more: Any) -> Any:
        if command.startswith("r\nu\n"):  # reflection: an unknown name
            resolved.append(command.split("\n")[2])
        return send(self, command, *args, **more)

    F.col("x"), F.lit(1).isin(2), jvm.java.util.UUID.randomUUID()
    monkeypatch.setattr(client, "send_command", sent)
    F.col("x"), F.lit(1).isin(2), jvm.java.util.UUID.randomUUID()
    assert resolved == []
    assert jvm.java.util.Optional.empty().isEmpty()
    assert resolved == ["java.util.Optional"]
