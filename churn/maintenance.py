"""What a lake stores no longer than it has to, and in few large files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from churn.config import Maintenance
from churn.storage import Lake, literal

_RETAINED = {"features_": "feature_days", "scores_": "score_days", "alerts_": "score_days"}


@dataclass(frozen=True)
class Maintained:
    """A table after its maintenance: how many files it was in and is in now, and how many rows were too old."""

    table: str
    files_before: int
    files: int
    deleted: int


def maintain(lake: Lake, settings: Maintenance, as_of: datetime) -> Iterator[Maintained]:
    """Delete what is older than the settings say, compact every table, and forget its old versions.

    Features, scores and alerts have an as-of, and are deleted by it. Accepted rows, the quarantine and the ledgers are
    never deleted: nothing could bring them back.
    """
    for name in lake.names():
        before, rows = len(lake.read(name).inputFiles()), 0
        setting = next((days for prefix, days in _RETAINED.items() if name.startswith(prefix)), None)
        days = getattr(settings, setting) if setting else None
        if days is not None:
            is_old = f"as_of < {literal(as_of - timedelta(days=days))}"
            if rows := lake.read(name).where(is_old).count():
                lake.delete(name, is_old)
        lake.compact(name)
        lake.forget_versions(name, settings.version_days)
        yield Maintained(name, before, len(lake.read(name).inputFiles()), rows)
