"""How past scores turned out, once their labels have ripened. Grain: one row a scored as-of (of transactions, a stretch
of days) and version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.evaluation.judge import beside, judge
from churn.training.data import Sources, labels, unblocked
from churn.training.spec import ModelSpec

EPOCH = datetime(1970, 1, 1)
MOST = 60
"""Stretches that are judged at a time, the newest: more pile up only where nobody has looked for long."""


@dataclass(frozen=True)
class Stretch:
    """Scored as-ofs that are judged together: one of customers, up to `judged_days` of transactions."""

    as_ofs: tuple[datetime, ...]
    version: str

    @property
    def first(self) -> datetime:
        return self.as_ofs[0]


@dataclass(frozen=True)
class Outcome:
    """What became of the scores of a stretch. `metrics` are an evaluation's; none where all had one outcome."""

    as_of: datetime
    version: str
    n: int
    positives: int
    mean_score: float
    metrics: Mapping[str, Any]

    @property
    def rate(self) -> float:
        return self.positives / self.n


def ripe_stretches(
    spec: ModelSpec,
    scored: Iterable[tuple[datetime, str]],
    judged: Iterable[tuple[datetime, str]],
    *,
    told_until: datetime,
) -> list[Stretch]:
    """Of the scored (as_of, version) the stretches that are ripe and not judged yet, in order of time.

    Stretches of transactions are counted from 1970 on, so that they are the same whenever one looks; each is ripe when
    the labels of its last day are, scored or not.
    """
    length, done = timedelta(days=spec.judged_days if spec.of_transactions else 1), set(judged)
    stretches: dict[tuple[datetime, str], list[datetime]] = {}
    for as_of, version in sorted(scored):
        begins = EPOCH + length * ((as_of - EPOCH) // length)
        stretches.setdefault((begins, version), []).append(as_of)
    found = []
    for (begins, version), as_ofs in sorted(stretches.items()):
        last = begins + length - timedelta(days=1) if spec.of_transactions else as_ofs[-1]
        if spec.window.ripe_at(last) <= told_until and (as_ofs[0], version) not in done:
            found.append(Stretch(tuple(as_ofs), version))
    return found[-MOST:]


def outcome(
    spec: ModelSpec,
    sources: Sources,
    scores: DataFrame,
    features: DataFrame,
    stretch: Stretch,
    *,
    known_until: datetime,
) -> Outcome | None:
    """What the labels known by a moment say of the scores of a stretch; null where nobody can be judged.

    `features` give the rule of thumb to compare with. Transactions of customers who were blocked are left out, as in an
    evaluation.
    """
    at = F.col("as_of").isin(*stretch.as_ofs)
    said = scores.where(at & (F.col("model_version") == stretch.version)).select(*spec.key, "score")
    told = labels(spec, sources, said.select(*spec.key), known_until=known_until).select(*spec.key, "label")
    joined = said.join(told, on=list(spec.key), how="inner").join(features.where(at), on=list(spec.key), how="left")
    rows = unblocked(spec, sources, joined).select(*spec.key, "label", "score", *beside(spec)).toPandas()
    if rows.empty:
        return None
    rows = rows.sort_values(list(spec.key), ignore_index=True)
    rows = rows.assign(day=rows["as_of"], as_of=stretch.first)
    n, positives = len(rows), int(rows["label"].sum())
    metrics = judge(spec, rows)[f"{stretch.first:%Y-%m-%d}"] if 0 < positives < n else {}
    return Outcome(stretch.first, stretch.version, n, positives, float(rows["score"].mean()), metrics)
