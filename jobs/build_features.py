"""Build the features of a model at every as-of it learns from, is judged by, and scores."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from churn.job import Job, moment, parser, run, say
from churn.registry import Registry
from churn.training.data import build_features


def step(job: Job) -> None:
    in_use = Registry(job.config.tracking_uri, job.spec.name).summary_in_use()
    built = build_features(
        job.spark, job.lake, job.spec, job.sources, moment(job.args.as_of), only=job.args.only, in_use=in_use
    )
    say(
        f"{built.table}: {len(built.columns)} columns at {len(built.as_ofs)} as-ofs, {built.as_ofs[0]:%Y-%m-%d} to "
        f"{built.as_ofs[-1]:%Y-%m-%d}"
    )
    for feature in built.left_out:
        say(f"left out: {feature.name}, for want of {', '.join(sorted(feature.sources - set(job.sources)))}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--only", action="store_true", help="only the as-of itself, for scoring")
    return run(step, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
