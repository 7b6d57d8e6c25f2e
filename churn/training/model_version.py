"""A version of a model, as training made it and a registry holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.ml import PipelineModel


@dataclass(frozen=True)
class ModelVersion:
    """`number` is the registry's; `summary` is what its training recorded in `fit.json`."""

    model: PipelineModel
    number: str
    run_id: str
    summary: Mapping[str, Any]
    scored_as: str = "champion"
    """The alias by which it scores; a challenger has not passed its gates."""

    @property
    def learnt_until(self) -> datetime:
        """When the newest label that it has learnt from was complete: it knows nothing that happened later."""
        return datetime.fromisoformat(self.summary["learnt_until"])


def may_have_learnt(learnt_until: datetime, as_of: datetime) -> bool:
    """Whether a version that has learnt until a time may have learnt what happened after an as-of: its scores there are
    no evidence."""
    return as_of < learnt_until
