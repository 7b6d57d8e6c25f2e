"""The cost of a backtest against fits alone on one machine: `python -m tests.benchmarks.backtest`.

`churn backtest` of cdnow reads the files, makes features at all as-ofs of three origins, and at each origin fits,
calibrates and evaluates. Its peer, `single_machine_fits.py`, has the features already. At each of the same origins, on
the same rows and columns, it fits three candidates with LightGBM and scikit-learn. CPU seconds are those of whole
process trees. The last line is `ratio_to_fits=X`, of medians.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import fmean, median

from pyspark.sql import functions as F

from churn.dataset.calendar import backtest_calendar, backtest_end, split
from churn.dataset.examples import examples, feature_columns, usable_features
from churn.job_runner import Job
from tests.benchmarks.chain import PR_SET_CHILD_SUBREAPER, PROJECT, measured, single_machine_python

DATA = Path(os.environ.get("CHURN_BENCH_DATA", PROJECT.parent / "shared" / "data"))
CONFIG = PROJECT / "docs" / "examples" / "cdnow" / "churn.toml"
MODEL = PROJECT / "models" / "churn.py"
ORIGINS = (datetime(1997, 11, 1), datetime(1997, 12, 1), datetime(1998, 1, 1))


def write_tables(folder: Path) -> None:
    """For each origin, the rows that a backtest learns from and evaluates on: part, label, and the features."""
    with Job("tables", CONFIG, MODEL) as job, job.ingested_apart(backtest_end(job.spec, ORIGINS[-1])) as sources:
        chosen, _ = usable_features(job.spec, sources)
        columns = feature_columns(job.spec, chosen)
        for origin in ORIGINS:
            dates = backtest_calendar(job.spec, sources, origin)
            slices, rows_of = split(job.spec, dates), examples(job.spec)
            rows = rows_of.feature_rows(job.spark, sources, chosen, dates.labelled)
            past = rows_of.labelled(sources, rows.where(F.col("as_of").isin(*slices.matured)), known_until=dates.score)
            future = rows_of.labelled(sources, rows.where(F.col("as_of").isin(*dates.test)))
            future = rows_of.eligible(sources, future, dates.score)
            part = F.when(F.col("as_of").isin(*slices.train), "train").when(
                F.col("as_of").isin(*slices.calibrate), "calibrate"
            )
            table = past.withColumn("part", part).unionByName(future.withColumn("part", F.lit("test")))
            table.select("part", "label", *columns).coalesce(1).write.parquet(str(folder / f"{origin:%Y-%m-%d}"))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--tables", type=Path, metavar="FOLDER", help="write the tables, and measure nothing")
    options = arguments.parse_args()
    os.environ["CHURN_BENCH_DATA"] = str(DATA)
    if options.tables:
        write_tables(options.tables)
        return
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch), Path(scratch) / "metrics.json"
        # In a process of its own: Spark's JVM ends with it.
        measured(sys.executable, "-m", "tests.benchmarks.backtest", "--tables", folder)
        peer = PROJECT / "tests" / "benchmarks" / "single_machine_fits.py"
        as_ofs = [text for origin in ORIGINS for text in ("--as-of", f"{origin:%Y-%m-%d}")]
        line = ("backtest", "--config", CONFIG, "--model", MODEL, *as_ofs, "--out", out)
        backtests, fits = [], []
        for number in range(options.repeats):
            backtests.append(measured(sys.executable, "-m", "churn", *line))
            fits.append(measured(single_machine_python(), peer, *(folder / f"{origin:%Y-%m-%d}" for origin in ORIGINS)))
            for name, cost in (("backtest", backtests[-1]), ("fits", fits[-1])):
                print(f"{number + 1}/{options.repeats} {name}: {cost.cpu:.1f} CPU s, {cost.wall:.1f} s", flush=True)
        aucs = {
            "backtest": fmean(one["auc"] for one in json.loads(out.read_text()).values()),
            "fits": fmean(map(float, fits[-1].stdout.split())),
        }
        print(", ".join(f"AUC of the {name} {auc:.4f}" for name, auc in aucs.items()))
    costs = [median(cost.cpu for cost in runs) for runs in (backtests, fits)]
    print(f"backtest_cpu_seconds={costs[0]:.1f} fits_cpu_seconds={costs[1]:.1f}")
    print(f"ratio_to_fits={costs[0] / costs[1]:.2f}")


if __name__ == "__main__":
    main()
