"""Model declarations: their settings, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError

from churn.errors import ConfigError, LeakageError
from churn.evaluation.gates import AtMost, NoLeak
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.labels.inactivity import Inactivity
from churn.model_spec import (
    Alerts,
    Cohort,
    EvaluationSettings,
    FeatureSet,
    LabelWindow,
    ModelSpec,
    Monitoring,
    Schedule,
    Training,
)
from churn.monitoring.limits import OutcomeFloor, ScoreDrift
from churn.training.algorithms import Blend, Boosting, Forest, Logistic, MLlib

CANDIDATES = {"logistic": Logistic()}


def model(**parts: object) -> ModelSpec:
    return ModelSpec(**{"name": "churn", "label": Closure(), "candidates": CANDIDATES} | parts)  # type: ignore[arg-type]


WHOLE, FROM_0, FROM_1 = "a valid integer", "greater than or equal to 0", "greater than or equal to 1"


@pytest.mark.parametrize(
    ("declared", "field", "message"),
    [
        (lambda: model(horizon=90), "horizon", "Extra inputs are not permitted"),
        (lambda: ModelSpec(label=Closure(), candidates=CANDIDATES), "name", "Field required"),
        (lambda: model(name="my churn"), "name", r"String should match pattern '\^\[A-Za-z0-9_-\]\+\$'"),
        (lambda: model(label="closure"), "label", "valid dictionary or instance of Label"),
        (lambda: model(candidates={}), "candidates", "Dictionary should have at least 1 item after validation, not 0"),
        (lambda: model(candidates={"x": Closure()}), "candidates.x", "should be an instance of Candidate"),
        (lambda: model(window=7), "window", "valid dictionary or instance of LabelWindow"),
        (lambda: model(baseline=3), "baseline", "should be a valid string"),
        (lambda: model(alerts=100), "alerts", "valid dictionary or instance of Alerts"),
        (lambda: model(gates=(OutcomeFloor(),)), "gates.0", "should be an instance of Gate"),
        (lambda: model(limits=(NoLeak(),)), "limits.0", "should be an instance of Limit"),
        (lambda: LabelWindow(lead=-1), "lead", FROM_0),
        (lambda: LabelWindow(horizon=0), "horizon", FROM_1),
        (lambda: LabelWindow(horizon=1.5), "horizon", WHOLE),
        (lambda: LabelWindow(maturity=-1), "maturity", FROM_0),
        (lambda: Closure(kinds=()), "kinds", "is empty, want at least one name"),
        (lambda: Closure(kinds="voluntary"), "kinds", "should be a valid tuple"),
        (lambda: Inactivity(activity=()), "activity", "is empty, want at least one name"),
        (lambda: Fraud(kinds=()), "kinds", "Extra inputs are not permitted"),
        (lambda: Cohort(kind="everyone"), "kind", "should be 'open' or 'active'"),
        (lambda: Cohort(active_days=0), "active_days", FROM_1),
        (lambda: Cohort(activity=()), "activity", "is empty, want at least one name"),
        (lambda: FeatureSet(include=()), "include", "is empty, want at least one name"),
        (lambda: FeatureSet(exclude=(1,)), "exclude.0", "should be a valid string"),
        (lambda: FeatureSet(windows=(30, 0)), "windows.1", FROM_1),
        (lambda: Schedule(every=0), "every", FROM_1),
        (lambda: Schedule(history=-1), "history", FROM_0),
        (lambda: Schedule(max_as_ofs=0), "max_as_ofs", FROM_1),
        (lambda: Schedule(calibrate_as_ofs=0), "calibrate_as_ofs", FROM_1),
        (lambda: Schedule(test_as_ofs=0), "test_as_ofs", FROM_1),
        (lambda: Schedule(test_every=0), "test_every", FROM_1),
        (lambda: Schedule(stale_after=-1), "stale_after", FROM_0),
        (lambda: Schedule(retrain_after=0), "retrain_after", FROM_1),
        (lambda: Training(negatives_per_positive=-1), "negatives_per_positive", FROM_0),
        (lambda: Training(trial_rows=0), "trial_rows", FROM_1),
        (lambda: Training(one_task_mib=-1), "one_task_mib", FROM_0),
        (lambda: Training(refit=1), "refit", "should be a valid boolean"),
        (lambda: Training(seed=True), "seed", WHOLE),
        (lambda: EvaluationSettings(resamples=-1), "resamples", FROM_0),
        (lambda: EvaluationSettings(period_days=0), "period_days", FROM_1),
        (lambda: EvaluationSettings(blocked_card_days=-1), "blocked_card_days", FROM_0),
        (lambda: Alerts(alert_budget=-1), "alert_budget", FROM_0),
        (lambda: Alerts(random_audit=-1), "random_audit", FROM_0),
        (lambda: Alerts(threshold_days=0), "threshold_days", FROM_1),
        (lambda: Monitoring(window_days=0), "window_days", FROM_1),
        (lambda: Logistic(reg_param_total=-1), "reg_param_total", FROM_0),
        (lambda: Logistic(max_iter=True), "max_iter", WHOLE),
        (lambda: Logistic(reg_param=1), "reg_param", "Extra inputs are not permitted"),
        (lambda: Forest(trees=2.5), "trees", WHOLE),
        (lambda: Forest(rows_per_tree=0), "rows_per_tree", "greater than 0"),
        (lambda: Boosting(learning_rate=1.1), "learning_rate", "less than or equal to 1"),
        (lambda: Boosting(bins=256), "bins", "less than or equal to 255"),
        (lambda: Boosting(bins=1), "bins", "greater than or equal to 2"),
    ],
)
def test_a_setting_that_cannot_be_right_is_named(declared: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        declared()
    assert [".".join(map(str, error["loc"])) for error in refused.value.errors()] == [field]


def test_a_random_split_is_refused_with_the_reason() -> None:
    with pytest.raises(LeakageError) as refused:
        Schedule(split="random")
    assert str(refused.value) == (
        "split = 'random' puts one customer, days apart, into train and test, and lets labels overlap features; only "
        "split = 'time' is offered"
    )


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (("logistic", "forrest"), "'forrest', which is no candidate by itself; did you mean 'forest'?"),
        (("logistic", "blend"), "'blend', which is no candidate by itself; known: forest, logistic"),
    ],
)
def test_a_blend_is_of_other_candidates(of: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        model(candidates={"logistic": Logistic(), "forest": Forest(), "blend": Blend(of=of)})
    assert str(refused.value) == f"model churn: candidate blend blends {message}"


def test_a_blend_has_two_parts() -> None:
    with pytest.raises(ConfigError) as refused:
        Blend(of=("logistic", "logistic"))
    assert str(refused.value) == (
        "Blend: of is ('logistic', 'logistic'), want the names of at least two other candidates"
    )


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(ConfigError, match=r"MLlib has no classifier 'GBTClassifer'.*; did you mean 'GBTClassifier'"):
        MLlib("GBTClassifer")


def test_a_declaration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        model().name = "other"  # type: ignore[misc]


def test_what_a_label_window_contains_and_when_it_matures() -> None:
    window, as_of = LabelWindow(lead=7, horizon=30, maturity=10), datetime(2026, 3, 1)
    assert window.matures_after == timedelta(days=47)
    assert window.matured_at(as_of) == datetime(2026, 4, 17)


def test_settings_are_all_that_was_declared() -> None:
    spec = model(
        label=Closure(kinds=("voluntary", "other")),
        alerts=Alerts(alert_budget=10),
        candidates={
            "logistic": Logistic(reg_param_total=5.0),
            "boosted": MLlib("GBTClassifier", maxIter=3),
            "blend": Blend(of=("logistic", "boosted")),
        },
        gates=(AtMost(0.1),),
        limits=(ScoreDrift(psi=0.2),),
    )
    settings = spec.settings
    assert settings["label"] == {"name": "closure", "kinds": ("voluntary", "other")}
    assert settings["alerts"] == {"alert_budget": 10, "random_audit": 5, "threshold_days": 7}
    assert settings["candidates"] == {
        "logistic": {"algorithm": "Logistic", "reg_param_total": 5.0, "max_iter": 100},
        "boosted": {"algorithm": "GBTClassifier", "maxIter": 3},
        "blend": {"algorithm": "Blend", "of": ["logistic", "boosted"]},
    }
    assert (settings["gates"], settings["limits"]) == (
        ["AtMost(limit=0.1, metric='calibration_error')"],
        ["ScoreDrift(psi=0.2)"],
    )
    assert settings["window"] == {"lead": 7, "horizon": 30, "maturity": 0}
    assert set(settings) == {*ModelSpec.model_fields}
    assert model().settings["alerts"] is None


def test_a_population() -> None:
    assert Cohort().population == "customers with an open account"
    active = Cohort(kind="active", active_days=60, activity=("purchase", "payment"))
    assert active.population == "customers with a purchase or payment in the last 60 days"
