"""How far features and score have moved since training, since the last period, and since the same season a year ago.

Every feature in one pass over the rows for the bins' edges and another for their counts; nothing is collected but
counts. Grain: one figure a feature and reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.ml import Transformer
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from churn.monitoring.stability import noise, psi
from churn.training.fit import probability
from churn.training.spec import ModelSpec

SCORE = "score"
TRAINING, LAST, YEAR_AGO = "training", "last_period", "year_ago"
YEAR = timedelta(days=364)
"""52 weeks: the same season, and the same day of the week."""

BINS = 10
EDGE_ROWS = 20_000
"""About as many rows, picked by hash, as the edges of bins are taken from; the counts are of all rows."""
_EXACT = 1_000_000
"""An accuracy of percentile_approx at which so many rows give exact quantiles, the same in whatever order they meet."""
NULL = -1
"""The bin of nulls."""
COUNTS = "feature string, side int, is_now boolean, bin int, rows bigint"
_SIDES = "_sides"
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
class Moved:
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


def looked_at(spec: ModelSpec, as_of: datetime, scored: Iterable[datetime]) -> tuple[datetime, ...]:
    """The as-ofs that are looked at: this one, or of transactions the scored days of `watched_days` up to it."""
    if not spec.of_transactions:
        return (as_of,)
    return _between(scored, as_of - timedelta(days=spec.watched_days), as_of)


def references(
    spec: ModelSpec,
    as_of: datetime,
    *,
    learnt: Iterable[datetime],
    built: Iterable[datetime],
    scored: Iterable[datetime],
) -> dict[str, tuple[datetime, ...]]:
    """The as-ofs of each reference that is there; `built` are those with features, `learnt` those of the training.

    The last period is the as-of that was scored before this one, a year ago the built one that is nearest to 52 weeks
    before, within half of the days between as-ofs. Of transactions they are stretches as long as the one looked at.
    """
    there, season = sorted(set(built)), as_of - YEAR
    before = [one for one in there if one < as_of and one in set(scored)]
    if spec.of_transactions:
        length = timedelta(days=spec.watched_days)
        last = _between(before, as_of - 2 * length, as_of - length)
        year_ago = _between(there, season - length, season)
    else:
        near = [one for one in there if abs(one - season) <= timedelta(days=max(1, spec.every // 2))]
        last, year_ago = tuple(before[-1:]), tuple(sorted(near, key=lambda one: (abs(one - season), one))[:1])
    found = {TRAINING: tuple(sorted(set(learnt) & set(there))), LAST: last, YEAR_AGO: year_ago}
    return {name: as_ofs for name, as_ofs in found.items() if as_ofs}


def _between(as_ofs: Iterable[datetime], after: datetime, until: datetime) -> tuple[datetime, ...]:
    return tuple(sorted(one for one in set(as_ofs) if after < one <= until))


def drift(
    spec: ModelSpec,
    model: Transformer,
    rows: DataFrame,
    columns: Sequence[str],
    now: Sequence[datetime],
    against: Against,
) -> list[Moved]:
    """Every column a model reads, and the score it gives, at the as-ofs of `now` against each reference.

    `rows` are features at all these as-ofs. The score of a reference is the one this model gives, so that another model
    since then is not taken for another population.
    """
    if not against:
        return []
    texts = [name for name, kind in rows.dtypes if name in columns and kind == "string"]
    numbers = [name for name in columns if name not in texts] + [SCORE]
    sides = list(against)
    here = rows.where(F.col("as_of").isin(*now, *(one for as_ofs in against.values() for one in as_ofs)))
    doubles = (F.col(name).cast("double").alias(name) for name in numbers if name != SCORE)
    described = model.transform(here).select(*spec.key, *texts, *doubles, probability().alias(SCORE))
    bins = _edges(spec, described, numbers, against) | _texts(here, texts, against)
    asked = {name: [bins[side, name] for side in sides] for name in (*texts, *numbers)}
    # A bit says of which reference a row is, the highest that it is of now; it may be of several.
    is_of = [F.col("as_of").isin(*as_ofs) for as_ofs in (*against.values(), now)]
    marked = described.select(
        sum((one.cast("int") * 2**bit for bit, one in enumerate(is_of)), F.lit(0)).alias(_SIDES), *asked
    )
    found = marked.mapInArrow(partial(counted, asked=asked), COUNTS).groupBy("feature", "side", "is_now", "bin")
    counts: dict[tuple[str, int, bool], dict[int, int]] = {}
    for row in found.agg(F.sum("rows").alias("rows")).collect():
        counts.setdefault((row["feature"], row["side"], row["is_now"]), {})[row["bin"]] = int(row["rows"])
    return [
        _moved(name, side, asked[name][number], *(counts.get((name, number, is_now), {}) for is_now in (False, True)))
        for number, side in enumerate(sides)
        for name in (SCORE, *columns)
    ]


def _moved(feature: str, reference: str, bins: Bins, then: Mapping[int, int], now: Mapping[int, int]) -> Moved:
    return Moved(
        feature=feature,
        reference=reference,
        bins=bins,
        then=tuple(then.get(number, 0) for number in range(len(bins))),
        now=tuple(now.get(number, 0) for number in range(len(bins))),
        nulls_then=then.get(NULL, 0),
        nulls_now=now.get(NULL, 0),
    )


def _references_of(against: Against, where: Mapping[str, Column] | None = None) -> Column:
    """The references that a row's as-of is of, as an array; of those in `where` only the rows that it takes."""
    is_of = {name: F.col("as_of").isin(*as_ofs) for name, as_ofs in against.items()}
    taken = {name: one & (where or {}).get(name, F.lit(True)) for name, one in is_of.items()}
    return F.array_compact(F.array(*(F.when(one, F.lit(name)) for name, one in taken.items())))


def _edges(
    spec: ModelSpec, described: DataFrame, numbers: Sequence[str], against: Against
) -> dict[tuple[str, str], Bins]:
    """By reference and column: the quantiles of the reference, those that fall together once."""
    counts = described.groupBy("as_of").count().collect()
    sizes = {name: sum(row["count"] for row in counts if row["as_of"] in as_ofs) for name, as_ofs in against.items()}
    draw = F.xxhash64(*spec.key, F.lit("edges"))
    picked = {name: F.pmod(draw, F.lit(max(1, sizes[name] // EDGE_ROWS))) == 0 for name in against}
    of = _references_of(against, picked)
    # Asked of the key alone, so that the model is not applied to rows that are not picked.
    sample = described.where(F.size(of) > 0).select(F.explode(of).alias("reference"), *numbers)
    quantiles = F.array(*(F.lit(number / BINS) for number in range(1, BINS)))
    edges = (F.percentile_approx(column, quantiles, F.lit(_EXACT)).alias(column) for column in numbers)
    return {
        (row["reference"], column): Bins(edges=tuple(sorted(set(row[column] or ()))))
        for row in sample.groupBy("reference").agg(*edges).collect()
        for column in numbers
    }


def _texts(rows: DataFrame, texts: Sequence[str], against: Against) -> dict[tuple[str, str], Bins]:
    """By reference and column: the commonest texts of the reference."""
    if not texts:
        return {}
    each = F.explode(F.array(*(F.struct(F.lit(name).alias("column"), F.col(name).alias("text")) for name in texts)))
    of = F.explode(_references_of(against)).alias("reference")
    pairs = rows.select(of, *texts).select("reference", each.alias("one")).select("reference", "one.*")
    counts = pairs.where("text IS NOT NULL").groupBy("reference", "column", "text").count()
    place = F.row_number().over(Window.partitionBy("reference", "column").orderBy(F.desc("count"), "text"))
    common = counts.withColumn("place", place).where(F.col("place") < BINS).orderBy("reference", "column", "place")
    bins = {(name, column): Bins() for name in against for column in texts}
    for (name, column), of_key in groupby(common.collect(), key=lambda row: (row["reference"], row["column"])):
        bins[name, column] = Bins(texts=tuple(row["text"] for row in of_key))
    return bins


def counted(batches: Iterator[pa.RecordBatch], asked: Mapping[str, Sequence[Bins]]) -> Iterator[pa.RecordBatch]:
    """The rows of a partition in each bin, as COUNTS.

    By numpy, for as Spark's own expressions hundreds of columns in ten bins take longer to compile than to count.
    """
    totals: dict[tuple[str, int, bool], NDArray[np.int64]] = {}
    for batch in batches:
        sides = batch.column(_SIDES).to_numpy()
        is_now = (sides & 2 ** len(next(iter(asked.values())))).astype(bool)
        for feature, of_each in asked.items():
            column = batch.column(feature)
            for number, bins in enumerate(of_each):
                index = _bin_of(column, bins)
                for now, rows in ((False, (sides & 2**number).astype(bool)), (True, is_now)):
                    found = np.bincount(index[rows], minlength=len(bins) + 1)
                    key = (feature, number, now)
                    totals[key] = totals[key] + found if key in totals else found
    for (feature, number, now), found in totals.items():
        there = np.flatnonzero(found)
        names = pa.array([feature] * len(there), pa.string())
        side, flag = pa.array([number] * len(there), pa.int32()), pa.array([now] * len(there), pa.bool_())
        place = np.where(there == len(found) - 1, NULL, there)
        yield pa.record_batch(
            [names, side, flag, pa.array(place, pa.int32()), pa.array(found[there], pa.int64())],
            names=["feature", "side", "is_now", "bin", "rows"],
        )


def _bin_of(column: pa.Array, bins: Bins) -> NDArray[np.int64]:
    """The number of each value's bin; behind the last that of nulls."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        known = pc.index_in(column, value_set=pa.array(bins.texts, column.type)).fill_null(len(bins.texts))
        return np.where(
            column.is_null().to_numpy(zero_copy_only=False), len(bins), known.to_numpy(zero_copy_only=False)
        )
    values = column.to_numpy(zero_copy_only=False)
    return np.where(np.isnan(values), len(bins), np.searchsorted(np.asarray(bins.edges), values, side="left"))
