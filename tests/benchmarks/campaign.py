"""What a campaign plan earns where the truth is known: `python -m tests.benchmarks.campaign`, over five seeds.

Each seed simulates a company, runs the chain from its clean tables to the scores, and plans a campaign. The truth says
what a contact changes: the chance of leaving less that of leaving if treated, times what the customer brings in a year,
less the cost. It is printed for the plan, for calling the riskiest first, and for a random choice, as shares of the
best possible, which knows how each customer responds and all that has happened, but not which troubles will begin. All
keep the same constraints and hold out the same customers; the best possible is found by the plan's own solver. The
riskiest and the random are made the offer that the plan expects most of.

The last lines are `share_of_best=X`, the mean over the seeds, and `ratio_to_riskiest=X`, of the sums over the seeds.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from churn.decisions.assignment import NOBODY, assign
from churn.decisions.plan import chosen, eligible, limit, profits
from churn.decisions.value import valuation
from churn.job_runner import Job
from churn.runtime.session import session
from churn.simulation.agreements import fee_cents
from churn.simulation.contacts import COSTS, true_uplift
from churn.simulation.draw import Draws
from churn.simulation.frauds import suspicious
from churn.simulation.people import TROUBLES, is_open, people, responder
from churn.simulation.tables import tables
from churn.simulation.transactions import transactions, yearly_spend
from churn.simulation.world import NEVER, World
from churn.sources import CONTRACTS
from churn.storage import Lake

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROJECT: Final = Path(__file__).parents[2]
START, AS_OF = date(2024, 10, 1), date(2026, 9, 1)
PER_MONTH: Final = 2.5
CONF: Final = {"spark.driver.memory": "3g", "spark.sql.codegen.hugeMethodLimit": "8000"}  # as in churn.simulation.run
CONTACT_COST: Final = 1.0
MARGIN: Final = 0.4
SOURCES: Final = ("customers", "calls", "transactions", "closures", "contacts")
MODEL: Final = f"""
from runpy import run_path

SPEC = run_path({str(PROJECT / "models" / "churn.py")!r})["SPEC"]
SPEC = SPEC.model_copy(update={{"candidates": {{"logistic": SPEC.candidates["logistic"]}}}})
"""
SETTINGS: Final = f"""
# One customer in twenty can be contacted, and about one in two of these with the cheapest offer, or with the second.
[model.churn.window]
horizon = 60

[model.churn.schedule]
max_as_ofs = 10

[model.churn.reasons]
top = 1

[value]
margin = {MARGIN}

[plan]
capacity = {{capacity}}
days = 5

[uplift]
outcome = "stayed"

[offers.discount]
cost = {COSTS["discount"] - CONTACT_COST}
acceptance = 0.3
budget = {{budget}}

[offers."free month"]
cost = {COSTS["free month"] - CONTACT_COST}
acceptance = 0.3

[offers.upgrade]
cost = {COSTS["upgrade"] - CONTACT_COST}
acceptance = 0.2
budget = {{budget}}
"""


@dataclass(frozen=True)
class Earned:
    """The true expected profit of each way to choose, on the same company."""

    plan: float
    riskiest: float
    random: float
    best: float
    foresight: float
    """Of who knows the troubles that are still to begin too."""


def world_of(customers: int, seed: int) -> World:
    return World(customers, Draws(seed), START, AS_OF, PER_MONTH)


def prepare(spark: SparkSession, folder: Path, customers: int, seed: int) -> None:
    """The tables of a company as ingest would accept them from clean files, and the chain up to the scores."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "churn.toml").write_text(SETTINGS.format(capacity=customers // 100, budget=customers / 5))
    (folder / "churn.py").write_text(MODEL)
    lake = Lake(spark, str(folder / "lake"))
    start, world = time.monotonic(), world_of(customers, seed)
    population = people(spark, world).persist()
    simulated = transactions(population, world)
    in_time = F.col("known_time") <= F.lit(datetime.combine(AS_OF, datetime.min.time()))
    for name, table in tables(population, simulated, suspicious(simulated, world), world).items():
        if name in SOURCES:
            rows = CONTRACTS[name].with_defaults(table).where(in_time)
            lake.replace(rows.withColumn("superseded_at", F.lit(None).cast("timestamp")), name, {})
    population.unpersist()
    print(f"  simulated: {time.monotonic() - start:.0f} s", flush=True)
    common = ["--config", str(folder / "churn.toml"), "--model", str(folder / "churn.py"), "--as-of", f"{AS_OF}"]
    for job, more in (("build_features", []), ("train", []), ("score", ["--challenger"])):
        start = time.monotonic()
        if code := import_module(f"jobs.{job}").main([*common, *more]):
            raise SystemExit(f"{job} ended with {code}")
        print(f"  {job}: {time.monotonic() - start:.0f} s", flush=True)


def truth(spark: SparkSession, customers: int, seed: int) -> pd.DataFrame:
    """(value, uplift, foreseen) of each customer with an open account: what it brings in a year, and what a treatment
    changes by what has happened until the as-of, and with the troubles that begin after it."""
    world = world_of(customers, seed)
    day = F.lit(float(world.days))
    begun = people(spark, world).where(is_open(day)).withColumn("responder", responder(day))
    value = MARGIN * (12 * fee_cents(world, day) / 100 + yearly_spend(world))
    columns = [F.col("account").alias("customer_id"), value.alias("value")]

    def rows(name: str, at: Mapping[str, Column]) -> pd.DataFrame:
        uplift = true_uplift(day, F.col("responder")).alias(name)
        return begun.withColumns(at).select(*columns, uplift).toPandas().set_index("customer_id")

    events = [f"{occurrence}_at" for trouble in TROUBLES for occurrence in trouble.occurrences]
    seen = {name: F.when(F.col(name) < day, F.col(name)).otherwise(NEVER) for name in events}
    return rows("uplift", seen).join(rows("foreseen", {})["foreseen"])


def in_order(order: Ints, expected: Floats, capacity: int, limits: Ints) -> Ints:
    """Contacts in an order until the capacity is used up, each with the offer left that is expected to earn most."""
    offer, left = np.full(len(expected), NOBODY, np.int64), limits.copy()
    for customer in order[:capacity]:
        usable = np.where(left > 0, np.nan_to_num(expected[customer], nan=-np.inf), -np.inf)
        if np.isfinite(usable).any():
            offer[customer] = usable.argmax()
            left[offer[customer]] -= 1
    return offer


def earned(spark: SparkSession, folder: Path, customers: int, seed: int) -> Earned:
    """Plans, and compares by the truth."""
    as_of = datetime.combine(AS_OF, datetime.min.time())
    with Job("campaign", folder / "churn.toml", folder / "churn.py") as job:
        config, start = job.config, time.monotonic()
        valuation(spark, job.sources, as_of, config.value).write(job.lake, as_of)
        found = eligible(job.lake, job.spec, job.sources, as_of, config.plan, config.offers, config.uplift)
        plan = chosen(found, as_of, config.plan, config.offers)
        print(f"  plan: {time.monotonic() - start:.0f} s; by_uplift={plan.by_uplift}: {plan.why}", flush=True)
    names, offers = list(config.offers), list(config.offers.values())
    known = truth(spark, customers, seed).reindex(found.rows["customer_id"]).dropna()
    rows = found.rows[found.rows["customer_id"].isin(known.index)]
    open_ = rows[~rows["held"].to_numpy(bool)].reset_index(drop=True)
    known = known.loc[open_["customer_id"]]
    cost = np.array([offer.cost + offer.contact_cost for offer in offers])
    realised, possible = ((known[name] * known["value"]).to_numpy()[:, None] - cost for name in ("foreseen", "uplift"))
    expected = profits(open_, offers)[0]
    capacity, limits = plan.capacity, np.array([limit(offer, len(open_)) for offer in offers], np.int64)
    by_plan = dict(zip(plan.treated["customer_id"], plan.treated["offer"], strict=True))
    planned = np.array([names.index(by_plan[one]) if one in by_plan else NOBODY for one in open_["customer_id"]])
    by_score = np.argsort(-open_["score"].to_numpy(), kind="stable")
    at_random = np.random.default_rng(seed).permutation(len(open_))

    def total(offer: Ints) -> float:
        made = np.flatnonzero(offer != NOBODY)
        return float(realised[made, offer[made]].sum())

    return Earned(
        plan=total(planned),
        riskiest=total(in_order(by_score, expected, capacity, limits)),
        random=total(in_order(at_random, expected, capacity, limits)),
        best=total(assign(possible, capacity, limits).offer),
        foresight=total(assign(realised, capacity, limits).offer),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a folder for the companies, which are used again")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch, session("campaign", conf=CONF, lean=True) as spark:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            folder = (arguments.keep or Path(scratch)) / f"campaign-{arguments.customers}-{seed}"
            if not (folder / "lake" / "scores_churn").exists():
                prepare(spark, folder, arguments.customers, seed)
            one = earned(spark, folder, arguments.customers, seed)
            results.append(one)
            shares = ", ".join(
                f"{name} {getattr(one, name) / one.best:.3f}" for name in ("plan", "riskiest", "random", "foresight")
            )
            print(f"seed {seed}: best possible {one.best:,.0f}; of it {shares}", flush=True)
            spark.catalog.clearCache()
            if not arguments.keep:
                shutil.rmtree(folder)
    plan, riskiest = (sum(getattr(one, name) for one in results) for name in ("plan", "riskiest"))
    print(f"share_of_best={np.mean([one.plan / one.best for one in results]):.3f}")
    print(f"ratio_to_riskiest={plan / riskiest if riskiest > 0 else np.inf:.2f}")


if __name__ == "__main__":
    main()
