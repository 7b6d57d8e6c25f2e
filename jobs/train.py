"""Fit a model on what had matured before its test dates, and register it as the challenger."""

from __future__ import annotations

import sys

from churn.dataset.calendar import calendar, split
from churn.dataset.examples import examples, feature_columns, usable_features
from churn.dataset.feature_table import feature_table, read_features
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, ModelFile, SummaryFile
from churn.registry import tracking
from churn.training.fit import fit


def step(config: ConfigFile, model: ModelFile, as_of: AsOf, summary: SummaryFile = None) -> None:
    with Job("train", config, model, summary) as job:
        spec = job.spec
        dates = calendar(spec, job.sources, as_of)
        slices = split(spec, dates)
        chosen, left_out = usable_features(spec, job.sources)
        rows = read_features(job.lake, spec, slices.matured)
        with tracking.tracked_run(job.config, "train", spec.name, as_of) as run:
            run.params(spec.settings)
            for table in (*sorted(job.sources), feature_table(spec)):
                run.table(table, path=job.lake.path(table), version=job.lake.version(table) or 0)
            labelled = examples(spec).labelled(job.sources, rows, known_until=dates.test[0])
            fitted = fit(spec, labelled, slices, feature_columns(spec, chosen), scratch=job.lake.scratch)
            for name, trial in fitted.trials.items():
                run.metrics(f"trial/{name}", trial.figures)
            treated = examples(spec).count_treated(job.sources, rows, known_until=dates.test[0])
            more = {
                "left_out": [feature.name for feature in left_out],
                "windows": list(spec.features.windows),
                "treated": treated,
            }
            run.json(fitted.summary | more, "fit.json")
            inputs = rows.select(*fitted.preparation.columns)
            run.model(fitted.model, inputs=inputs, outputs=fitted.model.transform(inputs).select("probability"))
            version = run.register(spec.name)
        if treated:
            progress(
                f"{treated['treated']:,} of {treated['rows']:,} rows were treated by a contact: {spec.training.treated}"
            )
        later = len(slices.calibrate)
        for name, trial in fitted.trials.items():
            progress(f"{name}: log loss {trial.log_loss:.4f}, AUC {trial.auc:.3f} on {later} later as-ofs")
        progress(f"chose {fitted.chosen}; {spec.name} version {version} is the challenger")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
