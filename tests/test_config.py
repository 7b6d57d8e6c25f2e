from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from churn.config import Expect, Source, load
from churn.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "churn.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_file_is_read_with_its_paths_absolute_and_its_variables_filled_in(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [storage]
        root = "s3a://${BUCKET}/lake"
        [tracking]
        uri = "sqlite:///runs/mlflow.db"
        experiment = "autumn"
        [sources.calls]
        format = "csv"
        path = "${NOT_SET:-../data}/calls.csv"
        zone = "Europe/Paris"
        max_quarantined = 0.25
        options = { sep = ";", multiLine = true }
        columns = { call_id = "id", talk_seconds = "cast(t as int)" }
        reject = { test = "id like 'T%'" }
        expect = { rows = 10, days = 2 }
        [model.churn]
        lead = 0
        [spark]
        "spark.sql.shuffle.partitions" = 8
        """,
    )

    config = load(path, env={"BUCKET": "company"})

    assert config.root == "s3a://company/lake"
    assert config.tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert config.experiment == "autumn"
    assert config.models == {"churn": {"lead": 0}}
    assert config.spark == {"spark.sql.shuffle.partitions": "8"}
    assert config.sources == {
        "calls": Source(
            name="calls",
            file=path,
            format="csv",
            path=str(tmp_path.parent / "data" / "calls.csv"),
            zone="Europe/Paris",
            options={"sep": ";", "multiLine": "true"},
            columns={"call_id": "id", "talk_seconds": "cast(t as int)"},
            reject={"test": "id like 'T%'"},
            expect=Expect(rows=10, days=2),
            max_quarantined=0.25,
        )
    }


def test_an_empty_file_keeps_the_lake_and_the_runs_beside_itself(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""))

    assert config.root == str(tmp_path / "lake")
    assert config.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert config.experiment == "churn"
    assert (config.sources, config.models, config.spark) == ({}, {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[storag]\nroot = 'x'", "churn.toml: has no setting 'storag'; did you mean 'storage'?"),
        ("[storage]\nrot = 'x'", "churn.toml: [storage] has no setting 'rot'; did you mean 'root'?"),
        ("[storage]\nroot = 3", 'churn.toml: [storage] root is 3, want "..."'),
        ("sources = 3", "churn.toml: sources is 3, want a section [sources]"),
        ("[sources.calls]", "churn.toml: [sources.calls] lacks 'path'; add path = \"...\""),
        (
            "[sources.calls]\npath = 'x'\nzoen = 'UTC'",
            "churn.toml: [sources.calls] has no setting 'zoen'; did you mean 'zone'?",
        ),
        (
            "[sources.calls]\npath = 'x'\nzone = 'Europe/Pari'",
            (
                "churn.toml: [sources.calls] zone is 'Europe/Pari', want an IANA name such as 'Europe/Paris';"
                " did you mean 'Europe/Paris'?"
            ),
        ),
        (
            "[sources.calls]\npath = 'x'\nformat = 'cvs'",
            (
                "churn.toml: [sources.calls] format is 'cvs', want one of csv, json, parquet, delta, jdbc;"
                " did you mean 'csv'?"
            ),
        ),
        (
            "[sources.calls]\nformat = 'jdbc'\noptions = { url = 'jdbc:x' }",
            "churn.toml: [sources.calls] lacks a place; add url and dbtable (or query) under [sources.calls.options]",
        ),
        (
            "[sources.calls]\npath = 'x'\nmax_quarantined = 50",
            "churn.toml: [sources.calls] max_quarantined is 50, want a number from 0 to 1",
        ),
        (
            "[sources.calls]\npath = 'x'\n[sources.calls.expect]\nrows = 1.5",
            "churn.toml: [sources.calls.expect] rows is 1.5, want a whole number from 0",
        ),
        (
            "[sources.calls]\npath = 'x'\n[sources.calls.expect]\nday = 1",
            "churn.toml: [sources.calls.expect] has no setting 'day'; did you mean 'days'?",
        ),
        (
            "[sources.calls]\npath = 'x'\n[sources.calls.columns]\ntransfers = 0",
            (
                "churn.toml: [sources.calls.columns] transfers is 0, want a Spark SQL expression in quotes, such as"
                ' "other_name"'
            ),
        ),
        (
            "[sources.calls]\npath = '${NOWHERE}/x'",
            (
                "churn.toml: [sources.calls] path is '${NOWHERE}/x', but the environment has no NOWHERE; set it, or"
                " write ${NOWHERE:-default}"
            ),
        ),
        ("[storage", "churn.toml: not valid TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_what_cannot_be_right_is_named_with_the_next_step(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text), env={})
    assert str(error.value) == message


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no such file; make one with: churn init {tmp_path}"):
        load(tmp_path / "churn.toml")


def test_the_template_is_a_configuration(tmp_path: Path) -> None:
    config = load(write(tmp_path, (files("churn") / "templates" / "churn.toml").read_text("utf-8")))

    assert list(config.sources) == ["transactions"]
    assert config.sources["transactions"].columns["kind"] == "'purchase'"
