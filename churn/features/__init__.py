"""The features: one file a family, found by itself. A family declares with `windowed`, `followed` and `derived`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from churn.features.declare import (
    EVER,
    HOUR,
    MINUTE,
    Derived,
    Feature,
    Windowed,
    catalogue,
    check_derived,
    derived,
    features,
    followed,
    windowed,
)
from churn.features.panel import panel
from churn.features.rows import rows
from churn.features.visible import known_by

__all__ = [
    "EVER",
    "HOUR",
    "MINUTE",
    "Derived",
    "Feature",
    "Windowed",
    "catalogue",
    "derived",
    "features",
    "followed",
    "known_by",
    "panel",
    "rows",
    "windowed",
]

_MACHINERY = frozenset(
    {"aggregate", "declare", "kernel", "measure", "moments", "pack", "panel", "plan", "reference", "rows", "visible"}
    | {"memory", "state", "stream"}
)

for _module in sorted(module.name for module in iter_modules(__path__)):
    if _module not in _MACHINERY:
        import_module(f"{__name__}.{_module}")
check_derived()
