"""The state of one bucket of a stream, in memory, for tests of what a stateful processor does with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class State:
    """The state of one bucket, in memory: a map state, or a value state."""

    def __init__(self) -> None:
        self.values: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.of: dict[str, State] = {}

    def getMapState(self, name: str, *_: object) -> State:  # noqa: N802
        return self.of.setdefault(name, State())

    def getValueState(self, name: str, *_: object) -> State:  # noqa: N802
        return self.of.setdefault(name, State())

    def get(self) -> tuple[Any, ...] | None:
        return self.values.get(())

    def update(self, value: tuple[Any, ...]) -> None:
        self.values[()] = value

    def getValue(self, key: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: N802
        return self.values.get(key)

    def updateValue(self, key: tuple[Any, ...], value: tuple[Any, ...]) -> None:  # noqa: N802
        self.values[key] = value

    def removeKey(self, key: tuple[Any, ...]) -> None:  # noqa: N802
        del self.values[key]

    def iterator(self) -> Iterator[tuple[Any, Any]]:
        return iter(list(self.values.items()))
