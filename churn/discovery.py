"""How declarations are found: every file of a catalogue, the library's own and a company's, without a list of them.

A company's catalogue is a folder with `sources/`, `features/` and `labels/`; [catalog] in churn.toml names it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Generic, TypeVar

from churn.errors import BadInputError, ConfigError, nearest

T = TypeVar("T")


def modules(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    """The modules of a package, imported, in the order of their names."""
    for name in sorted(module.name for module in iter_modules(path)):
        yield import_module(f"{package}.{name}")


def load_file(file: Path, name: str) -> ModuleType:
    """A Python file as a module of this name, run anew. Raises BadInputError where it cannot be run."""
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise BadInputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    return module


def load_folder(folder: Path) -> list[ModuleType]:
    """The Python files of a folder, each run once in a process, in the order of their names."""
    found = []
    for file in sorted(folder.glob("*.py")):
        name = f"churn_catalog.{file.resolve()}"
        if name not in sys.modules:
            sys.modules[name] = load_file(file, file.stem)
        found.append(sys.modules[name])
    return found


class Registry(Mapping[str, T], Generic[T]):
    """Declarations by name, a file each. Two of one name, or a file without one, raise ConfigError."""

    def __init__(self, what: str, is_one: Callable[[Any], bool]) -> None:
        self._what, self._is_one = what, is_one
        self._found: dict[str, T] = {}
        self._files: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def named(self, name: str, where: str) -> T:
        """The declaration of this name. Raises ConfigError, which begins with `where`, and names the nearest."""
        if name not in self._found:
            raise ConfigError(f"{where}: no {self._what} {name!r}{nearest(name, self._found)}")
        return self._found[name]

    def discover(self, package: str, path: Iterable[str]) -> None:
        """Register what every module of a package declares."""
        for module in modules(package, path):
            self.register(module)

    def register(self, module: ModuleType) -> None:
        """Register what a module declares; what it only imports is not its own."""
        file = str(module.__file__)
        own = [value for value in vars(module).values() if self._is_one(value) and self._is_own(value, file)]
        if not own:
            raise ConfigError(f"{file} declares no {self._what}; see docs/add-a-{self._what}.md")
        for one in own:
            taken = self._files.setdefault(one.name, file)
            if taken != file:
                raise ConfigError(f"two {self._what}s are named {one.name!r}, in {taken} and in {file}; rename one")
            self._found[one.name] = one

    def _is_own(self, value: Any, file: str) -> bool:
        of = sys.modules.get(value.__module__) if isinstance(value, type) else None
        if of is not None and of.__file__ != file:
            return False
        return all(value is not one or self._files[name] == file for name, one in self._found.items())
