"""All that is known of a challenger, for the one who decides whether it goes live."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from statistics import fmean
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.dataset.split import Fold
from churn.errors import BadInputError
from churn.evaluation.gates import GATES, Evidence, Unmatched, Verdict
from churn.evaluation.gates import judge as judge_gates
from churn.evaluation.judge import RULE, judge, judged_as, scored_rows
from churn.evaluation.leaks import LeakEvidence, auc_alone
from churn.evaluation.metrics import compare, evaluate, metrics
from churn.evaluation.plots import importance, svg
from churn.evaluation.report import Driver, Report, Source, draw, render
from churn.evaluation.words import words_of
from churn.features import features
from churn.storage import Lake
from churn.tracking import Registered
from churn.training.data import (
    Calendar,
    Sources,
    calendar,
    check_inputs,
    labelled,
    read_columns,
    read_features,
    unblocked,
)
from churn.training.data import split as split_dates
from churn.training.fit import Trainer, parts_of
from churn.training.spec import ModelSpec

LEAK_ROWS = 100_000
"""About as many rows as the evidence of leaks is taken from; customers are picked by hash."""


@dataclass(frozen=True)
class Appraisal:
    """Metrics per test date, the gates' verdicts, and what the report shows of them."""

    judged: Mapping[str, Mapping[str, Any]]
    verdicts: tuple[Verdict, ...]
    report: Report
    rows: pd.DataFrame
    importance: Mapping[str, float]

    @cached_property
    def plots(self) -> dict[str, str]:
        """As SVG, by name: those of the report, and the importance of features."""
        return draw(self.report) | {"importance": svg(importance(self.importance))}

    @cached_property
    def html(self) -> str:
        return render(self.report, self.plots)


def appraise(
    lake: Lake,
    spec: ModelSpec,
    sources: Sources,
    as_of: datetime,
    model: Registered,
    champion: Registered | None = None,
) -> Appraisal:
    """Judge a registered model on the test dates of a run at `as_of`, beside the rule of thumb and the champion.

    Raises BadInputError where the model was trained for another run: its test dates would not be later than its data.
    """
    dates, fitted = calendar(spec, sources, as_of), model.summary
    if max(fitted["split"]["ripe"]) >= f"{dates.test[0]:%Y-%m-%d}":
        raise BadInputError(
            f"{spec.name} version {model.version} has learnt from {max(fitted['split']['ripe'])}, which is not "
            f"before the first test date {dates.test[0]:%Y-%m-%d} of as-of {as_of:%Y-%m-%d}; train for this as-of first"
        )
    matured = split_dates(spec, dates).ripe
    made = read_features(lake, spec, (*matured, *dates.test))
    learnt = labelled(spec, sources, made.where(F.col("as_of").isin(*matured)), known_until=dates.test[0])
    after = unblocked(spec, sources, labelled(spec, sources, made.where(F.col("as_of").isin(*dates.test)))).persist()
    grouped = "customer_segment" if "customer_segment" in after.columns else None
    unmatched = _unmatched(spec, dates, model, champion)
    rival = champion if champion and not unmatched else None
    with _trainer(spec, learnt, after, [one for one in (model, rival) if one]) as trainer:
        for one in (model, rival):
            if one:
                check_inputs(spec, trainer.summary(dates.test), one.summary, one.version)
        rows = scored_rows(spec, model.model, after, *([grouped] if grouped else []))
        judged = judge(spec, rows)
        if rival:
            rows["champion"] = scored_rows(spec, rival.model, after)["score"]
        leaks = _leaks(spec, trainer, judged, dates, fitted)
    after.unpersist()
    shared: dict[str, Any] = {"seed": spec.seed, "key": rows["customer_id"], "date": rows["as_of"]}
    against = {"rule of thumb": compare(rows["label"], rows["score"], rows[RULE], **shared)}
    if "champion" in rows:
        against["champion"] = compare(rows["label"], rows["score"], rows["champion"], probability=True, **shared)
    verdicts = judge_gates(Evidence(judged, against, leaks, unmatched), spec.gates or GATES)
    docs = _documented(spec)
    report = Report(
        model=spec.name,
        version=model.version,
        run_id=model.run_id,
        as_of=as_of,
        outcome=spec.outcome,
        population=spec.population,
        lead=spec.lead,
        horizon=spec.horizon,
        rule=spec.rule_of_thumb,
        judged=judged,
        rows=rows,
        verdicts=verdicts,
        leaks=leaks,
        drivers=[
            Driver(name, share, *docs.get(name, ("", False))) for name, share in list(fitted["importance"].items())[:15]
        ],
        schedule={
            **{name: [datetime.fromisoformat(d) for d in fitted["split"][name]] for name in ("train", "calibrate")},
            "test": list(dates.test),
        },
        sources=_sources(lake),
        settings=spec.settings,
        segments=_segments(spec, rows, grouped),
        left_out=fitted["left_out"],
        words=words_of(spec),
        of_transactions=spec.of_transactions,
        champion=champion.version if champion else None,
        against_champion=against.get("champion"),
    )
    return Appraisal(judged, verdicts, report, rows, fitted["importance"])


def _unmatched(
    spec: ModelSpec, dates: Calendar, model: Registered, champion: Registered | None
) -> dict[str, Unmatched]:
    """Why there is no match with the champion that there is, if so."""
    if champion is None:
        return {}
    if champion.version == model.version:
        return {"champion": Unmatched(True, f"version {model.version} is the champion itself")}
    newest = datetime.fromisoformat(max(champion.summary["split"]["ripe"]))
    if spec.window.ripe_at(newest) > dates.test[0]:
        why = f"the champion, version {champion.version}, has learnt from {newest:%Y-%m-%d}, whose outcomes came after "
        return {"champion": Unmatched(False, f"{why}the first test date {dates.test[0]:%Y-%m-%d}: no fair match")}
    return {}


def _trainer(spec: ModelSpec, learnt: DataFrame, after: DataFrame, models: Sequence[Registered]) -> Trainer:
    """The rows that the first model has learnt from and the test rows, with all that the models read."""
    read = dict.fromkeys(column for model in models for column in read_columns(model.summary))
    there = [column for column in read if column in after.columns and column in learnt.columns]
    same = [*spec.key, "label", *there]
    return Trainer(spec, learnt.select(*same).unionByName(after.select(*same)), there)


def _leaks(
    spec: ModelSpec,
    trainer: Trainer,
    judged: Mapping[str, Mapping[str, Any]],
    dates: Calendar,
    fitted: Mapping[str, Any],
) -> LeakEvidence:
    """Each feature alone, and the model without the signals that follow a decision to leave."""
    columns = fitted["columns"]["numeric"]
    alone = trainer.on_rows(dates.test, partial(auc_alone, columns=columns), most=LEAK_ROWS)
    read = read_columns(fitted)
    marked = {
        column
        for feature in features()
        if feature.after_intent
        for column in feature.columns(spec.windows)
        if column in read
    }
    if not marked:
        return LeakEvidence(alone=alone)
    return LeakEvidence(
        alone=alone,
        after_intent=tuple(sorted(marked)),
        with_after_intent=_means(judged),
        without_after_intent=_without(spec, trainer, dates, fitted, set(read) - marked),
    )


def _without(
    spec: ModelSpec, trainer: Trainer, dates: Calendar, fitted: Mapping[str, Any], columns: Collection[str]
) -> dict[str, float]:
    """The metrics of the chosen candidate, fitted on these columns and otherwise alike."""
    fold, parts = Fold(train=split_dates(spec, dates).ripe, later=dates.test), parts_of(spec, fitted["chosen"])
    wanted = [(parts[part], fold, fitted["rounds"].get(part)) for part in fitted["slopes"]]
    found = trainer.learn(wanted, only=columns)
    log_odds = sum(slope * one.later_margin for slope, one in zip(fitted["slopes"].values(), found, strict=True))
    as_of = pd.Series(found[0].later_as_of.astype("datetime64[us]"))
    rows = pd.DataFrame({"label": found[0].later_label, "score": log_odds})
    per_date = [metrics(of["label"], of["score"], probability=False) for _, of in rows.groupby(judged_as(spec, as_of))]
    return {name: fmean(float(one[name]) for one in per_date) for name in ("auc", "average_precision")}


def _means(judged: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {
        metric: sum(float(metrics[metric]) for metrics in judged.values()) / len(judged)
        for metric in ("auc", "average_precision")
    }


def _documented(spec: ModelSpec) -> dict[str, tuple[str, bool]]:
    return {column: (f.doc, f.after_intent) for f in features() for column in f.columns(spec.windows)}


def _sources(lake: Lake) -> list[Source]:
    """What ingest counted, per source, over all batches."""
    if not lake.exists("ledger"):
        return []
    counts = ("rows_in", "accepted", "duplicate", "quarantined")
    totals = lake.read("ledger").groupBy("source").agg(*(F.sum(name).alias(name) for name in counts))
    return [
        Source(row["source"], lake.version(row["source"]), *(int(row[name]) for name in counts))
        for row in totals.orderBy("source").collect()
    ]


def _segments(spec: ModelSpec, rows: pd.DataFrame, grouped: str | None) -> dict[str, Any] | None:
    """The metrics of each segment that has both outcomes."""
    if grouped is None:
        return None
    return {
        str(name): evaluate(
            part["label"], part["score"], seed=spec.seed, resamples=spec.resamples, key=part["customer_id"]
        )
        for name, part in rows.groupby(grouped)
        if part["label"].nunique() == 2
    }
