"""Watch the version that scored an as-of: what has moved, and how past scores turned out. A broken limit fails it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from churn import tracking
from churn.errors import LimitError
from churn.job import Job, moment, parser, run, say
from churn.monitoring.page import render
from churn.monitoring.tables import write_drift, write_outcomes
from churn.monitoring.watch import watch
from churn.registry import Registry


def step(job: Job) -> None:
    spec, as_of = job.spec, moment(job.args.as_of)
    job.spark  # noqa: B018 - a model is loaded into the session
    with tracking.work(job.config, "monitor", spec.name, as_of) as tracked:
        found = watch(job.lake, spec, job.sources, as_of, Registry(job.config.tracking_uri, spec.name))
        write_drift(job.lake, spec.name, found.version, as_of, found.moved)
        write_outcomes(job.lake, spec.name, as_of, found.outcomes)
        tracked.params({"model_version": found.version})
        for name in found.against:
            tracked.metrics(f"psi/{name}", {feature: one.psi for feature, one in found.of(name).items()})
        tracked.metrics("missing", {feature: one.missing for feature, one in found.now.items()})
        for row in found.outcomes:
            figures = {name: value for name, value in row.items() if isinstance(value, int | float)}
            tracked.metrics("outcome", figures, as_of=row["as_of"])
        html = render(spec, found, run_id=tracked.id)
        tracked.text(html, "monitoring.html")
        place = job.write_report(f"{spec.name}-monitoring-{as_of:%Y-%m-%d}.html", html)
        for verdict in found.verdicts:
            say(f"{'within' if verdict.passed else 'BEYOND'} limits: {verdict.gate}: {verdict.seen}")
        say(f"report: {place}")
        job.note(monitoring=place, limits={v.gate: v.passed for v in found.verdicts})
        if found.failed:  # inside the run: where the task fails, so has the run
            raise LimitError("; ".join(f"{v.gate}: {v.seen}; want {v.wanted}" for v in found.failed) + f" ({place})")


def main(argv: Sequence[str] | None = None) -> int:
    return run(step, parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
