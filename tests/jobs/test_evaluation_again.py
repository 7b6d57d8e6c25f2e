"""An evaluation is fair and can be done again: it knows what was known at its as-of, and reads what it logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.jobs.company import AS_OF, step, write_shop
from tests.mlflow_store import runs, stored

EARLIER, LATER = "2025-12-15", "2026-01-20"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    """A shop, whose source has the known time of a row, after a training and an evaluation at AS_OF."""
    folder = write_shop(tmp_path_factory.mktemp("shop"))
    file = folder / "transactions.csv"
    header, *rows = file.read_text().splitlines()
    known = [f"{row},{row.split(',')[2]}" for row in rows]
    file.write_text("\n".join([f"{header},known_time", *known]) + "\n")
    assert [step(job, folder, AS_OF) for job in ("ingest", "build_features", "train", "evaluate")] == [0] * 4
    return folder


def metrics(shop: Path, name: str) -> list[tuple[object, ...]]:
    """(metric, step, value) of the newest run of a name."""
    query = "select key, step, value from metrics where run_uuid = '{}' order by key, step"
    return stored(shop, query.format(run_id(shop, name)))


def run_id(shop: Path, name: str) -> str:
    query = "select run_uuid from runs where name = '{}' order by start_time desc limit 1"
    return str(stored(shop, query.format(name))[0][0])


def verdicts(shop: Path) -> list[str]:
    """The verdicts on the version, without the run that found them."""
    found = stored(shop, "select value from model_version_tags where key like 'verdicts.%'")
    return [value.partition('"champion"')[2] for (value,) in found]


def test_a_model_is_not_evaluated_on_labels_that_it_has_learnt_from(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a version has learnt is compared as the time its labels matured, not as the dates of its rows."""
    assert step("evaluate", shop, EARLIER) == 2
    assert "version 1 has learnt from labels until 2025-12-02, after the first test date 2025-11-15 of" in (
        capsys.readouterr().err
    )
    tags = stored(shop, "select value from model_version_tags where key = 'learnt_until'")
    assert tags == [("2025-12-02T00:00:00",)]
    assert stored(shop, "select value from tags where key = 'learnt_until'") == tags


def test_an_evaluation_of_an_as_of_is_the_same_later(shop: Path, spark: SparkSession) -> None:
    """Labels of an evaluation are those known at its as-of; what came later changes neither figures nor verdicts."""
    before, given = metrics(shop, f"evaluate churn {AS_OF}"), verdicts(shop)
    assert before
    file = shop / "transactions.csv"
    late = [f"late{number},c{number:03},2025-12-20 08:00:00,purchase,9.50,2026-01-10 00:00:00" for number in range(150)]
    file.write_text(file.read_text() + "\n".join(late) + "\n")
    assert step("ingest", shop, LATER) == 0

    assert step("evaluate", shop, AS_OF) == 0

    assert metrics(shop, f"evaluate churn {AS_OF}") == before
    assert verdicts(shop) == given


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_a_run_can_be_done_again_from_what_mlflow_holds(
    shop: Path, job: str, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--inputs-of` reads the versions of tables that the run logged, and finds the same figures to the bit."""
    first = run_id(shop, f"{job} churn {AS_OF}")
    before = metrics(shop, f"{job} churn {AS_OF}")
    registered = stored(shop, "select name, version, run_id from model_versions")
    assert step("build_features", shop, AS_OF) == step("ingest", shop, LATER) == 0  # newer versions of all tables

    assert step(job, shop, AS_OF, "--inputs-of", first) == 0

    assert f"run {first} gives the same figures again" in capsys.readouterr().out
    assert metrics(shop, f"repeat {job} churn {AS_OF}") == before
    read = "select key, value from params where key like 'table.%' and run_uuid = '{}' order by key"
    again = stored(shop, read.format(run_id(shop, f"repeat {job} churn {AS_OF}")))
    assert again == stored(shop, read.format(first))
    assert [name for name, _ in again] == [
        f"table.{name}.version" for name in ("features_churn", "ledger", "transactions")
    ]
    assert stored(shop, "select name, version, run_id from model_versions") == registered


def test_a_run_that_cannot_be_done_again_is_bad_input(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown run, and a run of another job, are bad input."""
    assert step("train", shop, AS_OF, "--inputs-of", "none") == 2
    assert "no run 'none' at sqlite:" in capsys.readouterr().err
    assert step("train", shop, AS_OF, "--inputs-of", run_id(shop, f"evaluate churn {AS_OF}")) == 2
    assert f"is 'evaluate churn {AS_OF}', FINISHED; want a run 'train churn {AS_OF}'" in capsys.readouterr().err


def test_training_again_registers_the_same_version(shop: Path, spark: SparkSession) -> None:
    """A rerun leaves one version and its alias; one that has scored stays, whatever the rerun makes."""
    assert step("score", shop, AS_OF) == 0
    assert step("train", shop, AS_OF) == 0
    # The late rows were known only later, so it is the same model.
    assert stored(shop, "select version from model_versions where current_stage != 'Deleted_Internal'") == [(1,)]
    assert stored(shop, "select alias, version from registered_model_aliases") == [("challenger", 1)]
    model = shop / "model.py"
    model.write_text(model.read_text().replace("100.0", "50.0"))

    assert step("train", shop, AS_OF) == 0

    versions = "select version from model_versions where current_stage != 'Deleted_Internal' order by version"
    assert stored(shop, versions) == [(1,), (2,)]
    assert stored(shop, "select alias, version from registered_model_aliases") == [("challenger", 2)]
    assert step("monitor", shop, AS_OF) in (0, 5)
    assert (f"monitor churn {AS_OF}", "FINISHED") in runs(shop)
