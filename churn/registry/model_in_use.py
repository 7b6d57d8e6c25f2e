"""The version that scores in a process that goes on: a stream takes up what promote and rollback decide."""

from __future__ import annotations

from dataclasses import dataclass, field

from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.training.model_version import ModelVersion


@dataclass
class ModelInUse:
    """The registered versions of one model, each loaded once."""

    registry: ModelRegistry
    _loaded: dict[str, ModelVersion] = field(default_factory=dict, repr=False)

    def current(self) -> ModelVersion:
        """The champion as of now; while there is none, the challenger. Raises ChurnError where neither can be had."""
        _, number = self.registry.in_use()
        return self.numbered(number)

    def numbered(self, number: str) -> ModelVersion:
        """One version. Raises ChurnError where it cannot be loaded."""
        if number not in self._loaded:
            self._loaded = {number: tracking.load_model(self.registry.tracking_uri, self.registry.model, number)}
        return self._loaded[number]
