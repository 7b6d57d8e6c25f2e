"""Why a row has its score: the features that moved it most, in the catalogue's words. Grain: one row a scored row.

A score's log-odds are a base, what the model expects of the rows it was trained on, and a part of each feature: exact
Shapley values, of linear models (coefficient times the distance from the mean) and of trees (churn.scoring.tree_shap).
The windows of one feature count together.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.column_summary import double
from churn.dataset.feature_table import read_columns
from churn.errors import BadInputError, nearest
from churn.features import Feature, features
from churn.model_spec import ModelSpec
from churn.runtime.session import side_by_side
from churn.scoring.alerts import new_alerts
from churn.scoring.batch import scored
from churn.scoring.tree_shap import TooDeepError, Tree, TreeShap
from churn.storage import sql_type
from churn.training.mllib_models import trees_of
from churn.training.model_version import ModelVersion
from churn.training.pipeline import MARGINS, VECTOR
from churn.training.preparation import Slot, signed_log

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

REASONS: Final = "array<struct<feature: string, effect: double, direction: string, value: string, text: string>>"
"""`effect` is what the feature adds to the log-odds; `direction` whether it raises or lowers the score; `value` that of
its column with the greatest effect, and `text` says both in words."""
TOLERANCE: Final = 1e-6
"""By how much a score may differ from the probability that its parts add up to."""
RAISES, LOWERS = "raises", "lowers"
_UNITS: Final = {"days": "days", "calls": "calls", "transactions": "transactions", "s": "seconds"}
"""Units by the word that follows a value."""


@dataclass(frozen=True)
class _Part:
    """A candidate of the model: its margin counts `slope` times."""

    slope: float
    coefficients: Floats | None
    trees: TreeShap | None
    base: float

    def add(self, total: Floats, matrix: npt.NDArray[Any], centre: Floats, groups: npt.NDArray[np.int64]) -> None:
        """Adds its part of the log-odds to (rows, groups)."""
        if self.trees is not None:
            total += self.slope * self.trees.values(matrix)
            return
        assert self.coefficients is not None
        for slot, group in enumerate(groups):
            total[:, group] += self.slope * self.coefficients[slot] * (matrix[:, slot] - centre[slot])


@dataclass(frozen=True)
class _Wording:
    """How a column is put into words; `typical` is its median in training, None of texts."""

    phrase: str
    unit: str
    never: float | None
    typical: float | None

    def text(self, value: object) -> tuple[str, str]:
        """The value, and a sentence with it that an agent can say."""
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "not known", f"{self.phrase}: not known"
        if self.typical is None or isinstance(value, str):
            return str(value), f"{self.phrase}: {value}"
        shown = self._number(float(cast("float", value)))
        return shown, f"{self.phrase}: {shown}, usually {self._typical_text}"

    @cached_property
    def _typical_text(self) -> str:
        assert self.typical is not None
        return self._number(self.typical)

    def _number(self, value: float) -> str:
        if self.never is not None and value >= self.never * 0.999:
            return "never"
        amount = f"{value:,.2f}" if abs(value) < 10 and value != round(value) else f"{value:,.0f}"
        return f"{amount} {self.unit}".rstrip()


@dataclass(frozen=True)
class Explainer:
    """A model version as what its reasons are computed from. Made by `explainer`; executors get it pickled."""

    slots: tuple[Slot, ...]
    centre: Floats
    columns: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    names: tuple[str, ...]
    """Of the groups: a feature, or a column that no feature declares."""
    parts: tuple[_Part, ...]
    intercept: float
    wordings: Mapping[str, _Wording]
    hidden: frozenset[str]
    """Groups that are never given as a reason."""
    count: int
    column_groups: Mapping[str, int] = field(repr=False)

    @property
    def base(self) -> float:
        """The log-odds that the model expects of the rows it was trained on."""
        return self.intercept + sum(part.slope * part.base for part in self.parts)

    def matrix(self, batch: pa.RecordBatch) -> npt.NDArray[np.float32]:
        """The feature vectors of rows, as the model's pipeline has them."""
        texts = {slot.feature for slot in self.slots if slot.level is not None}
        columns = {
            name: batch[name] if name in texts else pa.array(signed_log(double(batch[name]))) for name in self.columns
        }
        table = pa.table(columns)
        matrix = np.empty((len(batch), len(self.slots)), np.float32, order="F")
        for values, slot in zip(matrix.T, self.slots, strict=True):
            values[:] = slot.values(table[slot.feature])
        return matrix

    def contributions(self, matrix: npt.NDArray[Any]) -> Floats:
        """(rows, groups): what each group adds to the base."""
        total = np.zeros((len(matrix), len(self.names)))
        for part in self.parts:
            part.add(total, matrix, self.centre, self.groups)
        return total

    def reasons(self, batch: pa.RecordBatch) -> tuple[Floats, pa.ListArray]:
        """The log-odds of each row, and its reasons (REASONS), the greatest effect first; groups without effect give
        none."""
        matrix = self.matrix(batch)
        parts = self.contributions(matrix)
        log_odds = self.base + parts.sum(axis=1)
        shown = np.array([name not in self.hidden for name in self.names])
        size: Floats = np.where(shown, np.abs(parts), 0.0)
        order = _largest(size.round(12), self.count)
        is_reason = np.take_along_axis(size, order, axis=1) > 1e-12
        rows, groups = np.nonzero(is_reason)[0], order[is_reason]
        effects = parts[rows, groups]
        values, texts = (np.empty(len(rows), object) for _ in range(2))
        for group in np.unique(groups):
            for places, wordings in self._worded(int(group), np.flatnonzero(groups == group), rows, batch, matrix):
                values[places], texts[places] = wordings.T
        columns = {
            "feature": pa.array(np.array(self.names, object)[groups], pa.string()),
            "effect": pa.array(effects, pa.float64()),
            "direction": pa.array(np.where(effects > 0, RAISES, LOWERS), pa.string()),
            "value": pa.array(values, pa.string()),
            "text": pa.array(texts, pa.string()),
        }
        ends = np.concatenate([[0], np.cumsum(is_reason.sum(axis=1))]).astype(np.int32)
        return log_odds, pa.ListArray.from_arrays(
            ends, pa.StructArray.from_arrays([*columns.values()], names=[*columns])
        )

    def _worded(
        self, group: int, places: Ints, rows: Ints, batch: pa.RecordBatch, matrix: npt.NDArray[Any]
    ) -> Iterator[tuple[Ints, npt.NDArray[np.object_]]]:
        """Parts of `places`, whose reasons are of the group, with (places, 2): their value and their text.

        A reason is about the column of the group that lies farthest from its mean in the row. Each value of a column is
        put into words once.
        """
        columns = [name for name, of in self.column_groups.items() if of == group]
        distance = np.zeros((len(places), len(columns)))
        for slot, (one, of) in enumerate(zip(self.slots, self.groups, strict=True)):
            if of == group:
                scale = max(abs(float(self.centre[slot])), 1.0)
                place = columns.index(one.feature)
                from_mean = np.abs(matrix[rows[places], slot] - self.centre[slot]) / scale
                distance[:, place] = np.maximum(distance[:, place], from_mean)
        farthest = distance.argmax(axis=1)
        for number, column in enumerate(columns):
            of_column = places[farthest == number]
            wording = self.wordings[column]
            seen = batch[column].take(pa.array(rows[of_column])).dictionary_encode("encode")
            wordings = [
                wording.text(raw if raw is None or isinstance(raw, str) else float(raw))
                for raw in seen.dictionary.to_pylist()
            ]
            yield of_column, np.array(wordings, object).reshape(-1, 2)[seen.indices.to_numpy()]


def _largest(values: Floats, count: int) -> Ints:
    """The columns of the largest values of each row, which are not negative: (rows, count), of equal ones the first.

    For a few it is faster than a sort.
    """
    left, every = values.copy(), np.arange(len(values))
    columns = np.empty((len(values), min(count, values.shape[1])), np.int64)
    for place in columns.T:
        place[:] = left.argmax(axis=1)
        left[every, place] = -1.0
    return columns


def explainer(spec: ModelSpec, version: ModelVersion, scratch: str) -> Explainer:
    """What the reasons of a version are computed from. `scratch` is a folder that all nodes can reach.

    Raises BadInputError where `protected` names no feature, or a tree is too deep.
    """
    summary = version.summary
    slots = tuple(Slot(one["feature"], one["fill"], one["is_missing"], one["level"]) for one in summary["slots"])
    centre = np.array([one["centre"] for one in summary["slots"]], np.float64)
    windows = tuple(summary.get("windows", spec.features.windows))
    by_column = {column: feature for feature in features() for column in feature.columns(windows)}
    columns = tuple(dict.fromkeys(slot.feature for slot in slots))
    group_of = {column: by_column[column].name if column in by_column else column for column in columns}
    names = tuple(dict.fromkeys(group_of.values()))
    groups = np.array([names.index(group_of[slot.feature]) for slot in slots], np.int64)
    typical = {slot.feature: float(np.sign(slot.fill) * np.expm1(abs(slot.fill))) for slot in slots}
    texts = {slot.feature for slot in slots if slot.level is not None}
    stages: list[Any] = [stage for stage in version.model.stages if hasattr(stage, "getFeaturesCol")]
    fitted = [stage for stage in stages if stage.getFeaturesCol() == VECTOR]
    (calibration,) = (stage for stage in stages if stage.getFeaturesCol() == MARGINS)
    slopes = calibration.coefficients.toArray()
    # MLlib saves trees in several small jobs.
    part = partial(_part, centre=centre, groups=groups, scratch=scratch)
    parts = side_by_side(SparkSession.active(), part, zip(fitted, map(float, slopes), strict=True), at_once=len(fitted))
    return Explainer(
        slots=slots,
        centre=centre,
        columns=columns,
        groups=groups,
        names=names,
        parts=tuple(parts),
        intercept=float(calibration.intercept),
        wordings={
            column: _wording(by_column.get(column), column, windows, None if column in texts else typical[column])
            for column in columns
        },
        hidden=_hidden(spec, group_of, by_column),
        count=spec.reasons.count,
        column_groups={column: names.index(group) for column, group in group_of.items()},
    )


def _part(weighted: tuple[Any, float], *, centre: Floats, groups: npt.NDArray[np.int64], scratch: str) -> _Part:
    model, slope = weighted
    if isinstance(model, LogisticRegressionModel):
        coefficients = model.coefficients.toArray()
        return _Part(slope, coefficients, None, float(coefficients @ centre + model.intercept))
    trees = [
        Tree(
            nodes["feature"].astype(np.int64),
            nodes["threshold"],
            nodes["left"].astype(np.int64),
            nodes["right"].astype(np.int64),
            nodes["rows"],
            nodes["value"],
        )
        for nodes in trees_of(model, scratch).trees
    ]
    shap = TreeShap(trees, groups.tolist())
    return _Part(slope, None, shap, shap.base)


def _hidden(spec: ModelSpec, group_of: Mapping[str, str], by_column: Mapping[str, Feature]) -> frozenset[str]:
    """The groups that configuration calls protected, by feature, family or column."""
    protected = set(spec.reasons.protected)
    known = {name for feature in features() for name in (feature.name, feature.family)} | set(by_column) | set(group_of)
    if unknown := sorted(protected - known):
        raise BadInputError(
            f"[model.{spec.name}.reasons] protected: no feature, family or column {unknown[0]!r}"
            f"{nearest(unknown[0], known)}"
        )
    hidden = set()
    for column, group in group_of.items():
        feature = by_column.get(column)
        if protected & {column, group, *((feature.family,) if feature else ())}:
            hidden.add(group)
    return frozenset(hidden)


def _phrase(feature: Feature) -> str:
    """What a feature is, in a phrase: the beginning of its doc."""
    return re.split(r"[;.]", feature.doc, maxsplit=1)[0].strip()


def _wording(feature: Feature | None, column: str, windows: Sequence[float], typical: float | None) -> _Wording:
    if feature is None:
        return _Wording(column.replace("_", " "), "", None, typical)
    phrase = _phrase(feature)
    days = feature.columns(windows)[column].days
    if days is not None:
        phrase += f" in the last {days:g} days" if days >= 1 else f" in the last {days * 24:.3g} hours"
    is_never = isinstance(feature.fill, int | float) and feature.fill > 0
    unit = (
        feature.unit if feature.unit in ("days", "calls", "transactions") else "seconds" if feature.unit == "s" else ""
    )
    return _Wording(phrase, unit, float(cast("float", feature.fill)) if is_never else None, typical)


# ---------------------------------------------------------------- rows


def reasons(rows: DataFrame, key: Sequence[str], version: Explainer) -> DataFrame:
    """(the key, log_odds, reasons) of feature rows: their reasons, and what these and all other features add up to."""
    types = {one.name: sql_type(one.dataType) for one in rows.schema if one.name in key}
    schema = ", ".join([*(f"{name} {types[name]}" for name in key), "log_odds double", f"reasons {REASONS}"])
    chosen = rows.select(*key, *version.columns)
    return chosen.mapInArrow(partial(_explain, key=tuple(key), explainer=pickle.dumps(version)), schema)


def _explain(batches: Iterable[pa.RecordBatch], *, key: Sequence[str], explainer: bytes) -> Iterator[pa.RecordBatch]:
    version: Explainer = pickle.loads(explainer)  # noqa: S301 - what this job made
    for batch in batches:
        log_odds, found = version.reasons(batch)
        columns = {**{name: batch[name] for name in key}, "log_odds": pa.array(log_odds)}
        yield pa.RecordBatch.from_pydict({**columns, "reasons": found})


def acted_on(spec: ModelSpec, scores: DataFrame, raised: DataFrame | None = None) -> DataFrame:
    """The keys of the scores that people act on: the highest of each run, and every alert beside those `raised`
    before."""
    highest = scores.where(F.col("rank") <= spec.reasons.top).select(*spec.key)
    if spec.alerts is None:
        return highest
    return highest.union(new_alerts(spec, spec.alerts, scores, raised).select(*spec.key)).distinct()


@dataclass(frozen=True)
class FrequentReason:
    """A feature that is among the reasons of so many of the scores that are acted on, and of how many it raises."""

    feature: str
    phrase: str
    share: float
    raises: float


def frequent_reasons(
    spec: ModelSpec, version: ModelVersion, rows: DataFrame, as_of: datetime, scratch: str, *, most: int = 5
) -> list[FrequentReason]:
    """The most frequent reasons of the feature rows whose scores a run at `as_of` would have acted on, the most
    frequent first.

    There are none where the trees of the version are too deep.
    """
    try:
        explain = explainer(spec, version, scratch)
    except TooDeepError:
        return []
    wanted = acted_on(spec, scored(spec, version.model, rows, scored_on=as_of, version=version.number)).persist()
    of_wanted = rows.join(wanted, on=list(spec.key), how="left_semi").select(*spec.key, *read_columns(version.summary))
    found = reasons(of_wanted, spec.key, explain).select(F.explode("reasons").alias("one"))
    counted = (
        found.groupBy(F.col("one.feature").alias("feature"))
        .agg(F.count("one").alias("n"), F.count_if(F.col("one.direction") == RAISES).alias("raises"))
        .orderBy(F.desc("n"), "feature")
    )
    frequent = counted.limit(most).collect()
    count = wanted.count() if frequent else 0
    wanted.unpersist()
    docs = {feature.name: _phrase(feature) for feature in features()}
    return [
        FrequentReason(row["feature"], docs.get(row["feature"], row["feature"].replace("_", " ")), row["n"] / count,
                    row["raises"] / count)
        for row in frequent
    ]  # fmt: skip


def with_reasons(
    spec: ModelSpec,
    version: ModelVersion,
    scores: DataFrame,
    rows: DataFrame,
    scratch: str,
    raised: DataFrame | None = None,
) -> DataFrame:
    """The scores with `reasons`: of those that are acted on; null for the others.

    `rows` are the feature rows that were scored. The job fails where the parts of a row do not add up to its score.
    """
    key = list(spec.key)
    # Where all are wanted, no join has to find them.
    wanted = rows if spec.reasons.all_rows else rows.join(acted_on(spec, scores, raised), on=key, how="left_semi")
    of_wanted = wanted.select(*key, *read_columns(version.summary))
    found = reasons(of_wanted, key, explainer(spec, version, scratch))
    adds_up = F.abs(1 / (1 + F.exp(-F.col("log_odds"))) - F.col("score")) <= TOLERANCE
    parts = (F.lit("the parts of a score add up to log-odds of "), F.col("log_odds"), F.lit(", and it is "), "score")
    checked = F.when(F.col("log_odds").isNull() | adds_up, F.col("reasons")).otherwise(F.raise_error(F.concat(*parts)))
    return scores.join(found, on=key, how="left").select(*scores.columns, checked.alias("reasons"))
