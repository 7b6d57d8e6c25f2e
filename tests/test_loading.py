"""Model files, and what churn.toml may set of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from churn.errors import BadInputError, ConfigError, LeakageError
from churn.features import declarations
from churn.labels.closure import Closure
from churn.labels.inactivity import Inactivity
from churn.loading import load_spec, with_settings
from churn.model_spec import Alerts, Cohort, FeatureSet, LabelWindow, ModelSpec
from churn.training.algorithms import Logistic

OWN = """
from pyspark.sql import functions as F
from churn import Closure, FeatureSet, Logistic, ModelSpec, windowed
from churn.sources.catalog.transactions import TRANSACTIONS

@windowed(TRANSACTIONS, agg="count", days=(30,), unit="purchases", fill=0)
def own_purchases():
    "{doc}"
    return F.lit(1)

SPEC = ModelSpec(
    name="own", label=Closure(), candidates={{"logistic": Logistic()}}, features=FeatureSet(include=("own_purchases",))
)
"""
FILE = Path("company/churn.toml")
SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    window=LabelWindow(lead=3, horizon=30),
    candidates={"logistic": Logistic(reg_param_total=500.0)},
)


def test_settings_of_churn_toml_take_the_place_of_the_models_own() -> None:
    values = {
        "label": "inactivity",
        "baseline": "days_since_call",
        "window": {"horizon": 90},
        "cohort": {"kind": "active", "activity": ["purchase", "payment"]},
        "features": {"windows": [30, 90]},
    }
    changed = with_settings(SPEC, values, file=FILE)
    assert changed == SPEC.model_copy(
        update={
            "label": Inactivity(),
            "baseline": "days_since_call",
            "window": LabelWindow(lead=3, horizon=90),
            "cohort": Cohort(kind="active", activity=("purchase", "payment")),
            "features": FeatureSet(windows=(30, 90)),
        }
    )
    assert with_settings(SPEC, {}, file=FILE) == SPEC


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("inactivity", Inactivity()),
        ({"name": "inactivity"}, Inactivity()),
        ({"name": "inactivity", "activity": ["payment"]}, Inactivity(activity=("payment",))),
        ({"name": "closure"}, Closure(kinds=("voluntary", "other"))),  # the model's own, and so its settings
        ("closure", Closure(kinds=("voluntary", "other"))),
        ({"kinds": ["involuntary"]}, Closure(kinds=("involuntary",))),
    ],
)
def test_a_label_is_chosen_by_its_name_with_its_own_settings(label: Any, wanted: object) -> None:
    spec = SPEC.model_copy(update={"label": Closure(kinds=("voluntary", "other"))})
    assert with_settings(spec, {"label": label}, file=FILE).label == wanted


def test_a_model_without_alerts_may_be_given_some() -> None:
    assert SPEC.alerts is None
    assert with_settings(SPEC, {"alerts": {"alert_budget": 7}}, file=FILE).alerts == Alerts(alert_budget=7)
    more = SPEC.model_copy(update={"alerts": Alerts(random_audit=0)})
    assert with_settings(more, {"alerts": {"alert_budget": 7}}, file=FILE).alerts == Alerts(
        alert_budget=7, random_audit=0
    )


PARTS = (
    "alerts, baseline, campaign, cohort, evaluation, features, label, monitoring, reasons, schedule, training, window"
)


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({"windw": {}}, ["[model.churn] has no setting 'windw'; did you mean 'window'?"]),
        ({"horizon": 90}, [f"[model.churn] has no setting 'horizon'; known: {PARTS}"]),
        ({"candidates": {}}, [f"[model.churn] has no setting 'candidates'; known: {PARTS}"]),
        ({"cohort": "active"}, ["[model.churn.cohort] is 'active', want a table of settings"]),
        ({"label": 3}, ["[model.churn.label] is 3, want a table of settings"]),
        ({"label": "closures"}, ["[model.churn.label] name: no label 'closures'; did you mean 'closure'?"]),
        ({"label": {"kind": []}}, ["[model.churn.label] has no setting 'kind'; did you mean 'kinds'?"]),
        (
            {"label": {"name": "inactivity", "kinds": ["voluntary"]}},
            ["[model.churn.label] has no setting 'kinds'; known: activity"],
        ),
        ({"label": {"kinds": []}}, ["[model.churn.label] kinds is empty, want at least one name"]),
        ({"label": {"kinds": [1]}}, ["[model.churn.label] kinds[0] is 1, want text"]),
        ({"window": {"horizont": 90}}, ["[model.churn.window] has no setting 'horizont'; did you mean 'horizon'?"]),
        ({"window": {"horizon": "90"}}, ["[model.churn.window] horizon is '90', want a whole number from 1"]),
        ({"window": {"horizon": 0}}, ["[model.churn.window] horizon is 0, want a whole number from 1"]),
        ({"window": {"lead": -1}}, ["[model.churn.window] lead is -1, want a whole number from 0"]),
        ({"features": {"windows": [30, 0]}}, ["[model.churn.features] windows[1] is 0, want a whole number from 1"]),
        ({"features": {"include": "calls"}}, ["[model.churn.features] include is 'calls', want a list, each text"]),
        ({"cohort": {"kind": "everyone"}}, ["[model.churn.cohort] kind is 'everyone', want one of open, active"]),
        ({"training": {"refit": 1}}, ["[model.churn.training] refit is 1, want true or false"]),
        ({"alerts": {"alert_budget": -1}}, ["[model.churn.alerts] alert_budget is -1, want a whole number from 0"]),
        (
            {"window": {"lead": -1, "horizont": 90}, "cohort": {"active_days": 0}, "label": "closures", "nothing": 1},
            [
                "[model.churn.window] lead is -1, want a whole number from 0",
                "[model.churn.window] has no setting 'horizont'; did you mean 'horizon'?",
                "[model.churn.cohort] active_days is 0, want a whole number from 1",
                "[model.churn.label] name: no label 'closures'; did you mean 'closure'?",
                f"[model.churn] has no setting 'nothing'; known: {PARTS}",
            ],
        ),
    ],
)
def test_all_that_cannot_be_right_is_named(values: dict[str, Any], problems: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        with_settings(SPEC, values, file=FILE)
    assert str(refused.value).splitlines() == [f"churn.toml: {problem}" for problem in problems]


def test_what_is_wrong_is_named_with_its_line_in_the_file() -> None:
    text = "[model.churn]\nlabel = { kind = [] }\n\n[model.churn.window]\nlead = 0\nhorizont = 90\n"
    with pytest.raises(ConfigError) as refused:
        with_settings(SPEC, {"label": {"kind": []}, "window": {"lead": 0, "horizont": 90}}, file=FILE, text=text)
    assert str(refused.value).splitlines() == [
        "churn.toml line 2: [model.churn.label] has no setting 'kind'; did you mean 'kinds'?",
        "churn.toml line 6: [model.churn.window] has no setting 'horizont'; did you mean 'horizon'?",
    ]


def test_a_random_split_is_refused_with_the_reason() -> None:
    with pytest.raises(LeakageError, match="lets labels overlap features; only split = 'time'"):
        with_settings(SPEC, {"schedule": {"split": "random"}}, file=FILE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no model file"),
        ("SPEC = 1", "holds no SPEC"),
        ("import nowhere", "cannot be run: ModuleNotFoundError"),
    ],
)
def test_a_model_file_that_is_none_is_refused_with_the_reason(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "model.py"
    if text:
        file.write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_spec(file)


@pytest.mark.parametrize("name", ["churn", "fraud", "sales"])
def test_the_shipped_models_load(name: str) -> None:
    assert load_spec(Path(__file__).parents[1] / "models" / f"{name}.py").name == name


def test_a_model_file_with_a_feature_of_its_own_may_be_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declarations, "_REGISTRY", dict(declarations._REGISTRY))
    file = tmp_path / "own.py"
    for doc in ("Purchases.", "All purchases."):
        file.write_text(OWN.format(doc=doc))
        load_spec(file)
        assert [feature.doc for feature in declarations.features("churn_model_own")] == [doc]


@pytest.mark.parametrize("code", ["0", "'done'", ""])
def test_a_model_file_that_ends_the_program_is_bad_configuration(tmp_path: Path, code: str) -> None:
    """SystemExit in a model file must not end a job as if it were done."""
    file = tmp_path / "model.py"
    file.write_text(f"import sys\nsys.exit({code})\n")
    with pytest.raises(ConfigError, match=r"model.py ends the program \(SystemExit: .*\); it may only declare"):
        load_spec(file)


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("window", "horizon"),
        ("window", "lead"),
        ("schedule", "history"),
        ("schedule", "late_days"),
        ("cohort", "active_days"),
    ],
)
def test_a_span_of_days_is_at_most_a_hundred_years(part: str, setting: str) -> None:
    """Longer ones lead to times that neither Spark nor pandas can hold."""
    with pytest.raises(ConfigError, match=f"{setting}.*36500"):
        with_settings(SPEC, {part: {setting: 999_999_999}}, file=FILE)
    assert with_settings(SPEC, {part: {setting: 36_500}}, file=FILE)
