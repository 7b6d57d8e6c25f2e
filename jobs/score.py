"""Score the cohort of an as-of, or the transactions of a day, by the champion (without one, by the challenger)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyspark.sql import functions as F

from churn import tracking
from churn.evaluation.words import words_of
from churn.job import Job, moment, parser, run, say
from churn.registry import Registry
from churn.scoring.batch import ALERTS, alerts, score_table, scored
from churn.training.data import check_inputs, read_columns, read_features, seen_columns


def step(job: Job) -> None:
    spec, as_of = job.spec, moment(job.args.as_of)
    job.spark  # noqa: B018 - a model is loaded into the session
    alias, version = Registry(job.config.tracking_uri, spec.name).in_use()
    model = tracking.load_model(job.config.tracking_uri, spec.name, version)
    rows = read_features(job.lake, spec, [as_of])
    check_inputs(spec, seen_columns(rows, read_columns(model.summary)), model.summary, version)
    table = score_table(spec)
    job.lake.replace(scored(spec, model.model, rows, version=version), table, {"as_of": as_of})
    written = job.lake.read(table).where(F.col("as_of") == F.lit(as_of))
    what = words_of(spec).entities
    by = f"{spec.name} version {version}, the {alias}"
    say(f"{written.count():,} {what} scored by {by}, in {job.lake.path(table)}")
    if spec.of_transactions:
        job.lake.replace(alerts(spec, written), ALERTS, {"as_of": as_of})
        say(f"alerts: up to {spec.budget} likeliest and {spec.audit} drawn at random, in {job.lake.path(ALERTS)}")
    top = written.orderBy("rank").limit(10).collect()
    likeliest = [[row["rank"], row[spec.key[0]], row["score"]] for row in top]
    job.note(scores=job.lake.path(table), scored_by=by, top=likeliest)


def main(argv: Sequence[str] | None = None) -> int:
    return run(step, parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
