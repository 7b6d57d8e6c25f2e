"""Before Airflow is imported: an empty home, and the DAGs' folder on the path, as Airflow has it; the checkout too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("CHURN_PYTHON") or str(ROOT / ".venv" / "bin" / "python")
"""Of the environment that the jobs run in."""

for name in [name for name in os.environ if name.startswith(("AIRFLOW", "CHURN_"))]:
    del os.environ[name]
os.environ |= {
    "CHURN_CHALLENGER": "1",  # the companies of these tests are small
    "AIRFLOW_HOME": tempfile.mkdtemp(prefix="airflow-"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[*]"}),
    "TZ": "UTC",
}
sys.path[:0] = [str(ROOT / "dags"), str(ROOT)]


def spark_environment() -> dict[str, str]:
    """What a spark-submit needs in its environment, itself on the path."""
    script = "import json; from churn.runtime.session import environment; print(json.dumps(environment()))"
    done = subprocess.run([PYTHON, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    environment: dict[str, str] = json.loads(done.stdout)
    return environment | {"PATH": f"{environment['SPARK_HOME']}/bin:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, str]]:
    """PostgreSQL as Airflow's database where there is one, else SQLite."""
    from tests.postgresql import missing, postgresql

    if missing():
        yield {}
        return
    with postgresql("airflow") as it:
        yield {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow@127.0.0.1:{it.port}/postgres"}
