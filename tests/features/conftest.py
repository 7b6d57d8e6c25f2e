"""What the tests of features share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from churn.features import declarations


@pytest.fixture
def _restored_catalogue() -> Iterator[None]:
    """Features that a test declares are in no catalogue after it."""
    registry = cast("dict[str, declarations.Feature]", declarations._REGISTRY)
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)
