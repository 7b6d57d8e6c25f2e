"""How declarations are found: a file each, in the library's catalogues and in a company's, without a list of them.

A company's catalogue is a folder with `sources/`, `features/` and `labels/`; `catalog` in churn.toml names it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Generic, TypeVar

from pyspark.cloudpickle import register_pickle_by_value

from churn.errors import BadInputError, ConfigError, nearest
from churn.runtime.processes import TERMINATED

T = TypeVar("T")


def modules(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    """The modules of a package, imported, in the order of their names."""
    for name in sorted(module.name for module in iter_modules(path)):
        yield import_module(f"{package}.{name}")


def load_file(file: Path, name: str) -> ModuleType:
    """A Python file as a module of this name, run anew. Raises BadInputError where it cannot be run."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations of its classes are resolved there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SystemExit) and error.code != TERMINATED:  # but for SIGTERM, which ends the job
            raise ConfigError(f"{file} ends the program (SystemExit: {error.code}); it may only declare") from error
        if isinstance(error, BadInputError) or not isinstance(error, Exception):
            raise
        raise BadInputError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    register_pickle_by_value(module)  # type: ignore[no-untyped-call]  # Spark's workers cannot import it
    return module


def load_folder(folder: Path) -> list[ModuleType]:
    """The Python files of a folder, each run once in a process, in the order of their names."""
    names = {f"churn_catalog{folder.resolve()}.{file.stem}": file for file in sorted(folder.glob("*.py"))}
    return [sys.modules.get(name) or load_file(file, name) for name, file in names.items()]


class Registry(Mapping[str, T], Generic[T]):
    """Declarations by name, a file each. `kind` is what they are called in messages."""

    def __init__(self, kind: str, is_declaration: Callable[[Any], bool]) -> None:
        self._kind, self._is_declaration = kind, is_declaration
        self._declared: dict[str, T] = {}
        self._files: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        return self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def named(self, name: str, setting: str) -> T:
        """The declaration of this name. Raises ConfigError about `setting` with the nearest name."""
        if name not in self._declared:
            raise ConfigError(f"{setting}: no {self._kind} {name!r}{nearest(name, self._declared)}")
        return self._declared[name]

    def discover(self, package: str, path: Iterable[str]) -> None:
        """Register what every module of a package declares."""
        for module in modules(package, path):
            self.register(module)

    def register(self, module: ModuleType) -> None:
        """Register what a module declares; what it imports is not its own.

        Raises ConfigError where it declares nothing, or a name that another file has.
        """
        file = str(module.__file__)
        own = [value for value in vars(module).values() if self._is_declaration(value) and self._is_own(value, module)]
        if not own:
            raise ConfigError(f"{file} declares no {self._kind}; see docs/add-a-{self._kind}.md")
        for value in own:
            taken = self._files.setdefault(value.name, file)
            if taken != file:
                raise ConfigError(f"two {self._kind}s are named {value.name!r}, in {taken} and in {file}; rename one")
            self._declared[value.name] = value

    def _is_own(self, value: Any, module: ModuleType) -> bool:
        """A class is its module's, if it is not abstract; another value that of the first file that had it."""
        if isinstance(value, type):
            return value.__module__ == module.__name__ and not isabstract(value)
        return self._files.get(value.name) == str(module.__file__) or value is not self._declared.get(value.name)
