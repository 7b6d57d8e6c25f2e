"""Delete features and scores that are too old, compact the tables of the lake, and forget their old versions."""

from __future__ import annotations

import sys

from churn.job_runner import Job, job_main, progress
from churn.maintenance import maintain
from churn.options import AsOf, ConfigFile, SummaryFile


def step(config: ConfigFile, as_of: AsOf, summary: SummaryFile = None) -> None:
    with Job("maintain", config, summary=summary) as job:
        for done in maintain(job.lake, job.config.maintenance, as_of):
            progress(
                f"{done.table}: {done.files:,} files, {done.files_before:,} before; {done.deleted:,} rows were too old"
            )


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
