"""Which as-ofs a run needs: those to learn from, those to evaluate on, and the one to score."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from churn.dataset.examples import examples
from churn.dataset.split import Split, schedule, split_in_time
from churn.errors import BadInputError
from churn.model_spec import ModelSpec, Sources
from churn.sources.completeness import complete_until, coverage, span


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

    Raises BadInputError where no row is known before as-of, or as-of lies far behind the data.
    """
    newest = _midnight(known_until(spec, sources, as_of) - spec.window.matures_after)
    test = tuple(newest - spec.schedule.test_step * step for step in range(spec.schedule.test_as_ofs))[::-1]
    return Calendar(learn=tuple(_learn(spec, sources, test[0])), test=test, score=as_of)


def known_until(spec: ModelSpec, sources: Sources, as_of: datetime) -> datetime:
    """Until when rows are known at as-of. Raises BadInputError where that is none, or long before it."""
    covered = coverage(sources, known_until=as_of)
    if as_of - covered > timedelta(days=spec.schedule.stale_after):
        raise BadInputError(
            f"as-of {as_of:%Y-%m-%d} lies {(as_of - covered).days} days after the last row known ({covered:%Y-%m-%d}); "
            f"ingest what has arrived since, or use an as-of until {covered:%Y-%m-%d}"
        )
    return covered


def backtest_calendar(spec: ModelSpec, sources: Sources, origin: datetime) -> Calendar:
    """A run at a backtest origin: learn from what had matured by then, evaluate by what happened after.

    Raises BadInputError where too little is known by then, LeakageError where the data end inside the test labels.
    """
    learn = tuple(_learn(spec, sources, origin))
    test = examples(spec).evaluated_as_ofs(origin)
    spec.window.check_matured(test, complete_until(sources, spec.label.complete_by))
    return Calendar(learn=learn, test=test, score=origin)


def _learn(spec: ModelSpec, sources: Sources, origin: datetime) -> list[datetime]:
    first, last = span(sources, known_until=origin)
    newest, since, plan = _midnight(last - spec.window.matures_after), _midnight(first), spec.schedule
    as_ofs = schedule(newest, since=since, every=plan.every, history=plan.history, most=plan.max_as_ofs)
    if not as_ofs:
        raise BadInputError(
            f"model {spec.name}: no as-of to learn from by {origin:%Y-%m-%d}: the data begin {since:%Y-%m-%d}, the "
            f"newest as-of with complete labels is {newest:%Y-%m-%d}, and {plan.history} days must precede it; use a "
            f"later as-of, a shorter horizon in [model.{spec.name}.window], or a shorter history in "
            f"[model.{spec.name}.schedule]"
        )
    return as_ofs


def _midnight(timestamp: datetime) -> datetime:
    return datetime(timestamp.year, timestamp.month, timestamp.day)


def split(spec: ModelSpec, dates: Calendar) -> Split:
    """The slices of a run."""
    return split_in_time(dates.learn, test=dates.test, window=spec.window, calibrate=spec.schedule.calibrate_as_ofs)
