"""Churn, fraud and sales models from call logs and transactions, on Spark.

import churn
rows = churn.customer_features(spine, {"transactions": transactions}, ["spending"], as_ofs=[as_of])
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Each name and its module, imported at first use: a notebook that wants features need not wait for MLlib. After a colon
# is its name in that module. No module of this package may have one of these names: its import would replace the name.
_MODULES = {
    "AddOn": "churn.labels.sales",
    "Alerts": "churn.model_spec",
    "Blend": "churn.training.algorithms",
    "Boosting": "churn.training.algorithms",
    "CONTRACTS": "churn.sources",
    "Campaign": "churn.model_spec",
    "Closure": "churn.labels.closure",
    "Cohort": "churn.model_spec",
    "Contract": "churn.sources.contract",
    "EvaluationSettings": "churn.model_spec",
    "FeatureSet": "churn.model_spec",
    "Field": "churn.sources.contract",
    "Forest": "churn.training.algorithms",
    "Fraud": "churn.labels.fraud",
    "Inactivity": "churn.labels.inactivity",
    "LABELS": "churn.labels",
    "Label": "churn.model_spec",
    "LabelWindow": "churn.model_spec",
    "Lake": "churn.storage",
    "Logistic": "churn.training.algorithms",
    "MLlib": "churn.training.algorithms",
    "ModelSpec": "churn.model_spec",
    "Monitoring": "churn.model_spec",
    "MoreSpend": "churn.labels.sales",
    "Schedule": "churn.model_spec",
    "Training": "churn.model_spec",
    "Upgrade": "churn.labels.sales",
    "Vocabulary": "churn.vocabulary",
    "accepted": "churn.sources.accepted",
    "backtest": "churn.evaluation.backtest",
    "catalogue": "churn.features",
    "customer_features": "churn.features.customer_features",
    "derived": "churn.features",
    "evaluate": "churn.evaluation.metrics",
    "examples": "churn.dataset.examples",
    "fit": "churn.training.fit",
    "followed": "churn.features",
    "ingest": "churn.sources.ingest",
    "load_catalog": "churn.loading",
    "load_company": "churn.job_runner",
    "load_model_spec": "churn.job_runner",
    "load_spec": "churn.loading",
    "plan_campaign": "churn.decisions.plan",
    "spark_session": "churn.runtime.session:session",
    "split_in_time": "churn.dataset.split",
    "transaction_features": "churn.features.transaction_features",
    "validate": "churn.sources.ingest",
    "valuation": "churn.decisions.value",
    "windowed": "churn.features",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605 - the same names, written once


def __getattr__(name: str) -> Any:
    """A public name, from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'churn' has no attribute {name!r}")
    module, _, own_name = _MODULES[name].partition(":")
    return getattr(import_module(module), own_name or name)
