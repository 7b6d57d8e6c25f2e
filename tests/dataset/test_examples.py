"""The rows of both kinds of model, their labels, and the as-ofs of a run, or why it is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from churn.dataset.calendar import backtest_calendar, calendar, newest_matured
from churn.dataset.examples import (
    CustomerExamples,
    Period,
    TransactionExamples,
    check_baseline,
    check_sources,
    examples,
    usable_features,
)
from churn.dataset.feature_table import check_inputs, summary_of
from churn.errors import BadInputError, LeakageError
from churn.features import features
from churn.labels.closure import Closure
from churn.labels.fraud import Fraud
from churn.labels.inactivity import Inactivity
from churn.model_spec import (
    Cohort,
    EvaluationSettings,
    FeatureSet,
    Label,
    LabelWindow,
    ModelSpec,
    Monitoring,
    Schedule,
)
from churn.sources.completeness import Accepted
from churn.testing import frame
from churn.training.algorithms import Logistic

CANDIDATES = {"logistic": Logistic()}
SPEC = ModelSpec(
    name="churn",
    label=Inactivity(),
    candidates=CANDIDATES,
    window=LabelWindow(lead=0, horizon=30),
    cohort=Cohort(kind="active"),
    schedule=Schedule(history=60, test_as_ofs=1),
)
FRAUD = ModelSpec(
    name="fraud",
    label=Fraud(),
    candidates=CANDIDATES,
    window=LabelWindow(lead=0, horizon=1, maturity=7),
    features=FeatureSet(include=("velocity",), windows=()),
    evaluation=EvaluationSettings(period_days=7, blocked_card_days=14),
)
TIMES = "event_time timestamp, known_time timestamp, superseded_at timestamp"


def days(*texts: str) -> tuple[datetime, ...]:
    return tuple(datetime.fromisoformat(text) for text in texts)


# ---------------------------------------------------------------- the as-ofs of a run


def delivered(tables: dict[str, DataFrame], ends: dict[str, datetime]) -> Accepted:
    """Accepted tables of one batch each, which is complete until its end."""
    return Accepted(tables, {name: [(end, end)] for name, end in ends.items()})


@pytest.fixture(scope="module")
def purchases(spark: SparkSession) -> dict[str, DataFrame]:
    """One purchase a day in 2025."""
    noons = [datetime(2025, 1, 1, 12) + timedelta(days=day) for day in range(365)]
    columns = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"
    return {"transactions": frame(spark, [("c1", noon, noon, None) for noon in noons], columns)}


def test_a_run_is_evaluated_on_the_newest_matured_as_of_and_learns_from_those_matured_by_then(
    purchases: dict[str, DataFrame],
) -> None:
    dates = calendar(SPEC, purchases, datetime(2025, 7, 1))
    assert dates.test == (datetime(2025, 6, 1),)  # its labels end on the as-of
    assert dates.learn[-1] == datetime(2025, 5, 2)  # 30 days before the test
    assert dates.learn[0] == datetime(2025, 3, 3)  # 60 days after the first row
    assert dates.score == datetime(2025, 7, 1)


@pytest.mark.parametrize(
    ("as_of", "error", "message"),
    [
        (datetime(2026, 1, 1), LeakageError, "complete on 2026-01-31"),  # the data end inside its labels
        (datetime(2024, 6, 1), BadInputError, "known before 2024-06-01"),  # nothing is known yet
        (datetime(2025, 2, 15), BadInputError, "no as-of to learn from"),  # too little history
    ],
)
def test_a_backtest_origin_that_cannot_be_evaluated_is_refused(
    purchases: dict[str, DataFrame], as_of: datetime, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        backtest_calendar(SPEC, purchases, as_of)


def test_a_run_far_after_the_last_row_is_refused(purchases: dict[str, DataFrame]) -> None:
    with pytest.raises(BadInputError, match="days after the last row known"):
        calendar(SPEC, purchases, datetime(2027, 1, 1))


@pytest.mark.parametrize(("label", "ended"), [(Inactivity(), "transactions"), (Closure(), "closures")])
def test_as_ofs_mature_by_the_sources_of_their_labels_alone(
    spark: SparkSession, purchases: dict[str, DataFrame], label: Label, ended: str
) -> None:
    """A feed that ended on 1 June leaves no label after it, whatever goes on, and whatever one row says of 2026."""
    spec = SPEC.model_copy(update={"label": label})
    tables = {"calls": purchases["transactions"], "closures": purchases["transactions"], **purchases}
    tables[ended] = tables[ended].where("event_time < '2025-06-01' OR event_time > '2025-12-30'")
    sources = delivered(tables, dict.fromkeys(tables, datetime(2025, 7, 1)) | {ended: datetime(2025, 6, 1)})
    for given in (tables, sources):
        assert calendar(spec, given, datetime(2025, 7, 1)).test == (datetime(2025, 5, 2),)
    with pytest.raises(BadInputError, match=f"as-of 2025-07-10 lies 39 days after the last row known of {ended} "):
        calendar(spec, tables, datetime(2025, 7, 10))
    origin = datetime(2025, 5, 3)
    assert backtest_calendar(spec, tables, origin - timedelta(days=1)).test == (datetime(2025, 5, 2),)
    with pytest.raises(LeakageError, match=f"but {ended} are known only until 2025-06-01 00:00"):
        backtest_calendar(spec, tables, origin)


def test_days_of_transactions_mature_by_reports_and_by_transactions(purchases: dict[str, DataFrame]) -> None:
    ends = {"transactions": datetime(2025, 6, 20), "fraud_reports": datetime(2025, 7, 1)}
    tables = {"transactions": purchases["transactions"], "fraud_reports": purchases["transactions"]}
    day = timedelta(days=1)
    assert newest_matured(FRAUD, delivered(tables, ends), datetime(2025, 7, 1)) == datetime(2025, 6, 19)
    ends["fraud_reports"] = datetime(2025, 6, 20)
    assert newest_matured(FRAUD, delivered(tables, ends), datetime(2025, 7, 1)) == datetime(2025, 6, 20) - 8 * day


def test_what_is_delivered_after_a_run_completes_no_label_of_it(purchases: dict[str, DataFrame]) -> None:
    """A backtest is evaluated by what happened since, whenever that was delivered."""
    batches = [(datetime(2025, 7, 1), datetime(2025, 6, 25)), (datetime(2025, 8, 1), datetime(2025, 7, 31))]
    first, both = (Accepted(purchases, {"transactions": batches[:n]}) for n in (1, 2))
    for sources in (first, both):
        assert newest_matured(SPEC, sources, datetime(2025, 7, 1)) == datetime(2025, 5, 26)
    assert newest_matured(SPEC, both, datetime(2025, 8, 1)) == datetime(2025, 7, 1)
    origin = datetime(2025, 6, 1)
    assert backtest_calendar(SPEC, both, origin).test == (origin,)
    with pytest.raises(LeakageError, match="but transactions are known only until 2025-06-25 00:00"):
        backtest_calendar(SPEC, first, origin)


# ---------------------------------------------------------------- the two kinds


def test_the_label_chooses_the_kind() -> None:
    assert examples(SPEC) == CustomerExamples(SPEC)
    assert examples(FRAUD) == TransactionExamples(FRAUD)
    assert SPEC.key == ("customer_id", "as_of")
    assert FRAUD.key == ("transaction_id", "customer_id", "as_of")


def test_what_each_kind_needs_and_what_it_is_called() -> None:
    closures = SPEC.model_copy(update={"label": Closure()})
    assert examples(SPEC).requires == {"transactions"}
    assert examples(closures).requires == {"closures", "transactions"}  # the cohort is of active customers
    assert examples(closures.model_copy(update={"cohort": Cohort()})).requires == {"closures"}
    assert examples(FRAUD).requires == {"fraud_reports", "transactions"}
    assert (examples(SPEC).population, examples(FRAUD).population) == (
        "customers with a purchase in the last 180 days",
        "transactions",
    )
    assert examples(SPEC).when(datetime(2026, 10, 1)) == " in the 30 days from 1 October 2026 to 30 October 2026"
    assert examples(FRAUD).when(datetime(2026, 10, 1)) == (
        ", computed when it is made from what was known just before it"
    )


def test_a_baseline_that_the_sources_do_not_give_is_refused(purchases: dict[str, DataFrame]) -> None:
    """As of a company that has customers, calls and closures alone; a transaction's own amount may be a baseline."""
    check_baseline(SPEC, purchases)
    check_baseline(FRAUD.model_copy(update={"baseline": "amount"}), purchases)
    without = {"calls": purchases["transactions"], "customers": purchases["transactions"]}
    check_baseline(SPEC.model_copy(update={"baseline": "days_since_call"}), without)
    with pytest.raises(BadInputError) as refused:
        check_baseline(SPEC, without)
    assert str(refused.value) == (
        "model churn: baseline = 'days_since_purchase' is no column of the features that the model makes from calls, "
        "customers; set another in [model.churn] in churn.toml; did you mean 'days_since_call'?"
    )


def test_a_missing_source_is_named(purchases: dict[str, DataFrame]) -> None:
    check_sources(SPEC, purchases)
    with pytest.raises(BadInputError) as refused:
        check_sources(FRAUD, purchases)
    assert str(refused.value) == (
        "model fraud: label = 'fraud' with cohort = 'open' needs fraud_reports, and there are only transactions; map "
        "[sources.fraud_reports] in churn.toml, or choose another label in [model.fraud]"
    )


def test_features_of_a_missing_source_are_left_out(purchases: dict[str, DataFrame]) -> None:
    chosen = FeatureSet(include=("spending", "calls"), exclude=("days_since_purchase",))
    usable, left_out = usable_features(SPEC.model_copy(update={"features": chosen}), purchases)
    assert "days_since_purchase" not in {feature.name for feature in usable}
    assert {feature.family for feature in usable} == {"spending"}
    assert [feature.name for feature in left_out] == [feature.name for feature in features("calls")]
    with pytest.raises(BadInputError, match="model churn: none of its features can be made from transactions"):
        usable_features(SPEC.model_copy(update={"features": FeatureSet(include=("calls",))}), purchases)


# ---------------------------------------------------------------- labels and rows


def test_labels_are_those_known_at_a_time(spark: SparkSession) -> None:
    rows = [
        ("later", "voluntary", *days("2026-06-20", "2026-09-01"), None),  # not known in August
        ("retracted", "voluntary", *days("2026-06-20", "2026-06-21", "2026-08-15")),
        ("stayer", "voluntary", *days("2026-09-20", "2026-09-20"), None),
        ("late mistake", "voluntary", *days("2026-05-05", "2026-07-10", "2026-08-12")),  # had left, until it was undone
        ("came back", "voluntary", *days("2024-05-05", "2026-07-10"), None),
    ]
    opened = [("came back", *days("2025-01-01", "2025-01-01"), None, *days("2025-01-01"))]
    sources = {
        "closures": frame(spark, rows, f"customer_id string, kind string, {TIMES}"),
        "customers": frame(spark, opened, f"customer_id string, {TIMES}, opened_at timestamp"),
    }
    spec = SPEC.model_copy(update={"label": Closure()})
    spine = frame(
        spark, [(row[0], datetime(2026, 6, 1), 7) for row in rows], "customer_id string, as_of timestamp, x int"
    )

    def labels(known_until: datetime | None) -> dict[str, int]:
        labelled = examples(spec).labelled(sources, spine, known_until=known_until)
        assert sorted(labelled.columns) == ["as_of", "customer_id", "label", "x"]
        return {row["customer_id"]: row["label"] for row in labelled.collect()}

    assert labels(datetime(2026, 8, 1)) == {"later": 0, "retracted": 1, "stayer": 0, "came back": 0}
    assert labels(None) == {"later": 1, "retracted": 0, "stayer": 0, "late mistake": 0, "came back": 0}


def test_transactions_of_blocked_cards_are_not_eligible(spark: SparkSession) -> None:
    first, second = days("2026-06-04", "2026-06-05")
    paid = [
        ("t1", "blocked", *days("2026-06-03T09:00", "2026-06-03T09:00"), None),
        ("t2", "reported too late", *days("2026-06-03T09:00", "2026-06-03T09:00"), None),
        ("t3", "has a new card", *days("2026-05-20T09:00", "2026-05-20T09:00"), None),
        ("t4", "report retracted", *days("2026-06-03T09:00", "2026-06-03T09:00"), None),
    ]
    reports = [
        ("t1", True, *days("2026-06-03T20:00"), None),
        ("t2", True, *days("2026-06-04T08:00"), None),  # after the first day began
        ("t3", True, *days("2026-05-20T20:00"), None),  # 15 days before the first day
        ("t4", True, *days("2026-06-03T10:00", "2026-06-03T20:00")),
    ]
    sources = {
        "transactions": frame(spark, paid, f"transaction_id string, customer_id string, {TIMES}"),
        "fraud_reports": frame(
            spark, reports, "transaction_id string, is_fraud boolean, known_time timestamp, superseded_at timestamp"
        ),
    }
    scored = [(customer, day) for _, customer, *_ in paid for day in (first, second)]
    rows = frame(spark, scored, "customer_id string, as_of timestamp")

    def eligible(spec: ModelSpec, origin: datetime | None = None) -> set[tuple[str, int]]:
        found = examples(spec).eligible(sources, rows, origin)
        assert found.columns == ["customer_id", "as_of"]
        return {(row["customer_id"], row["as_of"].day) for row in found.collect()}

    everyone = {(customer, day.day) for customer, day in scored}
    left_out = {("blocked", 4), ("blocked", 5), ("reported too late", 5)}
    assert eligible(FRAUD) == everyone - left_out
    # At an origin on 3 June, 14 days reach back to 20 May.
    assert eligible(FRAUD, datetime(2026, 6, 3)) == everyone - left_out - {("has a new card", 4), ("has a new card", 5)}
    assert eligible(FRAUD.model_copy(update={"evaluation": EvaluationSettings()})) == everyone
    assert eligible(SPEC) == everyone


def test_an_input_that_is_missing_or_all_null_is_refused(spark: SparkSession) -> None:
    rows = frame(
        spark, [(datetime(2026, 6, 1), 1, None, None)], "as_of timestamp, calls int, spend double, plan string"
    )
    summary = {"columns": {"numeric": ["calls", "spend"], "text": ["plan"], "nullable": ["plan"]}}
    with pytest.raises(BadInputError) as refused:
        check_inputs(SPEC, summary_of(rows, ["calls", "spend", "plan"]), summary, "3")
    assert str(refused.value) == (
        "features_churn has no values of spend, which churn version 3 reads: run build_features again for this as-of, "
        "and check that the sources it was trained on are there"
    )
    check_inputs(SPEC, summary_of(rows.fillna(0.0), ["calls", "spend", "plan"]), summary, "3")
    check_inputs(SPEC, summary_of(rows.limit(0), ["calls"]), summary, "3")  # nobody to score


# ---------------------------------------------------------------- as-ofs that go together


def test_customers_are_evaluated_and_monitored_by_the_as_of() -> None:
    rows_of = examples(SPEC)
    june, july, august = days("2026-06-01", "2026-07-01", "2026-08-01")
    assert rows_of.evaluated_as_ofs(june) == (june,)
    assert rows_of.evaluated_as(pd.Series([june, july])).tolist() == [june, july]
    assert rows_of.periods([july, june, july]) == [Period((june,), june), Period((july,), july)]
    assert rows_of.monitored(august, [june, july, august]) == (august,)
    assert rows_of.last_period(august, [june, august, july]) == (july,)
    assert rows_of.last_period(june, [june]) == ()
    # The nearest within 15 days, the earlier one of two that are equally near.
    assert rows_of.season(june, days("2026-05-16", "2026-05-17", "2026-06-16")) == days("2026-05-17")
    assert rows_of.season(june, days("2026-05-31", "2026-06-02")) == days("2026-05-31")
    assert rows_of.season(june, days("2026-05-16")) == ()
    assert rows_of.too_few([]) is None


def test_transactions_are_evaluated_and_monitored_by_several_days() -> None:
    spec = FRAUD.model_copy(update={"monitoring": Monitoring(window_days=3)})
    rows_of, of_june = examples(spec), [datetime(2026, 6, day) for day in range(1, 31)]
    assert rows_of.evaluated_as_ofs(of_june[0]) == tuple(of_june[:7])
    as_ofs = rows_of.evaluated_as(pd.Series([of_june[0], of_june[6], of_june[8]]))
    assert as_ofs.tolist() == [of_june[0], of_june[0], of_june[8]]
    # Weeks are counted from 1970, which began on a Thursday, as the fourth of June is; both end with their last day.
    assert rows_of.periods([of_june[10], of_june[4], of_june[3]]) == [
        Period((of_june[3], of_june[4]), datetime(2026, 6, 10)),
        Period((of_june[10],), datetime(2026, 6, 17)),
    ]
    scored = [*of_june[2:6], *of_june[7:]]
    assert rows_of.monitored(of_june[8], scored) == (of_june[7], of_june[8])  # nobody scored the third
    assert rows_of.last_period(of_june[8], scored) == tuple(of_june[3:6])
    assert rows_of.season(of_june[8], of_june) == tuple(of_june[6:9])
    assert rows_of.too_few(of_june[:2]) is None
    assert rows_of.too_few(of_june[:1]) == "1 of 3 days have been scored: too few to tell"
