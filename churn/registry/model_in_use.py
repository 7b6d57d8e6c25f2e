"""The version that scores in a process that goes on: a stream takes up what promote and rollback decide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from churn.registry import tracking
from churn.registry.model_registry import ModelRegistry
from churn.training.model_version import ModelVersion


@dataclass
class ModelInUse:
    """The version of a model that scores, asked of the registry whenever it matters, and loaded when it changes."""

    registry: ModelRegistry
    challenger: bool = False
    """Whether the challenger may score while there is no champion."""
    _loaded: ModelVersion | None = field(default=None, repr=False)

    def current(self) -> ModelVersion:
        """The version in use now. Raises ChurnError where there is none, or it cannot be had."""
        alias, number = self.registry.in_use(challenger=self.challenger)
        return self.numbered(number, alias)

    def numbered(self, number: str, alias: str) -> ModelVersion:
        """One version, which scores under an alias. Raises ChurnError where it cannot be had."""
        if self._loaded is None or self._loaded.number != number:
            version = tracking.load_model(self.registry.tracking_uri, self.registry.model, number)
            self.registry.mark_scored(number, "a stream")
            self._loaded = version
        if self._loaded.scored_as != alias:
            self._loaded = replace(self._loaded, scored_as=alias)
        return self._loaded
