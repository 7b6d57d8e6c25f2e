"""A real PostgreSQL server for tests, on loopback and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from tests.loopback import free_ports

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def missing() -> str | None:
    """Why no server can run here; None where one can."""
    if PROGRAMS is None:
        return "no PostgreSQL in /usr/lib/postgresql; on Debian: apt-get install postgresql"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL refuses to run as root, and there is no setpriv to run it as another user"
    return None


@dataclass(frozen=True)
class Database:
    """A database named postgres; its user needs no password."""

    user: str
    port: int
    home: Path

    def run(self, program: str, *args: str, stdin: str | None = None) -> None:
        """Run one of PostgreSQL's programs, under root as the user nobody: PostgreSQL refuses root."""
        assert PROGRAMS
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        command, env = [*as_nobody, str(PROGRAMS / program), *args], {**os.environ, "HOME": str(self.home)}
        subprocess.run(command, input=stdin, text=True, check=True, capture_output=True, cwd=self.home, env=env)

    def sql(self, text: str) -> None:
        self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "postgres", stdin=text)


@contextmanager
def postgresql(user: str) -> Iterator[Database]:
    """Run a server; check `missing` before."""
    # Not in pytest's folder, which only its owner may enter.
    home = Path(mkdtemp(prefix="churn-postgresql-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(home, "nobody", "nogroup")
    database = Database(user, *free_ports(), home)
    data, log = str(home / "data"), str(home / "log")
    settings = f"-p {database.port} -h 127.0.0.1 -k {home} -c fsync=off"
    try:
        database.run("initdb", "-D", data, "-U", user, "--auth=trust", "--encoding=UTF8", "--locale=C")
        database.run("pg_ctl", "-D", data, "-l", log, "-w", "-o", settings, "start")
        try:
            yield database
        finally:
            database.run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home)
