"""Plant named faults, one at a time, and see that the tests of that part of the code notice: `python -m tests.mutants`.

Each is planted into a copy of the project. A fault that no test notices survives; the command then fails and names it.
`python -m tests.mutants NAME ...` plants these alone, `--list` names them all.
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


VISIBLE, PANEL = "churn/features/engine/point_in_time.py", "tests/features/test_customer_features.py tests/properties"
ROWS = "tests/features/test_transaction_features.py tests/properties"
FIT = "tests/training/test_fit.py"

MUTANTS = (
    # ------------------------------------------------------------ time
    Mutant(
        "an event at as-of is seen",
        VISIBLE,
        'np.searchsorted(as_ofs, event, side="right")',
        'np.searchsorted(as_ofs, event, side="left")',
        PANEL,
    ),
    Mutant(
        "known time is ignored",
        VISIBLE,
        'np.searchsorted(as_ofs, known, side="left"))',
        'np.searchsorted(as_ofs, event, side="right"))',
        PANEL,
    ),
    Mutant(
        "a row known at as-of is not seen",
        VISIBLE,
        'np.searchsorted(as_ofs, known, side="left")',
        'np.searchsorted(as_ofs, known, side="right")',
        PANEL,
    ),
    Mutant(
        "superseded rows are seen",
        VISIBLE,
        'return first, np.searchsorted(as_ofs, superseded, side="left")',
        "return first, np.full(len(event), len(as_ofs))",
        PANEL,
    ),
    Mutant(
        "the cohort knows what is known later",
        VISIBLE,
        'return (F.col("known_time") <= as_of) & replaced_later',
        "return replaced_later",
        "tests/dataset",
    ),
    Mutant(
        "the cohort sees what was replaced",
        VISIBLE,
        'return (F.col("known_time") <= as_of) & replaced_later',
        'return F.col("known_time") <= as_of',
        "tests/dataset",
    ),
    Mutant(
        "a transaction sees what happened with it",
        VISIBLE,
        "np.maximum(event + delay + 1, known)",
        "np.maximum(event + delay, known)",
        ROWS,
    ),
    Mutant(
        "a transaction sees what is known later",
        VISIBLE,
        "np.maximum(event + delay + 1, known)",
        "event + delay + 1",
        ROWS,
    ),
    Mutant(
        "a transaction sees one moment too far back",
        VISIBLE,
        "np.minimum(event + delay + window + 1, superseded)",
        "np.minimum(event + delay + window + 2, superseded)",
        ROWS,
    ),
    Mutant(
        "the delay of labels is dropped",
        "churn/features/engine/measures.py",
        "late = delay if feature.delayed else 0",
        "late = 0",
        "tests/features/test_transaction_features.py",
    ),
    # ------------------------------------------------------------ labels
    Mutant(
        "lead is dropped",
        "churn/labels/window.py",
        "return as_of + F.make_dt_interval(F.lit(self.lead))",
        "return as_of",
        "tests/labels",
    ),
    Mutant(
        "maturity is dropped",
        "churn/labels/window.py",
        "days=self.lead + self.horizon + self.maturity)",
        "days=self.lead + self.horizon)",
        "tests/labels tests/dataset tests/dataset/test_examples.py tests/training/test_retrain_trigger.py",
    ),
    Mutant(
        "the label window's end is inclusive",
        "churn/labels/window.py",
        "(moment < end)",
        "(moment <= end)",
        "tests/labels",
    ),
    Mutant(
        "a window that the data cut is called complete",
        "churn/labels/window.py",
        "if self.ripe_at(as_of) > known_until]",
        "if False]",
        "tests/labels tests/dataset/test_examples.py",
    ),
    Mutant(
        "who left before the window is called 0",
        "churn/labels/churn.py",
        ".where(~too_early & ~other_kind)",
        ".where(~other_kind)",
        "tests/labels",
    ),
    Mutant(
        "who was closed for another reason is called 1",
        "churn/labels/churn.py",
        ".where(~too_early & ~other_kind)",
        ".where(~too_early)",
        "tests/labels",
    ),
    Mutant(
        "every report is a fraud",
        "churn/labels/fraud.py",
        'reports.where("is_fraud").select',
        "reports.select",
        "tests/labels tests/dataset/test_examples.py",
    ),
    Mutant(
        "a report is known with its transaction",
        "churn/labels/fraud.py",
        'F.greatest("known_time", "_known")',
        'F.col("known_time")',
        "tests/labels tests/features/test_transaction_features.py",
    ),
    Mutant(
        "labels are told by what is known later",
        "churn/dataset/examples.py",
        "known_by(F.lit(known_until)))",
        "F.lit(True))",
        "tests/dataset/test_examples.py",
    ),
    Mutant(
        "blocked cards are judged",
        "churn/dataset/examples.py",
        'how="left_anti")\n\n\n@dataclass',
        'how="left")\n\n\n@dataclass',
        "tests/dataset/test_examples.py",
    ),
    # ------------------------------------------------------------ splits, fits and choices
    Mutant(
        "the calibrate slice overlaps train",
        "churn/dataset/split.py",
        "train = tuple(a for a in ripe if window.ripe_at(a) <= later[0])",
        "train = tuple(a for a in ripe if a < later[0])",
        "tests/dataset",
    ),
    Mutant(
        "a fold trains on labels of its later dates",
        "churn/dataset/split.py",
        "if self.window.ripe_at(one) <= later[0]), later)",
        "if one < later[0]), later)",
        "tests/dataset",
    ),
    Mutant(
        "the gap of a split is not checked",
        "churn/dataset/split.py",
        "if self.window.ripe_at(earlier) > later:",
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
        "a null is put at 0",
        "churn/training/preparation.py",
        "np.where(np.isnan(values), slot.fill, values)",
        "np.nan_to_num(values)",
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
        'table = table.take(pa.array(np.lexsort((keys[ORDER], keys["as_of"]))))',
        "pass",
        FIT,
    ),
    # ------------------------------------------------------------ scores, alerts and gates
    Mutant(
        "the alert budget is off by one",
        "churn/scoring/batch.py",
        'F.col("rank") <= spec.budget',
        'F.col("rank") < spec.budget',
        "tests/scoring",
    ),
    Mutant(
        "the audit is drawn from the alerts too",
        "churn/scoring/batch.py",
        'rest = scores.where(F.col("rank") > spec.budget)',
        "rest = scores",
        "tests/scoring",
    ),
    Mutant(
        "a card that was found counts again",
        "churn/evaluation/alert_metrics.py",
        "found |= set(",
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
        "a feature that gives the label away is green",
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
        "what chance makes counts as drift",
        "churn/monitoring/limits.py",
        "one.psi > max(spec.psi_limit, one.noise)",
        "one.psi > spec.psi_limit",
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
        "churn/job_runner.py",
        "        return error.exit_code\n",
        "        return 0\n",
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
        "                self.client.delete_model_version(model, earlier.version)\n",
        "                pass\n",
        "tests/registry/test_tracking.py",
    ),
    Mutant(
        "a version is scored without its inputs",
        "churn/dataset/examples.py",
        '    if lacking:\n        raise BadInputError(\n            f"{feature_table(spec)} has no values',
        '    if False:\n        raise BadInputError(\n            f"{feature_table(spec)} has no values',
        "tests/dataset/test_examples.py",
    ),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--list", action="store_true")
    asked = arguments.parse_args()
    if asked.list:
        print("\n".join(mutant.name for mutant in MUTANTS))
        return
    wanted = [mutant for mutant in MUTANTS if not asked.names or mutant.name in asked.names]
    if unknown := set(asked.names) - {mutant.name for mutant in wanted}:
        sys.exit(f"no mutant named {', '.join(sorted(unknown))}; --list names them")
    survived = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for name in COPIED:
            place = PROJECT / name
            if place.is_dir():
                shutil.copytree(place, copy / name, ignore=shutil.ignore_patterns("__pycache__", "lake", "ml*"))
            else:
                shutil.copy(place, copy / name)
        for tests in dict.fromkeys(mutant.tests for mutant in wanted):
            if not _pass(copy, tests):
                sys.exit(f"{tests} fail without a fault; mend them first")
        for mutant in wanted:
            begin, file = time.monotonic(), copy / mutant.file
            text = file.read_text("utf-8")
            if text.count(mutant.was) != 1:
                sys.exit(f"{mutant.name}: {mutant.file} has {text.count(mutant.was)} times {mutant.was!r}, want one")
            file.write_text(text.replace(mutant.was, mutant.now), "utf-8")
            lives = _pass(copy, mutant.tests)
            file.write_text(text, "utf-8")
            survived += [mutant.name] if lives else []
            print(f"{'SURVIVED' if lives else 'killed'}: {mutant.name} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{len(wanted) - len(survived)} of {len(wanted)} killed")
    sys.exit(f"survived: {', '.join(survived)}" if survived else 0)


def _pass(copy: Path, tests: str) -> bool:
    """Whether these tests pass in the copy."""
    line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, cwd=copy, env=env, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
