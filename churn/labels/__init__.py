"""What is to be predicted, and when it may be known."""

from collections.abc import Mapping
from types import MappingProxyType

from churn.labels.churn import closure, inactivity
from churn.labels.fraud import fraud, reported
from churn.labels.window import LabelWindow

__all__ = ["LABELS", "LabelWindow", "closure", "fraud", "inactivity", "reported"]

LABELS: Mapping[str, str] = MappingProxyType(
    {"closure": "closures", "inactivity": "transactions", "fraud": "fraud_reports"}
)
"""The labels a model may be trained on, and the source each one reads."""
