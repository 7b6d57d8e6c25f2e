"""Features of customers at as-ofs and of transactions, from rows known by then.

In: a spine (customers at as-ofs) or transactions, and the sources. Out: the same rows with feature columns, the same by
batch and by stream. Labels and models are in later rooms.
"""

from __future__ import annotations

from churn.discovery import modules
from churn.features import catalog
from churn.features.customer_features import customer_features
from churn.features.declarations import (
    EVER,
    HOUR,
    MINUTE,
    Derived,
    Feature,
    Variant,
    Windowed,
    catalogue,
    check_derived,
    derived,
    features,
    followed,
    windowed,
)
from churn.features.transaction_features import transaction_features

__all__ = [
    "EVER",
    "HOUR",
    "MINUTE",
    "Derived",
    "Feature",
    "Variant",
    "Windowed",
    "catalogue",
    "customer_features",
    "derived",
    "features",
    "followed",
    "transaction_features",
    "windowed",
]

for _ in modules(catalog.__name__, catalog.__path__):
    pass
check_derived()
