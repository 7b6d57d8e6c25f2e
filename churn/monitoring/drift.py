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
from churn.model_output import probability
from churn.model_spec import ModelSpec
from churn.monitoring.psi import noise, psi

SCORE = "score"
TRAINING, LAST_PERIOD, YEAR_AGO = "training", "last_period", "year_ago"
YEAR = timedelta(days=364)
"""52 weeks: the same season, and the same day of the week."""

BINS = 10
Against = Mapping[str, Sequence[datetime]]


@dataclass(frozen=True)
class Bins:
    """The bins of a feature: upper edges of a number, each the last value of its bin, or texts.

    The last bin has the values above the last edge, or those that are none of the texts.
    """

    edges: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.edges) + len(self.texts) + 1

    @property
    def names(self) -> list[str]:
        """What each bin is called in a report."""
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
        """The stability index over values that are not null; None where one side has none."""
        return psi(self.then, self.now)

    @property
    def noise(self) -> float:
        """The index that chance alone may make (churn.monitoring.psi.noise)."""
        return noise(sum(rows > 0 for rows in self.then), sum(self.then), sum(self.now))


def references(
    spec: ModelSpec,
    as_of: datetime,
    *,
    learnt: Iterable[datetime],
    built: Iterable[datetime],
    scored: Iterable[datetime],
) -> dict[str, tuple[datetime, ...]]:
    """The as-ofs of each reference that has any; `built` are those with features, `learnt` those of the training.

    The last period is what was scored before; a year ago is 52 weeks back. Periods of transactions are as long as the
    one that is monitored.
    """
    with_features, rows_of = set(built), examples(spec)
    by_reference = {
        TRAINING: tuple(sorted(set(learnt) & with_features)),
        LAST_PERIOD: rows_of.last_period(as_of, set(scored) & with_features),
        YEAR_AGO: rows_of.season(as_of - YEAR, with_features),
    }
    return {name: as_ofs for name, as_ofs in by_reference.items() if as_ofs}


def drift(
    model: Transformer,
    rows: DataFrame,
    columns: Sequence[str],
    now: Sequence[datetime],
    against: Against,
) -> list[Drift]:
    """The drift of every column a model reads, and of its score, at the as-ofs of `now` against each reference.

    `rows` are features at all these as-ofs. A reference is scored by this model too, so that a change of models is no
    drift.
    """
    if not against:
        return []
    texts = [name for name, kind in rows.dtypes if name in columns and kind == "string"]
    numbers = [name for name in columns if name not in texts] + [SCORE]
    compared = rows.where(F.col("as_of").isin(*now, *(as_of for as_ofs in against.values() for as_of in as_ofs)))
    scored = model.transform(compared).withColumn(SCORE, probability())
    by_as_of = summarised(scored, numbers, texts)
    after = _of(by_as_of, now)
    before = {reference: _of(by_as_of, as_ofs) for reference, as_ofs in against.items()}
    return [_drift(name, reference, then, after) for reference, then in before.items() for name in (SCORE, *columns)]


def _of(by_as_of: Mapping[datetime, Summary], as_ofs: Sequence[datetime]) -> Summary | None:
    parts = [by_as_of[as_of] for as_of in as_ofs if as_of in by_as_of]
    return Summary.merged(parts) if parts else None


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
    """The deciles of the reference, equal ones once; of a text its most frequent values."""
    if then is None:
        return Bins()
    if feature in then.texts:
        most_frequent = sorted(then.texts[feature].items(), key=lambda item: (-item[1], item[0]))[: BINS - 1]
        return Bins(texts=tuple(text for text, _ in most_frequent))
    number = then.numbers[feature]
    return Bins(edges=tuple(sorted({number.quantile(tenth / BINS) for tenth in range(1, BINS)})) if number.n else ())


def _counted(feature: str, rows: Summary | None, bins: Bins) -> tuple[int, ...]:
    """The rows in each bin."""
    if rows is None:
        return (0,) * len(bins)
    if feature in rows.texts:
        counts = rows.texts[feature]
        known = [counts[text] for text in bins.texts]
        return (*known, counts.total() - sum(known))
    number = rows.numbers[feature]
    place = np.searchsorted(np.asarray(bins.edges), number.values, side="left")
    return tuple(int(n) for n in np.bincount(place, number.counts, minlength=len(bins)))
