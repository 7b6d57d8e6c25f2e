"""Compute and store the features of a model at every as-of it learns from, is evaluated on, and scores."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from churn.dataset.examples import check_baseline
from churn.dataset.feature_table import build_features
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, ModelFile, SummaryFile
from churn.registry.model_registry import ModelRegistry

Only = Annotated[bool, typer.Option("--only", help="Only the as-of itself, for scoring.")]


def step(config: ConfigFile, model: ModelFile, as_of: AsOf, only: Only = False, summary: SummaryFile = None) -> None:
    with Job("build_features", config, model, summary) as job:
        if not only:
            check_baseline(job.spec, job.sources)
        in_use = ModelRegistry(job.config.tracking_uri, job.spec.name).summary_in_use()
        built = build_features(job.spark, job.lake, job.spec, job.sources, as_of, only=only, in_use=in_use)
        progress(
            f"{built.table}: {len(built.columns)} columns at {len(built.as_ofs)} as-ofs, {built.as_ofs[0]:%Y-%m-%d} to "
            f"{built.as_ofs[-1]:%Y-%m-%d}"
        )
        for feature in built.left_out:
            missing = ", ".join(sorted(feature.sources - set(job.sources)))
            progress(f"left out: {feature.name}, for want of {missing}")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
