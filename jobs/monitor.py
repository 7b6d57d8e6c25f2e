"""Monitor the version that scored an as-of: what has drifted, and how past scores turned out. An exceeded limit fails
the job."""

from __future__ import annotations

import sys

from churn.dataset.calendar import labels_known_until
from churn.decisions.plan_outcomes import plan_outcomes
from churn.errors import LimitError
from churn.job_runner import Job, job_main, progress
from churn.monitoring.monitoring_run import monitor
from churn.monitoring.tables import write_drift, write_outcomes
from churn.options import AsOf, ConfigFile, ModelFile, SummaryFile
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.reporting.monitoring_report import render
from churn.runtime.locks import lock


def step(config: ConfigFile, model: ModelFile, as_of: AsOf, summary: SummaryFile = None) -> None:
    # One as-of after the other: a run reads what earlier ones have written.
    with Job("monitor", config, model, summary) as job, lock(job.config.root, f"monitor {job.spec.name}"):
        spec = job.spec
        job.spark  # noqa: B018 - a model is loaded into the session
        with tracking.tracked_run(job.config, "monitor", spec.name, as_of) as run:
            found = monitor(job.lake, spec, job.sources, as_of, ModelRegistry(job.config.tracking_uri, spec.name))
            write_drift(job.lake, spec.name, found.version, as_of, found.drifts)
            write_outcomes(job.lake, spec.name, as_of, found.outcomes)
            run.params({"model_version": found.version})
            for name in found.against:
                indices = {feature: one.psi for feature, one in found.from_reference(name).items()}
                run.metrics(f"psi/{name}", indices)
            missing = {feature: one.missing for feature, one in found.from_first_reference.items()}
            run.metrics("missing", missing)
            for row in found.outcomes:
                figures = {name: value for name, value in row.items() if isinstance(value, int | float)}
                run.metrics("outcome", figures, as_of=row["as_of"])
            known, _ = labels_known_until(spec, job.sources, by=as_of)
            plans = plan_outcomes(job.lake, spec, job.sources, known)
            html = render(spec, found, run_id=run.id, plans=plans)
            run.text(html, "monitoring.html")
            file = job.write_report(f"{spec.name}-monitoring-{as_of:%Y-%m-%d}.html", html)
            for verdict in found.verdicts:
                progress(f"{'within' if verdict.passed else 'BEYOND'} limits: {verdict.name}: {verdict.seen}")
            progress(f"report: {file}")
            job.summarise(monitoring=file, limits={one.name: one.passed for one in found.verdicts})
            run.tag("limits", "exceeded" if found.exceeded else "within")
        if found.exceeded:  # after the run, which did all it was to do
            why = "; ".join(f"{one.name}: {one.seen}; want {one.wanted}" for one in found.exceeded)
            raise LimitError(f"{why} ({file})")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
