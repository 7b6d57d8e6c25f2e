"""What the tests of features share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from churn.features import declare


@pytest.fixture
def _apart() -> Iterator[None]:
    """Features that a test declares are in no catalogue after it."""
    registry = cast("dict[str, declare.Feature]", declare._REGISTRY)
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)
