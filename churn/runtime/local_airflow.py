"""Airflow on this machine, with the DAGs of this checkout: the environment it needs, and its commands run in it.

Airflow lives in an environment of its own, .venv-airflow; this one is where the jobs run that it submits.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from churn.errors import BadInputError, ChurnError
from churn.runtime.processes import run as run_group
from churn.runtime.session import NOTHING, environment, write_properties

HOST = "127.0.0.1"
# Not `airflow standalone`: its log servers listen on every address. All of them end when one does.
EVERYTHING = """
airflow scheduler --skip-serve-logs & airflow triggerer --skip-serve-logs & airflow dag-processor & airflow api-server &
wait -n
"""
ROOT = Path(__file__).parents[1]


def prepare(
    home: Path,
    *,
    config: Path,
    models: Path,
    master: str = "local[*]",
    conf: Mapping[str, str] = NOTHING,
    port: int = 8080,
) -> dict[str, str]:
    """The environment of Airflow's commands, whose database and settings are in `home`.

    What the caller's environment says of Airflow wins: another database, another connection. Raises BadInputError where
    Airflow is not installed beside this checkout.
    """
    binaries, dags = ROOT / ".venv-airflow" / "bin", ROOT / "dags"
    if not (binaries / "airflow").exists() or not dags.is_dir():
        raise BadInputError(
            f"no Airflow in {binaries.parent}, or no {dags}; in a checkout of the project: make airflow"
        )
    spark, properties = environment(master), home / "spark.conf"
    write_properties(properties, master=master, conf=conf)
    path = os.pathsep.join([str(binaries), str(Path(spark["SPARK_HOME"]) / "bin"), os.environ.get("PATH", "")])
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://{HOST}:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(_connection(master)),
    }
    told = {
        "CHURN_CONFIG": str(config.absolute()),
        "CHURN_MODELS": str(models.absolute()),
        "CHURN_SPARK_PROPERTIES": str(properties),
        "PATH": path,
    }
    return ours | dict(os.environ) | spark | told


def _connection(master: str) -> dict[str, object]:
    return {"conn_type": "spark", "host": master, "extra": {"deploy-mode": "client", "spark-binary": "spark-submit"}}


def airflow(env: Mapping[str, str], args: Sequence[str]) -> int:
    """An airflow command, to its exit code, without one all that makes an Airflow; whatever is started ends with it.

    Before the first one the database and the pools are made.
    """
    made = Path(env["AIRFLOW_HOME"]) / "made"
    if not made.exists():
        for words in (["db", "migrate"], ["pools", "import", str(ROOT / "dags" / "pools.json")]):
            done = subprocess.run(["airflow", *words], env=dict(env), capture_output=True, text=True, check=False)
            if done.returncode:
                raise ChurnError(f"airflow {' '.join(words)} failed\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        made.touch()
    return run_group(["airflow", *args] if args else ["bash", "-c", EVERYTHING], env=env)
