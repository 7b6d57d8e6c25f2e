"""Whom a campaign moves: learnt on one half of its rows and measured on the other, over many random halves."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import sqrt
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import stats

from churn.config import Uplift
from churn.dataset.column_summary import BatchTask, Summary, map_in_arrow
from churn.decisions.uplift_balance import balance, balance_sentences
from churn.decisions.uplift_curve import CONFIDENCE, CURVE, Ranking, difference, over_halves
from churn.decisions.uplift_learners import (
    Contacts,
    Effect,
    Flags,
    Floats,
    Learner,
    NotChosen,
    ResponseLearner,
    TXLearner,
    XLearner,
)
from churn.decisions.uplift_rows import CAMPAIGN, COST, CUSTOMER, KEY, OUTCOME, TREATED, UpliftRows
from churn.errors import BadInputError
from churn.runtime.session import side_by_side
from churn.storage import quoted
from churn.training.algorithms import Boosting, Logistic
from churn.training.preparation import DRAW, ORDER, PACKED, Preparation, Rows, pack

_ADDITIVE: Final = Boosting(max_trees=60, learning_rate=0.05, max_depth=1, min_rows_per_leaf=200, slots_per_split=0.5)
_LOGISTIC: Final = Logistic(reg_param_total=100.0)
_INTERACTIONS: Final = _ADDITIVE.model_copy(update={"max_depth": 4, "max_trees": 100, "learning_rate": 0.1})
LEARNERS: Final[Mapping[str, Learner]] = MappingProxyType(
    {
        "additive": TXLearner(_ADDITIVE, 40),
        "logistic": TXLearner(_LOGISTIC),
        "interactions": XLearner(_INTERACTIONS, 60),
    }
)
"""What is tried in each half. Effects are small beside the noise of outcomes, so the first, which is taken unless
another is better by more than the noise, is strongly regularised: few trees, each a step of one feature. The last is
for effects that only features together show, where it has to be strong enough to find them."""
_UNTREATED: Final = Boosting(max_trees=120, learning_rate=0.1, max_depth=1, min_rows_per_leaf=100)
WITH_NOT_CHOSEN: Final[Mapping[str, Learner]] = MappingProxyType(
    {
        "response": ResponseLearner(_UNTREATED, _ADDITIVE.model_copy(update={"max_trees": 100})),
        "additive": LEARNERS["additive"],
    }
)
"""What is tried where there are rows of customers who were not chosen, too."""
FOLDS: Final = 4
"""Parts of a training half by which learners are compared inside it."""
AT_ONCE: Final = 8
LEAST: Final = 20
"""Outcomes, and rows without one, that each arm needs: below, nothing can be learnt of it."""

_ARMS: Final = (datetime(1970, 1, 1), datetime(1970, 1, 2), datetime(1970, 1, 3))
"""Rows are packed by as-of; here the days stand for the rows held out, the treated, and those not chosen."""
_HELD_OUT, _TREATED, _NOT_CHOSEN = range(3)
_DAY: Final = 24 * 3600 * 10**6
"""As Rows have the as-of: in microseconds."""


_COST: Final = "decimal(28,8)"
"""Costs are added as decimals, so that their order makes no difference."""


@dataclass(frozen=True)
class Half:
    """One random half: what was learnt on it, and how it ranks the rows of the other."""

    chosen: str
    tried: Mapping[str, float]
    """The Qini of each learner inside the training half."""
    train_rows: int
    test_rows: int
    uplift_at: Mapping[float, float | None]
    curve: tuple[float, ...]
    qini: float
    effect: float | None
    """The effect of the campaign on the rows measured."""


@dataclass(frozen=True)
class Measured:
    """What was measured, as JSON has it, and the learner that most halves chose, fitted on all rows."""

    results: dict[str, Any]
    chosen: str
    preparation: Preparation
    effect: Effect


def measure_uplift(found: UpliftRows, settings: Uplift, *, learners: Mapping[str, Learner] | None = None) -> Measured:
    """Uplift at each share and the Qini coefficient per treated row, over random halves, as JSON has it.

    In each half a learner is chosen by folds of the training rows alone, and measured on the other half. The same rows
    give the same figures, however they are partitioned. Raises BadInputError where an arm is missing or has too few of
    one outcome.
    """
    if learners is None:
        learners = LEARNERS if found.not_chosen is None else WITH_NOT_CHOSEN
    with PackedRows(found) as packed:
        total, campaigns = campaign_effects(found.rows, settings.value)
        check_arms(total)
        tasks = [_HalfTask(number, settings, packed.columns, learners) for number in range(settings.halves)]
        halves: list[Half] = packed.each([task.run for task in tasks])
        chosen = Counter(half.chosen for half in halves)
        name = max(learners, key=lambda name: chosen[name])
        ((prepared, effect, balanced),) = packed.each([_FitTask(settings, packed.columns, learners[name]).run])
    rows = {"test_rows": halves[0].test_rows, "train_rows": halves[0].train_rows}
    results = {
        "outcome": found.outcome,
        "rows": dict(found.counts),
        "arms": {name: total[name] for name in ("treated", "held_out")},
        "features": {"numbers": len(found.numbers), "texts": len(found.texts)},
        "balance": balanced,
        "halves": settings.halves,
        "effect": over_halves([half.effect for half in halves], **rows),
        "uplift_at": {
            f"{share:g}": over_halves([half.uplift_at[share] for half in halves], **rows) for share in settings.shares
        },
        "qini": over_halves([half.qini for half in halves], **rows),
        "curve": [
            {"share": share, **over_halves([half.curve[place] for half in halves], **rows)}
            for place, share in enumerate(CURVE)
        ],
        "learners": {
            name: {
                "chosen_in_halves": sum(name == half.chosen for half in halves),
                "qini_in_training": float(np.mean([half.tried[name] for half in halves])),
            }
            for name in learners
        },
        "total": total,
        "campaigns": campaigns,
    }
    return Measured(results, name, prepared, effect)


# ---------------------------------------------------------------- what each campaign did


def campaign_effects(rows: DataFrame, value: float | None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Of all rows, and by campaign: rows and outcomes of each arm, the effect on the outcome's rate with its interval,
    the outcomes it added, what it cost, and what it `earned` where an outcome is worth a `value`."""
    cost = F.sum(F.col(COST).try_cast(_COST)).alias("cost")
    found = (
        rows.groupBy(F.coalesce(CAMPAIGN, F.lit("")).alias("campaign"), F.col(TREATED).alias("treated"))
        .agg(F.count("*").alias("rows"), F.sum(OUTCOME).alias("outcomes"), cost)
        .collect()
    )
    names = sorted({row["campaign"] for row in found if row["campaign"]})
    of_each = {name: _campaign([row for row in found if row["campaign"] == name], value) for name in names}
    return _campaign(found, value), of_each


def _campaign(counted: Sequence[Any], value: float | None) -> dict[str, Any]:
    arms = {
        name: {
            "rows": sum(row["rows"] for row in counted if row["treated"] == is_treated),
            "outcomes": sum(row["outcomes"] for row in counted if row["treated"] == is_treated),
        }
        for name, is_treated in (("treated", True), ("held_out", False))
    }
    treated, held_out = ((arms[name]["rows"], arms[name]["outcomes"]) for name in ("treated", "held_out"))
    effect = difference(treated, held_out)
    costs = [row["cost"] for row in counted if row["treated"] and row["cost"] is not None]
    cost = float(sum(costs)) if costs else None
    added = _scaled(effect, treated[0])
    earned = None
    if value is not None:
        earned = _scaled(effect, treated[0] * value, minus=cost or 0.0)
    return {**arms, "effect": effect, "added_outcomes": added, "cost": cost, "earned": earned}


def _scaled(effect: Mapping[str, Any], factor: float, *, minus: float = 0.0) -> dict[str, Any]:
    if effect["mean"] is None:
        return {"mean": None, "interval": None}
    low, high = effect["interval"]
    return {"mean": effect["mean"] * factor - minus, "interval": [low * factor - minus, high * factor - minus]}


def check_arms(total: Mapping[str, Any]) -> None:
    """Raises BadInputError where an arm lacks rows with, or without, the outcome."""
    for name in ("treated", "held_out"):
        arm = total[name]
        ones, zeros = arm["outcomes"], arm["rows"] - arm["outcomes"]
        if min(ones, zeros) < LEAST:
            raise BadInputError(
                f"[uplift]: of {arm['rows']} rows {name.replace('_', ' ')}, {ones} have the outcome and {zeros} have "
                f"not; uplift needs {LEAST} of each in both arms: check 'treated' and 'outcome', or bring more contacts"
            )


# ---------------------------------------------------------------- the rows, packed once


class PackedRows:
    """The rows, read and packed once; leaving the context unpersists them."""

    def __init__(self, found: UpliftRows) -> None:
        self.columns = (*found.numbers, *found.texts)
        held_out, treated, not_chosen = (F.lit(day).cast("timestamp").alias("as_of") for day in _ARMS)
        columns = [
            F.col(OUTCOME).alias("label"),
            F.col(KEY).alias(ORDER),
            F.col(CUSTOMER).alias(DRAW),
            *(F.col(quoted(name)) for name in self.columns),
        ]
        rows = found.rows.select(F.when(F.col(TREATED), treated).otherwise(held_out).alias("as_of"), *columns)
        if found.not_chosen is not None:
            rows = rows.unionAll(found.not_chosen.select(not_chosen, *columns))
        self._packed = map_in_arrow(rows, partial(pack, numbers=found.numbers, texts=found.texts), PACKED)

    def __enter__(self) -> PackedRows:
        self._packed = self._packed.select("block").persist()
        self._packed.count()  # here, so that all partitions are packed at once, and not by each task
        return self

    def __exit__(self, *_: object) -> None:
        self._packed.unpersist()

    def each(self, tasks: Sequence[BatchTask]) -> list[Any]:
        """The result of every task, each of which reads all rows."""
        return side_by_side(self._packed.sparkSession, self._one, tasks, at_once=AT_ONCE)

    def _one(self, task: BatchTask) -> Any:
        (row,) = self._packed.coalesce(1).mapInArrow(task, "result binary").collect()
        return pickle.loads(row["result"])  # noqa: S301 - what this job's own task made


# ---------------------------------------------------------------- one half, in one task


@dataclass(frozen=True)
class _HalfTask:
    number: int
    settings: Uplift
    columns: tuple[str, ...]
    learners: Mapping[str, Learner]

    def __reduce__(self) -> Any:  # a mapping proxy cannot be pickled
        return _HalfTask, (self.number, self.settings, self.columns, dict(self.learners))

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """From blocks to a Half, pickled."""
        yield _pickled(self.half, batches)

    def half(self, rows: Rows) -> Half:
        draw = _draws_of(rows, (self.settings.seed, self.number))
        train, test = rows.where(draw < 0.5), rows.where((draw >= 0.5) & _is_contact(rows))
        rng = np.random.default_rng((self.settings.seed, self.number, 1))
        chosen, tried = self._chosen(train, rng)
        fitted = _sample(train, self.settings.train_rows, rng)
        prepared = prepare(fitted, self.columns)
        effect = self.learners[chosen].fit(_contacts(fitted, prepared), self.settings.seed)
        ranking = Ranking.of(effect.of(test.matrix(prepared)), _treated(test), test.label)
        return Half(
            chosen=chosen,
            tried=tried,
            train_rows=int(_is_contact(train).sum()),
            test_rows=len(test.label),
            uplift_at={share: ranking.uplift(share) for share in self.settings.shares},
            curve=tuple(ranking.gain(share) for share in CURVE),
            qini=ranking.qini(),
            effect=ranking.uplift(1.0),
        )

    def _chosen(self, train: Rows, rng: np.random.Generator) -> tuple[str, dict[str, float]]:
        """The learner to use, and the Qini of each over folds of the training rows."""
        found: dict[str, list[float]] = {name: [] for name in self.learners}
        for fitted, folds in self._trials(train, rng):
            prepared = prepare(fitted, self.columns)
            contacts = _contacts(fitted, prepared)
            effects = {name: learner.fit(contacts, self.settings.seed) for name, learner in self.learners.items()}
            for fold in folds:
                matrix, treated = fold.matrix(prepared), _treated(fold)
                for name, effect in effects.items():
                    found[name].append(Ranking.of(effect.of(matrix), treated, fold.label).qini())
        return choose(found), {name: float(np.mean(values)) for name, values in found.items()}

    def _trials(self, train: Rows, rng: np.random.Generator) -> Iterator[tuple[Rows, list[Rows]]]:
        """Rows to fit learners on, and folds of contacts to measure them by: for each fold all other rows. Where there
        are so many that half of them are as many again, one fit is enough, and the folds are of the other half."""
        most, is_contact = self.settings.trial_rows, _is_contact(train)
        if len(train.label) / 2 >= most * (1 - 1 / FOLDS):
            part = min(0.5, most / len(train.label))
            place = _draws_of(train, _seed_of(rng)) / part
            folds = [np.floor((place - 1) * FOLDS) == number for number in range(FOLDS)]
            yield train.where(place < 1), [train.where(fold & is_contact) for fold in folds]
            return
        train = _sample(train, most, rng)
        fold, is_contact = np.floor(_draws_of(train, _seed_of(rng)) * FOLDS), _is_contact(train)
        for number in range(FOLDS):
            yield train.where(fold != number), [train.where((fold == number) & is_contact)]


@dataclass(frozen=True)
class _FitTask:
    """The learner fitted on all rows, to be used, and how alike their arms are."""

    settings: Uplift
    columns: tuple[str, ...]
    learner: Learner

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """From blocks to (Preparation, Effect, balance), pickled."""
        yield _pickled(self._fitted, batches)

    def _fitted(self, rows: Rows) -> tuple[Preparation, Effect, dict[str, Any]]:
        fitted = _sample(rows, self.settings.train_rows, np.random.default_rng(self.settings.seed))
        prepared = prepare(fitted, self.columns)
        contacts = _contacts(fitted, prepared)
        effect = self.learner.fit(contacts, self.settings.seed)
        return prepared, effect, balance(contacts.matrix, contacts.treated, prepared.features)


def _pickled(of: Callable[[Rows], Any], batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - the driver need not have it

    with threadpool_limits(1):
        result = of(Rows.unpacked(batches, lambda block: np.ones(len(block), bool)))
    return pa.RecordBatch.from_pydict({"result": pa.array([pickle.dumps(result)], pa.binary())})


def choose(tried: Mapping[str, Sequence[float]]) -> str:
    """The learner with the highest mean over folds, if it beats the first by more than the noise; else the first.

    It does where the interval of their difference, fold by fold (Student's t), lies above 0.

    >>> choose({"first": [1.0, 2.0, 3.0], "noisy": [1.0, 5.0, 0.5], "better": [1.2, 2.3, 3.2]})
    'better'
    >>> choose({"first": [1.0, 2.0, 3.0], "noisy": [1.0, 9.0, 0.5]})
    'first'
    """
    first = next(iter(tried))
    gains = {name: np.array(values) - np.array(tried[first]) for name, values in tried.items()}
    better = {
        name: float(gain.mean())
        for name, gain in gains.items()
        if gain.mean() > stats.t.ppf(0.5 + CONFIDENCE / 2, len(gain) - 1) * gain.std(ddof=1) / sqrt(len(gain))
    }
    return max(better, key=lambda name: better[name], default=first)


def _contacts(rows: Rows, prepared: Preparation) -> Contacts:
    """The rows as learners take them."""
    matrix, treated, is_contact = rows.matrix(prepared), _treated(rows), _is_contact(rows)
    if is_contact.all():
        return Contacts(matrix, treated, rows.label)
    not_chosen = NotChosen(matrix[~is_contact], rows.label[~is_contact])
    return Contacts(matrix[is_contact], treated[is_contact], rows.label[is_contact], not_chosen)


def _arms(rows: Rows) -> npt.NDArray[np.int64]:
    """_HELD_OUT, _TREATED or _NOT_CHOSEN."""
    return rows.as_of // _DAY


def _treated(rows: Rows) -> Flags:
    flags: Flags = _arms(rows) == _TREATED
    return flags


def _is_contact(rows: Rows) -> Flags:
    """Whether each row is of an arm."""
    flags: Flags = _arms(rows) != _NOT_CHOSEN
    return flags


def _customers(rows: Rows) -> npt.NDArray[np.int64]:
    """The number of each row's customer; where rows name none, each is a customer of its own."""
    named = rows.columns([DRAW])[DRAW].to_numpy()
    return np.unique(named, return_inverse=True)[1] if named.any() else np.arange(len(named))


def _seed_of(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(1 << 31, size=2))


def _draws_of(rows: Rows, seed: tuple[int, ...]) -> Floats:
    return _draws(_customers(rows), _arms(rows), rows.label, seed)


def _draws(
    customers: npt.NDArray[np.int64], arms: npt.NDArray[np.int64], label: Floats, seed: tuple[int, ...]
) -> Floats:
    """A number from 0 to below 1 for each row, the same for all rows of a customer, at random.

    Customers of each arm and outcome have evenly spaced numbers, so that parts of equal length have equal shares of
    each, and a rare outcome is in every part. Of a customer with several rows the treated ones count, then those with
    the outcome; rows that were not chosen count where there is no other.
    """
    count = int(customers.max()) + 1
    kind = np.zeros(count, np.int64)
    np.maximum.at(kind, customers, np.where(arms == _NOT_CHOSEN, 0, 1 + 2 * arms + (label == 1)))
    order = np.lexsort((np.random.default_rng(seed).random(count), kind))
    sizes = np.bincount(kind, minlength=5)
    place = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    drawn: Floats = np.empty(count)
    drawn[order] = (place + 0.5) / np.repeat(sizes, sizes)
    return drawn[customers]


def _sample(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    if len(rows.label) <= most:
        return rows
    mask = np.zeros(len(rows.label), bool)
    mask[rng.choice(len(mask), most, replace=False)] = True
    return rows.where(mask)


def prepare(rows: Rows, columns: Sequence[str]) -> Preparation:
    """How columns become a vector, fitted on these rows, whose numbers are signed logarithms already."""
    table = rows.columns(columns)
    texts = [name for name in columns if pa.types.is_string(table.schema.field(name).type)]
    numbers = [name for name in columns if name not in texts]
    (batch,) = table.combine_chunks().to_batches()
    try:
        return Preparation.fit(Summary.of(batch, numbers, texts), columns, of_logarithms=True)
    except BadInputError:
        raise BadInputError(
            f"[uplift] features: none of {len(columns)} columns varies in {len(batch):,} rows; name columns that "
            "differ between customers"
        ) from None


def sentences(found: Mapping[str, Any]) -> Iterator[str]:
    """What was measured, in words."""
    rows, arms = found["rows"], found["arms"]
    left_out = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in rows.items() if name not in ("rows_in", "used")
    )
    yield f"{rows['rows_in']:,} contacts: {rows['used']:,} used, {left_out}"
    yield (
        f"outcome {found['outcome']}: {arms['treated']['outcomes']:,} of {arms['treated']['rows']:,} treated, "
        f"{arms['held_out']['outcomes']:,} of {arms['held_out']['rows']:,} held out"
    )
    named = [(f"campaign {name}", campaign) for name, campaign in found["campaigns"].items()]
    for name, campaign in [*named, ("total", found["total"])]:
        earned = f", earned {_figure(campaign['earned'], '{:,.0f}')}" if campaign["earned"] else ""
        yield f"{name}: effect {_figure(campaign['effect'], '{:.2%}')}{earned}"
    for share, figures in found["uplift_at"].items():
        yield f"uplift in the top {float(share):.0%}: {_figure(figures, '{:.2%}')}"
    yield from balance_sentences(found["balance"])
    yield f"Qini per treated: {_figure(found['qini'], '{:.5f}')}"


def _figure(figures: Mapping[str, Any], form: str) -> str:
    if figures["mean"] is None:
        return "not known"
    interval = figures["interval"]
    around = f" ({form.format(interval[0])} to {form.format(interval[1])})" if interval else ""
    return form.format(figures["mean"]) + around
