"""A real Kafka for tests: one node on loopback, with jars of its own. Rows go in and out through Spark alone.

The fixture `kafka` of tests/conftest.py has the address of one for the whole run.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyspark.sql import SparkSession

from churn.runtime.jars import SPARK_HOME, resolve
from churn.runtime.java import KEPT, java_home
from churn.runtime.processes import _end_with_parent
from churn.runtime.session import LOGGING
from tests.loopback import free_ports

VERSION = "4.1.0"
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",  # without it a broker that fails says nothing
)
CLUSTER = "churn-tests-cluster-0A"  # 16 bytes in base64, as every cluster's id
START_SECONDS = 120.0  # some 4 are usual

# A topic that nobody made has two partitions, so that no test passes by an order it was given.
SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={home}/data
num.partitions=2
auto.create.topics.enable=true
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
log.cleaner.dedupe.buffer.size=8388608
"""


def broker_jars() -> list[Path]:
    """The broker's own jars, fetched at the first call; a ChurnError where Maven is not to be reached."""
    place = KEPT / "kafka" / VERSION
    return sorted(place.glob("*.jar")) or resolve(COORDINATES, place)


@contextmanager
def broker(home: Path) -> Iterator[str]:
    """Run a broker that keeps all in `home`; yields its host:port once it answers."""
    port, controller = free_ports(2)
    settings = home / "server.properties"
    settings.write_text(SETTINGS.format(port=port, controller=controller, home=home))
    path = [*broker_jars(), *(SPARK_HOME / "jars").glob("scala-library-*.jar")]
    java = [
        str(java_home() / "bin" / "java"), "-Xmx256m", "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={LOGGING.as_uri()}", "-cp", ":".join(map(str, path)),
    ]  # fmt: skip
    told = home / "log"
    with told.open("w") as log:
        storage = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config", settings]
        formatted = subprocess.run(storage, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        assert formatted.returncode == 0, told.read_text()[-4000:]
        process = subprocess.Popen(
            [*java, "kafka.Kafka", settings],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )  # fmt: skip
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port):
                assert process.poll() is None, f"the broker ended by itself\n{told.read_text()[-4000:]}"
                assert time.monotonic() < deadline, f"the broker never answered\n{told.read_text()[-4000:]}"
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            _end(process)


def create_topic(spark: SparkSession, address: str, topic: str, partitions: int) -> None:
    """Make a topic before its first row: a stream does not start on one that is not there."""
    jvm = spark._jvm
    assert jvm is not None
    java = jvm.java.util
    admin = jvm.org.apache.kafka.clients.admin.Admin.create(java.HashMap({"bootstrap.servers": address}))
    try:
        wanted = jvm.org.apache.kafka.clients.admin.NewTopic(topic, java.Optional.of(partitions), java.Optional.empty())
        admin.createTopics(java.List.of(wanted)).all().get()
    finally:
        admin.close()


def _answers(port: int) -> bool:
    """Ask which requests are known there: Kafka's ApiVersions, version 0, which every client sends first."""
    api_versions, version, correlation, nobody = 18, 0, 7, -1
    request = struct.pack(">hhih", api_versions, version, correlation, nobody)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">ih", head[4:]) == (correlation, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its session is its own, so its process id is its group's."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
