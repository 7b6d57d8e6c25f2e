"""A monitoring run: the drift of a model in use at an as-of, and the outcomes of its earlier scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.dataset.calendar import labels_known_until
from churn.dataset.examples import examples
from churn.dataset.feature_table import feature_table, read_columns, read_features, stored_features
from churn.errors import BadInputError
from churn.model_spec import ModelSpec, Sources, Verdict
from churn.monitoring.drift import SCORE, Drift, drift, references
from churn.monitoring.limits import Evidence, check_limits
from churn.monitoring.outcomes import matured_periods, outcome
from churn.monitoring.tables import Row, outcome_row, past_drift, past_outcomes
from churn.registry.model_registry import ModelRegistry
from churn.registry.promotion import recorded
from churn.registry.tracking import LEARNT_UNTIL, load_model
from churn.scoring.batch import score_table
from churn.storage import Lake


@dataclass(frozen=True)
class MonitoringRun:
    """What a monitoring run at `as_of` found.

    `as_ofs` are those whose rows were compared: this one, or of transactions the days up to it. `drifts` holds every
    feature against every reference; `outcomes` the rows of `churn.monitoring.tables` that were evaluated now, `past`
    those of earlier runs, and `score_drifts` those of the score's drift then. `learnt` are the as-ofs of matured scores
    that were not evaluated, by the version, which may have learnt their labels. `expected` is what each version's
    evaluation measured.
    """

    model: str
    version: str
    as_of: datetime
    as_ofs: Sequence[datetime]
    against: Mapping[str, Sequence[datetime]]
    drifts: Sequence[Drift]
    importance: Mapping[str, float]
    outcomes: Sequence[Row]
    past: Sequence[Row]
    learnt: Mapping[str, Sequence[datetime]]
    score_drifts: Sequence[Row]
    expected: Mapping[str, Mapping[str, float]]
    verdicts: Sequence[Verdict]

    @property
    def exceeded(self) -> list[Verdict]:
        """The limits that are exceeded."""
        return [verdict for verdict in self.verdicts if not verdict.passed]

    @property
    def from_first_reference(self) -> dict[str, Drift]:
        """By feature, its drift from the first reference there is: the training, if its features are still stored."""
        return self.from_reference(next(iter(self.against), ""))

    def from_reference(self, reference: str) -> dict[str, Drift]:
        """By feature, its drift from one reference."""
        return {one.feature: one for one in self.drifts if one.reference == reference}


def monitor(lake: Lake, spec: ModelSpec, sources: Sources, as_of: datetime, registry: ModelRegistry) -> MonitoringRun:
    """Monitor the version that scored `as_of`. Raises BadInputError where none did."""
    scores, stored = lake.read(score_table(spec)), stored_features(lake, spec)
    rows = stored.frame
    scored = _scored(scores, until=as_of)
    if as_of not in scored:
        raise BadInputError(
            f"{score_table(spec)} has no scores of as-of {as_of:%Y-%m-%d}, only "
            f"{', '.join(f'{other:%Y-%m-%d}' for other in sorted(scored)[-5:]) or 'none before it'}; score it first"
        )
    version = load_model(registry.tracking_uri, spec.name, scored[as_of])
    read_features(stored, [as_of])
    built = [row["as_of"] for row in rows.select("as_of").distinct().collect()]
    trained = [datetime.fromisoformat(day) for day in version.summary["split"]["matured"]]
    against = references(spec, as_of, learnt=trained, built=built, scored=scored)
    if not against:
        raise BadInputError(
            f"{feature_table(spec)} has none of the as-ofs that {spec.name} version {version.number} learnt from, and "
            "none that was scored before: nothing to compare with; run build_features for the as-of it was trained at"
        )
    as_ofs = examples(spec).monitored(as_of, set(scored) & set(built))
    drifts = drift(version.model, rows, read_columns(version.summary), as_ofs, against)
    past = past_outcomes(lake, spec.name, before=as_of)
    tags = registry.versions()
    periods, left_out = matured_periods(
        spec,
        scored.items(),
        [(row["as_of"], row["version"]) for row in past],
        known_until=labels_known_until(spec, sources, by=as_of)[0],
        learnt_until={
            number: datetime.fromisoformat(of[LEARNT_UNTIL]) for number, of in tags.items() if LEARNT_UNTIL in of
        },
    )
    learnt: dict[str, list[datetime]] = {}
    for one in left_out:
        learnt.setdefault(one.version, []).append(one.period.first)
    found = [outcome(spec, sources, scores, rows, period, known_until=as_of) for period in periods]
    outcomes = [outcome_row(spec.name, as_of, one) for one in found if one]
    evaluations = {number: recorded(of, until=as_of) for number, of in tags.items()}
    expected = {number: evaluation.means for number, evaluation in evaluations.items() if evaluation}
    importance = version.summary.get("importance", {})
    evidence = Evidence(drifts, importance, outcomes, expected, examples(spec).too_few(as_ofs))
    return MonitoringRun(
        model=spec.name,
        version=version.number,
        as_of=as_of,
        as_ofs=as_ofs,
        against=against,
        drifts=drifts,
        importance=importance,
        outcomes=outcomes,
        past=past,
        learnt=learnt,
        score_drifts=past_drift(lake, spec.name, SCORE, before=as_of),
        expected=expected,
        verdicts=check_limits(evidence, spec.limits),
    )


def _scored(scores: DataFrame, *, until: datetime) -> dict[datetime, str]:
    """The version that scored each as-of; the rows that came late may have another."""
    of_its_run = F.col("scored_on") == F.col("as_of")
    rows = (
        scores.where((F.col("as_of") <= F.lit(until)) & of_its_run)
        .select("as_of", "model_version")
        .distinct()
        .collect()
    )
    return {row["as_of"]: row["model_version"] for row in rows}
