"""Why a row has its score: parts that add up to it, in the catalogue's words, and none from what is protected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.split import split_in_time
from churn.errors import BadInputError
from churn.labels.closure import Closure
from churn.model_spec import Alerts, Candidate, FeatureSet, LabelWindow, ModelSpec, ReasonSettings
from churn.scoring.batch import scored
from churn.scoring.reasons import Explainer, explainer, frequent_reasons, reasons, with_reasons
from churn.training.algorithms import Blend, Boosting, Forest, Logistic, MLlib
from churn.training.fit import fit
from churn.training.model_version import ModelVersion

DATES = [datetime(2026, month, 1) for month in (1, 2, 3, 4)]
SPLIT = split_in_time(DATES, test=[DATES[3]], window=LabelWindow(lead=0, horizon=28), calibrate=2)
FEATURES = ["days_since_purchase", "purchases_30d", "purchases_90d", "wait_mean_30d", "plan"]
SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    features=FeatureSet(windows=(30, 90)),
    candidates={"logistic": Logistic(reg_param_total=1.0)},
)
LINEAR, TREES = Logistic(reg_param_total=1.0), Boosting(max_trees=20, max_depth=4, min_rows_per_leaf=5, patience=20)
MODELS: dict[str, dict[str, Candidate]] = {
    "linear": {"logistic": LINEAR},
    "boosting": {"boosting": TREES},
    "forest": {"forest": Forest(trees=10, max_depth=6, min_rows_per_leaf=3)},
    "blend": {"blend": Blend(of=("logistic", "forest")), "logistic": LINEAR, "forest": Forest(trees=5, max_depth=4)},
    "mllib": {"mllib": MLlib("GBTClassifier", maxIter=3, maxDepth=3)},
}


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """150 customers at four dates, who leave by recency, plan and wait; some waits are null."""
    rng = np.random.default_rng(5)
    drawn = []
    for date in DATES:
        for number in range(150):
            recency, wait = float(rng.integers(1, 100)), float(rng.integers(0, 300))
            plan = ("gold", "basic", None)[number % 3]
            left = int(rng.random() < 1 / (1 + np.exp(2 - recency / 25 - wait / 200 - (plan == "gold"))))
            few = float(rng.integers(0, 3))
            drawn.append((f"c{number:03}", date, left, recency, few, few + 2, None if number % 7 == 0 else wait, plan))
    schema = (
        "customer_id string, as_of timestamp, label int, days_since_purchase double, purchases_30d double,"
        " purchases_90d double, wait_mean_30d double, plan string"
    )
    return spark.createDataFrame(drawn, schema).repartition(3).persist()


@dataclass
class Made:
    version: ModelVersion
    explained: Explainer
    scores: DataFrame


@pytest.fixture(scope="module")
def made(rows: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    scratch = str(tmp_path_factory.mktemp("scratch"))
    found = {}
    for name, candidates in MODELS.items():
        spec = SPEC.model_copy(update={"candidates": candidates})
        fitted = fit(spec, rows.where("as_of < '2026-04-01'"), SPLIT, FEATURES, scratch=scratch)
        version = ModelVersion(fitted.model, "1", "run", fitted.summary)
        scores = scored(
            spec, fitted.model, rows.where("as_of = '2026-04-01'"), scored_on=datetime(2026, 4, 1), version="1"
        )
        found[name] = Made(version, explainer(spec, version, scratch), scores)
    assert not list(Path(scratch).iterdir())
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_add_up_to_the_score(made: dict[str, Made], rows: DataFrame, name: str) -> None:
    """Of linear models, trees, blends and MLlib's own, to 1e-6 of the log-odds."""
    of = made[name]
    found = (
        reasons(rows.where("as_of = '2026-04-01'"), SPEC.key, of.explained).join(of.scores, list(SPEC.key)).toPandas()
    )
    log_odds = np.log(found["score"] / (1 - found["score"]))
    assert len(found) == 150
    assert found["log_odds"].to_numpy() == pytest.approx(log_odds.to_numpy(), abs=1e-6)
    assert found["score"].nunique() > 5


def batch(**columns: list[object]) -> pa.RecordBatch:
    """Rows like the median one, but for these columns."""
    count = len(next(iter(columns.values())))
    typical = {name: [50.0] * count for name in FEATURES[:4]} | {"plan": ["basic"] * count}
    return pa.RecordBatch.from_pydict({**typical, **columns})


def test_a_linear_part_is_the_coefficient_times_the_distance_from_the_mean(made: dict[str, Made]) -> None:
    version = made["linear"].explained
    near, far = version.contributions(version.matrix(batch(days_since_purchase=[50.0, 90.0])))
    group = version.names.index("days_since_purchase")
    slot = next(n for n, one in enumerate(version.slots) if one.feature == "days_since_purchase" and not one.is_missing)
    coefficient = version.parts[0].slope * version.parts[0].coefficients[slot]
    assert far[group] - near[group] == pytest.approx(coefficient * (np.log(91) - np.log(51)), rel=1e-6)
    assert near[group] == pytest.approx(coefficient * (np.log(51) - version.centre[slot]), rel=1e-5)


def test_related_windows_count_together(made: dict[str, Made]) -> None:
    """purchases_30d and purchases_90d are one reason, `purchases`; so are a column and its being null."""
    version = made["linear"].explained
    assert set(version.names) == {"days_since_purchase", "purchases", "wait_mean", "plan"}
    together = version.contributions(version.matrix(batch(purchases_30d=[0.0], purchases_90d=[9.0])))
    apart = [version.contributions(version.matrix(batch(**one))) for one in (
        {"purchases_30d": [0.0]}, {"purchases_90d": [9.0]}, {"purchases_30d": [50.0]},
    )]  # fmt: skip
    group = version.names.index("purchases")
    assert together[0, group] == pytest.approx(apart[0][0, group] + apart[1][0, group] - apart[2][0, group], abs=1e-5)


def test_a_reason_is_a_sentence_with_a_direction(made: dict[str, Made]) -> None:
    """The greatest effect first; a long recency raises the chance to leave, a short one lowers it."""
    (first, second) = made["linear"].explained.reasons(batch(days_since_purchase=[98.0, 1.0]))[1].to_pylist()
    by_name = [{one["feature"]: one for one in row} for row in (first, second)]
    assert len(first) == 3
    assert [abs(one["effect"]) for one in first] == sorted((abs(one["effect"]) for one in first), reverse=True)
    late, early = by_name[0]["days_since_purchase"], by_name[1]["days_since_purchase"]
    assert (late["direction"], early["direction"]) == ("raises", "lowers")
    assert late["value"] == "98 days"
    assert late["text"].startswith("Days since the last purchase: 98 days, usually ")


def test_what_is_not_known_is_named(made: dict[str, Made]) -> None:
    version = made["linear"].explained
    assert version.wordings["wait_mean_30d"].text(None) == (
        "not known",
        "The mean wait for an agent in the last 30 days: not known",
    )
    assert version.wordings["days_since_purchase"].text(1e9)[0] == "never"
    assert version.wordings["plan"].text("gold") == ("gold", version.wordings["plan"].phrase + ": gold")


@pytest.mark.parametrize("protected", [("plan",), ("account",)])
def test_no_reason_is_given_from_what_is_protected(
    made: dict[str, Made], rows: DataFrame, tmp_path: Path, protected: tuple[str, ...]
) -> None:
    """By feature or family: the next reason takes its place, and the sum still counts it."""
    spec = SPEC.model_copy(update={"reasons": ReasonSettings(protected=protected, count=4)})
    plain = SPEC.model_copy(update={"reasons": ReasonSettings(count=4)})
    one = {"days_since_purchase": [98.0]}
    hidden = explainer(spec, made["linear"].version, str(tmp_path)).reasons(batch(**one, plan=["gold"]))
    shown = explainer(plain, made["linear"].version, str(tmp_path)).reasons(batch(**one, plan=["gold"]))
    assert "plan" in {reason["feature"] for reason in shown[1].to_pylist()[0]}
    assert "plan" not in {reason["feature"] for reason in hidden[1].to_pylist()[0]}
    assert len(hidden[1].to_pylist()[0]) == 3
    assert hidden[0] == shown[0]


def test_an_unknown_protected_name_is_refused(made: dict[str, Made], tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"reasons": ReasonSettings(protected=("plna",))})
    with pytest.raises(
        BadInputError, match=r"\[model.churn.reasons\] protected: no feature.*'plna'; did you mean 'plan'"
    ):
        explainer(spec, made["linear"].version, str(tmp_path))


def test_the_scores_acted_on_have_reasons(made: dict[str, Made], rows: DataFrame, tmp_path: Path) -> None:
    """The highest scores and every alert, or all; the same under a repartition, and all that is scored is kept."""
    today = rows.where("as_of = '2026-04-01'")
    of, scratch = made["forest"], str(tmp_path)
    spec = SPEC.model_copy(update={"reasons": ReasonSettings(top=5), "alerts": Alerts(alert_budget=8, random_audit=2)})
    found = with_reasons(spec, of.version, of.scores, today, scratch).orderBy("rank").collect()
    assert len(found) == 150
    assert [row["rank"] for row in found if row["reasons"]][:8] == list(range(1, 9))
    assert sum(row["reasons"] is not None for row in found) == 10
    again = with_reasons(spec, of.version, of.scores, today.repartition(5, "plan"), scratch).orderBy("rank").collect()
    assert again == found
    every = SPEC.model_copy(update={"reasons": ReasonSettings(all_rows=True)})
    assert with_reasons(every, of.version, of.scores, today, scratch).where("reasons IS NULL").count() == 0


def test_the_frequent_reasons_are_those_of_the_scores_acted_on(
    made: dict[str, Made], rows: DataFrame, tmp_path: Path
) -> None:
    """Of each feature the share of the ten highest scores that have it as a reason, as the catalogue puts it."""
    today, of = rows.where("as_of = '2026-04-01'"), made["linear"]
    spec = SPEC.model_copy(update={"reasons": ReasonSettings(top=10)})
    explained = with_reasons(spec, of.version, of.scores, today, str(tmp_path)).where("rank <= 10").collect()
    counts = Counter(one["feature"] for row in explained for one in row["reasons"])
    frequent = frequent_reasons(spec, of.version, today, DATES[-1], str(tmp_path), most=2)
    assert [(one.feature, one.share) for one in frequent] == [
        (feature, count / 10) for feature, count in sorted(counts.items(), key=lambda of: (-of[1], of[0]))[:2]
    ]
    assert {"days_since_purchase": "Days since the last purchase"}.items() <= {
        one.feature: one.phrase for one in frequent
    }.items()
    assert all(0 < one.raises <= one.share for one in frequent)


def test_parts_that_do_not_add_up_fail_the_job(made: dict[str, Made], rows: DataFrame, tmp_path: Path) -> None:
    wrong = made["linear"].scores.withColumn("score", F.col("score") * 0.99)
    with pytest.raises(Exception, match="the parts of a score add up to log-odds of"):
        with_reasons(SPEC, made["linear"].version, wrong, rows.where("as_of = '2026-04-01'"), str(tmp_path)).collect()
