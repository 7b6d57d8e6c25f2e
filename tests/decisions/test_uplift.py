"""Uplift from a log of a campaign and from the company's own contacts, as the command measures it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.config import Config, Uplift, load
from churn.decisions.uplift import WITH_NOT_CHOSEN, _HalfTask, campaign_effects, check_arms, measure_uplift
from churn.decisions.uplift_learners import TLearner
from churn.decisions.uplift_rows import _outcomes, uplift_rows
from churn.errors import BadInputError, ConfigError
from churn.sources.completeness import ALWAYS, Accepted
from churn.testing import frame
from churn.training.algorithms import Logistic
from churn.training.preparation import Rows, pack
from tests.jobs.company import churn
from tests.mlflow_store import runs

LOG = "id,group,age,city,spent_after,bought"
CONFIG = """
[inputs.log]
path = "log.csv"

[uplift]
input = "log"
treated = "case `group` when 'mail' then true when 'none' then false end"
outcome = "bought = 'y'"
features = ["age", "city"]
halves = 2
value = 10.0
"""


def write(folder: Path, rows: list[str], config: str = CONFIG) -> Path:
    (folder / "log.csv").write_text("\n".join([LOG, *rows]) + "\n")
    (folder / "churn.toml").write_text(config)
    return folder / "churn.toml"


def campaign() -> list[str]:
    """1,200 customers, of whom those above 40 are moved by the mail; an age in ten is not known."""
    dice = random.Random(5)
    rows = []
    for number in range(1_200):
        age, group, city = dice.randrange(20, 60), dice.choice(["mail", "none"]), dice.choice(["x", "y"])
        bought = dice.random() < 0.2 + (0.5 if group == "mail" and age > 40 else 0.0)
        shown = "n/a" if dice.random() < 0.1 else age
        rows.append(f"{number},{group},{shown},{city},{int(bought)},{'y' if bought else 'n'}")
    return rows


def test_the_command_measures_a_log_and_tracks_the_run(spark: SparkSession, tmp_path: Path) -> None:
    file = write(tmp_path, [*campaign(), "x,other,30,x,0,n", "y,mail,30,x,0,"])
    done = churn("uplift", "--config", file, "--out", tmp_path / "uplift.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "uplift.json").read_text())
    assert found["rows"] == {"rows_in": 1202, "used": 1200, "unreadable": 0, "in_no_arm": 1, "without_outcome": 1}
    assert found["features"] == {"numbers": 1, "texts": 1}
    assert sorted(found["uplift_at"]) == ["0.1", "0.2", "0.3", "0.5"]
    assert set(found["qini"]) == {"mean", "interval", "deviation"}
    # The mail moves half of the customers by 0.5, so the top 30 % by about as much, and all by half of it.
    assert found["uplift_at"]["0.3"]["mean"] > 0.35
    assert 0.15 < found["effect"]["mean"] < 0.35
    assert found["qini"]["mean"] > 0.03
    arms = found["arms"]
    assert arms["treated"]["rows"] + arms["held_out"]["rows"] == 1200
    assert found["total"]["earned"]["mean"] == pytest.approx(10 * found["total"]["added_outcomes"]["mean"])
    assert "Qini per treated" in done.stdout
    assert runs(tmp_path) == [("uplift log", "FINISHED")]
    assert (tmp_path / "mlruns").exists()


def test_the_same_rows_give_the_same_figures_however_they_are_partitioned(spark: SparkSession, tmp_path: Path) -> None:
    company = load(write(tmp_path, campaign()))
    rows = uplift_rows(spark, company, {})
    settings = company.uplift.model_copy(update={"halves": 1})
    learners = {"t": TLearner(Logistic(reg_param_total=10.0))}
    one, other = (
        measure_uplift(replace(rows, rows=divided), settings, learners=learners).results
        for divided in (rows.rows.coalesce(1), rows.rows.repartition(3))
    )
    assert one == other


@pytest.mark.parametrize(("trial_rows", "trials"), [(1_000, 4), (400, 1), (200, 1)])
def test_learners_are_compared_on_rows_that_they_were_not_fitted_on(trial_rows: int, trials: int) -> None:
    """In folds, or by one fit where there are rows enough; a customer's rows are on one side."""
    count = 600
    columns = {
        "as_of": pa.array([datetime(1970, 1, 1 + row % 2) for row in range(count)], "timestamp[us]"),
        "label": pa.array([row % 3 == 0 for row in range(count)]).cast("int32"),
        "_order": pa.array(range(count), "int64"),
        "_draw": pa.array([1 + row // 2 for row in range(count)], "int64"),
    }
    packed = pack(pa.table(columns).to_batches(), numbers=[], texts=[])
    rows = Rows.unpacked(packed, lambda block: np.ones(len(block), bool))
    task = _HalfTask(0, Uplift(trial_rows=trial_rows), (), {})
    found = list(task._trials(rows, np.random.default_rng(1)))
    assert len(found) == trials
    fitted_on = {1_000: count * 3 // 4, 400: count // 2, 200: 200}[trial_rows]
    measured_on = {1_000: count, 400: count // 2, 200: 200}[trial_rows]
    assert sum(len(fold.label) for _, folds in found for fold in folds) == pytest.approx(measured_on, abs=4)
    for fitted, folds in found:
        assert len(fitted.label) == pytest.approx(fitted_on, abs=4)
        learnt = set(fitted.columns(["_draw"])["_draw"].to_pylist())
        assert not any(learnt & set(fold.columns(["_draw"])["_draw"].to_pylist()) for fold in folds)
        assert all(fold.label.any() for fold in folds)


def test_customers_who_were_not_chosen_are_in_no_arm(spark: SparkSession, tmp_path: Path) -> None:
    """They are learnt from, and the effect is measured on the contacts alone."""
    company = load(write(tmp_path, campaign()))
    rows = uplift_rows(spark, company, {})
    unchosen = rows.rows.withColumns({"_key": F.col("_key") + 1, "_outcome": F.lit(0)}).union(rows.rows)
    settings = company.uplift.model_copy(update={"halves": 2})
    alone, together = (
        measure_uplift(replace(rows, not_chosen=more), settings, learners=WITH_NOT_CHOSEN).results
        for more in (None, unchosen)
    )
    assert together["effect"] == alone["effect"]
    assert together["qini"] != alone["qini"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('features = ["age", "city"]', 'features = ["agee"]'), "'agee' is no column; did you mean 'age'"),
        (('features = ["age", "city"]', 'features = ["bought"]'), "'bought' tells the arm or the outcome"),
        (("outcome = \"bought = 'y'\"", "outcome = \"boght = 'y'\""), "outcome = .* cannot run: .*boght"),
        (("outcome = \"bought = 'y'\"", 'outcome = "rand() > 0.5"'), "outcome = .*rand"),
        (
            ("outcome = \"bought = 'y'\"", 'outcome = "id"'),
            "'id' is neither true nor false in 1 of 3 rows, such as '9'; want a condition",
        ),
        (
            ("outcome = \"bought = 'y'\"", 'outcome = "concat(bought, 2)"'),
            "is neither true nor false in 3 of 3 rows, such as 'x9'; want a condition",
        ),
        (
            ("outcome = \"bought = 'y'\"", "outcome = \"date('2026-01-01')\""),
            'is date, want a condition, such as "visits > 0"',
        ),
        (("when 'mail' then true", "when 'Mail' then true"), "leaves no row treated: it is true in 0, false in"),
        (('features = ["age", "city"]', 'features = ["age"]\nexclude = ["z*"]'), "exclude 'z\\*' is no column"),
    ],
)
def test_settings_that_do_not_fit_the_log_are_refused(
    spark: SparkSession, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    company = load(write(tmp_path, campaign()[:3], CONFIG.replace(*change)))
    with pytest.raises(ConfigError, match=message):
        uplift_rows(spark, company, {})


def test_a_message_shows_the_values_that_many_rows_have(spark: SparkSession, tmp_path: Path) -> None:
    """Of the columns that the condition reads; a value of few rows may be a person's."""
    rows = [*campaign(), "x,Smith,30,x,0,n"]
    company = load(
        write(
            tmp_path, rows, CONFIG.replace("case `group` when 'mail' then true when 'none' then false end", "`group`")
        )
    )
    with pytest.raises(ConfigError, match=r"; group is 'mail' in \d+ rows") as error:
        uplift_rows(spark, company, {})
    assert "; group is 'none' in" in str(error.value)
    assert "Smith" not in str(error.value)


NAMES = """
treated = "`Offer made`"
outcome = "`Spend.total` > 10"
features = ["*"]
exclude = ["id"]
halves = 2
"""


def test_columns_and_texts_of_any_name_are_features(spark: SparkSession, tmp_path: Path) -> None:
    """Names with a dot, a blank, a bracket, a backtick, of a column of this library's own; texts that end with a dot or
    differ in case alone. Numbers with a fraction are text in CSV; a condition compares them as numbers."""
    dice = random.Random(3)
    lines = ["id,Offer made,Spend.total,campaign,cost,Größe.cm,Alter [J],a`b,job"]
    for number in range(600):
        offer, spend = dice.choice(["Yes", "No"]), dice.choice(["9.5", "10.25", "0"])
        job = dice.choice(["admin.", "Admin.", "blue-collar", "a`b"])
        numbers = ",".join(str(dice.randrange(9)) for _ in range(5))
        lines.append(f"{number},{offer},{spend},{numbers},{job}")
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "churn.toml").write_text(f'[inputs.log]\npath = "log.csv"\n[uplift]\ninput = "log"\n{NAMES}')
    done = churn("uplift", "--config", tmp_path / "churn.toml", "--out", tmp_path / "uplift.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "uplift.json").read_text())
    assert found["features"] == {"numbers": 5, "texts": 1}
    arms = found["arms"]
    assert sum(arm["outcomes"] for arm in arms.values()) == sum(",10.25," in line for line in lines)
    assert arms["treated"]["rows"] == sum(",Yes," in line for line in lines)


def test_a_pattern_takes_neither_the_arm_nor_the_outcome(spark: SparkSession, tmp_path: Path) -> None:
    config = CONFIG.replace('["age", "city"]', '["*"]\nexclude = ["spent*"]\ncustomer = "id"')
    found = uplift_rows(spark, load(write(tmp_path, campaign()[:3], config)), {})
    assert (found.numbers, found.texts) == (("age",), ("city",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('outcome = "visited"', "none of the accepted contacts: stayed, bought, called, accepted"),
        ('treated = "x"', "has 'treated' and no 'input'"),
        ('input = "log"\ntreated = "x"\nfeatures = ["a"]', "there is no .inputs.log."),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(tmp_path: Path, settings: str, message: str) -> None:
    (tmp_path / "churn.toml").write_text(f"[uplift]\n{settings}\n")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "churn.toml")


# ---------------------------------------------------------------- the company's own contacts


def of_contacts(folder: Path, settings: str) -> Config:
    (folder / "churn.toml").write_text(f"[uplift]\n{settings}\n")
    return load(folder / "churn.toml")


TIMES = "customer_id string, event_time timestamp, known_time timestamp, superseded_at timestamp"


@pytest.fixture(scope="module")
def sources(spark: SparkSession) -> Accepted:
    """Contacts of 1 March; the data end on 1 June, so that the outcome of the contact of 1 May is not known."""
    contacts = [
        ("a", "2026-03-01 09:00", "2026-03-01", None, "k1", "march", "treated", "x", "4.5", True),
        ("b", "2026-03-01 09:00", "2026-03-01", None, "k1", "march", "held_out", None, "0", False),
        ("b", "2026-05-01 09:00", "2026-05-01", None, "k2", "may", "treated", "x", None, None),
        ("c", "2026-03-01 09:00", "2026-03-01", "2026-03-02", "k1", "march", "treated", "x", "9", True),  # retracted
        ("e", "2026-04-20 09:00", "2026-04-20", None, "k3", "april", "held_out", None, "0", None),  # in the outcome
    ]
    calls = [
        ("a", "2026-02-20", "2026-02-20", None, "inbound"),  # before the contact: a feature
        ("a", "2026-03-20", "2026-03-20", None, "inbound"),  # after it: the outcome
        ("b", "2026-05-31", "2026-05-31", None, "inbound"),
        *((name, "2026-02-10", "2026-02-10", None, "inbound") for name in ("d", "d", "e", "f")),
        ("g", "2026-03-02", "2026-03-02", None, "inbound"),  # no customer yet
    ]
    closures = [
        ("b", "2026-04-01", "2026-04-01", None, "voluntary"),
        ("d", "2026-03-20", "2026-03-20", None, "voluntary"),
        ("f", "2026-02-20", "2026-02-20", None, "voluntary"),  # no customer any more
    ]
    tables = {
        "contacts": frame(
            spark, contacts,
            f"{TIMES}, contact_id string, campaign string, arm string, offer string, cost decimal(18,4),"
            " accepted boolean",
        ),
        "calls": frame(spark, calls, f"{TIMES}, direction string"),
        "closures": frame(spark, closures, f"{TIMES}, kind string"),
    }  # fmt: skip
    return Accepted(tables, dict.fromkeys(tables, ((None, datetime(2026, 6, 1)),)))


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [("stayed", {"treated": 1, "held out": 0}), ("called", {"treated": 1, "held out": 0})],
)
def test_the_outcome_of_a_contact_is_what_happened_after_it(
    spark: SparkSession, tmp_path: Path, sources: Accepted, outcome: str, wanted: dict[str, int]
) -> None:
    found = uplift_rows(spark, of_contacts(tmp_path, f'outcome = "{outcome}"\nfeatures = ["calls_made"]'), sources)
    rows = {("treated" if row["_treated"] else "held out"): row for row in found.rows.collect()}
    assert {arm: row["_outcome"] for arm, row in rows.items()} == wanted
    assert {arm: (row["_campaign"], row["_cost"]) for arm, row in rows.items()} == {
        "treated": ("march", 4.5),
        "held out": ("march", 0.0),
    }
    assert found.counts == {"rows_in": 4, "used": 2, "without_outcome": 2}
    # What was known at the midnight before the contact, and nothing after it.
    assert rows["treated"]["calls_made_30d"] == 1.0


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [
        ("bought", [("after", 0), ("early", 0), ("within", 1)]),
        ("stayed", [("after", 1), ("early", 1), ("within", 0)]),
        ("accepted", [("after", 0), ("early", 1), ("within", 0)]),
    ],
)
def test_the_days_of_an_outcome_begin_with_the_contact(
    spark: SparkSession, outcome: str, wanted: list[tuple[str, int]]
) -> None:
    """Thirty days from 10 March 14:00 to 9 April 14:00, of customers whose account was open at that time."""
    at, ends = "2026-03-10 14:00", "2026-04-09 14:00"
    contacts = [
        ("early", at, at, None, True),  # bought that morning
        ("within", at, at, None, None),  # bought, and closed, 29.75 days later; no answer
        ("after", at, at, None, False),  # bought, and closed, when the days had passed
        ("left", at, at, None, None),  # closed on 1 March
        ("late", at, at, None, None),  # closed on 5 March, as was known on the 20th
        ("gone", at, at, None, None),  # closed that morning
        ("young", "2026-05-02 14:00", "2026-05-02 14:00", None, True),  # the data end 29.4 days later
    ]
    times = [("early", "2026-03-10 09:00"), ("within", "2026-04-09 08:00"), ("after", ends), ("young", "2026-05-03")]
    closed = [*times[1:3], ("left", "2026-03-01"), ("gone", "2026-03-10 09:00")]
    known = [(name, when, when, None) for name, when in closed]
    tables = {
        "contacts": frame(spark, contacts, f"{TIMES}, accepted boolean"),
        "transactions": frame(
            spark,
            [(name, when, when, None, "purchase", None) for name, when in times],
            f"{TIMES}, kind string, status string",
        ),
        "closures": frame(
            spark,
            [(*row, "voluntary") for row in (*known, ("late", "2026-03-05", "2026-03-20", None))],
            f"{TIMES}, kind string",
        ),
    }
    sources = Accepted(tables, dict.fromkeys(tables, ((None, datetime(2026, 6, 1)),)))
    made = tables["contacts"].withColumn("as_of", F.date_trunc("day", "event_time"))
    found = _outcomes(made, Uplift(outcome=outcome, days=30), sources, ALWAYS)
    assert sorted((row["customer_id"], row["outcome"]) for row in found.collect()) == wanted


def test_who_was_not_chosen_has_features_and_an_outcome_of_the_same_day(
    spark: SparkSession, tmp_path: Path, sources: Accepted
) -> None:
    """Of the customers of 1 March: not a and b, who were chosen then, nor e, who is chosen before the outcome."""
    settings = of_contacts(tmp_path, 'outcome = "stayed"\nfeatures = ["calls_made"]')
    found = uplift_rows(spark, settings, sources)
    assert found.not_chosen is not None
    rows = found.not_chosen.select("_outcome", "calls_made_30d", "calls_made_180d").collect()
    assert [tuple(row) for row in rows] == [(0, 2.0, 2.0)]
    accepted = of_contacts(tmp_path, 'outcome = "accepted"\nfeatures = ["calls_made"]')
    assert uplift_rows(spark, accepted, sources).not_chosen is None


def test_contacts_that_are_missing_or_too_young_are_refused(
    spark: SparkSession, tmp_path: Path, sources: Accepted
) -> None:
    company = of_contacts(tmp_path, "days = 365")
    with pytest.raises(BadInputError, match="none of 4 contacts has an outcome yet"):
        uplift_rows(spark, company, sources)
    with pytest.raises(BadInputError, match=r"map \[sources.contacts\]"):
        uplift_rows(spark, company, {name: rows for name, rows in sources.items() if name != "contacts"})


def test_each_campaign_has_its_effect_and_what_it_earned(spark: SparkSession) -> None:
    """Spring: 3 of 4 against 1 of 4, so 2 more outcomes for 8 paid; no arm is swapped, and a campaign of any name has
    its own figures."""
    rows = frame(
        spark,
        [
            *[("spring", True, outcome, 2.0) for outcome in (1, 1, 1, 0)],
            *[("spring", False, outcome, 0.0) for outcome in (1, 0, 0, 0)],
            *[("all", True, 0, 1.0)],
        ],
        "_campaign string, _treated boolean, _outcome int, _cost double",
    )
    total, found = campaign_effects(rows, value=10.0)
    spring = found["spring"]
    assert (spring["treated"], spring["held_out"]) == ({"rows": 4, "outcomes": 3}, {"rows": 4, "outcomes": 1})
    assert (spring["effect"]["mean"], spring["added_outcomes"]["mean"], spring["cost"]) == (0.5, 2.0, 8.0)
    assert spring["earned"]["mean"] == 12.0
    assert found["all"]["treated"] == {"rows": 1, "outcomes": 0}
    assert found["all"]["effect"] == {"mean": None, "interval": None}
    assert (total["treated"], total["cost"]) == ({"rows": 5, "outcomes": 3}, 9.0)
    with pytest.raises(BadInputError, match="of 5 rows treated, 3 have the outcome and 2 have not"):
        check_arms(total)


def test_a_cost_is_the_same_in_every_order(spark: SparkSession) -> None:
    """As doubles, 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in the last bit."""
    rows = [("spring", True, 1, cost) for cost in (0.1, 0.2, 0.3)]
    schema = "_campaign string, _treated boolean, _outcome int, _cost double"
    costs = {
        campaign_effects(spark.createDataFrame(given, schema).coalesce(1), None)[0]["cost"]
        for given in (rows, rows[::-1])
    }
    assert costs == {0.6}
