"""Bring a batch of every source into the lake: accepted, duplicate or quarantined, to the row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from churn.contracts.ingest import ingest
from churn.job import Job, moment, parser, run, say


def step(job: Job) -> None:
    as_of = moment(job.args.as_of)
    ledger = ingest(job.spark, job.lake, job.config, batch=f"{as_of:%Y-%m-%d}", as_of=as_of, sources=job.args.source)
    for row in ledger:
        say(
            f"{row.source}: {row.rows_in:,} rows in = {row.accepted:,} accepted + {row.duplicate:,} duplicate"
            f" + {row.quarantined:,} quarantined"
        )
    job.note(ledger=[asdict(row) for row in ledger])


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__, model=False)
    arguments.add_argument("--source", action="append", metavar="NAME", help="only this source; may be repeated")
    return run(step, arguments, argv)


if __name__ == "__main__":
    sys.exit(main())
