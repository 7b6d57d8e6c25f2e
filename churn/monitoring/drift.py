"""How far features and score have drifted since training, since the last period, and since a year ago.

Every feature in one pass over the rows; nothing is collected but counts. Grain: one figure a feature and reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pyspark.ml import Transformer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.dataset.column_summary import Summary, summarised
from churn.dataset.examples import examples
from churn.model_spec import ModelSpec, probability
from churn.monitoring.psi import noise, psi

SCORE = "score"
TRAINING, LAST_PERIOD, YEAR_AGO = "training", "last_period", "year_ago"
YEAR = timedelta(days=364)
"""52 weeks: the same season, and the same day of the week."""

BINS = 10
Against = Mapping[str, Sequence[datetime]]


@dataclass(frozen=True)
class Bins:
    """How a feature's values are told apart: upper edges of a number, each the last of its bin, or texts by name.

    What is above the last edge, or none of the texts, is the last bin.
    """

    edges: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.edges) + len(self.texts) + 1

    @property
    def names(self) -> list[str]:
        """What each bin is called."""
        if self.texts:
            return [*self.texts, "others"]
        shown = [f"{edge:.4g}" for edge in self.edges]
        return [*(f"to {edge}" for edge in shown), f"above {shown[-1]}" if shown else "any"]


@dataclass(frozen=True)
class Drift:
    """One feature against one reference: rows per bin, then and now, and the nulls of both."""

    feature: str
    reference: str
    bins: Bins
    then: tuple[int, ...]
    now: tuple[int, ...]
    nulls_then: int
    nulls_now: int

    @property
    def n(self) -> int:
        return sum(self.now) + self.nulls_now

    @property
    def n_reference(self) -> int:
        return sum(self.then) + self.nulls_then

    @property
    def missing(self) -> float:
        return self.nulls_now / self.n if self.n else 0.0

    @property
    def missing_reference(self) -> float:
        return self.nulls_then / self.n_reference if self.n_reference else 0.0

    @property
    def psi(self) -> float | None:
        """The index over values that are there; null where one side has none."""
        return psi(self.then, self.now)

    @property
    def noise(self) -> float:
        """What chance alone may make of the index."""
        return noise(sum(rows > 0 for rows in self.then), sum(self.then), sum(self.now))


def references(
    spec: ModelSpec,
    as_of: datetime,
    *,
    learnt: Iterable[datetime],
    built: Iterable[datetime],
    scored: Iterable[datetime],
) -> dict[str, tuple[datetime, ...]]:
    """The as-ofs of each reference that is there; `built` are those with features, `learnt` those of the training.

    The last period is what was scored before; a year ago lies 52 weeks back. Periods of transactions are as long as the
    one that is monitored.
    """
    there, rows_of = set(built), examples(spec)
    found = {
        TRAINING: tuple(sorted(set(learnt) & there)),
        LAST_PERIOD: rows_of.last_period(as_of, set(scored) & there),
        YEAR_AGO: rows_of.season(as_of - YEAR, there),
    }
    return {name: as_ofs for name, as_ofs in found.items() if as_ofs}


def drift(
    model: Transformer,
    rows: DataFrame,
    columns: Sequence[str],
    now: Sequence[datetime],
    against: Against,
) -> list[Drift]:
    """Every column a model reads, and the score it gives, at the as-ofs of `now` against each reference.

    `rows` are features at all these as-ofs. The score of a reference is the one this model gives, so that another model
    since then is not taken for another population.
    """
    if not against:
        return []
    texts = [name for name, kind in rows.dtypes if name in columns and kind == "string"]
    numbers = [name for name in columns if name not in texts] + [SCORE]
    here = rows.where(F.col("as_of").isin(*now, *(one for as_ofs in against.values() for one in as_ofs)))
    described = model.transform(here).withColumn(SCORE, probability())
    found = summarised(described, numbers, texts)
    after = _of(found, now)
    before = {side: _of(found, as_ofs) for side, as_ofs in against.items()}
    return [_drift(name, side, then, after) for side, then in before.items() for name in (SCORE, *columns)]


def _of(found: Mapping[datetime, Summary], as_ofs: Sequence[datetime]) -> Summary | None:
    there = [found[as_of] for as_of in as_ofs if as_of in found]
    return Summary.merged(there) if there else None


def _drift(feature: str, reference: str, then: Summary | None, now: Summary | None) -> Drift:
    bins = _bins(feature, then)
    return Drift(
        feature=feature,
        reference=reference,
        bins=bins,
        then=_counted(feature, then, bins),
        now=_counted(feature, now, bins),
        nulls_then=then.rows - then.known[feature] if then else 0,
        nulls_now=now.rows - now.known[feature] if now else 0,
    )


def _bins(feature: str, then: Summary | None) -> Bins:
    """The tenths of the reference, those that fall together once; its commonest texts."""
    if then is None:
        return Bins()
    if feature in then.texts:
        common = sorted(then.texts[feature].items(), key=lambda item: (-item[1], item[0]))[: BINS - 1]
        return Bins(texts=tuple(text for text, _ in common))
    number = then.numbers[feature]
    return Bins(edges=tuple(sorted({number.quantile(tenth / BINS) for tenth in range(1, BINS)})) if number.n else ())


def _counted(feature: str, rows: Summary | None, bins: Bins) -> tuple[int, ...]:
    """The rows in each bin, those above the last edge, or of none of the texts, in the last."""
    if rows is None:
        return (0,) * len(bins)
    if feature in rows.texts:
        counts = rows.texts[feature]
        known = [counts[text] for text in bins.texts]
        return (*known, counts.total() - sum(known))
    number = rows.numbers[feature]
    place = np.searchsorted(np.asarray(bins.edges), number.values, side="left")
    return tuple(int(n) for n in np.bincount(place, number.counts, minlength=len(bins)))
