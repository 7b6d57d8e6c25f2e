"""Whether enough labels have ripened since the newest version was trained: exit code 0 if so, 4 if not."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from churn.errors import NothingToDoError
from churn.evaluation.words import words_of
from churn.job import Job, moment, parser, run, say
from churn.registry import Registry
from churn.training.ripe import ripened


def step(job: Job) -> None:
    spec, as_of = job.spec, moment(job.args.as_of)
    registry = Registry(job.config.tracking_uri, spec.name)
    newest = registry.newest()
    summary = registry.summary(newest) if newest else {}
    if "split" not in summary:
        say(f"{spec.name}: no version yet that says what it learnt from; train one")
        return
    found = ripened(job.spark, spec, job.sources, as_of, summary)
    seen = (
        f"{spec.name}: {found.positives:,} {words_of(spec).positives} at {len(found.as_ofs)} as-ofs have ripened by "
        f"{as_of:%Y-%m-%d}, beyond {found.since:%Y-%m-%d}, the newest that version {newest} has learnt from; "
        f"retrain_after = {spec.retrain_after}"
    )
    if found.positives < spec.retrain_after:
        raise NothingToDoError(seen)
    say(f"{seen}: train again")


def main(argv: Sequence[str] | None = None) -> int:
    return run(step, parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
