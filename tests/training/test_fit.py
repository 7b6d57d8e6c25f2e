"""Fitting on made-up rows whose truth is known."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.special import expit

from churn.dataset.split import split_in_time
from churn.errors import BadInputError
from churn.evaluation.by_date import evaluate_by_date, scored_rows
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.model_output import probability
from churn.model_spec import Campaign, Candidate, EvaluationSettings, LabelWindow, ModelSpec, Training
from churn.scoring.batch import scored
from churn.training.algorithms import Blend, Boosting, Forest, Logistic, MLlib
from churn.training.fit import fit
from churn.training.selection import Trial, intercept, simplest_of_the_best, trial

DATES = [datetime(2026, 1, 1) + timedelta(days=30 * month) for month in range(4)]
SPLIT = split_in_time(DATES, test=[DATES[3]], window=LabelWindow(lead=0, horizon=30), calibrate=1)
SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    baseline="days_since_purchase",
    evaluation=EvaluationSettings(resamples=20),
    candidates={
        "logistic": Logistic(reg_param_total=1.0),
        "forest": Forest(trees=5, max_depth=3),
        "boosting": Boosting(max_trees=3, max_depth=2),
    },
)
FEATURES = ["days_since_purchase", "wait_mean", "plan", "constant"]
SCHEMA = (
    "customer_id string, as_of timestamp, label int, days_since_purchase double, wait_mean double, plan string,"
    " constant double"
)


def with_candidates(candidates: dict[str, Candidate], **parts: object) -> ModelSpec:
    return SPEC.model_copy(update={"candidates": candidates, **parts})


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """200 customers at four dates: the odds of leaving grow with recency; some waits are null."""
    rng = np.random.default_rng(5)
    drawn = []
    for date in DATES:
        for number in range(200):
            recency = float(rng.integers(1, 100))
            left = int(rng.random() < 1 / (1 + np.exp(2 - recency / 25)))
            wait = None if number % 7 == 0 else float(rng.integers(0, 300))
            drawn.append((f"c{number:03}", date, left, recency, wait, "gold" if number % 3 else "basic", 1.0))
    return spark.createDataFrame(drawn, SCHEMA).repartition(3).persist()


def test_a_fitted_model_gives_calibrated_probabilities_and_records_how_it_was_made(rows: DataFrame) -> None:
    fitted = fit(SPEC, rows.where("as_of < '2026-04-01'"), SPLIT, FEATURES)
    assert set(fitted.trials) == {"logistic", "forest", "boosting"}
    assert fitted.preparation.columns == ("days_since_purchase", "wait_mean", "plan")  # a constant is left out
    assert next(iter(fitted.importance)) == "days_since_purchase"
    assert sum(fitted.importance.values()) == pytest.approx(1)
    past = scored_rows(SPEC, fitted.model, rows.where("as_of < '2026-04-01'"))
    assert past["score"].mean() == pytest.approx(past["label"].mean(), abs=1e-3)
    by_date = evaluate_by_date(SPEC, scored_rows(SPEC, fitted.model, rows.where(f"as_of = '{DATES[3]:%Y-%m-%d}'")))
    metrics = by_date["2026-04-01"]
    assert metrics["auc"] == pytest.approx(0.74, abs=0.08)
    assert set(metrics["intervals"]["auc"]) != {metrics["auc"]}
    assert metrics["baseline"]["brier"] is None


ALGORITHMS = {
    "logistic": (Logistic(reg_param_total=1.0), 1e-3),
    "forest": (Forest(trees=60, max_depth=3), 0.05),
    "boosting": (Boosting(max_trees=40, max_depth=2, slots_per_split=1.0, l2=0.0), 0.08),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_beyond_one_task_spark_fits_the_same_declaration(rows: DataFrame, name: str) -> None:
    candidate, close = ALGORITHMS[name]
    past, test = rows.where("as_of < '2026-04-01'"), rows.where("as_of = '2026-04-01'")
    here = with_candidates({name: candidate})
    on_executors = with_candidates({name: candidate}, training=Training(one_task_mib=0))
    one, many = (fit(spec, past, SPLIT, FEATURES) for spec in (here, on_executors))
    assert set(one.preparation.slots) <= set(many.preparation.slots)  # what makes no difference is left out
    assert many.trials[name].auc == pytest.approx(one.trials[name].auc, abs=0.02)
    scores = [scored_rows(here, fitted.model, test)["score"] for fitted in (one, many)]
    assert np.abs(scores[0] - scores[1]).mean() < close
    assert scores[0].mean() == pytest.approx(scores[1].mean(), abs=0.02)
    classes = [[type(stage).__name__ for stage in fitted.model.stages] for fitted in (one, many)]
    assert classes[0] == classes[1]


@pytest.mark.parametrize("one_task_mib", [1024, 0])
def test_scores_have_the_rate_of_all_rows_where_few_negatives_are_fitted_on(rows: DataFrame, one_task_mib: int) -> None:
    rare = rows.where("as_of < '2026-04-01' AND (label = 0 OR pmod(xxhash64(customer_id, as_of), 4) = 0)")
    training = Training(negatives_per_positive=1, one_task_mib=one_task_mib)
    fitted = fit(with_candidates({"logistic": Logistic(reg_param_total=1.0)}, training=training), rare, SPLIT, FEATURES)
    past = scored_rows(SPEC, fitted.model, rare)
    assert past["label"].mean() < 0.2  # of the rows that were fitted on it is about a half
    assert past["score"].mean() == pytest.approx(past["label"].mean(), rel=0.25)


def test_mllibs_own_classifiers_are_candidates_beside_the_others(rows: DataFrame) -> None:
    spec = with_candidates({"mllib": MLlib("GBTClassifier", maxIter=3, maxDepth=2), **SPEC.candidates})
    fitted = fit(spec, rows.where("as_of < '2026-04-01'"), SPLIT, FEATURES)
    assert set(fitted.trials) == {"mllib", "logistic", "forest", "boosting"}
    assert fitted.trials["mllib"].auc == pytest.approx(fitted.trials["logistic"].auc, abs=0.1)


def test_a_blends_weights_are_fitted_on_one_later_date_and_tried_on_the_next(rows: DataFrame) -> None:
    two = split_in_time(DATES, test=[DATES[3]], window=LabelWindow(lead=0, horizon=30), calibrate=2)
    blend = {**SPEC.candidates, "blend": Blend(of=("logistic", "boosting"))}
    past = rows.where("as_of < '2026-04-01'")
    fitted = fit(with_candidates(blend), past, two, FEATURES)
    assert len(fitted.trials["blend"].slopes) == 2
    assert min(fitted.trials["blend"].slopes) >= 0
    assert len(fitted.trials["blend"].losses) == len(fitted.trials["logistic"].losses) == 200
    only = with_candidates({"blend": blend["blend"], **SPEC.candidates})
    assert "blend" not in fit(only, past, SPLIT, FEATURES).trials  # one later date cannot do both


def test_a_blend_scores_by_the_weighted_margins_of_its_parts(rows: DataFrame) -> None:
    two = split_in_time(DATES, test=[DATES[3]], window=LabelWindow(lead=0, horizon=30), calibrate=2)
    first = with_candidates({"blend": Blend(of=("logistic", "forest")), **SPEC.candidates})
    fitted = fit(first, rows.where("as_of < '2026-04-01'"), two, FEATURES)
    assert fitted.chosen == "blend"
    scored_by_parts = fitted.model.transform(rows.where("as_of = '2026-04-01'"))
    found = scored_by_parts.select(
        probability().alias("score"), *(vector_to_array(f"{part} margin")[0].alias(part) for part in fitted.slopes)
    ).toPandas()
    log_odds = np.log(found["score"] / (1 - found["score"]))
    rest = log_odds - sum(slope * found[part] for part, slope in fitted.slopes.items())
    assert rest.to_numpy() == pytest.approx(rest[0], abs=1e-9)  # what is left is the intercept
    assert found["score"].nunique() > 10


def test_rows_in_another_order_give_the_same_scores(rows: DataFrame) -> None:
    past, test = rows.where("as_of < '2026-04-01'"), rows.where("as_of = '2026-04-01'")
    once = scored_rows(SPEC, fit(SPEC, past, SPLIT, FEATURES).model, test)
    again = scored_rows(SPEC, fit(SPEC, past.repartition(7, "wait_mean"), SPLIT, FEATURES).model, test)
    assert once["score"].tolist() == again["score"].tolist()


def test_a_null_that_training_never_saw_is_scored_as_the_median(rows: DataFrame) -> None:
    fitted = fit(SPEC, rows.where("as_of < '2026-04-01'"), SPLIT, FEATURES)
    later = rows.where("as_of = '2026-04-01'")
    blank = later.withColumn("days_since_purchase", F.lit(None).cast("double"))
    scores = scored(SPEC, fitted.model, blank, scored_on=datetime(2026, 4, 1), version="1").toPandas()["score"]
    known = scored(SPEC, fitted.model, later, scored_on=datetime(2026, 4, 1), version="1").toPandas()["score"]
    assert scores.notna().all()
    assert known.min() < scores.mean() < known.max()


def test_scores_are_ranked_with_ties_in_the_order_of_customers(rows: DataFrame) -> None:
    fitted = fit(SPEC, rows.where("as_of < '2026-04-01'"), SPLIT, FEATURES)
    ranked = (
        scored(SPEC, fitted.model, rows.where("as_of = '2026-04-01'"), scored_on=datetime(2026, 4, 1), version="3")
        .orderBy("rank")
        .collect()
    )
    assert [row["rank"] for row in ranked] == list(range(1, 201))
    assert [row["decile"] for row in ranked[:21:10]] == [1, 1, 2]
    assert {row["model_version"] for row in ranked} == {"3"}
    assert ranked == sorted(ranked, key=lambda row: (-row["score"], row["customer_id"]))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("label = 0", r"the train slice has only customers that stayed \(0 of \d+ rows are 1\)"),
        ("label = 1", "only customers that left"),
        ("customer_id = 'none'", "the train slice has no customer"),
        ("customer_id = 'c001'", "slice has only customers that|none of"),
    ],
)
def test_rows_with_nothing_to_learn_from_are_refused(rows: DataFrame, condition: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        fit(SPEC, rows.where(condition), SPLIT, FEATURES)


def test_a_slice_of_one_class_is_refused_in_the_vocabulary_of_the_label(rows: DataFrame) -> None:
    frauds = ModelSpec(name="fraud", label=Fraud(), candidates=SPEC.candidates)
    payments = rows.withColumn("transaction_id", F.concat("customer_id", F.lit("-1")))
    with pytest.raises(BadInputError, match=r"train slice has only transactions that were legitimate \(0 of \d+ rows"):
        fit(frauds, payments.where("label = 0"), SPLIT, FEATURES)
    with pytest.raises(BadInputError, match="train slice has no transaction"):
        fit(frauds, payments.where("label > 1"), SPLIT, FEATURES)


def test_the_simplest_candidate_within_one_standard_error_is_chosen() -> None:
    def tried(losses: list[float]) -> Trial:
        return Trial(float(np.mean(losses)), 0.7, 0.6, (1.0,), np.array(losses))

    simple, close, better = tried([0.5, 0.7] * 50), tried([0.7, 0.49] * 50), tried([0.3, 0.5] * 50)
    assert simplest_of_the_best({"simple": simple, "close": close}) == "simple"
    assert simplest_of_the_best({"simple": simple, "better": better}) == "better"


def test_profit_may_choose_the_candidate() -> None:
    """A better log loss in the bulk is worth nothing to a campaign that reaches the top of the ranking alone."""
    rng = np.random.default_rng(4)
    label = (np.arange(4000) % 10 == 0).astype(float)
    at_the_top = np.where((label == 1) & (rng.random(4000) < 0.3), 3.0, 0.0) + 0.01 * rng.normal(size=4000)
    in_the_bulk = np.where(label == 1, 0.0, np.where(rng.random(4000) < 0.75, -3.0, 0.0)) + 0.01 * rng.normal(size=4000)
    margins = {"bulk": in_the_bulk[:, None], "top": at_the_top[:, None]}
    parts = {name: [(label[:2000], one[:2000]), (label[2000:], one[2000:])] for name, one in margins.items()}
    campaign = Campaign(clv=60.0)
    by_loss = {name: trial(one, np.ones(1)) for name, one in parts.items()}
    by_profit = {name: trial(one, np.ones(1), campaign) for name, one in parts.items()}
    assert by_profit["top"].empc == pytest.approx(-by_profit["top"].losses.mean())
    assert by_profit["top"].log_loss == by_loss["top"].log_loss
    seen = {name: (round(by_loss[name].log_loss, 3), round(by_profit[name].empc or 0, 3)) for name in parts}
    assert (simplest_of_the_best(by_loss), simplest_of_the_best(by_profit)) == ("bulk", "top"), seen


def test_an_intercept_makes_the_mean_probability_the_weighted_share() -> None:
    label, weight = np.array([1.0, 0, 0, 0]), np.array([1.0, 3, 3, 3])
    assert intercept(label, weight, np.zeros(4)) == pytest.approx(np.log(0.1 / 0.9), abs=1e-12)
    log_odds = np.array([-800.0, -2, 0.5, 800])  # beyond what exp() of a double can hold
    probabilities = expit(log_odds + intercept(label, weight, log_odds))
    assert np.average(probabilities, weights=weight) == pytest.approx(0.1, abs=1e-12)
