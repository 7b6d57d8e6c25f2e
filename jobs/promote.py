"""Make the challenger champion if it passed its gates at this as-of; either way say why. Needs no Spark."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from churn import tracking
from churn.evaluation.promotion import promote
from churn.job import Job, moment, parser, run, say
from churn.registry import Registry


def step(job: Job) -> None:
    spec, as_of = job.spec, moment(job.args.as_of)
    with tracking.work(job.config, "promote", spec.name, as_of) as tracked:
        decision = promote(Registry(job.config.tracking_uri, spec.name), spec, as_of)
        tracked.params({"model_version": decision.version, "outcome": decision.outcome, "why": decision.why})
    say(f"{spec.name} version {decision.version}: {decision.outcome}: {decision.why}")


def main(argv: Sequence[str] | None = None) -> int:
    return run(step, parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
