"""Which as-ofs a run needs: those to learn from, those to evaluate on, and the one to score."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from churn.dataset.examples import examples, usable_features
from churn.dataset.split import Split, schedule, split_in_time
from churn.errors import BadInputError
from churn.model_spec import ModelSpec, Sources
from churn.sources.completeness import ACTIVITY, ALWAYS, begin, complete_until


@dataclass(frozen=True)
class Calendar:
    """The as-ofs of a run: those to learn from, those to evaluate on, and the one to score."""

    learn: tuple[datetime, ...]
    test: tuple[datetime, ...]
    score: datetime

    @property
    def labelled(self) -> list[datetime]:
        return sorted({*self.learn, *self.test})


def calendar(spec: ModelSpec, sources: Sources, as_of: datetime) -> Calendar:
    """A run at `as_of`: the newest matured as-ofs are held out to evaluate the model, which is fitted on earlier ones.

    Raises BadInputError where a source that the run needs was not received until shortly before as-of.
    """
    since = check_received(spec, sources, as_of, labels=True)
    newest = newest_matured(spec, sources, as_of)
    test = tuple(newest - spec.schedule.test_step * step for step in range(spec.schedule.test_as_ofs))[::-1]
    return Calendar(learn=tuple(_learn(spec, sources, as_of, since, before=test[0])), test=test, score=as_of)


def check_received(spec: ModelSpec, sources: Sources, as_of: datetime, *, labels: bool = False) -> datetime:
    """When activity began.

    Raises BadInputError, naming the source, where one that as-of's features are made of ended more than `stale_after`
    days before it; with `labels`, also one that labels are made of.

    Only of activity does silence show that a feed has ended; a month without, say, a new plan is nothing special.
    """
    used = {name for feature in usable_features(spec, sources)[0] for name in feature.sources}
    needed = {name for name in {*used, *examples(spec).requires} if name in ACTIVITY}
    needed |= set(examples(spec).evidence) if labels else set()
    since = begin(sources, by=as_of)
    for name, end in sorted(complete_until(sources, needed, by=as_of).items()):
        if as_of - end > timedelta(days=spec.schedule.stale_after):
            raise BadInputError(
                f"as-of {as_of:%Y-%m-%d} lies {(as_of - end).days} days after the last row known of {name} "
                f"({end:%Y-%m-%d}), want at most stale_after = {spec.schedule.stale_after}; ingest what has arrived of "
                f"{name} since, or use an as-of until {end:%Y-%m-%d}"
            )
    return since


def labels_known_until(
    spec: ModelSpec, sources: Sources, *, by: datetime, delivered_by: datetime | None = None
) -> tuple[datetime, str]:
    """Until when all that labels are made of is complete, as in `complete_until`; and the source that ends first."""
    ends = complete_until(sources, examples(spec).evidence, by=by, delivered_by=delivered_by)
    return min((end, name) for name, end in ends.items())


def newest_matured(spec: ModelSpec, sources: Sources, as_of: datetime) -> datetime:
    """The newest midnight whose rows and labels are complete at as-of."""
    until, _ = labels_known_until(spec, sources, by=as_of)
    newest = until - spec.window.matures_after
    for name, after in examples(spec).rows_from.items():
        newest = min(newest, complete_until(sources, [name], by=as_of)[name] - after)
    return _midnight(newest)


def backtest_calendar(spec: ModelSpec, sources: Sources, origin: datetime) -> Calendar:
    """A run at a backtest origin: learn from what had matured by then, evaluate by what happened after, also if it was
    delivered later.

    Raises BadInputError where too little is known by then, LeakageError where a source of labels ends before those of
    the test rows have matured.
    """
    learn = tuple(_learn(spec, sources, origin, begin(sources, by=origin)))
    test = examples(spec).evaluated_as_ofs(origin)
    end = backtest_end(spec, origin)
    spec.window.check_matured(test, *labels_known_until(spec, sources, by=end, delivered_by=ALWAYS))
    return Calendar(learn=learn, test=test, score=origin)


def backtest_end(spec: ModelSpec, origin: datetime) -> datetime:
    """When the labels of a backtest origin have matured."""
    return spec.window.matured_at(examples(spec).evaluated_as_ofs(origin)[-1])


def _learn(
    spec: ModelSpec, sources: Sources, origin: datetime, begun: datetime, before: datetime | None = None
) -> list[datetime]:
    """The as-ofs to learn from that have matured at an origin, or before the first test as-of; `begun` is when activity
    began."""
    since, plan = _midnight(begun), spec.schedule
    newest = newest_matured(spec, sources, origin)
    if before is not None:
        newest = min(newest, before - spec.window.matures_after)
    as_ofs = schedule(newest, since=since, every=plan.every, history=plan.history, most=plan.max_as_ofs)
    if not as_ofs:
        until, name = labels_known_until(spec, sources, by=origin)
        raise BadInputError(
            f"model {spec.name}: no as-of to learn from by {origin:%Y-%m-%d}: the data begin {since:%Y-%m-%d}, the "
            f"newest as-of with complete labels is {newest:%Y-%m-%d} ({name} are complete until {until:%Y-%m-%d}), and "
            f"{plan.history} days must precede it; use a later as-of, a shorter horizon in "
            f"[model.{spec.name}.window], or a shorter history in [model.{spec.name}.schedule]"
        )
    return as_ofs


def _midnight(timestamp: datetime) -> datetime:
    return datetime(timestamp.year, timestamp.month, timestamp.day)


def split(spec: ModelSpec, dates: Calendar) -> Split:
    """The slices of a run."""
    return split_in_time(dates.learn, test=dates.test, window=spec.window, calibrate=spec.schedule.calibrate_as_ofs)
