"""Airflow on this machine, with the DAGs of this checkout: its environment variables, and its commands run with them.

Airflow is installed in .venv-airflow, apart from the environment in which the jobs that it submits run.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from churn.errors import BadInputError, ChurnError
from churn.runtime.processes import run
from churn.runtime.session import NO_SETTINGS, environment, write_properties

HOST = "127.0.0.1"
USER = "admin"
PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
# Not `airflow standalone`, whose log servers listen on every address. All end as soon as one does.
SERVICES = """
airflow scheduler --skip-serve-logs & airflow triggerer --skip-serve-logs & airflow dag-processor & airflow api-server &
wait -n
"""
PROJECT = Path(__file__).parents[2]


def airflow_environment(
    home: Path,
    *,
    config: Path,
    models: Path,
    master: str = "local[*]",
    conf: Mapping[str, str] = NO_SETTINGS,
    port: int = 8080,
) -> dict[str, str]:
    """The environment variables of Airflow's commands; its database and configuration are in `home`.

    Airflow's variables in the caller's environment, such as another database or connection, are kept. Raises
    BadInputError where Airflow is not installed in this checkout.
    """
    binaries, dags = PROJECT / ".venv-airflow" / "bin", PROJECT / "dags"
    if not (binaries / "airflow").exists() or not dags.is_dir():
        raise BadInputError(
            f"no Airflow in {binaries.parent}, or no {dags}; in a checkout of the project: make airflow"
        )
    spark, properties = environment(master), home / "spark.conf"
    write_properties(properties, master=master, conf=conf)
    path = os.pathsep.join([str(binaries), str(Path(spark["SPARK_HOME"]) / "bin"), os.environ.get("PATH", "")])
    defaults = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(dags / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        PASSWORDS: str(home / "passwords.json"),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://{HOST}:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(_connection(master)),
    }
    fixed = {
        "CHURN_CONFIG": str(config.absolute()),
        "CHURN_MODELS": str(models.absolute()),
        "CHURN_SPARK_PROPERTIES": str(properties),
        "PATH": path,
    }
    return defaults | dict(os.environ) | spark | fixed


def _connection(master: str) -> dict[str, object]:
    return {"conn_type": "spark", "host": master, "extra": {"deploy-mode": "client", "spark-binary": "spark-submit"}}


def _create_password(file: Path) -> None:
    """Write the password of the one user, where there is none yet, into a file that only this user can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    password = secrets.token_urlsafe(18)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump({USER: password}, out)
    sys.stdout.write(f"Airflow: log in as {USER} with the password {password}, which is in {file} too\n")
    sys.stdout.flush()


def run_airflow(env: Mapping[str, str], args: Sequence[str]) -> int:
    """Run an airflow command, or without one all its services; its exit code. All that it starts ends with it.

    The first one creates the database, the pools and a password, which it prints once. Raises ChurnError where that
    fails.
    """
    _create_password(Path(env[PASSWORDS]))
    created = Path(env["AIRFLOW_HOME"]) / "created"
    if not created.exists():
        for command in (["db", "migrate"], ["pools", "import", str(PROJECT / "dags" / "pools.json")]):
            done = subprocess.run(["airflow", *command], env=dict(env), capture_output=True, text=True, check=False)
            if done.returncode:
                raise ChurnError(f"airflow {' '.join(command)} failed\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        created.touch()
    return run(["airflow", *args] if args else ["bash", "-c", SERVICES], env=env)
