"""Predict what each customer will be worth over the next year, and compare it with what happened since the as-of."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from datetime import timedelta
from typing import Annotated

import typer

from churn.decisions.value import VALUES, backtested, valuation
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, OutFile, SummaryFile
from churn.runtime.files import require_place, write_whole

Horizon = Annotated[int | None, typer.Option("--horizon", min=1, metavar="DAYS", help="Of the value; else [value].")]
NoIngest = Annotated[bool, typer.Option("--no-ingest", help="Measure on the accepted tables as they are.")]


def step(
    config: ConfigFile,
    as_of: AsOf,
    out: OutFile,
    horizon: Horizon = None,
    no_ingest: NoIngest = False,
    summary: SummaryFile = None,
) -> None:
    with Job("value", config, summary=summary) as job:
        require_place(out)
        settings = job.config.value.model_copy(update={"horizon": horizon} if horizon else {})
        end = as_of + timedelta(days=settings.horizon)
        if job.sources:
            found = valuation(job.spark, job.sources, as_of, settings)
            found.write(job.lake, as_of)
            progress(f"values by {found.method} over {settings.horizon} days, in {job.lake.path(VALUES)}")
        else:
            progress("no values are written, as no table is accepted; run jobs/ingest.py first to have them")
        # Read apart, later corrections count as known from the start, so these tables are measured and never written.
        with nullcontext(job.sources) if no_ingest else job.ingested_apart(end) as tables:
            measured = backtested(job.spark, tables, as_of, settings)
        result = {"as_of": f"{as_of:%Y-%m-%d}", "horizon_days": settings.horizon, **measured}
        write_whole(out, json.dumps(result, indent=2) + "\n")
        if measured["evaluated_days"]:
            figures = {name: measured[name] for name in ("total_ratio", "correlation", "gini", "gini_past_spend")}
            shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)
            progress(f"{measured['customers']:,} customers over {measured['evaluated_days']} days: {shown}")
        else:
            progress(
                f"nothing is compared: the data are complete until {measured['data_until']}, no day after "
                f"{as_of:%Y-%m-%d}; an earlier as-of shows how good values are"
            )
        progress(f"figures: {out}")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
