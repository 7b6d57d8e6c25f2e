"""Fit a model: candidates on train slices, tried on later ones, then the chosen one on all that is matured.

Where the rows fit one task each fit is a task of its own, by scikit-learn, and many run side by side; beyond that, and
for MLlib's own classifiers, Spark fits them on rows prepared in the same way. Either way the model is MLlib's.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from pyspark.ml import PipelineModel
from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn.dataset.column_summary import Summary, merged
from churn.dataset.split import Fold, Split
from churn.errors import BadInputError
from churn.features.engine.measures import micros
from churn.model_spec import Campaign, ModelSpec
from churn.runtime.session import is_local, memory_mib, side_by_side
from churn.sampling import DRAWS, drawn
from churn.training.algorithms import Linear, MLlib, Single, Trees
from churn.training.fit_task import MOST_MARGINS, FitResult, Task, on_blocks
from churn.training.mllib_models import ensemble, first_trees, logistic
from churn.training.pipeline import VECTOR, calibration, margin, model_stages, preparation
from churn.training.preparation import DRAW, ORDER, PACKED, Preparation, Rows, pack
from churn.training.selection import Trial, intercept, simplest_of_the_best, trial

Floats = npt.NDArray[np.float64]

AT_ONCE: Final = 8
"""Jobs of one fit that are submitted side by side; Spark runs as many as there are cores."""
_BYTES_PER_VALUE: Final = 4
_TIMES_VALUES: Final = 6
"""What a task needs at most, in times of the values that it is given."""


@dataclass(frozen=True)
class FitRequest:
    """A candidate to be fitted on the train slice of a fold, with so many boosted trees if that is given."""

    candidate: Single
    fold: Fold
    rounds: int | None = None
    only: frozenset[str] | None = None
    """The features to fit on; None = all."""


@dataclass(frozen=True)
class Fitted:
    """A model and how it was made: the trial of every candidate, which was chosen, and what its score is made of."""

    model: PipelineModel
    preparation: Preparation
    centre: Floats
    """The mean of each slot in training."""
    chosen: str
    slopes: Mapping[str, float]
    """What the margin of the chosen candidate, or each of those of a blend, is multiplied by; 0 is left out."""
    rounds: Mapping[str, int]
    """How many trees boosted parts have."""
    trials: Mapping[str, Trial]
    importance: Mapping[str, float]
    split: Split
    margins: Floats
    """The log-odds of the rows it was fitted on, or some 50,000 of them, without the calibrator's intercept."""

    @property
    def digest(self) -> str:
        """The same of two models that are the same, whatever the ids are that MLlib has given them."""
        summary = json.dumps(self.summary, sort_keys=True).encode()
        return hashlib.sha256(summary + self.margins.tobytes()).hexdigest()

    @property
    def summary(self) -> dict[str, Any]:
        """What the model is and how it was made, as JSON has it."""
        dates = {
            name: [f"{d:%Y-%m-%d}" for d in getattr(self.split, name)] for name in ("train", "calibrate", "matured")
        }
        return {
            "chosen": self.chosen,
            "slopes": dict(self.slopes),
            "rounds": dict(self.rounds),
            "trials": {name: tried.summary for name, tried in self.trials.items()},
            "columns": {name: list(getattr(self.preparation, name)) for name in ("numeric", "text", "nullable")},
            "slots": [
                asdict(slot) | {"centre": float(centre)}
                for slot, centre in zip(self.preparation.slots, self.centre, strict=True)
            ],
            "importance": dict(self.importance),
            "split": dates,
            "learnt_until": self.split.learnt_until.isoformat(),
        }


def fit(
    spec: ModelSpec, labelled: DataFrame, split: Split, features: Sequence[str], *, scratch: str = tempfile.gettempdir()
) -> Fitted:
    """The model of `spec` on the labelled rows (the spec's key, label, features) of the split's as-ofs.

    Candidates are fitted on what was matured before each later date and tried there; the chosen one is fitted again on
    all that is matured. The same rows give the same model, however they are partitioned. `scratch` is a folder that
    the driver and all executors can read.

    Raises BadInputError where a slice lacks one of the two outcomes, or no feature varies.
    """
    with Trainer(spec, labelled, features) as trainer:
        trainer.check_classes(split)
        singles = {name: cast("Single", one) for name, one in spec.candidates.items() if not one.blends}
        requests = {(name, fold): FitRequest(one, fold) for fold in split.folds for name, one in singles.items()}
        tried = dict(zip(requests, trainer.fit_all(list(requests.values()), trial=True), strict=True))
        by_name = {name: [tried[name, fold] for fold in split.folds] for name in singles}
        # A blend is tried on a slice later than the one its weights are fitted on.
        offered = [name for name in spec.candidates if name in singles or len(split.folds) > 1]
        campaign = spec.campaign if spec.training.select_by == "empc" else None
        trials = {name: _trial([by_name[part] for part in candidates_of(spec, name)], campaign) for name in offered}
        chosen = simplest_of_the_best(trials)
        by_part = dict(zip(candidates_of(spec, chosen), trials[chosen].slopes, strict=True))
        slopes = {part: slope for part, slope in by_part.items() if slope} or by_part
        rounds = {part: _median([one.rounds for one in by_name[part]]) for part in slopes}
        if spec.training.refit:
            whole = Fold(train=split.matured, later=())
            final = trainer.fit_all([FitRequest(singles[part], whole, rounds[part]) for part in slopes])
        else:
            final = [by_name[part][-1] for part in slopes]
        parts = dict(zip(slopes, final, strict=True))
        used = _used_slots(final)
        margins = np.sum([slope * parts[part].margin for part, slope in slopes.items()], axis=0)
        model = _assembled(labelled.sparkSession, slopes, parts, margins, used, scratch)
        return Fitted(
            model=model,
            preparation=final[0].preparation.only(used),
            centre=final[0].centre[used],
            chosen=chosen,
            slopes=slopes,
            rounds={part: one.rounds for part, one in parts.items() if one.rounds is not None},
            trials=trials,
            importance=_by_feature(final[0].preparation, slopes, parts),
            split=split,
            margins=margins,
        )


def _used_slots(parts: Sequence[FitResult]) -> npt.NDArray[np.bool_]:
    """The slots that make a difference to some part; all of them where a part is one of MLlib's own models."""
    own = [one.model.used for one in parts if isinstance(one.model, Linear | Trees)]
    used = np.any(own, axis=0) if len(own) == len(parts) else np.ones(len(parts[0].preparation.slots), bool)
    used[0] |= not used.any()  # a vector has one slot at least
    return cast("npt.NDArray[np.bool_]", used)


def candidates_of(spec: ModelSpec, name: str) -> dict[str, Single]:
    """The candidates whose margins a candidate adds up: those of a blend, or itself."""
    candidate = spec.candidates[name]
    if not candidate.blends:
        return {name: cast("Single", candidate)}
    return {part: cast("Single", one) for part, one in spec.candidates.items() if part in candidate.blends}


def _median(rounds: Sequence[int | None]) -> int | None:
    known = [one for one in rounds if one is not None]
    return round(float(np.median(known))) if known else None


def _trial(parts: Sequence[Sequence[FitResult]], campaign: Campaign | None) -> Trial:
    """Of the parts of a candidate, over all later slices."""
    slices = [
        (of_slice[0].later_label, np.column_stack([one.later_margin for one in of_slice]))
        for of_slice in zip(*parts, strict=True)
    ]
    return trial(slices, np.array([part[-1].unit_slope for part in parts]), campaign)


def _assembled(
    spark: SparkSession,
    slopes: Mapping[str, float],
    parts: Mapping[str, FitResult],
    log_odds: Floats,
    used: npt.NDArray[np.bool_],
    scratch: str,
) -> PipelineModel:
    """The pipeline.

    The slopes of the calibrator are fitted on later as-ofs. Its intercept makes the mean probability the share of
    positives over all matured as-ofs, since that share changes with the season.
    """
    first = next(iter(parts.values()))
    stages = preparation(first.preparation.only(used))
    for part, one in parts.items():
        own = one.model.only(used) if isinstance(one.model, Linear | Trees) else one.model
        stages += model_stages(part, mllib_model(spark, own, scratch))
    return PipelineModel(stages=[*stages, *calibration(spark, slopes, intercept(first.label, first.weight, log_odds))])


def mllib_model(spark: SparkSession, model: Any, scratch: str) -> Any:
    """MLlib's model of one that was fitted in one task; one of MLlib's as it is."""
    if isinstance(model, Linear):
        return logistic(spark, model)
    return ensemble(spark, model, scratch) if isinstance(model, Trees) else model


def _importance(one: FitResult) -> Floats:
    """Each slot's share in a model's margin.

    Of trees what the splits gained, as MLlib's featureImportances has it; of a linear model |coefficient| times the
    slot's deviation.
    """
    model = one.model
    if isinstance(model, Trees):
        own = importance_of_slots(model)
    elif isinstance(model, Linear):
        own = np.abs(model.coefficients * one.deviation)
    elif hasattr(model, "featureImportances"):
        own = model.featureImportances.toArray()
    else:
        own = np.abs(model.coefficients.toArray() * one.deviation)
    return cast("Floats", own / (own.sum() or 1.0))


def importance_of_slots(trees: Trees) -> Floats:
    """What the splits of each slot gained, as a share; each tree of a forest counts as much as any other."""
    total = np.zeros(trees.slots)
    for nodes in trees.trees:
        inner = nodes[nodes["left"] >= 0]
        gained = np.bincount(inner["feature"], inner["gain"] * inner["rows"], minlength=trees.slots)
        total += gained / (gained.sum() or 1.0) if trees.kind == "forest" else gained
    return cast("Floats", total / (total.sum() or 1.0))


def _by_feature(prepared: Preparation, slopes: Mapping[str, float], parts: Mapping[str, FitResult]) -> dict[str, float]:
    """Each feature's share in the score, greatest first."""
    own = np.sum([slopes[part] * one.margin.std() * _importance(one) for part, one in parts.items()], axis=0)
    shares: dict[str, float] = dict.fromkeys((slot.feature for slot in prepared.slots), 0.0)
    for slot, value in zip(prepared.slots, own / (own.sum() or 1.0), strict=True):
        shares[slot.feature] += float(value)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


# ---------------------------------------------------------------- the rows


@dataclass(frozen=True)
class _Classes:
    rows: int
    positives: int


class Trainer:
    """Labelled rows, read and packed once, on which candidates are fitted; leaving the context unpersists them."""

    def __init__(self, spec: ModelSpec, labelled: DataFrame, features: Sequence[str]) -> None:
        self._spec, self._features = spec, list(features)
        types = {field.name: field.dataType.simpleString() for field in labelled.schema if field.name in set(features)}
        self._texts = [name for name in features if types.get(name) == "string"]
        self._numbers = [name for name in features if name in types and name not in self._texts]
        order = F.xxhash64(*spec.key)
        self._rows = labelled.select(
            *spec.key,
            F.col("label").cast("int").alias("label"),
            order.alias(ORDER),
            drawn(spec.key, spec.training.seed).alias(DRAW),
            *self._numbers,
            *self._texts,
        )

    def __enter__(self) -> Trainer:
        """Reads and packs the rows."""
        rows = self._rows.drop(*(name for name in self._spec.key if name != "as_of"))
        self._packed = rows.mapInArrow(partial(pack, numbers=self._numbers, texts=self._texts), PACKED).persist()
        found = self._packed.select("as_of", "rows", "positives", "summary").collect()
        self._summaries = merged([(row["as_of"], row["summary"]) for row in found])
        self._classes: dict[datetime, _Classes] = {}
        for row in found:
            before = self._classes.get(row["as_of"], _Classes(0, 0))
            self._classes[row["as_of"]] = _Classes(before.rows + row["rows"], before.positives + row["positives"])
        values = sum(of.rows for of in self._classes.values()) * (len(self._numbers) + len(self._texts))
        self.in_one_task = values * _BYTES_PER_VALUE <= self._spec.training.one_task_mib << 20
        """Whether the rows fit into one task."""
        return self

    def __exit__(self, *_: object) -> None:
        self._packed.unpersist()

    def _count(self, as_ofs: Iterable[datetime]) -> _Classes:
        counted = [self._classes[as_of] for as_of in as_ofs if as_of in self._classes]
        return _Classes(sum(of.rows for of in counted), sum(of.positives for of in counted))

    def summary(self, as_ofs: Iterable[datetime]) -> Summary | None:
        """The summary of the columns at these as-ofs; None where there are no rows."""
        parts = [self._summaries[as_of] for as_of in as_ofs if as_of in self._summaries]
        return Summary.merged(parts) if parts else None

    def on_rows(self, as_ofs: Sequence[datetime], of: Callable[[Rows], Any], *, most: int) -> Any:
        """The result of a function, called in one task with the rows of these as-ofs, or a sample of about `most`."""
        task = partial(on_blocks, of=of, share=_share(most, self._count(as_ofs).rows))
        blocks = self._packed.where(F.col("as_of").isin(*as_ofs)).select("block").coalesce(1)
        (row,) = blocks.mapInArrow(task, "result binary").collect()
        return pickle.loads(row["result"])  # noqa: S301 - what this job's own task made

    def check_classes(self, split: Split) -> None:
        """Raises BadInputError where the rows to train on, or those to calibrate on, are all of one class."""
        for name in ("train", "calibrate"):
            of = self._count(getattr(split, name))
            if of.positives in (0, of.rows):
                terms = self._spec.vocabulary
                only = f"only {terms.entities} that {terms.happened if of.positives else terms.absent}"
                seen = only if of.rows else f"no {terms.entity}"
                raise BadInputError(
                    f"model {self._spec.name}: the {name} slice has {seen} ({of.positives} of {of.rows} rows are 1), "
                    f"nothing to learn from; check label = {self._spec.label.name!r} with its window and cohort in "
                    f"[model.{self._spec.name}], or bring more history"
                )

    def fit_all(self, requests: Sequence[FitRequest], *, trial: bool = False) -> list[FitResult]:
        """The fit of every request, several at a time. A `trial` may be of a sample of the rows."""
        wanted = dict.fromkeys((one.fold.train, one.only) for one in requests)
        prepared = {key: self._prepared(*key) for key in wanted}
        fit_one = partial(self._fit_one, prepared=prepared, trial=trial)
        at_once = self._at_once([one.fold for one in requests], trial=trial)
        return side_by_side(self._rows.sparkSession, fit_one, requests, at_once=at_once)

    def _at_once(self, folds: Iterable[Fold], *, trial: bool) -> int:
        """How many tasks at a time: on one machine they share a third of its memory, beside the JVM's third."""
        if not (self.in_one_task and is_local(str(self._rows.sparkSession.conf.get("spark.master")))):
            return AT_ONCE
        most = self._spec.training.trial_rows if trial else math.inf
        rows = max(sum(min(most, self._count(of).rows) for of in (fold.train, fold.later)) for fold in folds)
        need = rows * (len(self._numbers) + len(self._texts)) * _BYTES_PER_VALUE * _TIMES_VALUES
        return int(max(1, min(AT_ONCE, (memory_mib() << 20) // 3 // max(1, need))))

    def _prepared(self, as_ofs: Sequence[datetime], only: Collection[str] | None) -> Preparation:
        summary = self.summary(as_ofs)
        assert summary is not None  # a slice has rows of both classes
        features = [name for name in self._features if only is None or name in only]
        return Preparation.fit(summary, features)

    def _fit_one(
        self,
        request: FitRequest,
        *,
        prepared: Mapping[tuple[tuple[datetime, ...], frozenset[str] | None], Preparation],
        trial: bool,
    ) -> FitResult:
        candidate, fold = request.candidate, request.fold
        of = self._count(fold.train)
        most = self._spec.training.trial_rows if trial else None
        task = Task(
            candidate=candidate,
            preparation=prepared[fold.train, request.only],
            train=tuple(micros(as_of) for as_of in fold.train),
            later=tuple(micros(as_of) for as_of in fold.later),
            negatives=_share(self._spec.training.negatives_per_positive * of.positives, of.rows - of.positives)
            if self._spec.training.negatives_per_positive
            else 1.0,
            sample=_share(most, of.rows) if most else 1.0,
            later_sample=_share(most, self._count(fold.later).rows) if most else 1.0,
            seed=self._spec.training.seed,
            rounds=request.rounds,
            margins=not trial or not self._spec.training.refit,
        )
        run = self._in_one_task if self.in_one_task and not isinstance(candidate, MLlib) else self._by_spark
        return run(task, fold)

    def _in_one_task(self, task: Task, fold: Fold) -> FitResult:
        blocks = self._packed.where(F.col("as_of").isin(*fold.train, *fold.later)).select("block")
        (row,) = blocks.coalesce(1).mapInArrow(task.run, "result binary").collect()
        return cast("FitResult", pickle.loads(row["result"]))  # noqa: S301 - what this job's own task made

    def _by_spark(self, task: Task, fold: Fold) -> FitResult:
        """The same by an estimator of MLlib."""
        stages = PipelineModel(stages=preparation(task.preparation))
        as_of = F.col("as_of")
        rows = self._rows.where(as_of.isin(*fold.train, *fold.later))
        is_later = as_of.isin(*fold.later) if fold.later else F.lit(False)
        rows = rows.where(F.when(is_later, _within(task.later_sample)).otherwise(_within(task.sample)))
        is_drawn = is_later | (F.col("label") == 1) | (F.col(DRAW) < task.negatives)
        ready = stages.transform(rows.where(is_drawn)).select(
            "as_of", "label", ORDER, is_later.alias("is_later"), VECTOR
        )
        ready = ready.repartition("as_of", ORDER).sortWithinPartitions("as_of", ORDER).persist()
        train, later = ready.where("not is_later"), ready.where("is_later")
        totals = train.select(F.count("label"), Summarizer.std(F.col(VECTOR)), Summarizer.mean(F.col(VECTOR))).head()
        assert totals is not None
        estimator = task.candidate.estimator(rows=int(totals[0]), rounds=task.rounds)
        estimator = estimator.setFeaturesCol(VECTOR).setLabelCol("label")
        if estimator.hasParam("seed"):
            estimator.setSeed(task.seed)
        model, rounds = estimator.fit(train), task.rounds
        if task.may_stop:
            model, rounds = first_trees(model, later)
        scored = PipelineModel(stages=model_stages("this", model)).transform(ready)
        if task.margins:
            share = _share(MOST_MARGINS, int(totals[0]))
            scored = scored.where(F.col("is_later") | (F.pmod(F.hash(ORDER), F.lit(DRAWS)) < share * DRAWS))
        else:
            scored = scored.where("is_later")
        margins = scored.select(
            "as_of", ORDER, "label", "is_later", vector_to_array(F.col(margin("this")))[0].alias("margin")
        ).toPandas()
        ready.unpersist()
        margins = margins.sort_values(["as_of", ORDER], ignore_index=True)
        before, after = margins[~margins["is_later"]], margins[margins["is_later"]]
        label = before["label"].to_numpy(np.float64)
        return FitResult(
            candidate=task.candidate,
            preparation=task.preparation,
            model=model,
            rounds=rounds,
            label=label,
            weight=np.where(label == 1, 1.0, 1 / task.negatives),
            margin=before["margin"].to_numpy(),
            later_as_of=after["as_of"].to_numpy("datetime64[us]").astype(np.int64),
            later_label=after["label"].to_numpy(np.float64),
            later_margin=after["margin"].to_numpy(),
            centre=totals[2].toArray(),
            deviation=totals[1].toArray(),
        )


def _share(most: float, rows: int) -> float:
    return min(1.0, most / max(1, rows))


def _within(share: float) -> Column:
    return F.pmod(F.col(ORDER), F.lit(DRAWS)) < share * DRAWS
