"""The jars that Spark needs beside its own. `python -m churn.runtime.jars` downloads them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import pyspark

from churn.errors import ChurnError, ConfigError
from churn.runtime.java import SHARE, java_home

SPARK_HOME = Path(pyspark.__file__).parent

# One entry adds a connector. All are resolved together, so that they agree on what they depend on.
COORDINATES = {
    "delta": f"io.delta:delta-spark_4.2_2.13:{version('delta-spark')}",
    "postgresql": "org.postgresql:postgresql:42.7.7",
    "kafka": f"org.apache.spark:spark-sql-kafka-0-10_2.13:{version('pyspark')}",
}

# Spark has them under another name, or nothing here calls them.
NOT_NEEDED = (
    "com.fasterxml.jackson.datatype:jackson-datatype-jdk8",
    "commons-logging:commons-logging",
    "javax.annotation:javax.annotation-api",
    "org.checkerframework:checker-qual",
)


def jars_folder() -> Path:
    """CHURN_JARS, else the folder that set-up fills."""
    return Path(os.environ.get("CHURN_JARS") or SHARE / "jars")


def jars() -> list[Path]:
    """Every jar to put beside Spark's own. Raises ConfigError where Delta's is not among them."""
    found = sorted(jars_folder().glob("*.jar"))
    if not any("delta-spark" in jar.name for jar in found):
        raise ConfigError(
            f"no Delta jars in {jars_folder()}: run `make setup` (or `python -m churn.runtime.jars`), "
            "or set CHURN_JARS to a folder that has them; see docs/install.md"
        )
    return found


def excluded_artifacts() -> list[str]:
    """What is not put beside Spark's jars, as Maven patterns: second copies of what it has, and NOT_NEEDED."""
    spark_has = {re.sub(r"-\d.*$", "", jar.stem) for jar in (SPARK_HOME / "jars").glob("*.jar")}
    return [*NOT_NEEDED, *(f"*:{artifact}" for artifact in sorted(spark_has))]


def pinned() -> dict[str, str]:
    """The SHA-256 digest of each jar of COORDINATES, by its name, as `sha256sum` writes them."""
    lines = Path(__file__).with_name("jars.sha256").read_text("utf-8").splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


def check_digests(jars: Iterable[Path], digests: Mapping[str, str]) -> None:
    """Raises ChurnError where the content of a jar is not what its digest says, or a jar has none."""
    for jar in jars:
        found = hashlib.sha256(jar.read_bytes()).hexdigest()
        if digests.get(jar.name) != found:
            raise ChurnError(
                f"{jar.name} has the digest {found}, want {digests.get(jar.name, 'none: it is not expected')}; whoever "
                "serves it has changed it, or its version was changed without churn/runtime/jars.sha256"
            )


def resolve(
    coordinates: Iterable[str],
    into: Path,
    *,
    exclude: Iterable[str] = (),
    digests: Mapping[str, str] | None = None,
) -> list[Path]:
    """Download coordinates and their dependencies by Spark's own resolver, which leaves out Scala's library.

    The folder is replaced once all jars are there and have these digests. CHURN_IVY_SETTINGS names an Ivy settings
    file, for where Maven Central cannot be reached. Raises ChurnError where a jar cannot be resolved, or is another.
    """
    wanted = ",".join(coordinates)
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch, "empty.py")
        script.touch()
        settings = {
            "spark.jars.ivy": scratch,
            "spark.jars.packages": wanted,
            "spark.jars.excludes": ",".join(exclude),
        }
        if ivy := os.environ.get("CHURN_IVY_SETTINGS"):
            settings["spark.jars.ivySettings"] = ivy
        options = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
        environment = os.environ | {"JAVA_HOME": str(java_home()), "PYSPARK_PYTHON": sys.executable}
        environment.pop("SPARK_HOME", None)  # another Spark has other jars
        done = subprocess.run(
            [SPARK_HOME / "bin" / "spark-submit", "--master", "local[1]", *options, script],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        resolved = sorted(Path(scratch, "jars").glob("*.jar"))
        if done.returncode or not resolved:
            raise ChurnError(
                f"the jars {wanted} could not be resolved; behind a mirror set CHURN_IVY_SETTINGS, "
                f"offline copy them from another machine, see docs/install.md\n{done.stderr[-4000:]}"
            )
        if digests is not None:
            check_digests(resolved, digests)
        into.parent.mkdir(parents=True, exist_ok=True)
        fresh = into.with_name(f"{into.name}.{os.getpid()}")
        shutil.copytree(Path(scratch, "jars"), fresh)
    shutil.rmtree(into, ignore_errors=True)
    fresh.replace(into)
    return sorted(into.glob("*.jar"))


if __name__ == "__main__":
    try:
        if not os.environ.get("CHURN_JARS"):
            resolve(COORDINATES.values(), jars_folder(), exclude=excluded_artifacts(), digests=pinned())
        print(f"{len(jars())} jars in {jars_folder()}")
    except ChurnError as error:
        sys.exit(str(error))
