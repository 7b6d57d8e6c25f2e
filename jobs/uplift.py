"""Learn whom past campaigns moved, and measure it on customers that were not learnt from."""

from __future__ import annotations

import json
import sys

from churn.decisions.uplift import measure_uplift, sentences
from churn.decisions.uplift_model import UPLIFT, uplift_pipeline
from churn.decisions.uplift_rows import uplift_rows
from churn.job_runner import Job, job_main, progress
from churn.options import ConfigFile, OutFile, SummaryFile
from churn.registry import tracking
from churn.runtime.files import require_place, write_whole
from churn.sources.accepted import sources_of
from churn.storage import quoted


def step(config: ConfigFile, out: OutFile, summary: SummaryFile = None) -> None:
    with Job("uplift", config, summary=summary) as job:
        require_place(out)
        settings = job.config.uplift
        read = job.snapshots if settings.input is None else {}
        with tracking.tracked_run(job.config, "uplift", settings.input or "contacts") as run:
            run.params({"uplift": settings.model_dump()})
            for table in read.values():
                run.table(table.table, path=table.path, version=table.version)
            rows = uplift_rows(job.spark, job.config, sources_of(read))
            measured = measure_uplift(rows, settings)
            found = measured.results
            run.metrics("uplift", {name: found[name] for name in ("effect", "uplift_at", "qini")})
            run.json(found, "uplift.json")
            write_whole(out, json.dumps(found, indent=2) + "\n")
            model = uplift_pipeline(job.spark, measured.effect, measured.preparation, job.lake.scratch)
            inputs = rows.rows.select(*(quoted(name) for name in measured.preparation.columns))
            run.model(model, inputs=inputs, outputs=model.transform(inputs).select(UPLIFT))
        for sentence in sentences(found):
            progress(sentence)
        progress(f"uplift: {out}")
        job.summarise(uplift=found)


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
