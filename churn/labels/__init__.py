"""What is to be predicted: a file a label, found by itself. A label receives the rows of a model and its sources, and
adds 1 or 0. Which rows those are, and when labels may be trained on, is not for here: churn.dataset, churn.model_spec.
"""

from __future__ import annotations

from churn.discovery import Registry
from churn.model_spec import Label

LABELS: Registry[type[Label]] = Registry("label", lambda value: isinstance(value, type) and issubclass(value, Label))
"""Every label by its name."""
LABELS.discover(__name__, __path__)
