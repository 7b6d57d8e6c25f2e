"""A version is MLlib's own format and as it was registered, or it is not loaded: a real SQLite store, a real model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from mlflow import MlflowClient
from pyspark.ml import Pipeline
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from churn.errors import BadInputError, DamageError
from churn.registry import tracking
from churn.registry.model_files import check_format

CODE = ("  spark:\n    code: null", "  spark:\n    code: code")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    rows = spark.createDataFrame([(0.0, 1.0), (1.0, 0.0)], "a double, b double")
    model = Pipeline(stages=[VectorAssembler(inputCols=["a", "b"], outputCol="features")]).fit(rows)
    with tracking.run(uri, "models", "train", key="train churn 2026-10-01") as run:
        run.model(model, inputs=rows, outputs=rows)
        run.register("churn")
    return uri


@pytest.fixture
def files(store: str) -> Path:
    """The folder with the files of version 1."""
    place = MlflowClient(store).get_model_version_download_uri("churn", "1")
    return Path(url2pathname(urlsplit(place).path))


def _replace(file: Path, was: str, now: str) -> None:
    text = file.read_text()
    assert text.count(was) == 1
    file.write_text(text.replace(was, now))


@pytest.mark.parametrize(
    ("file", "was", "now", "message"),
    [
        ("MLmodel", *CODE, "spark: code = 'code', want None"),
        ("MLmodel", "loader_module: mlflow.spark", "loader_module: own", "loader_module = 'own', want 'mlflow.spark'"),
        ("MLmodel", "model_data: sparkml", "model_data: ../other", "spark: model_data = '../other', want 'sparkml'"),
        ("MLmodel", "class: pyspark.ml.pipeline", "class: own.pipeline", "model_class = 'own.pipeline.PipelineModel'"),
        ("MLmodel", "  spark:\n", "  sklearn:\n    code: null\n  spark:\n", "MLmodel has the flavour 'sklearn'"),
        ("MLmodel", "flavors:\n", "flavors: [\n", "MLmodel cannot be read"),
        ("sparkml/stages/*/metadata/part-*", "org.apache.spark.ml.feature", "own", "class 'own.Vector"),
    ],
)  # fmt: skip
def test_a_model_whose_files_name_other_code_than_mllibs_is_refused(
    files: Path, tmp_path: Path, file: str, was: str, now: str, message: str
) -> None:
    changed = Path(shutil.copytree(files, tmp_path / "model"))
    check_format(changed, "churn version 1")
    (part,) = changed.glob(file)
    _replace(part, was, now)
    with pytest.raises(BadInputError, match=message) as refused:
        check_format(changed, "churn version 1")
    assert str(refused.value).startswith("churn version 1 is not loaded: ")


def test_a_version_that_brings_code_is_refused_before_it_is_run(store: str, files: Path) -> None:
    (files / "code").mkdir()
    before, path = (files / "MLmodel").read_text(), list(sys.path)
    _replace(files / "MLmodel", *CODE)
    with pytest.raises(BadInputError, match="want MLlib's own format without code, as `train` registers it"):
        tracking.load_model(store, "churn")
    assert sys.path == path
    (files / "MLmodel").write_text(before)
    (files / "code").rmdir()


def test_a_version_whose_files_have_changed_since_they_were_registered_is_refused(store: str, files: Path) -> None:
    assert tracking.load_model(store, "churn").number == "1"
    (metadata,) = files.glob("sparkml/stages/*/metadata/part-*")
    before = metadata.read_text()
    _replace(metadata, '["a","b"]', '["b","a"]')
    with pytest.raises(DamageError, match=r"version 1 at .* are not those that were registered .*: churn rollback"):
        tracking.load_model(store, "churn")
    metadata.write_text(before)
    MlflowClient(store).delete_model_version_tag("churn", "1", tracking.FILES)  # nothing vouches for them then
    with pytest.raises(DamageError, match="are not those that were registered"):
        tracking.load_model(store, "churn")
