"""Churn, fraud and sales models from call logs and transactions, on Spark.

import churn
rows = churn.panel(spine, {"transactions": transactions}, ["spending"], as_ofs=[as_of])
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Each name and its module, imported when first used: a notebook that wants features need not wait for MLlib. None is
# that of a module in this package, which Python would put in its place; after a colon is what it is called there.
_PLACES = {
    "Blend": "churn.training.algorithms",
    "Boosting": "churn.training.algorithms",
    "CONTRACTS": "churn.contracts",
    "Forest": "churn.training.algorithms",
    "LabelWindow": "churn.labels",
    "Lake": "churn.storage",
    "Logistic": "churn.training.algorithms",
    "MLlib": "churn.training.algorithms",
    "ModelSpec": "churn.training.spec",
    "backtest": "churn.evaluation.backtest",
    "catalogue": "churn.features",
    "closure": "churn.labels",
    "derived": "churn.features",
    "evaluate": "churn.evaluation.metrics",
    "fit": "churn.training.fit",
    "followed": "churn.features",
    "inactivity": "churn.labels",
    "ingest": "churn.contracts.ingest",
    "load_spec": "churn.training.spec",
    "panel": "churn.features",
    "rows": "churn.features",
    "spark_session": "churn.session:session",
    "split_in_time": "churn.dataset.split",
    "validate": "churn.contracts.ingest",
    "windowed": "churn.features",
}

__all__ = sorted(_PLACES)  # noqa: PLE0605 - the same names, written once


def __getattr__(name: str) -> Any:
    """The public name, from the module that holds it."""
    if name not in _PLACES:
        raise AttributeError(f"module 'churn' has no attribute {name!r}")
    place, _, own_name = _PLACES[name].partition(":")
    return getattr(import_module(place), own_name or name)
