"""Stand at each as-of: learn from what was known by then, score its cohort, judge by what came after."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from churn.contracts.ingest import ingest
from churn.evaluation.backtest import backtest
from churn.evaluation.cards import CARDS
from churn.job import Job, moment, parser, run, say
from churn.training.words import words_of


def step(job: Job) -> None:
    as_ofs = sorted({moment(text) for text in job.args.as_of})
    job.require_folder(job.args.out)
    if not job.args.no_ingest:
        ingest(job.spark, job.lake, job.config, batch="backtest", as_of=as_ofs[-1])
    judged, words = {}, words_of(job.spec)
    for as_of, metrics in backtest(job.spark, job.spec, job.sources, as_ofs, scratch=job.lake.scratch, say=say):
        rule = metrics["rule_of_thumb"]
        cards = (
            f", card precision at {CARDS} {metrics[f'card_precision_at_{CARDS}']:.4f}"
            if job.spec.of_transactions
            else ""
        )
        say(
            f"{as_of}: {metrics['n']:,} {words.entities}, {metrics['positives']:,} {words.positives};"
            f" AUC {metrics['auc']:.4f} (rule of thumb {rule['auc']:.4f}),"
            f" average precision {metrics['average_precision']:.4f}, Brier {metrics['brier']:.4f},"
            f" lift in the top 10 % {metrics['lift']['0.1']:.2f}{cards}"
        )
        judged[as_of] = metrics
    Path(job.args.out).write_text(json.dumps(judged, indent=2) + "\n", "utf-8")
    say(f"metrics: {job.args.out}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__, as_of=False)
    arguments.add_argument("--as-of", required=True, action="append", metavar="DATE", help="may be repeated")
    arguments.add_argument("--out", required=True, metavar="FILE", help="where to write the metrics, as JSON")
    arguments.add_argument("--no-ingest", action="store_true", help="take the accepted tables as they are")
    return run(step, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
