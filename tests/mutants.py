"""Plant named faults, one at a time, and check that the tests of that part of the code fail: `python -m tests.mutants`.

Each is planted into a copy of the project. A fault with which all tests pass survives; the command then fails and names
it. `python -m tests.mutants NAME ...` plants these alone, `--list` names them all, `--check` plants none and fails if
the text of one is not found exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
COPIED = ("churn", "jobs", "models", "tests", "sample_data", "docs", "setup.cfg", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Mutant:
    """A fault: in `file` the text `was` becomes `now`; `tests` are to fail then."""

    name: str
    file: str
    was: str
    now: str
    tests: str


VISIBLE = "churn/features/engine/point_in_time.py"
VERSIONS = "churn/sources/versions.py"
SPEC = "churn/model_spec.py"
CUSTOMER_FEATURES = "tests/features/test_customer_features.py tests/properties"
TRANSACTION_FEATURES = "tests/features/test_transaction_features.py tests/properties"
FIT = "tests/training/test_fit.py"

MUTANTS = (
    # ------------------------------------------------------------ completeness
    Mutant(
        "days between two batches are left out",
        "churn/config.py",
        "most = self.look_back if since is None else max(self.look_back, (last - since).days)",
        "most = self.look_back",
        "tests/sources/test_daily_sources.py",
    ),
    Mutant(
        "a day between two batches is not compared with what is expected",
        "churn/sources/classification.py",
        "return fewest_rows(spark, source, _days_since(as_of, before, 1))",
        "return fewest_rows(spark, source, _days_since(as_of, None, 1))",
        "tests/sources/test_daily_sources.py",
    ),
    Mutant(
        "a row dated in the future completes a source",
        "churn/sources/completeness.py",
        "max({newest if now is None else",
        "max({newest if True else",
        "tests/sources/test_completeness.py",
    ),
    Mutant(
        "what is delivered later completes an earlier as-of",
        "churn/sources/completeness.py",
        "(not as_of or as_of <= max(first, by))",
        "(not as_of or by)",
        "tests/sources/test_completeness.py",
    ),
    Mutant(
        "one source speaks for another",
        "churn/dataset/calendar.py",
        "return min((end, name) for name, end in ends.items())",
        "return max((end, name) for name, end in complete_until(sources, sources, by=by).items())",
        "tests/dataset/test_examples.py",
    ),
    Mutant(
        "days of transactions mature without transactions",
        "churn/dataset/examples.py",
        'return {"transactions": DAY}',
        "return {}",
        "tests/dataset/test_examples.py",
    ),
    Mutant(
        "a source that has ended is not noticed",
        "churn/dataset/calendar.py",
        "needed |= set(examples(spec).evidence) if labels else set()",
        "needed -= set(examples(spec).evidence)",
        "tests/dataset/test_examples.py",
    ),
    Mutant(
        "a row that its batch brings no more is lost",
        VERSIONS,
        "f\" WHEN _is_again THEN '{HANDED}' WHEN",
        "f\" WHEN _is_again THEN 'duplicate' WHEN",
        "tests/sources/test_ingest.py",
    ),
    Mutant(
        "a row that was handed to a batch is still its duplicate",
        "churn/sources/ingest.py",
        "if is_again and lake.exists(DUPLICATES):",
        "if False:",
        "tests/sources/test_ingest.py",
    ),
    Mutant(
        "a backtest ingests into the lake",
        "churn/storage.py",
        'lake = Lake(self.spark, f"{self.scratch}/lake-{uuid4().hex}")',
        "lake = Lake(self.spark, self.root if uuid4() else self.scratch)",
        "tests/jobs/test_chain.py",
    ),
    Mutant(
        "late rows are known before they were there",
        "churn/sources/mapping.py",
        "if now and late:",
        "if False:",
        "tests/sources/test_ingest.py",
    ),
    Mutant(
        "history is known from the first batch on",
        "churn/sources/classification.py",
        "late = next_begin(source, before) if before else None",
        "late = next_begin(source, before or as_of) if as_of else None",
        "tests/sources/test_ingest.py",
    ),
    Mutant(
        "a day that has not been delivered is a day without rows",
        "churn/dataset/feature_table.py",
        "        if end < as_of + after:",
        "        if end < as_of - after:",
        "tests/jobs/test_fraud_chain.py",
    ),
    Mutant(
        "an as-of without rows is as if never built",
        "churn/dataset/feature_table.py",
        "- _as_ofs(rows) - stored.empty",
        "- _as_ofs(rows)",
        "tests/jobs/test_fraud_chain.py",
    ),
    Mutant(
        "a column that a contract has gained fails its table",
        "churn/sources/ingest.py",
        '{"batch": row.batch}, widen=True)',
        '{"batch": row.batch})',
        "tests/sources/test_ingest.py",
    ),
    Mutant(
        "an evaluation sees labels that were known later",
        "churn/evaluation/challenger.py",
        "known_until=as_of)",
        "known_until=None)",
        "tests/jobs/test_chain.py",
    ),
    # ------------------------------------------------------------ time
    Mutant(
        "an event at as-of is seen",
        VISIBLE,
        'np.searchsorted(as_ofs, event, side="right")',
        'np.searchsorted(as_ofs, event, side="left")',
        CUSTOMER_FEATURES,
    ),
    Mutant(
        "known time is ignored",
        VISIBLE,
        'np.maximum(np.searchsorted(as_ofs, event, side="right"), known_first), last',
        'np.searchsorted(as_ofs, event, side="right"), last',
        CUSTOMER_FEATURES,
    ),
    Mutant(
        "a row known at as-of is not seen",
        VERSIONS,
        'np.searchsorted(as_ofs, known, side="left")',
        'np.searchsorted(as_ofs, known, side="right")',
        CUSTOMER_FEATURES,
    ),
    Mutant(
        "superseded rows are seen",
        VISIBLE,
        "known_first), last",
        "known_first), np.full(len(event), len(as_ofs))",
        CUSTOMER_FEATURES,
    ),
    Mutant(
        "the cohort knows what is known later",
        VERSIONS,
        'return (F.col("known_time") <= as_of) & superseded_later',
        "return superseded_later",
        "tests/dataset",
    ),
    Mutant(
        "the cohort sees superseded rows",
        VERSIONS,
        'return (F.col("known_time") <= as_of) & superseded_later',
        'return F.col("known_time") <= as_of',
        "tests/dataset",
    ),
    Mutant(
        "a transaction sees what happened with it",
        VISIBLE,
        "np.maximum(event + delay + 1, known)",
        "np.maximum(event + delay, known)",
        TRANSACTION_FEATURES,
    ),
    Mutant(
        "a transaction sees what is known later",
        VISIBLE,
        "np.maximum(event + delay + 1, known)",
        "event + delay + 1",
        TRANSACTION_FEATURES,
    ),
    Mutant(
        "a transaction sees one microsecond too far back",
        VISIBLE,
        "np.minimum(event + delay + window + 1, superseded)",
        "np.minimum(event + delay + window + 2, superseded)",
        TRANSACTION_FEATURES,
    ),
    Mutant(
        "the delay of labels is dropped",
        "churn/features/engine/measures.py",
        "window_delay = delay if feature.delayed else 0",
        "window_delay = 0",
        "tests/features/test_transaction_features.py",
    ),
    # ------------------------------------------------------------ labels
    Mutant(
        "lead is dropped",
        SPEC,
        "return as_of + F.make_dt_interval(F.lit(self.lead))",
        "return as_of",
        "tests/labels",
    ),
    Mutant(
        "maturity is dropped",
        SPEC,
        "days=self.lead + self.horizon + self.maturity)",
        "days=self.lead + self.horizon)",
        "tests/labels tests/dataset tests/training/test_retrain_trigger.py",
    ),
    Mutant(
        "the label window's end is inclusive",
        SPEC,
        "(timestamp < end)",
        "(timestamp <= end)",
        "tests/labels",
    ),
    Mutant(
        "a window that the end of the data cuts is called matured",
        SPEC,
        "if self.matured_at(newest) > known_until:",
        "if False:",
        "tests/labels tests/dataset/test_examples.py",
    ),
    Mutant(
        "who left before the window is called 0",
        "churn/labels/closure.py",
        ".where(~too_early & ~other_kind)",
        ".where(~other_kind)",
        "tests/labels",
    ),
    Mutant(
        "a closure that was a mistake leaves its customer out",
        "churn/labels/closure.py",
        'name: of.where(F.col("superseded_at").isNull()).withColumn("known_time", event)',
        'name: of.withColumn("known_time", event)',
        "tests/labels",
    ),
    Mutant(
        "who was closed for another reason is called 1",
        "churn/labels/closure.py",
        ".where(~too_early & ~other_kind)",
        ".where(~too_early)",
        "tests/labels",
    ),
    Mutant(
        "every report is a fraud",
        "churn/labels/fraud.py",
        'sources["fraud_reports"].where("is_fraud").select',
        'sources["fraud_reports"].select',
        "tests/labels tests/dataset/test_examples.py",
    ),
    Mutant(
        "a report is known with its transaction",
        VERSIONS,
        'F.greatest("known_time", "_known")',
        'F.col("known_time")',
        "tests/labels tests/features/test_transaction_features.py",
    ),
    Mutant(
        "labels use reports that are known later",
        "churn/dataset/examples.py",
        'name: of.where(F.col("known_time") <= until).withColumn("superseded_at", superseded_at)',
        "name: of",
        "tests/dataset/test_examples.py",
    ),
    Mutant(
        "blocked cards are evaluated",
        "churn/dataset/examples.py",
        'how="left_anti")',
        'how="left")',
        "tests/dataset/test_examples.py",
    ),
    # ------------------------------------------------------------ splits, fits and choices
    Mutant(
        "the calibrate slice overlaps train",
        "churn/dataset/split.py",
        "train = tuple(a for a in matured if window.matured_at(a) <= later[0])",
        "train = tuple(a for a in matured if a < later[0])",
        "tests/dataset",
    ),
    Mutant(
        "a fold trains on labels of its later dates",
        "churn/dataset/split.py",
        "if self.window.matured_at(one) <= later[0]), later)",
        "if one < later[0]), later)",
        "tests/dataset",
    ),
    Mutant(
        "the gap of a split is not checked",
        "churn/dataset/split.py",
        "if self.window.matured_at(earlier) > later:",
        "if False:",
        "tests/dataset",
    ),
    Mutant(
        "the prior of sampled rows is not corrected",
        "churn/training/fit_task.py",
        "weight=np.where(label == 1, 1.0, 1 / self.negatives)",
        "weight=np.ones(len(label))",
        FIT,
    ),
    Mutant(
        "the best candidate is taken, however small its lead",
        "churn/training/selection.py",
        "if difference.mean() <= difference.std() / np.sqrt(len(difference)):",
        "if tried is best:",
        FIT,
    ),
    Mutant(
        "a null is filled with 0",
        "churn/training/preparation.py",
        "np.where(np.isnan(numbers), self.fill, numbers)",
        "np.nan_to_num(numbers)",
        "tests/training/test_mllib_models.py",
    ),
    Mutant(
        "rows at a threshold go right",
        "churn/training/mllib_models.py",
        '[float(node["threshold"])]',
        '[float(np.nextafter(node["threshold"], -np.inf))]',
        "tests/training/test_mllib_models.py",
    ),
    Mutant(
        "the order of rows shows in a fit",
        "churn/training/preparation.py",
        "sorted_rows = np.lexsort((order, as_of))",
        "sorted_rows = np.argsort(as_of, kind='stable')",
        FIT,
    ),
    # ------------------------------------------------------------ scores, alerts and gates
    Mutant(
        "the alert budget is off by one",
        "churn/scoring/alerts.py",
        'F.col("place") <= settings.alert_budget',
        'F.col("place") < settings.alert_budget',
        "tests/scoring",
    ),
    Mutant(
        "the audit is drawn from the alerts too",
        "churn/scoring/alerts.py",
        "placed.where(~within)",
        "placed",
        "tests/scoring",
    ),
    Mutant(
        "a message quotes the cell that Spark failed on",
        "churn/runtime/faults.py",
        "lambda quoted: form(quoted[0]), text",
        "lambda quoted: quoted[0], text",
        "tests/faults/test_personal_data.py",
    ),
    Mutant(
        "a table is not taken back where a data file is damaged",
        "churn/repair.py",
        "sound = sound if missing else version",
        "sound = version",
        "tests/faults/test_damage.py",
    ),
    Mutant(
        "a version that brings code is loaded",
        "churn/registry/tracking.py",
        'check_format(Path(files), f"{model} version {found.version}")',
        "pass",
        "tests/registry/test_model_files.py",
    ),
    Mutant(
        "a version whose files have changed is loaded",
        "churn/registry/tracking.py",
        "_check_unchanged(client, model, str(found.version), Path(files))",
        "pass",
        "tests/registry/test_model_files.py",
    ),
    Mutant(
        "what arrives after its day was scored is never scored",
        "churn/scoring/batch.py",
        ", *(day for day in late if day in of_runs)",
        "",
        "tests/jobs/test_fraud_chain.py",
    ),
    Mutant(
        "a late row is scored by each run of the days after it",
        "churn/scoring/batch.py",
        'F.col("scored_on") != F.lit(as_of)).select(*spec.key)',
        "F.lit(False)).select(*spec.key)",
        "tests/jobs/test_fraud_chain.py",
    ),
    Mutant(
        "an alert that was raised is raised again",
        "churn/scoring/alerts.py",
        'scores.join(raised.select(*spec.key), on=list(spec.key), how="left_anti")',
        'scores.join(raised.select(*spec.key), on=list(spec.key), how="left")',
        "tests/scoring/test_alerts.py",
    ),
    Mutant(
        "an alert that was raised costs nothing of the budget",
        "churn/scoring/alerts.py",
        'by_rank + F.col("raised_by_score")',
        "by_rank",
        "tests/scoring/test_alerts.py",
    ),
    Mutant(
        "a fast clock makes those in time late",
        "churn/sources/streaming.py",
        'latest = f"timestamp_micros(unix_micros(current_timestamp()) + {ahead})"',
        'latest = f"timestamp_micros(unix_micros(current_timestamp()) + {ahead}) + INTERVAL 1 DAY"',
        "tests/jobs/test_stream.py",
    ),
    Mutant(
        "a stream retains the rows of all time",
        "churn/features/engine/stream_state.py",
        "        elif not parts:\n            evicted |= old\n",
        "",
        "tests/scoring/test_stream_state.py",
    ),
    Mutant(
        "a stream knows the transactions of all time",
        "churn/sources/stream_deduplication.py",
        "                self._state.removeKey(key)\n",
        "                pass\n",
        "tests/scoring/test_stream_state.py",
    ),
    Mutant(
        "a stream keeps the version it began with",
        "churn/scoring/stream.py",
        "current = self.models.current()",
        "current = position.model or self.models.current()",
        "tests/jobs/test_stream.py",
    ),
    Mutant(
        "a card that was found counts again",
        "churn/evaluation/alert_metrics.py",
        "blocked_cards |= set(",
        "set(",
        "tests/evaluation/test_alert_metrics.py",
    ),
    Mutant(
        "promote ignores a gate",
        "churn/registry/promotion.py",
        "return [verdict for verdict in self.verdicts if not verdict.passed]",
        "return [verdict for verdict in self.verdicts[1:] if not verdict.passed]",
        "tests/registry/test_promotion.py",
    ),
    Mutant(
        "rollback keeps the alias",
        "churn/registry/promotion.py",
        "    registry.point(CHAMPION, previous)\n",
        "",
        "tests/registry/test_promotion.py",
    ),
    Mutant(
        "a feature that gives the label away is no suspect",
        "churn/evaluation/leakage.py",
        "if auc >= self.limit",
        "if auc > 1",
        "tests/evaluation/test_gates.py",
    ),
    Mutant(
        "customers are drawn row by row",
        "churn/evaluation/metrics.py",
        "yield drawn if in_order else drawn[units]",
        "yield rng.permutation(drawn[units])",
        "tests/evaluation/test_metrics.py",
    ),
    # ------------------------------------------------------------ monitoring
    Mutant(
        "nulls are a bin of values",
        "churn/monitoring/drift.py",
        "nulls_now=now.rows - now.known[feature] if now else 0",
        "nulls_now=0",
        "tests/monitoring/test_drift.py",
    ),
    Mutant(
        "a difference by chance counts as drift",
        "churn/monitoring/limits.py",
        "one.psi > max(limit, one.noise)",
        "one.psi > limit",
        "tests/monitoring",
    ),
    # ------------------------------------------------------------ tables, runs and exit codes
    Mutant(
        "an as-of that is written again is written twice",
        "churn/storage.py",
        '.mode("overwrite").option("mergeSchema", str(widen).lower())',
        '.mode("append").option("mergeSchema", "true")',
        "tests/test_storage.py",
    ),
    Mutant(
        "a micro-batch that is repeated is added again",
        "churn/storage.py",
        '.option("txnVersion", number)',
        '.option("txnVersion", __import__("time").time_ns())',
        "tests/test_storage.py",
    ),
    Mutant(
        "an exit code is swallowed",
        "churn/options.py",
        "_print_error(error.label, str(error))\n    return error.exit_code\n",
        "_print_error(error.label, str(error))\n    return 0\n",
        "tests/jobs/test_chain.py",
    ),
    Mutant(
        "a run that failed is left RUNNING",
        "churn/registry/tracking.py",
        "client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))",
        "pass",
        "tests/registry/test_tracking.py",
    ),
    Mutant(
        "a rerun leaves two versions",
        "churn/registry/tracking.py",
        "self.client.delete_model_version(model, earlier)",
        "pass",
        "tests/registry/test_tracking.py",
    ),
    Mutant(
        "a version that has scored is deleted",
        "churn/registry/tracking.py",
        "if earlier not in in_use and SCORED not in of:",
        "if earlier not in in_use:",
        "tests/registry/test_store_at_once.py",
    ),
    Mutant(
        "the same model is registered twice",
        "churn/registry/tracking.py",
        "if digest and of.get(DIGEST) == digest), None)",
        "if digest and not of), None)",
        "tests/registry/test_store_at_once.py",
    ),
    Mutant(
        "two batches are classified at once",
        "churn/sources/ingest.py",
        "with locks(lake.root, names), _naming_inputs(chosen), _cached(spark) as cache:",
        "with locks(lake.root, []), _naming_inputs(chosen), _cached(spark) as cache:",
        "tests/faults/test_at_once.py",
    ),
    Mutant(
        "two jobs commit at once",
        "churn/runtime/locks.py",
        "        fcntl.flock(descriptor, how | fcntl.LOCK_NB)\n",
        "        pass\n",
        "tests/runtime/test_locks.py",
    ),
    Mutant(
        "a job reads accepted tables in the middle of an ingest",
        "churn/sources/accepted.py",
        'locks(lake.root, [f"ingest {name}" for name in CONTRACTS], shared=True)',
        "locks(lake.root, [])",
        "tests/faults/test_at_once.py",
    ),
    Mutant(
        "a table is never seen by a session that saw its first commit begin",
        "churn/storage.py",
        "                log.invalidateCache(self.spark._jsparkSession, folder)\n",
        "",
        "tests/faults/test_at_once.py",
    ),
    Mutant(
        "a frame reads what is written later",
        "churn/storage.py",
        'self.spark.read.format("delta").option("versionAsOf", pinned)',
        'self.spark.read.format("delta").options(**({} if version is None else {"versionAsOf": version}))',
        "tests/test_storage.py",
    ),
    Mutant(
        "a promotion does not wait for a training that registers",
        "churn/registry/promotion.py",
        "    with tracking.registering(registry.tracking_uri, registry.model):\n        return _promoted(",
        "    if registry:\n        return _promoted(",
        "tests/registry/test_promotion.py",
    ),
    Mutant(
        "a model is evaluated on labels that it has learnt from",
        "churn/evaluation/challenger.py",
        "    if may_have_learnt(version.learnt_until, dates.test[0]):",
        '    if max(fitted["split"]["matured"]) >= f"{dates.test[0]:%Y-%m-%d}":',
        "tests/jobs/test_evaluation_again.py",
    ),
    Mutant(
        "an evaluation knows labels of later",
        "churn/evaluation/challenger.py",
        'stored.where(F.col("as_of").isin(*dates.test)), known_until=as_of)',
        'stored.where(F.col("as_of").isin(*dates.test)))',
        "tests/jobs/test_evaluation_again.py",
    ),
    Mutant(
        "what is logged is not what is read",
        "churn/storage.py",
        '.option("versionAsOf", pinned)',
        '.option("versionAsOf", latest)',
        "tests/test_storage.py",
    ),
    Mutant(
        "a challenger scores unasked",
        "churn/registry/model_registry.py",
        "        if not challenger:\n",
        "        if False:\n",
        "tests/registry/test_promotion.py",
    ),
    Mutant(
        "the prediction is the chance of a 0",
        "churn/training/pipeline.py",
        "Linear(np.array([0.0, 1.0]), 0.0)",
        "Linear(np.array([1.0, 0.0]), 0.0)",
        "tests/registry/test_serving.py",
    ),
    Mutant(
        "a version is scored without its inputs",
        "churn/dataset/feature_table.py",
        '    if lacking:\n        raise BadInputError(\n            f"{feature_table(spec)} has no values',
        '    if False:\n        raise BadInputError(\n            f"{feature_table(spec)} has no values',
        "tests/dataset/test_examples.py",
    ),
    # ------------------------------------------------------------ contacts, uplift and sales
    Mutant(
        "the arms of a campaign are swapped in its curve",
        "churn/decisions/uplift_curve.py",
        "counted(outcome * treated), counted(outcome * ~treated))",
        "counted(outcome * ~treated), counted(outcome * treated))",
        "tests/decisions/test_uplift_curve.py",
    ),
    Mutant(
        "the arms of a campaign are swapped in its effect",
        "churn/decisions/uplift.py",
        '(("treated", True), ("held_out", False))',
        '(("treated", False), ("held_out", True))',
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "outcomes held out are not scaled to the treated",
        "churn/decisions/uplift_curve.py",
        "(of_treated - of_held_out * scale) / all_treated",
        "(of_treated - of_held_out) / all_treated",
        "tests/decisions/test_uplift_curve.py",
    ),
    Mutant(
        "the X-learner weighs its regressions by the other arm's share",
        "churn/decisions/uplift_learners.py",
        "((1 - share, treated, of_treated), (share, ~treated, of_held_out))",
        "((share, treated, of_treated), (1 - share, ~treated, of_held_out))",
        "tests/decisions/test_uplift_learners.py",
    ),
    Mutant(
        "an outcome is counted before its days have passed",
        "churn/decisions/uplift_rows.py",
        'due = contacts.where(F.col("event_time") <= F.lit(until - timedelta(days=uplift.days)))',
        "due = contacts",
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "who had left before a contact counts as one who stayed",
        "churn/decisions/uplift_rows.py",
        'due.join(_left_before(due, sources, by), on=key, how="left_anti") if "closures" in sources else due',
        "due",
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "the outcome of a contact may be a feature",
        "churn/decisions/uplift_rows.py",
        "        if name in chosen and name not in beside and",
        "        if name in chosen and",
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "who was chosen shortly after a day counts as not chosen",
        "churn/decisions/uplift_rows.py",
        'F.datediff(F.col("chosen.as_of"), F.col("member.as_of"))) >= F.lit(uplift.days)',
        'F.datediff(F.col("chosen.as_of"), F.col("member.as_of"))) > F.lit(0)',
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "customers who were not chosen are an arm",
        "churn/decisions/uplift.py",
        "rows.where((draw >= 0.5) & _is_contact(rows))",
        "rows.where(draw >= 0.5)",
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "a retracted contact is one",
        "churn/decisions/uplift_rows.py",
        'sources["contacts"].where(known_by(F.lit(by)) & (',
        'sources["contacts"].where((',
        "tests/decisions/test_uplift.py",
    ),
    Mutant(
        "a customer held out counts as treated",
        "churn/sources/contacts.py",
        """F.coalesce("arm", F.lit(TREATED)) == TREATED""",
        """F.coalesce("arm", F.lit(TREATED)).isNotNull()""",
        "tests/dataset/test_treated_customers.py",
    ),
    Mutant(
        "a contact before as-of counts as a treatment",
        "churn/dataset/examples.py",
        'within = (F.col("_at") >= F.col("as_of")) & (F.col("_at") < end)',
        'within = F.col("_at") < end',
        "tests/dataset/test_treated_customers.py",
    ),
    Mutant(
        "a fee that rises is an upgrade",
        "churn/labels/sales.py",
        '(F.col("plan") != F.col("plan_before")) & (F.col("_size")',
        '(F.col("_size")',
        "tests/labels/test_sales_labels.py",
    ),
    Mutant(
        "an upgrade announced after as-of is known",
        "churn/labels/sales.py",
        'known.where(known_by(F.col("as_of")))',
        "known",
        "tests/labels/test_sales_labels.py",
    ),
    # ------------------------------------------------------------ decisions
    Mutant(
        "the profit of a leaver ignores how many accept",
        "churn/training/profit.py",
        "betaincc(campaign.alpha + 1, campaign.beta, least)",
        "betaincc(campaign.alpha, campaign.beta, least)",
        "tests/evaluation/test_profit.py",
    ),
    Mutant(
        "a purchase that is known later counts in a value",
        "churn/decisions/value.py",
        'F.when(is_before, known_by(at)).otherwise(F.col("superseded_at").isNull())',
        'F.col("superseded_at").isNull()',
        "tests/decisions/test_value.py",
    ),
    Mutant(
        "a customer who dropped out is expected to buy",
        "churn/decisions/purchase_model.py",
        "bought / (1 + dropped)",
        "bought",
        "tests/decisions/test_value.py",
    ),
    Mutant(
        "a reason comes from a protected attribute",
        "churn/scoring/reasons.py",
        "np.where(shown, np.abs(parts), 0.0)",
        "np.abs(parts)",
        "tests/scoring/test_score_reasons.py",
    ),
    Mutant(
        "a Shapley value forgets the order of features",
        "churn/scoring/tree_shap.py",
        "_quadrature((count + 1) // 2)",
        "_quadrature(1)",
        "tests/scoring/test_tree_shap.py",
    ),
    Mutant(
        "a held-out customer is contacted",
        "churn/decisions/plan.py",
        'np.where(part["held"].to_numpy(bool), HELD_OUT, TREATED)',
        'np.where(part["held"].to_numpy(bool), TREATED, TREATED)',
        "tests/decisions/test_plan.py",
    ),
    Mutant(
        "a scored customer without a value is not counted",
        "churn/decisions/plan.py",
        '"value_low", "value_high"), on="customer_id", how="left")',
        '"value_low", "value_high"), on="customer_id", how="inner")',
        "tests/decisions/test_plan.py",
    ),
    Mutant(
        "a plan reads values of other settings",
        "churn/decisions/value.py",
        "if seen != [wanted]:",
        "if not seen:",
        "tests/decisions/test_plan.py",
    ),
    Mutant(
        "a cell is a formula",
        "churn/decisions/plan.py",
        'if text.lstrip(" ").startswith(_FORMULA) else text',
        "if False else text",
        "tests/decisions/test_plan.py",
    ),
    Mutant(
        "the capacity is exceeded",
        "churn/decisions/assignment.py",
        "[float(capacity)]",
        "[float(capacity) + 1]",
        "tests/decisions/test_assignment.py",
    ),
    Mutant(
        "a plan learns from contacts whose outcomes were not known",
        "churn/decisions/plan_effects.py",
        "contact_rows(uplift, sources, by=as_of)",
        "contact_rows(uplift, sources)",
        "tests/decisions/test_plan_effects.py",
    ),
    Mutant(
        "a plan uses uplift that is no better than chance",
        "churn/decisions/plan_effects.py",
        "if mean <= 0:",
        "if mean <= -1:",
        "tests/decisions/test_plan_effects.py",
    ),
    Mutant(
        "what contacts cost is left out of what they earned",
        "churn/decisions/plan_outcomes.py",
        ' - float(treated["cost"].sum())',
        "",
        "tests/decisions/test_plan_outcomes.py",
    ),
)


def problems() -> list[str]:
    """Why mutants cannot be planted: a text that is not in its file exactly once, a test that is not there."""
    found = []
    for mutant in MUTANTS:
        file = PROJECT / mutant.file
        count = file.read_text("utf-8").count(mutant.was) if file.is_file() else 0
        if count != 1:
            found.append(f"{mutant.name}: {mutant.file} has {count} times {mutant.was!r}, want one")
        missing = [test for test in mutant.tests.split() if not (PROJECT / test).exists()]
        if missing:
            found.append(f"{mutant.name}: no {', '.join(missing)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--tests-pass", action="store_true", help="without a fault, it is known: do not run them first")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(mutant.name for mutant in MUTANTS))
        return
    if arguments.check:
        sys.exit("\n".join(problems()) or None)
    chosen = [mutant for mutant in MUTANTS if not arguments.names or mutant.name in arguments.names]
    if unknown := set(arguments.names) - {mutant.name for mutant in chosen}:
        sys.exit(f"no mutant named {', '.join(sorted(unknown))}; --list names them")
    if wrong := problems():
        sys.exit("\n".join(wrong))
    survived = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for name in COPIED:
            place = PROJECT / name
            if place.is_dir():
                shutil.copytree(
                    place, copy / name, ignore=shutil.ignore_patterns("__pycache__", "lake", "mlruns", "mlflow.db")
                )
            else:
                shutil.copy(place, copy / name)
        for tests in dict.fromkeys(mutant.tests for mutant in chosen if not arguments.tests_pass):
            if not _pass(copy, tests):
                sys.exit(f"{tests} fail without a fault; fix them first")
        for mutant in chosen:
            begin, file = time.monotonic(), copy / mutant.file
            text = file.read_text("utf-8")
            file.write_text(text.replace(mutant.was, mutant.now), "utf-8")
            is_alive = _pass(copy, mutant.tests)
            file.write_text(text, "utf-8")
            survived += [mutant.name] if is_alive else []
            outcome = "SURVIVED" if is_alive else "killed"
            print(f"{outcome}: {mutant.name} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} killed")
    sys.exit(f"survived: {', '.join(survived)}" if survived else 0)


def _pass(copy: Path, tests: str) -> bool:
    """Whether these tests pass in the copy."""
    line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, cwd=copy, env=env, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
