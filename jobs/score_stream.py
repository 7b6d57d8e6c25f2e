"""Score transactions as they arrive, by the champion as it changes, and raise alerts; with --every, without end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from churn.job_runner import Job, job_main, progress
from churn.options import Challenger, ConfigFile, ModelFile, SummaryFile
from churn.registry.model_in_use import ModelInUse
from churn.registry.model_registry import ModelRegistry
from churn.scoring.stream import StreamScorer
from churn.sources.streaming import StreamPlace

From = Annotated[StreamPlace, typer.Option("--source", help="Where transactions arrive.")]
Every = Annotated[
    str | None,
    typer.Option("--every", metavar="TIME", help="A micro-batch so often, such as '5 seconds'; else until done."),
]


def step(
    config: ConfigFile,
    model: ModelFile,
    source: From = "files",
    every: Every = None,
    challenger: Challenger = False,
    summary: SummaryFile = None,
) -> None:
    with Job("score_stream", config, model, summary) as job:
        spec = job.spec
        job.spark  # noqa: B018 - a model is loaded into the session
        models = ModelInUse(ModelRegistry(job.config.tracking_uri, spec.name), challenger=challenger)
        StreamScorer(job.lake, job.config, spec, models, source, progress).run(every=every)


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
