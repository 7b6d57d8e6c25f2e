"""The Spark session, and the settings that every way to start one needs: a notebook, a test, a spark-submit line."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pyspark import SparkConf, SparkContext, inheritable_thread_target
from pyspark.sql import SparkSession

from churn.runtime.files import replacing
from churn.runtime.jars import SPARK_HOME, jars, jars_folder
from churn.runtime.java import SHARE, java_home
from churn.runtime.jvm_names import remember_jvm_names
from churn.runtime.private_folders import private_folder, process_folder

T = TypeVar("T")
R = TypeVar("R")

_SECRET = re.compile(r"(?i)secret|password|passphrase|token|access[.]?key|credential")
"""What the names of secret settings hold, much as spark.redaction.regex has it."""
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
LOGGING = Path(__file__).with_name("log4j2.properties")

# The C1 compiler only. Most small jobs end before C2's work pays off: it doubled their time on two cores. The code
# cache is as large as both compilers' by default, five times that of C1: once it is full, nothing more is compiled.
# Java's own BLAS: a native one, where there is one, gains nothing for small data, and where there is none it says so.
LEAN = (
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=240m",
    "-XX:MetaspaceSize=512m",
    "-Ddev.ludovic.netlib.blas.allowNative=false",
)

# Spark generates one method for a wide row, and by default the JVM compiles no method of more than 8000 bytes;
# executors of a cluster need this too.
ALWAYS = ("-XX:-DontCompileHugeMethods",)


def session(app: str, *, conf: Mapping[str, str] = NO_SETTINGS, lean: bool = False) -> SparkSession:
    """The running session, or a new one with Delta Lake and UTC; `lean` suits small data, see `submit`.

    Under spark-submit, its line and spark-defaults.conf override `conf`; elsewhere `conf` overrides the latter. All of
    them override the defaults here, except for the time zone.
    """
    os.environ["TZ"] = "UTC"
    time.tzset()
    if SparkSession.getActiveSession():
        # Not the active one: a stream's micro-batch that makes a frame leaves its own session active in all threads.
        running = SparkSession.builder.getOrCreate()
        running.conf.set("spark.sql.session.timeZone", "UTC")
        return running
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # under spark-submit: the JVM runs already, with all its settings
        SparkContext._ensure_initialized()
        specified = {**conf, **dict(SparkConf().getAll())}
        settings: dict[str, Any] = (
            _defaults(specified["spark.master"], lean=lean) | specified | _load_jars_into_driver(specified)
        )
    else:
        specified = _spark_defaults() | dict(conf)
        master = specified.setdefault("spark.master", "local[*]")
        os.environ.update(environment(master))
        settings = _defaults(master, lean=lean) | specified | _launch_settings(master, specified, lean=lean)
    if is_local(settings["spark.master"]):  # the rows of a shuffle are in files there
        settings.setdefault("spark.local.dir", str(process_folder()))
    extensions = dict.fromkeys([*filter(None, settings.get("spark.sql.extensions", "").split(",")), EXTENSION])
    settings |= {
        "spark.app.name": app,
        "spark.sql.extensions": ",".join(extensions),
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
    }
    spark = SparkSession.builder.config(map=settings).getOrCreate()
    remember_jvm_names()  # not before: the jars are in the driver now
    # Dates and JDBC timestamps go through the JVM's own zone.
    spark._jvm.java.util.TimeZone.setDefault(spark._jvm.java.util.TimeZone.getTimeZone("UTC"))  # type: ignore[union-attr]
    return spark


@contextmanager
def scoped_session(app: str, *, conf: Mapping[str, str] = NO_SETTINGS, lean: bool = False) -> Iterator[SparkSession]:
    """The running session, which stays, or a new one, which is stopped at the end."""
    is_shared = SparkSession.getActiveSession() is not None
    spark = session(app, conf=conf, lean=lean)
    try:
        yield spark
    finally:
        if not is_shared:
            _stop(spark)


@contextmanager
def with_settings(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Change settings of a running session, and restore them afterwards."""
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


def side_by_side(spark: SparkSession, of: Callable[[T], R], values: Iterable[T], *, at_once: int) -> list[R]:
    """The result of a function for each value, so many at a time; it must not change settings of the session.

    Raises what it raises for the first value for which it does, once the calls that have begun have ended.
    """
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(inheritable_thread_target(spark)(of), values))


def _stop(spark: SparkSession) -> None:
    """Stop a session. Raises nothing while the process exits on a signal.

    The answer to a call that the signal interrupted is still to come, and the next call would take it for its own. The
    JVM ends with the process anyway.
    """
    with suppress(*([Exception] if isinstance(sys.exception(), SystemExit) else [])):
        spark.stop()


def submit(
    script: Path | str,
    args: Iterable[str] = (),
    *,
    master: str = "local[*]",
    conf: Mapping[str, str] = NO_SETTINGS,
    lean: bool = True,
    scratch: Path | None = None,
) -> list[str]:
    """The spark-submit line of a job, with the settings that a running JVM takes no more. Run it with `environment`.

    `lean` starts fast and suits small data on a local master; without it the JVM's optimising compiler is used too.
    Settings whose names say that they are secret go into a file that only this user can read, which is removed when
    this process ends: every user can see a command line. A cluster gets this library as a zip file, which is written
    into `scratch`.
    """
    settings = dict(conf) | _launch_settings(master, _spark_defaults() | dict(conf), lean=lean)
    line = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", master]
    if secrets := {key: value for key, value in settings.items() if _SECRET.search(key)}:
        settings = {key: value for key, value in settings.items() if key not in secrets}
        line += ["--properties-file", str(_private_properties(_spark_defaults() | secrets))]
    for key, value in settings.items():
        line += ["--conf", f"{key}={value}"]
    if not is_local(master):
        line += ["--py-files", str(_library_zip(scratch or SHARE))]
    return [*line, str(script), *args]


def write_properties(file: Path, *, master: str = "local[*]", conf: Mapping[str, str] = NO_SETTINGS) -> None:
    """The settings of `submit` as a file for `--properties-file`, for Airflow and others that build their own line.

    It includes this machine's spark-defaults.conf, which Spark does not read besides. A spark-defaults.conf in a folder
    of its own would do too, but SPARK_CONF_DIR is on the class path, and the class archive could not be used.
    """
    specified = _spark_defaults() | dict(conf)
    settings = specified | _launch_settings(master, specified, lean=True)
    if not is_local(master):
        python_files = specified.get("spark.submit.pyFiles")
        settings["spark.submit.pyFiles"] = _join(",", python_files, str(_library_zip(SHARE)))
    file.parent.mkdir(parents=True, exist_ok=True)
    _write_properties(file, settings)


def _write_properties(file: Path, settings: Mapping[str, str]) -> None:
    """Write settings, some of which may be secret: only this user can read the file."""
    with replacing(file) as new:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.writelines(f"{key} {value}\n" for key, value in sorted(settings.items()))


def _private_properties(settings: Mapping[str, str]) -> Path:
    """A file of settings that is removed when this process ends."""
    file = private_folder("churn-submit") / f"{os.getpid()}.conf"
    _write_properties(file, settings)
    atexit.register(partial(file.unlink, missing_ok=True))
    return file


def environment(master: str = "local[*]") -> dict[str, str]:
    """The environment variables of a spark-submit line, which replace the caller's."""
    variables = {"JAVA_HOME": str(java_home()), "TZ": "UTC", "SPARK_HOME": str(SPARK_HOME)}
    if is_local(master):
        variables |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return variables | {"PYSPARK_DRIVER_PYTHON": sys.executable}


def class_archive() -> Path:
    """The class data sharing archive that set-up makes for this Java and this Spark: with it a JVM starts in half the
    time."""
    java = "-".join(java_home().parts[-2:])
    return SHARE / f"{java}.jsa"


def _defaults(master: str, *, lean: bool) -> dict[str, str]:
    """Settings for readable logs and small tables; on a cluster only those that suit any size."""
    everywhere = {
        "spark.log.level": "WARN",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),  # a lower limit is checked after every row
        "spark.databricks.delta.snapshotPartitions": "2",
        # Minimum and maximum of the first columns, keys and times; every further column costs three aggregates a file.
        "spark.databricks.delta.properties.defaults.dataSkippingNumIndexedCols": "6",
        # At first use ICU builds a table of all letters; Java's own case mapping gives the same results.
        "spark.sql.icu.caseMappings.enabled": "false",
        # Where in the Python code each column was made, which errors then show, costs five calls of the JVM a column.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.executorEnv.TZ": "UTC",
    }
    if not is_local(master):
        return everywhere
    local = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.python.daemon.module": "churn.runtime.worker_daemon",
        "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
        # Listing many files, or a vacuum of one table, would be 10,000 tasks.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(2 * (os.cpu_count() or 1)),
    }
    # A stage of few rows is done before the next one is planned again, and one partition needs no shuffle.
    small = {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.files.minPartitionNum": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.inMemoryColumnarStorage.compressed": "false",
        "spark.sql.maxConcurrentOutputFileWriters": "64",  # no sort by partition before a write
        "spark.sql.ui.explainMode": "simple",  # the text of every plan is made, also where no UI shows it
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.stats.skipping": "false",  # of one or two files
    }
    return everywhere | local | (small if lean else {})


def _launch_settings(master: str, specified: Mapping[str, str], *, lean: bool) -> dict[str, str]:
    """What only a JVM's command line can set: memory, class path and options, added to those already `specified`."""
    on_executors = {
        "spark.jars": _join(",", specified.get("spark.jars"), *map(str, jars())),
        "spark.executor.extraJavaOptions": _join(" ", *ALWAYS, specified.get("spark.executor.extraJavaOptions")),
    }
    if specified.get("spark.submit.deployMode") == "cluster":
        return on_executors
    options = [f"-Dlog4j2.configurationFile={LOGGING.as_uri()}"]
    if not is_local(master):
        settings = on_executors
    else:
        if class_archive().exists():
            options += [f"-XX:SharedArchiveFile={class_archive()}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
        options += [*ALWAYS, *(LEAN if lean else ())]
        settings = {
            "spark.driver.memory": specified.get("spark.driver.memory", f"{memory_mib() // 3}m"),
            # The class path, not spark.jars: nothing is copied, and the class archive can hold Delta's classes too.
            "spark.driver.extraClassPath": _join(
                ":", specified.get("spark.driver.extraClassPath"), f"{jars_folder()}/*"
            ),
        }
    specified_options = specified.get("spark.driver.extraJavaOptions")  # last, so that they override
    java_options = _join(" ", *map(shlex.quote, options), specified_options)
    return settings | {"spark.driver.extraJavaOptions": java_options}


def _load_jars_into_driver(specified: Mapping[str, str]) -> dict[str, str]:
    """A plain `spark-submit jobs/x.py` has no Delta: add the jars to its running JVM, and to its executors."""
    jvm: Any = SparkContext._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    if loader.getResource(EXTENSION.replace(".", "/") + ".class") is not None:
        return {}
    for jar in jars():
        loader.addURL(jvm.java.net.URL(jar.as_uri()))
    return {"spark.jars": _join(",", specified.get("spark.jars"), *map(str, jars()))}


def _spark_defaults() -> dict[str, str]:
    """The settings in spark-defaults.conf, which those of a notebook or a spark-submit line would otherwise replace."""
    file = Path(os.environ.get("SPARK_CONF_DIR") or SPARK_HOME / "conf", "spark-defaults.conf")
    return read_properties(file) if file.exists() else {}


def read_properties(file: Path) -> dict[str, str]:
    """The settings in a file, as Spark reads them: a name and a value a line."""
    lines = (line.strip() for line in file.read_text("utf-8").splitlines())
    pairs = (re.split(r"\s*[=\s]\s*", line, maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def is_local(master: str) -> bool:
    """Whether Spark runs in one process on this machine."""
    return master.startswith("local")


def _join(separator: str, *parts: str | None) -> str:
    return separator.join(filter(None, parts))


def memory_mib() -> int:
    """This machine's memory, or this container's limit."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    file = Path("/sys/fs/cgroup/memory.max")
    limit = file.read_text().strip() if file.exists() else "max"
    return (machine if limit == "max" else min(machine, int(limit))) // 2**20


def _library_zip(folder: Path) -> Path:
    """Write this library as a zip file for executors."""
    package = Path(__file__).parents[1]
    file = folder / "churn.zip"
    folder.mkdir(parents=True, exist_ok=True)
    # A job that was submitted before may be reading the one that is there.
    with replacing(file) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as library:
        for member in sorted(package.rglob("*")):
            if member.is_file() and "__pycache__" not in member.parts:
                library.write(member, member.relative_to(package.parent))
    return file
