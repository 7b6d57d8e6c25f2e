"""Bring a batch of every source into the lake: accepted, duplicate or quarantined, to the row."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, SummaryFile
from churn.sources.ingest import ingest

Sources = Annotated[
    list[str] | None, typer.Option("--source", metavar="NAME", help="Only this source; may be repeated.")
]


def step(config: ConfigFile, as_of: AsOf, source: Sources = None, summary: SummaryFile = None) -> None:
    with Job("ingest", config, summary=summary) as job:
        ledger = ingest(job.spark, job.lake, job.config, batch=f"{as_of:%Y-%m-%d}", as_of=as_of, sources=source or None)
        for row in ledger:
            progress(
                f"{row.source}: {row.rows_in:,} rows in = {row.accepted:,} accepted + {row.duplicate:,} duplicate"
                f" + {row.quarantined:,} quarantined"
            )
            for one in row.inputs:
                progress(f"{row.source}: {one}")
        job.summarise(ledger=[asdict(row) for row in ledger])


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
