"""The Spark session: one way to have it, from a notebook, a test and a spark-submit line alike."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from churn.runtime.jars import SPARK_HOME, folder, jars
from churn.runtime.java import KEPT, java_home

NOTHING: Mapping[str, str] = MappingProxyType({})
EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
LOGGING = Path(__file__).with_name("log4j2.properties")

# The first compiler only. Most jobs here end before the second one's work pays: it doubled their time on two cores.
# Its code gets as much room as both have by default, five times its own: where that is full, nothing more is compiled.
LEAN = ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=240m", "-XX:MetaspaceSize=512m")

# Spark makes one method of a wide row, and the JVM compiles none above 8000 bytes unless it is told to.
ALWAYS = ("-XX:-DontCompileHugeMethods",)


def session(app: str, *, conf: Mapping[str, str] = NOTHING, lean: bool = False) -> SparkSession:
    """The running session, or a new one with Delta Lake and UTC; `lean` suits small data, see `submit`.

    What a spark-submit line or spark-defaults.conf says wins over `conf`, and `conf` over the defaults here;
    only the zone is not theirs to change.
    """
    os.environ["TZ"] = "UTC"
    time.tzset()
    if running := SparkSession.getActiveSession():
        running.conf.set("spark.sql.session.timeZone", "UTC")
        return running
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # under spark-submit: the JVM is there, with all it was told
        SparkContext._ensure_initialized()
        told = {**conf, **dict(SparkConf().getAll())}
        settings: dict[str, Any] = _defaults(told["spark.master"], lean=lean) | told | _jars_for_driver(told)
    else:
        told = _site() | dict(conf)
        master = told.setdefault("spark.master", "local[*]")
        os.environ.update(environment(master))
        settings = _defaults(master, lean=lean) | told | _launch(master, told, lean=lean)
    extensions = dict.fromkeys([*filter(None, settings.get("spark.sql.extensions", "").split(",")), EXTENSION])
    settings |= {
        "spark.app.name": app,
        "spark.sql.extensions": ",".join(extensions),
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
    }
    spark = SparkSession.builder.config(map=settings).getOrCreate()
    # Dates and JDBC timestamps go through the JVM's own zone.
    spark._jvm.java.util.TimeZone.setDefault(spark._jvm.java.util.TimeZone.getTimeZone("UTC"))  # type: ignore[union-attr]
    return spark


@contextmanager
def with_settings(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Settings of a running session, put back afterwards."""
    before: dict[str, str | None] = {name: spark.conf.get(name, None) for name in wanted}
    for name, value in wanted.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, earlier)


def stop(spark: SparkSession) -> None:
    """Stop a session. While the process leaves on a signal, nothing is raised of it.

    A call that the signal broke off has its answer still to come, and the next call would take it for its own; the JVM
    ends with the process anyway.
    """
    with suppress(*([Exception] if isinstance(sys.exception(), SystemExit) else [])):
        spark.stop()


def submit(
    script: Path | str,
    args: Iterable[str] = (),
    *,
    master: str = "local[*]",
    conf: Mapping[str, str] = NOTHING,
    lean: bool = True,
    scratch: Path | None = None,
) -> list[str]:
    """The spark-submit line of a job, with all that is too late to say once its JVM runs. Run it with `environment`.

    `lean` starts fast and suits small data on a local master; without it jobs there get the optimising compiler.
    A cluster gets this library as a zip, put into `scratch`.
    """
    settings = dict(conf) | _launch(master, _site() | dict(conf), lean=lean)
    line = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", master]
    for key, value in settings.items():
        line += ["--conf", f"{key}={value}"]
    if not is_local(master):
        line += ["--py-files", str(_library_zip(scratch or KEPT))]
    return [*line, str(script), *args]


def write_properties(file: Path, *, master: str = "local[*]", conf: Mapping[str, str] = NOTHING) -> None:
    """What `submit` says on the line, as a file for `--properties-file`, for who submits otherwise.

    What is in the spark-defaults.conf of this machine is taken over, as Spark does not read it then. Another one would
    do too, but its folder would come into the class path, and the archive of classes could not be used.
    """
    site = _site() | dict(conf)
    settings = site | _launch(master, site, lean=True)
    if not is_local(master):
        settings["spark.submit.pyFiles"] = _joined(",", site.get("spark.submit.pyFiles"), str(_library_zip(KEPT)))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{key} {value}\n" for key, value in sorted(settings.items())), "utf-8")


def environment(master: str = "local[*]") -> dict[str, str]:
    """What a spark-submit line needs in its environment, to be put over the caller's own."""
    needs = {"JAVA_HOME": str(java_home()), "TZ": "UTC", "SPARK_HOME": str(SPARK_HOME)}
    if is_local(master):
        needs |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return needs | {"PYSPARK_DRIVER_PYTHON": sys.executable}


def archive() -> Path:
    """Where set-up keeps the JVM's own image of Spark's classes: it halves the start. Of one Java, for one Spark."""
    java = "-".join(java_home().parts[-2:])
    return KEPT / f"{java}.jsa"


def _defaults(master: str, *, lean: bool) -> dict[str, str]:
    """Settings for clean logs and small tables, on a cluster only those that suit any size."""
    anywhere = {
        "spark.log.level": "WARN",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),  # any less is checked after every single row
        "spark.databricks.delta.snapshotPartitions": "2",
        # Least and greatest values of the first columns, keys and times; each column more is three aggregates a file.
        "spark.databricks.delta.properties.defaults.dataSkippingNumIndexedCols": "6",
        # ICU fills a table of every letter when it is first asked; Java's own mapping says the same.
        "spark.sql.icu.caseMappings.enabled": "false",
        "spark.executorEnv.TZ": "UTC",
    }
    here = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.python.daemon.module": "churn.runtime.worker_daemon",
        "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
    }
    # Few rows are through before the next stage is planned anew, and in one partition nothing is shuffled.
    few = {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.files.minPartitionNum": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.inMemoryColumnarStorage.compressed": "false",
        "spark.sql.maxConcurrentOutputFileWriters": "64",  # no sort by partition before a write
        "spark.sql.ui.explainMode": "simple",  # of each query a text is made, whether a page shows it or not
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.stats.skipping": "false",  # of one or two files
    }
    return anywhere | (here | (few if lean else {}) if is_local(master) else {})


def _launch(master: str, told: Mapping[str, str], *, lean: bool) -> dict[str, str]:
    """What only a JVM's command line can say: memory, class path and options, after what is `told` already."""
    kept = [str(jar) for jar in jars()]
    if told.get("spark.submit.deployMode") == "cluster":
        return {"spark.jars": _joined(",", told.get("spark.jars"), *kept)}
    options = [f"-Dlog4j2.configurationFile={LOGGING.as_uri()}"]
    if not is_local(master):
        launch = {"spark.jars": _joined(",", told.get("spark.jars"), *kept)}
    else:
        if archive().exists():
            options += [f"-XX:SharedArchiveFile={archive()}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
        options += [*ALWAYS, *(LEAN if lean else ())]
        launch = {
            "spark.driver.memory": told.get("spark.driver.memory", f"{_memory_mib() // 2}m"),
            # The class path rather than spark.jars: nothing is copied, and the archive can hold Delta's classes too.
            "spark.driver.extraClassPath": _joined(":", told.get("spark.driver.extraClassPath"), f"{folder()}/*"),
        }
    java_options = [shlex.quote(option) for option in options]
    told_options = told.get("spark.driver.extraJavaOptions")  # last, so that they win
    return launch | {"spark.driver.extraJavaOptions": _joined(" ", *java_options, told_options)}


def _jars_for_driver(told: Mapping[str, str]) -> dict[str, str]:
    """A bare `spark-submit jobs/x.py` has no Delta: give its running JVM the jars, and its executors too."""
    jvm: Any = SparkContext._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    if loader.getResource(EXTENSION.replace(".", "/") + ".class") is not None:
        return {}
    for jar in jars():
        loader.addURL(jvm.java.net.URL(jar.as_uri()))
    return {"spark.jars": _joined(",", told.get("spark.jars"), *map(str, jars()))}


def _site() -> dict[str, str]:
    """spark-defaults.conf, which a notebook's settings and a spark-submit line would else override unseen."""
    place = Path(os.environ.get("SPARK_CONF_DIR") or SPARK_HOME / "conf", "spark-defaults.conf")
    return read_properties(place) if place.exists() else {}


def read_properties(file: Path) -> dict[str, str]:
    """Spark's settings in a file, as Spark reads them: a name and a value a line."""
    lines = file.read_text("utf-8").splitlines()
    said = (line.strip() for line in lines)
    pairs = (re.split(r"\s*[=\s]\s*", line, maxsplit=1) for line in said if line and not line.startswith("#"))
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def is_local(master: str) -> bool:
    """Whether Spark runs in one process on this machine."""
    return master.startswith("local")


def _joined(by: str, *parts: str | None) -> str:
    return by.join(filter(None, parts))


def _memory_mib() -> int:
    """This machine's memory, or this container's share of it."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    share = limit.read_text().strip() if limit.exists() else "max"
    return (machine if share == "max" else min(machine, int(share))) // 2**20


def _library_zip(into: Path) -> Path:
    """This library as executors take it."""
    package = Path(__file__).parent
    place = into / "churn.zip"
    into.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as library:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                library.write(file, file.relative_to(package.parent))
    return place
