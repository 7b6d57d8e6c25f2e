"""Fit a model on what had matured before its test dates, and register it as the challenger."""

from __future__ import annotations

import sys

from pyspark.sql import functions as F

from churn.dataset.calendar import calendar, split
from churn.dataset.examples import examples, feature_columns, usable_features
from churn.dataset.feature_table import read_features, stored_features
from churn.job_runner import Job, job_main, progress
from churn.options import AsOf, ConfigFile, InputsOf, ModelFile, SummaryFile
from churn.registry import tracking
from churn.training.fit import fit


def step(
    config: ConfigFile, model: ModelFile, as_of: AsOf, inputs_of: InputsOf = None, summary: SummaryFile = None
) -> None:
    with Job("train", config, model, summary) as job:
        spec, repeated = job.spec, None
        if inputs_of:
            repeated = tracking.logged_run(
                job.config.tracking_uri, inputs_of, tracking.run_key("train", spec.name, as_of)
            )
            repeated.check_settings(spec.settings)
            job.versions = repeated.tables
        dates = calendar(spec, job.sources, as_of)
        slices = split(spec, dates)
        chosen, left_out = usable_features(spec, job.sources)
        stored = stored_features(job.lake, spec, job.versions)
        rows = read_features(stored, slices.matured)
        with tracking.tracked_run(job.config, "repeat train" if repeated else "train", spec.name, as_of) as run:
            run.params(spec.settings)
            for table in (*job.snapshots.values(), stored):
                run.table(table.table, path=table.path, version=table.version)
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
            run.fit_summary(fitted.summary | more)
            # Whole numbers that may be null are doubles in pandas, and so in the signature.
            nullable = set(fitted.preparation.nullable)
            whole = {name for name, kind in rows.dtypes if kind in ("int", "bigint") and name in nullable}
            columns = fitted.preparation.columns
            inputs = rows.select(*(F.col(name).cast("double") if name in whole else name for name in columns))
            run.model(fitted.model, inputs=inputs, outputs=fitted.model.transform(inputs).select("prediction"))
            if repeated:
                repeated.check_same(run.logged_metrics())
                progress(f"run {inputs_of} gives the same figures again; nothing is registered")
                return
            until = slices.learnt_until.isoformat()
            run.tag(tracking.LEARNT_UNTIL, until)
            version = run.register(spec.name, digest=fitted.digest, tags={tracking.LEARNT_UNTIL: until})
        if treated:
            progress(
                f"{treated['treated']:,} of {treated['rows']:,} rows were treated by a contact, and are "
                f"{spec.training.treated.replace('_', ' ')}"
            )
        later = len(slices.calibrate)
        for name, trial in fitted.trials.items():
            progress(f"{name}: log loss {trial.log_loss:.4f}, AUC {trial.auc:.3f} on {later} later as-ofs")
        progress(f"chose {fitted.chosen}; {spec.name} version {version} is the challenger")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
