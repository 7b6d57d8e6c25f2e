"""Whether enough labels have matured since the newest version was trained: exit code 0 if so, 4 if not."""

from __future__ import annotations

import sys

from churn.errors import NothingToDoError
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, ModelFile, SummaryFile
from churn.registry.model_registry import ModelRegistry
from churn.training.retrain_trigger import newly_matured


def step(config: ConfigFile, model: ModelFile, as_of: AsOf, summary: SummaryFile = None) -> None:
    with Job("retrain_trigger", config, model, summary) as job:
        spec = job.spec
        registry = ModelRegistry(job.config.tracking_uri, spec.name)
        newest = registry.newest()
        fitted = registry.summary(newest) if newest else {}
        if "split" not in fitted:
            progress(f"{spec.name}: no version yet that records what it learnt from; train one")
            return
        found = newly_matured(job.spark, spec, job.sources, as_of, fitted)
        wanted = spec.schedule.retrain_after
        seen = (
            f"{spec.name}: {found.positives:,} {spec.vocabulary.positives} at {len(found.as_ofs)} as-ofs have matured "
            f"by {as_of:%Y-%m-%d}, after {found.since:%Y-%m-%d}, the newest that version {newest} has learnt from; "
            f"retrain_after = {wanted}"
        )
        if found.positives < wanted:
            raise NothingToDoError(seen)
        progress(f"{seen}: train again")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
