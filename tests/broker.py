"""A real Kafka broker for tests: one node on loopback, with jars of its own.

The fixture `kafka` of tests/conftest.py is the address of one that serves the whole run.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from churn.runtime.jars import SPARK_HOME, resolve
from churn.runtime.java import SHARE, java_home
from churn.runtime.processes import end_group, start_group
from churn.runtime.session import LOGGING
from tests.loopback import free_ports

VERSION = "4.1.0"
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",  # without it a broker that fails logs nothing
)
CLUSTER = "churn-tests-cluster-0A"  # 16 bytes in base64, as every cluster's id
START_SECONDS = 120.0  # it takes some 4

# A topic that is created by its first row has two partitions, so that no test passes by the order of its rows.
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
    """The broker's own jars, downloaded at the first call. Raises ChurnError where Maven cannot be reached."""
    folder = SHARE / "kafka" / VERSION
    return sorted(folder.glob("*.jar")) or resolve(COORDINATES, folder)


@contextmanager
def broker(home: Path) -> Iterator[str]:
    """Run a broker whose files are in `home`; yields its host:port once it answers."""
    port, controller = free_ports(2)
    settings = home / "server.properties"
    settings.write_text(SETTINGS.format(port=port, controller=controller, home=home))
    path = [*broker_jars(), *(SPARK_HOME / "jars").glob("scala-library-*.jar")]
    java = [
        str(java_home() / "bin" / "java"), "-Xmx256m", "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={LOGGING.as_uri()}", "-cp", ":".join(map(str, path)),
    ]  # fmt: skip
    log_file = home / "log"
    with log_file.open("w") as log:
        storage = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config", settings]
        formatted = subprocess.run(storage, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        assert formatted.returncode == 0, log_file.read_text()[-4000:]
        process = start_group([*java, "kafka.Kafka", settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port):
                assert process.poll() is None, f"the broker ended by itself\n{log_file.read_text()[-4000:]}"
                assert time.monotonic() < deadline, f"the broker never answered\n{log_file.read_text()[-4000:]}"
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            end_group(process)


def create_topic(spark: SparkSession, address: str, topic: str, partitions: int) -> None:
    """Create a topic before its first row: a stream does not start on a missing one."""
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
    """Whether a broker answers ApiVersions, version 0, the request that every client sends first."""
    api_versions, version, correlation, no_client_id = 18, 0, 7, -1
    request = struct.pack(">hhih", api_versions, version, correlation, no_client_id)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">ih", head[4:]) == (correlation, 0)
