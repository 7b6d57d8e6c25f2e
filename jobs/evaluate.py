"""Judge the challenger on dates after all it has learnt from, and write the report a lead decides by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from churn import tracking
from churn.evaluation.appraise import appraise
from churn.evaluation.judge import mean_and_worst
from churn.evaluation.promotion import Noted, note
from churn.job import Job, moment, parser, run, say
from churn.registry import Registry


def step(job: Job) -> None:
    spec, as_of = job.spec, moment(job.args.as_of)
    job.spark  # noqa: B018 - a model is loaded into the session
    with tracking.work(job.config, "evaluate", spec.name, as_of) as tracked:
        registry = Registry(job.config.tracking_uri, spec.name)
        model = tracking.load_model(job.config.tracking_uri, spec.name)
        in_use = registry.aliases().get(tracking.CHAMPION)
        champion = tracking.load_model(job.config.tracking_uri, spec.name, in_use) if in_use else None
        appraisal = appraise(job.lake, spec, job.sources, as_of, model, champion)
        for date, metrics in appraisal.judged.items():
            tracked.metrics("test", metrics, as_of=moment(date))
        for name, svg in appraisal.plots.items():
            tracked.text(svg, f"plots/{name}.svg")
        tracked.params({"model_version": model.version, "trained_by": model.run_id, "champion_version": in_use})
        tracked.json(appraisal.judged, "metrics.json")
        tracked.text(appraisal.html, "report.html")
        noted = Noted.of(spec, appraisal.judged, appraisal.verdicts, run_id=tracked.id, champion=in_use)
        tracked.json(asdict(noted), "gates.json")
        note(registry, model.version, as_of, noted)
    report = job.write_report(f"{spec.name}-{as_of:%Y-%m-%d}.html", appraisal.html)
    for metric in ("auc", "average_precision", "brier"):
        mean, worst = mean_and_worst(appraisal.judged, metric)
        say(f"{metric}: mean {mean:.3f}, worst {worst:.3f} on {', '.join(appraisal.judged)}")
    for verdict in appraisal.verdicts:
        say(f"{'passed' if verdict.passed else 'FAILED'}: {verdict.gate}: {verdict.seen}")
    job.note(test=appraisal.judged, report=report, gates={v.gate: v.passed for v in appraisal.verdicts})


def main(argv: Sequence[str] | None = None) -> int:
    return run(step, parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
