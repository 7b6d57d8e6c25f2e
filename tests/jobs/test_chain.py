"""The whole chain as a user runs it: real spark-submits, a real Delta lake, a real MLflow store."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from churn.cli import STEPS
from churn.labels.closure import Closure
from churn.labels.inactivity import Inactivity
from churn.labels.sales import AddOn, MoreSpend, Upgrade
from churn.loading import load_spec, with_settings
from churn.model_spec import Alerts, Campaign, ModelSpec
from churn.storage import Lake
from tests.jobs.company import AS_OF, churn, content, run_chain, step, submitted, write_shop
from tests.mlflow_store import runs, stored

MODELS = Path(__file__).parents[2] / "models"
NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "from_scores_to_a_plan.ipynb"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Path:
    """A shop after one run of the chain in one session."""
    folder = write_shop(tmp_path_factory.mktemp("shop"))
    (folder / "printed.txt").write_text(run_chain(folder, AS_OF))
    return folder


def test_the_chain_leaves_scores_a_report_and_a_challenger(shop: Path, spark: SparkSession) -> None:
    lake = Lake(spark, str(shop / "lake"))
    scores = lake.read("scores_churn").orderBy("rank").collect()
    assert [row["rank"] for row in scores] == list(range(1, len(scores) + 1))
    assert {(f"{row['as_of']:%Y-%m-%d}", row["model_version"]) for row in scores} == {(AS_OF, "1")}
    assert all(0 < row["score"] < 1 for row in scores)
    ledger = lake.read("ledger").first()
    assert ledger is not None
    assert ledger["rows_in"] == ledger["accepted"] == lake.read("transactions").count()
    assert "<html" in (shop / "reports" / f"churn-{AS_OF}.html").read_text()
    assert runs(shop) == [(f"train churn {AS_OF}", "FINISHED"), (f"evaluate churn {AS_OF}", "FINISHED")]
    assert stored(shop, "select name, alias, version from registered_model_aliases") == [("churn", "challenger", 1)]


def test_five_spark_submits_leave_the_same_to_the_bit(shop: Path, tmp_path: Path, spark: SparkSession) -> None:
    """With generated code, where the session of the tests interprets its plans."""
    folder = write_shop(tmp_path / "shop")
    assert [submitted(job, folder, AS_OF) for job in STEPS] == [0] * len(STEPS)
    for table in ("transactions", "quarantine", "ledger", "features_churn", "scores_churn"):
        assert content(spark, folder, table) == content(spark, shop, table), table
    assert runs(folder) == runs(shop)
    metrics = "select key, step, value from metrics order by key, step"
    assert stored(folder, metrics) == stored(shop, metrics)


def test_the_summary_has_every_table_and_place(shop: Path) -> None:
    printed = (shop / "printed.txt").read_text()
    assert "5/5 score" in printed
    for text in ("rows in", "baseline", "likeliest to leave", "report:", "scores:", "MLflow store:"):
        assert text in printed


def versions(spark: SparkSession, folder: Path) -> dict[str, int | None]:
    """The version of every table of a lake."""
    lake = Lake(spark, str(folder / "lake"))
    return {log.parent.name: lake.version(log.parent.name) for log in (folder / "lake").glob("*/_delta_log")}


def test_a_backtest_evaluates_by_what_happened_after(shop: Path, spark: SparkSession) -> None:
    """And it changes no table of the lake."""
    out = shop / "metrics.json"
    where = ("--config", shop / "churn.toml", "--model", shop / "model.py")
    before = versions(spark, shop)
    done = churn("backtest", *where, "--as-of", "2025-11-01", "--as-of", "2025-12-01", "--out", out)
    assert done.exit_code == 0, done.output
    by_origin = json.loads(out.read_text())
    assert list(by_origin) == ["2025-11-01", "2025-12-01"]
    for metrics in by_origin.values():
        assert {"n", "positives", "auc", "average_precision", "brier", "log_loss", "calibration_error"} <= set(metrics)
        assert set(metrics["lift"]) == set(metrics["precision"]) == {"0.01", "0.05", "0.1"}
        low, high = metrics["intervals"]["auc"]
        assert low <= metrics["auc"] <= high
        assert metrics["baseline"]["auc"] > 0.5
    assert {"transactions", "ledger"} <= set(before)
    assert versions(spark, shop) == before
    assert not list((shop / "lake" / "_scratch").glob("*/_delta_log"))


def test_an_origin_whose_labels_the_data_cut_is_refused(shop: Path) -> None:
    where = ("--config", shop / "churn.toml", "--model", shop / "model.py", "--out", shop / "none.json")
    done = churn("backtest", *where, "--as-of", AS_OF)
    assert done.exit_code == 2
    assert "complete on 2026-01-31" in done.stderr
    assert "Traceback" not in done.output
    assert not (shop / "none.json").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("run", "--config", "nowhere.toml", "--as-of", "2026-01-01"), "no such file"),
        (("run", "--config", "{shop}/churn.toml", "--as-of", "soon"), "'soon' is not a date"),
        (("run", "--config", "{shop}/churn.toml", "--as-of", AS_OF, "--model", "none.py"), "no model file none.py"),
        (("init", "{shop}"), "is there already"),
    ],
)
def test_what_is_wrong_before_spark_starts_is_reported_at_once(shop: Path, args: tuple[str, ...], message: str) -> None:
    done = churn(*(arg.format(shop=shop) for arg in args))
    assert (done.exit_code, message in done.stderr.replace("\n", " ")) == (2, True)


def test_init_writes_a_config_that_loads(tmp_path: Path) -> None:
    assert churn("init", tmp_path / "new").exit_code == 0
    done = churn("validate", "--config", tmp_path / "new" / "churn.toml")
    assert done.exit_code in (2, 3)  # there are no data yet, and it says so
    assert "transactions" in done.stderr


def test_the_template_has_every_setting_of_a_model_with_its_default() -> None:
    template = (files("churn") / "templates" / "churn.toml").read_text("utf-8")
    models = template[template.index("[model.churn]") : template.index("# Settings of Spark")]
    shown = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", models, flags=re.MULTILINE))["model"]

    label = shown["churn"].pop("label")
    assert label == {"name": "closure", "kinds": list(Closure().kinds), "activity": list(Inactivity().activity)}
    sales = {**AddOn().model_dump(), **MoreSpend().model_dump(), **Upgrade().model_dump(), "name": "upgrade"}
    assert {
        name: tuple(of) if isinstance(of, list) else of for name, of in shown["sales"].pop("label").items()
    } == sales
    for name, settings in shown.items():
        spec = load_spec(MODELS / f"{name}.py")
        assert with_settings(spec, settings, file=Path("churn.toml")).settings == spec.settings
    parts = {"window", "cohort", "features", "schedule", "training", "evaluation", "reasons", "monitoring"}
    optional = {"alerts": Alerts, "campaign": Campaign}
    sections = shown["churn"] | shown["fraud"]
    assert set(sections) == {"baseline", *parts, *optional}
    for part in (*parts, *optional):
        kind: Any = optional.get(part) or ModelSpec.model_fields[part].annotation
        assert set(sections[part]) == set(kind.model_fields), part


def test_the_catalogue_is_printed_as_json() -> None:
    rows = json.loads(churn("features", "--json").stdout)
    spend = next(row for row in rows if row["name"] == "spend")
    assert spend["columns"][:2] == ["spend_7d", "spend_30d"]
    assert spend["unit"] == "money"


def test_the_notebook_runs(shop: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    config = shop / "plan.toml"
    offer = "[offers.discount]\ncost = 0.5\nacceptance = 0.5\ncontact_cost = 0.1\n[plan]\ncapacity = 5\n"
    config.write_text(f"{(shop / 'churn.toml').read_text()}\n{offer}")
    monkeypatch.setenv("CHURN_CONFIG", str(config))
    monkeypatch.setenv("CHURN_MODEL", str(shop / "model.py"))
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102
    assert names["features"].count() == 5
    assert names["values"].rows.count() >= names["plan"].eligible
    planned = names["plan"].treated
    assert 0 < len(planned) <= 25
    assert planned["expected_profit"].min() > 0


def test_an_evaluation_that_is_repeated_later_gives_the_same(shop: Path) -> None:
    """Its labels are those known at its as-of: what is received later of the days before changes none."""
    late = [f"late{number},c{number:03},2025-12-15 12:00:00,purchase,9.00" for number in range(150)]
    with (shop / "transactions.csv").open("a") as file:
        file.write("\n".join(late) + "\n")
    assert [step("ingest", shop, "2026-01-08"), step("evaluate", shop, AS_OF)] == [0, 0]
    query = """
        select start_time, key, step, value from runs join metrics using (run_uuid)
        where name like 'evaluate %' order by start_time, key, step
    """
    by_run: dict[int, list[object]] = {}
    for started, *metric in stored(shop, query):
        by_run.setdefault(started, []).append(metric)
    before, after = by_run.values()
    assert after == before != []


def test_a_company_without_transactions_is_refused_before_features_are_built(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by the evaluation, after all has been built and trained."""
    shop = write_shop(tmp_path, customers=1)
    (shop / "customers.csv").write_text("customer_id,event_time,opened_at\nc1,2024-06-01,2024-06-01\n")
    (shop / "calls.csv").write_text("call_id,customer_id,event_time\nk1,c1,2025-03-01\nk2,c1,2025-12-30\n")
    (shop / "closures.csv").write_text("customer_id,event_time\nc1,2025-12-31\n")
    sources = "\n".join(f'[sources.{name}]\npath = "{name}.csv"' for name in ("customers", "calls", "closures"))
    (shop / "churn.toml").write_text(sources)
    model = (shop / "model.py").read_text().replace('("spending",)', '("calls", "account")')
    (shop / "model.py").write_text(model)
    assert [step(job, shop, AS_OF) for job in ("ingest", "build_features")] == [0, 2]
    assert "baseline = 'days_since_purchase' is no column of the features" in capsys.readouterr().err
    assert not (shop / "lake" / "features_churn").exists()
