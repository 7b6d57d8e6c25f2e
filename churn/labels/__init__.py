"""What is to be predicted, and when it may be known."""

from churn.labels.churn import LABELS, closure, inactivity
from churn.labels.fraud import fraud, reported
from churn.labels.window import LabelWindow

__all__ = ["LABELS", "LabelWindow", "closure", "fraud", "inactivity", "reported"]
