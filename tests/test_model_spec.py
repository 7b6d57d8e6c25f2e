"""Model declarations and what churn.toml may say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from churn.errors import BadInputError, ConfigError, LeakageError
from churn.features import declare
from churn.training.algorithms import Logistic, MLlib
from churn.model_spec import ModelSpec
from churn.loading import load_spec

OWN = """
from pyspark.sql import functions as F
from churn import Logistic, ModelSpec, windowed
from churn.sources.catalog.transactions import TRANSACTIONS

@windowed(TRANSACTIONS, agg="count", days=(30,), unit="purchases", fill=0)
def purchases_of_mine():
    "{doc}"
    return F.lit(1)

SPEC = ModelSpec(name="own", candidates={{"logistic": Logistic()}}, features=("purchases_of_mine",))
"""
SPEC = ModelSpec(name="churn", candidates={"logistic": Logistic(reg_param_total=500.0)})


def test_settings_of_churn_toml_take_the_place_of_the_models_own() -> None:
    changed = SPEC.override({"label": "inactivity", "horizon": 90, "windows": [30, 90]}, where="churn.toml")
    assert (changed.label, changed.horizon, changed.windows) == ("inactivity", 90, (30, 90))
    assert changed.requires == {"transactions"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizont": 90}, r"unknown key 'horizont' in \[model.churn\]; did you mean 'horizon'"),
        ({"horizon": "90"}, r"\[model.churn\] horizon is '90', want int"),
        ({"horizon": 0}, "horizon is 0, want 1 or more"),
        ({"lead": -1}, "lead is -1, want 0 or more"),
        ({"windows": [0]}, "windows of whole days from 1"),
        ({"label": "closures"}, "no label 'closures'; did you mean 'closure'"),
        ({"cohort": "everyone"}, "no cohort 'everyone'"),
    ],
)
def test_a_setting_that_cannot_be_right_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SPEC.override(settings, where="churn.toml")


def test_a_random_split_is_refused_with_the_reason() -> None:
    with pytest.raises(LeakageError, match="lets labels overlap features; only split = 'time'"):
        SPEC.override({"split": "random"}, where="churn.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no model file"),
        ("SPEC = 1", "holds no SPEC"),
        ("import nowhere", "cannot be run: ModuleNotFoundError"),
    ],
)
def test_a_model_file_that_is_none_says_why(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "model.py"
    if text:
        file.write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_spec(file)


def test_the_shipped_model_loads() -> None:
    assert load_spec(Path(__file__).parents[2] / "models" / "churn.py").name == "churn"


def test_a_model_file_with_a_feature_of_its_own_may_be_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declare, "_REGISTRY", dict(declare._REGISTRY))
    file = tmp_path / "own.py"
    for doc in ("Purchases.", "All purchases."):
        file.write_text(OWN.format(doc=doc))
        load_spec(file)
        assert [feature.doc for feature in declare.features("churn_model_own")] == [doc]


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(ConfigError, match=r"MLlib has no classifier 'GBTClassifer'.*; did you mean 'GBTClassifier'"):
        MLlib("GBTClassifer")
