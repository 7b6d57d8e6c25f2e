"""Fit a model on what was ripe before its test dates, and register it as the challenger."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from churn import tracking
from churn.job import Job, moment, parser, run, say
from churn.training.data import calendar, columns, feature_table, labelled, read_features, split, usable_features
from churn.training.fit import fit


def step(job: Job) -> None:
    spec, as_of = job.spec, moment(job.args.as_of)
    dates = calendar(spec, job.sources, as_of)
    slices = split(spec, dates)
    chosen, left_out = usable_features(spec, job.sources)
    rows = read_features(job.lake, spec, slices.ripe)
    with tracking.work(job.config, "train", spec.name, as_of) as tracked:
        tracked.params(spec.settings)
        for table in (*sorted(job.sources), feature_table(spec)):
            tracked.table(table, path=job.lake.path(table), version=job.lake.version(table) or 0)
        known = labelled(spec, job.sources, rows, known_until=dates.test[0])
        fitted = fit(spec, known, slices, columns(spec, chosen), scratch=job.lake.scratch)
        for name, tried in fitted.trials.items():
            tracked.metrics(f"trial/{name}", tried.figures)
        more = {"left_out": [feature.name for feature in left_out], "windows": list(spec.windows)}
        tracked.json(fitted.summary | more, "fit.json")
        inputs = rows.select(*fitted.preparation.columns)
        tracked.model(fitted.model, inputs=inputs, outputs=fitted.model.transform(inputs).select("probability"))
        version = tracked.register(spec.name)
    for name, tried in fitted.trials.items():
        say(f"{name}: log loss {tried.log_loss:.4f}, AUC {tried.auc:.3f} on {len(slices.calibrate)} later as-ofs")
    say(f"chose {fitted.chosen}; {spec.name} version {version} is the challenger")


def main(argv: Sequence[str] | None = None) -> int:
    return run(step, parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
