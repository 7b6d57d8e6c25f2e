"""A shop whose files arrive a day at a time, long enough ago for any clock, with a model that is trained in seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

CONFIG = """
[sources.transactions]
path = "files/transactions/${day}.csv"
look_back = 3
[sources.transactions.columns]
known_time = "loaded_at"
[sources.transactions.expect]
rows = 5

[sources.closures]
path = "files/closures/${day}.csv"
look_back = 3
[sources.closures.columns]
known_time = "loaded_at"
"""
MODEL = """
from churn import Closure, Cohort, EvaluationSettings, FeatureSet, LabelWindow, Logistic, ModelSpec, Schedule

SPEC = ModelSpec(
    name="churn", label=Closure(), window=LabelWindow(lead=0, horizon=30), cohort=Cohort(kind="active", active_days=60),
    features=FeatureSet(include=("spending",), windows=(30, 90)), schedule=Schedule(test_as_ofs=1),
    evaluation=EvaluationSettings(resamples=20), candidates={"logistic": Logistic(reg_param_total=100.0)},
)
"""
# Fails in the midst of training, when its run in MLflow has begun.
BROKEN = (
    MODEL.replace("Logistic(reg_param_total=100.0)", 'MLlib("LogisticRegression", maxIter=-1)')
    .replace(" Logistic,", " MLlib,")
    .replace('name="churn"', 'name="broken"')
)

BEGIN, END = date(2023, 10, 1), date(2024, 7, 1)
HEADERS = {
    "transactions": "transaction_id,customer_id,event_time,kind,amount,loaded_at",
    "closures": "customer_id,event_time,kind,loaded_at",
}


def write(folder: Path, *, until: date, customers: int = 150) -> Path:
    """churn.toml, models/churn.py and the files of the days before `until`; those after it are in `to_come`."""
    dice = random.Random(11)
    rows: dict[str, dict[date, list[str]]] = {"transactions": {}, "closures": {}}
    for customer in range(customers):
        pace, stops = dice.uniform(3, 15), dice.uniform(40, 700)
        day = dice.uniform(0, pace)
        while day < stops:
            add_row(
                rows["transactions"],
                day,
                f"t{customer}-{day:.4f},c{customer:03},{{at}},purchase,{dice.uniform(5, 80):.2f}",
            )
            day += dice.expovariate(1 / pace)
        add_row(rows["closures"], stops + 3, f"c{customer:03},{{at}},voluntary")
    for number in range((END - BEGIN).days):
        day = BEGIN + timedelta(days=number)
        deliver(
            folder / ("files" if day < until else "to_come"), day, {name: of.get(day, []) for name, of in rows.items()}
        )
    (folder / "models").mkdir()
    (folder / "models" / "churn.py").write_text(MODEL)
    (folder / "models" / "broken.py").write_text(BROKEN)
    (folder / "churn.toml").write_text(CONFIG)
    return folder


def add_row(days: dict[date, list[str]], after: float, row: str) -> None:
    """Add a row to the file of its day: it happens so many days after the beginning, and is loaded an hour later."""
    at = (datetime.combine(BEGIN, datetime.min.time()) + timedelta(days=after)).replace(microsecond=0)
    loaded = at + timedelta(hours=1)
    days.setdefault(loaded.date(), []).append(f"{row.format(at=at)},{loaded}")


def deliver(folder: Path, day: date, rows: Mapping[str, list[str]]) -> None:
    for name, of_day in rows.items():
        place = folder / name / f"{day}.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join([HEADERS[name], *sorted(of_day)]) + "\n")
