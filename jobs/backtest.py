"""At each origin: learn from what was known by then, score its cohort, evaluate by what happened after."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import Annotated

import typer

from churn.dataset.calendar import backtest_end
from churn.evaluation.alert_metrics import CARD_PRECISION, CARDS
from churn.evaluation.backtest import backtest
from churn.evaluation.by_date import BASELINE
from churn.job_runner import Job, job_main, progress
from churn.options import AsOfs, ConfigFile, ModelFile, OutFile, SummaryFile
from churn.runtime.files import require_place, write_whole

NoIngest = Annotated[bool, typer.Option("--no-ingest", help="Take the accepted tables of the lake as they are.")]


def step(
    config: ConfigFile,
    model: ModelFile,
    as_of: AsOfs,
    out: OutFile,
    no_ingest: NoIngest = False,
    summary: SummaryFile = None,
) -> None:
    with Job("backtest", config, model, summary) as job:
        origins, spec = sorted(set(as_of)), job.spec
        require_place(out)
        by_origin, end = {}, backtest_end(spec, origins[-1])
        with nullcontext(job.sources) if no_ingest else job.ingested_apart(end) as sources:
            found = backtest(job.spark, spec, sources, origins, scratch=job.lake.scratch, progress=progress)
            for origin, metrics in found:
                cards = metrics.get(CARD_PRECISION)
                progress(
                    f"{origin}: {metrics['n']:,} {spec.vocabulary.entities}, {metrics['positives']:,} "
                    f"{spec.vocabulary.positives}; AUC {metrics['auc']:.4f} (baseline {metrics[BASELINE]['auc']:.4f}),"
                    f" average precision {metrics['average_precision']:.4f}, Brier {metrics['brier']:.4f},"
                    f" lift in the top 10 % {metrics['lift']['0.1']:.2f}"
                    + ("" if cards is None else f", card precision at {CARDS} {cards:.4f}")
                )
                by_origin[origin] = metrics
        write_whole(out, json.dumps(by_origin, indent=2) + "\n")
        progress(f"metrics: {out}")


main = job_main(step)

if __name__ == "__main__":
    sys.exit(main(None))
