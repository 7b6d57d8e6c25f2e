"""Plan whom to contact with which offer, from the scores and values of an as-of, under capacity and budgets."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from churn.decisions.plan import SCHEMA, as_csv, check_model, check_not_made, plan_campaign, plan_table
from churn.decisions.value import VALUES, check_values, valuation
from churn.errors import BadInputError
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, ModelFile, OutFile, SummaryFile
from churn.reporting.campaign_report import render
from churn.runtime.files import require_place, write_whole

Valued = Annotated[bool, typer.Option("--values/--no-values", help="Compute values where they are missing.")]


def step(
    config: ConfigFile, model: ModelFile, as_of: AsOf, out: OutFile, values: Valued = True, summary: SummaryFile = None
) -> None:
    with Job("plan_campaign", config, model, summary) as job:
        require_place(out)
        spec, lake = job.spec, job.lake
        company = job.config
        check_model(spec)
        check_not_made(lake, spec, job.sources, as_of, company.plan)
        try:
            check_values(lake, as_of, company.value)
        except BadInputError:
            if not values:
                raise
            found = valuation(job.spark, job.sources, as_of, company.value)
            found.write(lake, as_of)
            progress(f"values by {found.method} over {company.value.horizon} days, in {lake.path(VALUES)}")
        plan = plan_campaign(lake, spec, job.sources, as_of, company.plan, company.offers, company.uplift)
        rows = job.spark.createDataFrame(plan.records, SCHEMA)
        lake.replace(rows, plan_table(spec), {"as_of": as_of}, widen=True)
        write_whole(out, as_csv(plan))
        page = job.write_report(f"plan-{spec.name}-{as_of:%Y-%m-%d}.html", render(spec, plan, as_of))
        basis = "uplift" if plan.by_uplift else "the offers' acceptance"
        progress(f"effects by {basis}: {plan.why}")
        total, low, high = plan.expected
        held_out = len(plan.rows) - len(plan.treated)
        progress(
            f"{len(plan.treated):,} of {plan.eligible:,} customers to contact, {held_out:,} held out; "
            f"expected profit {total:,.2f} [{low:,.2f} to {high:,.2f}]; one more contact would earn "
            f"{plan.capacity_price:,.2f}"
        )
        progress(f"plan: {lake.path(plan_table(spec))}, {out}; page: {page}")
        job.summarise(plan=str(out), plan_report=page)


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
