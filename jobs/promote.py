"""Make the challenger champion if it passed its gates at this as-of; either way say why. Needs no Spark."""

from __future__ import annotations

import sys

from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, ModelFile, SummaryFile
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.registry.promotion import promote


def step(config: ConfigFile, model: ModelFile, as_of: AsOf, summary: SummaryFile = None) -> None:
    with Job("promote", config, model, summary) as job:
        spec = job.spec
        with tracking.tracked_run(job.config, "promote", spec.name, as_of) as run:
            decision = promote(ModelRegistry(job.config.tracking_uri, spec.name), spec, as_of)
            run.params({"model_version": decision.version, "outcome": decision.outcome, "why": decision.why})
        progress(f"{spec.name} version {decision.version}: {decision.outcome}: {decision.why}")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
