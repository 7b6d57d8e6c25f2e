"""Names of the JVM that Py4J has resolved once are not resolved again.

For each use of `jvm.functions`, `jvm.PythonUtils` or `jvm.org`, Py4J asks the JVM what the name is, and Java looks in
vain for a class of that name, in every jar and every imported package. Jobs use such names a thousand times: on small
data it was a twelfth of the CPU time of the driver's JVM.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from py4j.java_gateway import JavaClass, JavaPackage, JVMView


@cache
def remember_jvm_names() -> None:
    """From now on each view of a JVM, and each package in it, keeps the classes and packages that it has found."""
    for owner in (JVMView, JavaPackage):
        _remember(owner)


def _remember(owner: Any) -> None:
    resolve = owner.__getattr__

    def found(self: Any, name: str) -> Any:
        value = resolve(self, name)
        if isinstance(value, JavaClass | JavaPackage):
            self.__dict__[name] = value
        return value

    owner.__getattr__ = found
