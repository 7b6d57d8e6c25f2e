"""The settings of a session and of a spark-submit line, and a session that a job starts."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.errors import ChurnError, ConfigError
from churn.runtime import jars
from churn.runtime import session as sessions
from churn.runtime.private_folders import private_folder
from churn.testing import frame

JARS = Path("/opt/jars")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one jar, 8 GiB, no class archive and no spark-defaults.conf."""
    monkeypatch.setattr(sessions, "jars", lambda: [JARS / "delta-spark.jar"])
    monkeypatch.setattr(sessions, "jars_folder", lambda: JARS)
    monkeypatch.setattr(sessions, "class_archive", lambda: JARS / "none.jsa")
    monkeypatch.setattr(sessions, "memory_mib", lambda: 9216)
    monkeypatch.setattr(sessions, "_spark_defaults", dict)


def settings(line: list[str]) -> dict[str, str]:
    """The --conf pairs of a spark-submit line."""
    pairs = (line[i + 1].partition("=") for i, word in enumerate(line) if word == "--conf")
    return {key: value for key, _, value in pairs}


@pytest.mark.usefixtures("machine")
def test_a_local_line_has_the_settings_that_a_running_jvm_takes_no_more() -> None:
    line = sessions.submit("jobs/ingest.py", ["--config", "churn.toml"], master="local[2]")
    assert Path(line[0]).name == "spark-submit"
    assert line[1:3] == ["--master", "local[2]"]
    assert line[-3:] == ["jobs/ingest.py", "--config", "churn.toml"]
    assert settings(line) == {
        "spark.driver.memory": "3072m",
        "spark.driver.extraClassPath": "/opt/jars/*",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={sessions.LOGGING.as_uri()} "
        "-XX:-DontCompileHugeMethods -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:MetaspaceSize=512m "
        "-Ddev.ludovic.netlib.blas.allowNative=false",
    }


@pytest.mark.usefixtures("machine")
def test_settings_of_the_user_override_the_defaults() -> None:
    conf = {
        "spark.driver.memory": "1g",
        "spark.driver.extraClassPath": "/mine.jar",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=4",
        "spark.sql.shuffle.partitions": "64",
    }
    specified = settings(sessions.submit("job.py", conf=conf))
    assert specified["spark.driver.memory"] == "1g"
    assert specified["spark.driver.extraClassPath"] == "/mine.jar:/opt/jars/*"
    assert specified["spark.driver.extraJavaOptions"].endswith(
        "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:MetaspaceSize=512m "
        "-Ddev.ludovic.netlib.blas.allowNative=false -XX:TieredStopAtLevel=4"
    )
    assert specified["spark.sql.shuffle.partitions"] == "64"


@pytest.mark.usefixtures("machine")
def test_a_cluster_gets_the_jars_and_the_library_and_no_local_settings(tmp_path: Path) -> None:
    line = sessions.submit("job.py", master="spark://host:7077", conf={"spark.jars": "/mine.jar"}, scratch=tmp_path)
    assert settings(line) == {
        "spark.jars": "/mine.jar,/opt/jars/delta-spark.jar",
        "spark.executor.extraJavaOptions": "-XX:-DontCompileHugeMethods",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={sessions.LOGGING.as_uri()}",
    }
    library = Path(line[line.index("--py-files") + 1])
    names = zipfile.ZipFile(library).namelist()
    assert {"churn/runtime/session.py", "churn/runtime/log4j2.properties"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.usefixtures("machine")
def test_a_driver_on_the_cluster_gets_no_path_of_this_machine(tmp_path: Path) -> None:
    conf = {"spark.submit.deployMode": "cluster", "spark.executor.extraJavaOptions": "-Dmine=1"}
    line = sessions.submit("job.py", master="yarn", conf=conf, scratch=tmp_path)
    assert settings(line) == {
        "spark.submit.deployMode": "cluster",
        "spark.jars": "/opt/jars/delta-spark.jar",
        "spark.executor.extraJavaOptions": "-XX:-DontCompileHugeMethods -Dmine=1",
    }


def test_spark_defaults_are_read_as_spark_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\n\nspark.driver.memory   5g\nspark.app.note = two words \nspark.alone\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert sessions._spark_defaults() == {"spark.driver.memory": "5g", "spark.app.note": "two words"}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("master", ["local[2]", "spark://host:7077"])
def test_a_properties_file_has_the_settings_of_the_line(tmp_path: Path, master: str) -> None:
    conf = {"spark.executor.memory": "8g"}
    sessions.write_properties(tmp_path / "made" / "spark.conf", master=master, conf=conf)
    on_the_line = settings(sessions.submit("jobs/ingest.py", master=master, conf=conf, scratch=tmp_path))
    in_the_file = sessions.read_properties(tmp_path / "made" / "spark.conf")
    library = in_the_file.pop("spark.submit.pyFiles", None)
    assert in_the_file == on_the_line
    assert (library is None) == (master == "local[2]")


@pytest.mark.usefixtures("machine")
def test_secrets_are_in_a_private_file_not_on_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of a machine sees the command lines of all; a file is readable for its owner alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    conf = {"spark.hadoop.fs.s3a.secret.key": "hush", "spark.executor.memory": "8g"}
    line = sessions.submit("job.py", conf=conf)
    assert "hush" not in " ".join(line)
    assert settings(line)["spark.executor.memory"] == "8g"
    file = Path(line[line.index("--properties-file") + 1])
    assert sessions.read_properties(file) == {"spark.hadoop.fs.s3a.secret.key": "hush"}
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    sessions.write_properties(tmp_path / "spark.conf", conf=conf)
    assert (tmp_path / "spark.conf").stat().st_mode & 0o777 == 0o600


def test_a_temporary_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that another user made, or can write to, could have its files replaced while they are used."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = private_folder("churn-test")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder("churn-test") == folder
    folder.chmod(0o777)
    with pytest.raises(ChurnError, match="is not a folder of this user's alone"):
        private_folder("churn-test")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ChurnError, match="is not a folder of this user's alone"):
        private_folder("churn-test")


def test_a_jar_is_pinned_by_its_digest(tmp_path: Path) -> None:
    """A jar that a mirror has changed is not put beside Spark's."""
    jar = tmp_path / "delta.jar"
    jar.write_bytes(b"classes")
    digest = hashlib.sha256(b"other classes").hexdigest()
    with pytest.raises(ChurnError, match=f"delta.jar has the digest .*, want {digest}"):
        jars.check_digests([jar], {"delta.jar": digest})
    with pytest.raises(ChurnError, match="want none: it is not expected"):
        jars.check_digests([jar], {})
    jars.check_digests([jar], {"delta.jar": hashlib.sha256(b"classes").hexdigest()})
    jars.check_digests(jars.jars(), jars.pinned())


def test_missing_jars_are_an_error_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_JARS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no Delta jars in .*: run `make setup`.*CHURN_JARS"):
        jars.jars()


def test_spark_has_no_second_copy_of_a_jar() -> None:
    def artifacts(folder: Path) -> set[str]:
        return {jar.stem.split("_", 1)[-1].rsplit("-", 1)[0] for jar in folder.glob("*.jar")}

    assert not artifacts(jars.jars_folder()) & artifacts(jars.SPARK_HOME / "jars")


def test_the_session_is_the_running_one(spark: SparkSession) -> None:
    """Also where another of its context has made a frame since, as a stream's micro-batch does."""
    other = spark.newSession()
    try:
        other.createDataFrame([(1,)], "number int")
        assert sessions.session("another")._jsparkSession.equals(spark._jsparkSession)
        assert not other._jsparkSession.equals(spark._jsparkSession)
    finally:
        spark.createDataFrame([(1,)], "number int")  # is the active one again


def test_the_session_has_delta_and_utc(spark: SparkSession, tmp_path: Path) -> None:
    rows = frame(spark, [("a", "2026-03-29 01:30")], "id string, at timestamp")  # an hour that Paris skipped
    rows.write.format("delta").save(str(tmp_path / "t"))
    read = spark.read.format("delta").load(str(tmp_path / "t"))
    assert [tuple(row) for row in read.collect()] == [("a", datetime(2026, 3, 29, 1, 30))]
    assert spark.sql("select current_timezone()").collect()[0][0] == "UTC"


BARE_JOB = """
import sys
from pyspark.sql import SparkSession
from churn.runtime.session import scoped_session

names = ["spark.sql.shuffle.partitions", "spark.sql.files.maxRecordsPerFile", "spark.app.name"]
with scoped_session("bare", conf={names[0]: "9", names[1]: "7"}) as spark:
    with scoped_session("inner") as inner:
        assert inner is spark
    spark.range(3).write.format("delta").save(sys.argv[1])
    print(spark.read.format("delta").load(sys.argv[1]).count(), *map(spark.conf.get, names))
assert SparkSession.getActiveSession() is None
sys.exit(3)
"""


def test_a_plain_spark_submit_has_delta_and_the_settings_of_its_line(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(BARE_JOB)
    options = ["--driver-java-options", " ".join(sessions.LEAN), "--conf", "spark.sql.shuffle.partitions=5"]
    done = subprocess.run(
        [jars.SPARK_HOME / "bin" / "spark-submit", *options, job, tmp_path / "t"],
        env=os.environ | sessions.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (3, ["3 5 7 bare"]), done.stderr


SHUFFLING_JOB = """
import os, signal, sys
from functools import partial
from pathlib import Path
from churn.runtime.session import session

spark = session("shuffling", conf={"spark.master": "local[1]"}, lean=True)
blocks = spark._jvm.org.apache.spark.SparkEnv.get().blockManager().diskBlockManager()
spark.range(9).repartition(2).localCheckpoint()
for place in blocks.localDirsString():
    print(place, sum(file.is_file() for file in Path(place).rglob("*")) > 0, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_shuffled_rows_are_in_a_private_folder_that_is_removed_after_a_kill(tmp_path: Path) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path)}
    run = partial(subprocess.run, env=env, capture_output=True, text=True, check=False)
    killed = run([sys.executable, "-c", SHUFFLING_JOB])
    place, has_files = killed.stdout.split()
    folder = tmp_path / f"churn-processes-{os.getuid()}"
    (of_process,) = folder.glob("*/")
    assert (killed.returncode, has_files) == (-signal.SIGKILL, "True")
    assert Path(place).is_relative_to(of_process)
    assert {folder.stat().st_mode & 0o777, of_process.stat().st_mode & 0o777} == {0o700}
    code = (
        "from churn.runtime.private_folders import process_folder; print(process_folder().is_dir(), process_folder())"
    )
    begun = run([sys.executable, "-c", code])
    assert begun.stdout.startswith("True ")
    assert list(folder.glob("*/")) == []  # that of the killed one, and that of the one that ended
