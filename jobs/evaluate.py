"""Evaluate the challenger on dates after all it has learnt from, and write the report a lead decides by."""

from __future__ import annotations

import sys
from dataclasses import asdict

from churn.evaluation.by_date import mean_and_worst
from churn.evaluation.challenger import evaluate_challenger
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, ModelFile, SummaryFile, utc_datetime
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.registry.promotion import EvaluationRecord, record
from churn.reporting.model_report import draw, render, report_of
from churn.sources.ledger import totals


def step(config: ConfigFile, model: ModelFile, as_of: AsOf, summary: SummaryFile = None) -> None:
    with Job("evaluate", config, model, summary) as job:
        spec, uri = job.spec, job.config.tracking_uri
        job.spark  # noqa: B018 - a model is loaded into the session
        with tracking.tracked_run(job.config, "evaluate", spec.name, as_of) as run:
            registry = ModelRegistry(uri, spec.name)
            version = tracking.load_model(uri, spec.name)
            in_use = registry.aliases().get(tracking.CHAMPION)
            champion = tracking.load_model(uri, spec.name, in_use) if in_use else None
            found = evaluate_challenger(job.lake, spec, job.sources, as_of, version, champion)
            for date, metrics in found.by_date.items():
                run.metrics("test", metrics, as_of=utc_datetime(date))
            sources = totals(job.lake)
            report = report_of(spec, found, sources, {name: job.lake.version(name) for name in sources})
            plots = draw(report)
            for name, svg in plots.items():
                run.text(svg, f"plots/{name}.svg")
            html = render(report, plots)
            run.params({"model_version": version.number, "trained_by": version.run_id, "champion_version": in_use})
            run.json(found.by_date, "metrics.json")
            run.text(html, "report.html")
            gates = EvaluationRecord.of(spec, found.by_date, found.verdicts, run_id=run.id, champion=in_use)
            run.json(asdict(gates), "gates.json")
            record(registry, version.number, as_of, gates)
        file = job.write_report(f"{spec.name}-{as_of:%Y-%m-%d}.html", html)
        for metric in ("auc", "average_precision", "brier"):
            mean, worst = mean_and_worst(found.by_date, metric)
            progress(f"{metric}: mean {mean:.3f}, worst {worst:.3f} on {', '.join(found.by_date)}")
        for verdict in found.verdicts:
            progress(f"{'passed' if verdict.passed else 'FAILED'}: {verdict.name}: {verdict.seen}")
        job.summarise(test=found.by_date, report=file, gates={one.name: one.passed for one in found.verdicts})


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
