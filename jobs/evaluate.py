"""Evaluate the challenger on dates after all it has learnt from, and write the report a lead decides by."""

from __future__ import annotations

import sys
from dataclasses import asdict

from churn.dataset.feature_table import read_features, stored_features
from churn.evaluation.by_date import mean_and_worst
from churn.evaluation.challenger import evaluate_challenger
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, InputsOf, ModelFile, SummaryFile, utc_midnight
from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.registry.promotion import EvaluationRecord, record
from churn.reporting.model_report import draw, render, report_of
from churn.scoring.reasons import frequent_reasons
from churn.sources.ledger import LEDGER, totals


def step(
    config: ConfigFile, model: ModelFile, as_of: AsOf, inputs_of: InputsOf = None, summary: SummaryFile = None
) -> None:
    with Job("evaluate", config, model, summary) as job:
        spec, uri = job.spec, job.config.tracking_uri
        registry = ModelRegistry(uri, spec.name)
        challenger, repeated = tracking.CHALLENGER, None
        if inputs_of:
            repeated = tracking.logged_run(uri, inputs_of, tracking.run_key("evaluate", spec.name, as_of))
            repeated.check_settings(spec.settings)
            job.versions = repeated.tables
            challenger, in_use = repeated.params["model_version"], repeated.params.get("champion_version")
        else:
            in_use = registry.aliases().get(tracking.CHAMPION)
        job.spark  # noqa: B018 - a model is loaded into the session
        with tracking.tracked_run(job.config, "repeat evaluate" if repeated else "evaluate", spec.name, as_of) as run:
            version = tracking.load_model(uri, spec.name, challenger)
            champion = tracking.load_model(uri, spec.name, in_use) if in_use else None
            stored = stored_features(job.lake, spec, job.versions)
            run.params(spec.settings)
            for table in (*job.snapshots.values(), stored):
                run.table(table.table, path=table.path, version=table.version, context="evaluation")
            found = evaluate_challenger(stored, spec, job.sources, as_of, version, champion)
            for date, metrics in found.by_date.items():
                run.metrics("test", metrics, as_of=utc_midnight(date))
            if repeated:
                repeated.check_same(run.logged_metrics())
                progress(f"run {inputs_of} gives the same figures again; nothing is recorded")
                return
            versions = {name: one.version for name, one in job.snapshots.items()}
            newest = found.dates.test[-1]
            frequent = frequent_reasons(spec, version, read_features(stored, [newest]), newest, job.lake.scratch)
            report = report_of(spec, found, job.snapshots[LEDGER].once(totals), versions, frequent)
            plots = draw(report)
            for name, svg in plots.items():
                run.text(svg, f"plots/{name}.svg")
            html = render(report, plots)
            run.params({"model_version": version.number, "trained_by": version.run_id})
            if in_use:
                run.params({"champion_version": in_use})
            run.json(found.by_date, "metrics.json")
            run.text(html, "report.html")
            gates = EvaluationRecord.of(spec, found.by_date, found.verdicts, run_id=run.id, champion=in_use)
            run.json(asdict(gates), "gates.json")
            file = job.write_report(f"{spec.name}-{as_of:%Y-%m-%d}.html", html)
            record(registry, version.number, as_of, gates)
        for metric in ("auc", "average_precision", "brier"):
            mean, worst = mean_and_worst(found.by_date, metric)
            progress(f"{metric}: mean {mean:.3f}, worst {worst:.3f} on {', '.join(found.by_date)}")
        for verdict in found.verdicts:
            progress(f"{'passed' if verdict.passed else 'FAILED'}: {verdict.name}: {verdict.seen}")
        job.summarise(test=found.by_date, report=file, gates={one.name: one.passed for one in found.verdicts})


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
