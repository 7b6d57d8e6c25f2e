"""Score transactions as they arrive, by the champion, and raise alerts; with --every, without end."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from churn import tracking
from churn.job import Job, parser, run, say
from churn.registry import Registry
from churn.scoring.stream import StreamScorer


def step(job: Job) -> None:
    job.spark  # noqa: B018 - a model is loaded into the session
    alias, version = Registry(job.config.tracking_uri, job.spec.name).in_use()
    model = tracking.load_model(job.config.tracking_uri, job.spec.name, version)
    say(f"{job.spec.name} version {version}, the {alias}, scores what arrives as {job.args.source}")
    StreamScorer(job.lake, job.config, job.spec, model, job.args.source, say).run(every=job.args.every)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__, as_of=False)
    arguments.add_argument("--source", choices=("files", "kafka"), default="files", help="where transactions arrive")
    arguments.add_argument(
        "--every", metavar="TIME", help="a micro-batch so often, such as '5 seconds'; else until all is done"
    )
    return run(step, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
