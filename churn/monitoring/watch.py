"""All that is known of a model in use at an as-of: what it sees, and how it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn import tracking
from churn.dataset.spine import coverage
from churn.errors import BadInputError
from churn.evaluation.gates import Verdict
from churn.evaluation.promotion import noted
from churn.monitoring.drift import SCORE, Moved, drift, looked_at, references
from churn.monitoring.limits import verdicts
from churn.monitoring.outcomes import outcome, ripe_stretches
from churn.monitoring.tables import Row, outcome_row, past_drift, past_outcomes
from churn.registry import Registry
from churn.scoring.batch import score_table
from churn.storage import Lake
from churn.training.data import Sources, feature_table, read_columns, read_features
from churn.training.spec import ModelSpec


@dataclass(frozen=True)
class Watched:
    """What a look at `as_of` found.

    `looked_at` are the as-ofs whose rows were looked at: this one, or of transactions the days up to it. `moved` holds
    every feature against every reference; `outcomes` the rows of `churn.monitoring.tables` that were judged now, `past`
    those of earlier looks, and `scores` those of the score's drift then. `expected` is what each version's evaluation
    said of it.
    """

    model: str
    version: str
    as_of: datetime
    looked_at: Sequence[datetime]
    against: Mapping[str, Sequence[datetime]]
    moved: Sequence[Moved]
    importance: Mapping[str, float]
    outcomes: Sequence[Row]
    past: Sequence[Row]
    scores: Sequence[Row]
    expected: Mapping[str, Mapping[str, float]]
    verdicts: Sequence[Verdict]

    @property
    def failed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.passed]

    @property
    def now(self) -> dict[str, Moved]:
        """By feature, against the first reference there is: the training, where its features are there still."""
        return self.of(next(iter(self.against), ""))

    def of(self, reference: str) -> dict[str, Moved]:
        """By feature, how it has moved against one reference."""
        return {one.feature: one for one in self.moved if one.reference == reference}


def watch(lake: Lake, spec: ModelSpec, sources: Sources, as_of: datetime, registry: Registry) -> Watched:
    """Look at the version that scored `as_of`. Raises BadInputError where none did."""
    scores, rows = lake.read(score_table(spec)), lake.read(feature_table(spec))
    scored = _scored(scores, until=as_of)
    if as_of not in scored:
        raise BadInputError(
            f"{score_table(spec)} has no scores of as-of {as_of:%Y-%m-%d}, only "
            f"{', '.join(f'{one:%Y-%m-%d}' for one in sorted(scored)[-5:]) or 'none before it'}; score it first"
        )
    version = scored[as_of]
    model = tracking.load_model(registry.tracking_uri, spec.name, version)
    columns = read_columns(model.summary)
    read_features(lake, spec, [as_of])
    built = [row["as_of"] for row in rows.select("as_of").distinct().collect()]
    learnt = [datetime.fromisoformat(day) for day in model.summary["split"]["ripe"]]
    against = references(spec, as_of, learnt=learnt, built=built, scored=scored)
    if not against:
        raise BadInputError(
            f"{feature_table(spec)} has none of the as-ofs that {spec.name} version {version} learnt from, and none "
            "that was scored before: nothing to compare with; run build_features for the as-of it was trained at"
        )
    now = looked_at(spec, as_of, set(scored) & set(built))
    moved = drift(model.model, rows, columns, now, against)

    past = past_outcomes(lake, spec.name, before=as_of)
    told_until = coverage(sources, known_until=as_of)
    stretches = ripe_stretches(
        spec, scored.items(), [(row["as_of"], row["version"]) for row in past], told_until=told_until
    )
    found = [outcome(spec, sources, scores, rows, stretch, known_until=as_of) for stretch in stretches]
    outcomes = [outcome_row(spec.name, as_of, one) for one in found if one]
    evaluations = {one: noted(tags, until=as_of) for one, tags in registry.versions().items()}
    expected = {one: evaluated.means for one, evaluated in evaluations.items() if evaluated}
    return Watched(
        model=spec.name,
        version=version,
        as_of=as_of,
        looked_at=now,
        against=against,
        moved=moved,
        importance=model.summary.get("importance", {}),
        outcomes=outcomes,
        past=past,
        scores=past_drift(lake, spec.name, SCORE, before=as_of),
        expected=expected,
        verdicts=verdicts(spec, moved, model.summary.get("importance", {}), outcomes, expected, days=len(now)),
    )


def _scored(scores: DataFrame, *, until: datetime) -> dict[datetime, str]:
    """The version behind the scores of each as-of."""
    rows = scores.where(F.col("as_of") <= F.lit(until)).select("as_of", "model_version").distinct().collect()
    return {row["as_of"]: row["model_version"] for row in rows}
