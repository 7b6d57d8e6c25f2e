"""How far features and score have moved since training, since the last period, and since the same season a year ago.

Every feature in one pass over the rows for the bins' edges and another for their counts; nothing is collected but
counts. Grain: one figure a feature and reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from itertools import groupby
from typing import Any

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
_NULL = -1
_NOW = "now"


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

    def index(self, column: str) -> Column:
        """The number of a value's bin; -1 of a null."""
        if self.texts:
            place = F.array_position(F.array(*map(F.lit, self.texts)), F.col(column)) - 1
            return F.coalesce(F.when(place < 0, F.lit(len(self.texts))).otherwise(place), F.lit(_NULL)).cast("int")
        steps = (f"WHEN `{column}` <= CAST('{edge!r}' AS DOUBLE) THEN {n}" for n, edge in enumerate(self.edges))
        # As text: a column built of calls into the JVM takes longer to build than to count.
        return F.expr(f"CASE WHEN `{column}` IS NULL THEN {_NULL} {' '.join(steps)} ELSE {len(self.edges)} END")


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


def references(
    spec: ModelSpec,
    as_of: datetime,
    *,
    learnt: Iterable[datetime],
    built: Iterable[datetime],
    scored: Iterable[datetime],
) -> dict[str, tuple[datetime, ...]]:
    """The as-ofs of each reference that is there; `built` are those with features, `learnt` those of the training.

    A year ago is the built as-of that is nearest to 52 weeks before, within half of the days between as-ofs.
    """
    there = sorted(set(built))
    season = as_of - YEAR
    near = [one for one in there if abs(one - season) <= timedelta(days=max(1, spec.every // 2))]
    before = [one for one in there if one < as_of and one in set(scored)]
    found = {
        TRAINING: tuple(sorted(set(learnt) & set(there))),
        LAST: tuple(before[-1:]),
        YEAR_AGO: tuple(sorted(near, key=lambda one: (abs(one - season), one))[:1]),
    }
    return {name: as_ofs for name, as_ofs in found.items() if as_ofs}


def drift(
    spec: ModelSpec,
    model: Transformer,
    rows: DataFrame,
    columns: Sequence[str],
    as_of: datetime,
    against: Mapping[str, Sequence[datetime]],
) -> list[Moved]:
    """Every column a model reads, and the score it gives, at `as_of` against each reference.

    `rows` are features at all these as-ofs. The score of a reference is the one this model gives, so that another model
    since then is not taken for another population.
    """
    if not against:
        return []
    texts = [name for name, kind in rows.dtypes if name in columns and kind == "string"]
    numbers = [name for name in columns if name not in texts] + [SCORE]

    def described(of: DataFrame) -> DataFrame:
        doubles = (F.col(name).cast("double").alias(name) for name in numbers if name != SCORE)
        return model.transform(of).select(*texts, *doubles, probability().alias(SCORE))

    at = {name: rows.where(F.col("as_of").isin(*as_ofs)) for name, as_ofs in against.items()}
    bins = _edges(spec, at, described, numbers) | _texts(at, texts)
    sides = {name: (at[name], {key: each for key, each in bins.items() if key[0] == name}) for name in against}
    sides[_NOW] = (rows.where(F.col("as_of") == F.lit(as_of)), bins)
    counts = [_counts(described(of), side, asked) for side, (of, asked) in sides.items()]
    counted: dict[tuple[str, str, bool], dict[int, int]] = {}
    keys = {side: list(asked) for side, (_, asked) in sides.items()}
    for row in reduce(DataFrame.unionAll, counts).collect():
        key = (*keys[row["side"]][row["place"]], row["side"] == _NOW)
        counted.setdefault(key, {})[row["bin"]] = int(row["rows"])
    return [_moved(name, of, bins[of, name], counted) for of in against for name in (SCORE, *columns)]


def _moved(
    feature: str, reference: str, bins: Bins, counted: Mapping[tuple[str, str, bool], Mapping[int, int]]
) -> Moved:
    then, now = (counted.get((reference, feature, is_now), {}) for is_now in (False, True))
    return Moved(
        feature=feature,
        reference=reference,
        bins=bins,
        then=tuple(then.get(number, 0) for number in range(len(bins))),
        now=tuple(now.get(number, 0) for number in range(len(bins))),
        nulls_then=then.get(_NULL, 0),
        nulls_now=now.get(_NULL, 0),
    )


def _edges(
    spec: ModelSpec, at: Mapping[str, DataFrame], described: Any, numbers: Sequence[str]
) -> dict[tuple[str, str], Bins]:
    """By reference and column: the quantiles of the reference, those that fall together once."""
    counts = [
        of.agg(F.count("*").alias("rows")).select(F.lit(name).alias("reference"), "rows") for name, of in at.items()
    ]
    sizes = {row["reference"]: int(row["rows"]) for row in reduce(DataFrame.unionAll, counts).collect()}
    quantiles = F.array(*(F.lit(number / BINS) for number in range(1, BINS)))
    draw = F.xxhash64(*spec.key, F.lit("edges"))
    found: list[DataFrame] = []
    for name, of in at.items():
        sample = of.where(F.pmod(draw, F.lit(max(1, sizes[name] // EDGE_ROWS))) == 0)
        edges = (F.percentile_approx(column, quantiles, F.lit(_EXACT)).alias(column) for column in numbers)
        found.append(described(sample).agg(*edges).select(F.lit(name).alias("reference"), *numbers))
    return {
        (row["reference"], column): Bins(edges=tuple(sorted(set(row[column] or ()))))
        for row in reduce(DataFrame.unionAll, found).collect()
        for column in numbers
    }


def _texts(at: Mapping[str, DataFrame], texts: Sequence[str]) -> dict[tuple[str, str], Bins]:
    """By reference and column: the commonest texts of the reference."""
    if not texts:
        return {}
    each = F.explode(F.array(*(F.struct(F.lit(name).alias("column"), F.col(name).alias("text")) for name in texts)))
    pairs = [
        of.select(F.lit(name).alias("reference"), each.alias("one")).select("reference", "one.*")
        for name, of in at.items()
    ]
    counted = reduce(DataFrame.unionAll, pairs).where("text IS NOT NULL").groupBy("reference", "column", "text").count()
    place = F.row_number().over(Window.partitionBy("reference", "column").orderBy(F.desc("count"), "text"))
    common = counted.withColumn("place", place).where(F.col("place") < BINS).orderBy("reference", "column", "place")
    bins = {(name, column): Bins() for name in at for column in texts}
    for key, of_key in groupby(common.collect(), key=lambda row: (row["reference"], row["column"])):
        bins[key] = Bins(texts=tuple(row["text"] for row in of_key))
    return bins


def _counts(rows: DataFrame, side: str, bins: Mapping[tuple[str, str], Bins]) -> DataFrame:
    """(side, place, bin, rows): each row becomes its bins, and those are counted, by their place in `bins`."""
    indices = F.array(*(each.index(column) for (_, column), each in bins.items()))
    counted = rows.select(F.posexplode(indices).alias("place", "bin")).groupBy("place", "bin")
    return counted.agg(F.count("*").alias("rows")).select(F.lit(side).alias("side"), "place", "bin", "rows")
