"""The files of a model version: in MLlib's own format, which brings no code, and as they were registered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from churn.errors import BadInputError

MLMODEL: Final = "MLmodel"
_DATA = "sparkml"
_FORMAT: Final = {
    "python_function": {"loader_module": "mlflow.spark", "data": _DATA, "code": None},
    "spark": {"model_class": "pyspark.ml.pipeline.PipelineModel", "model_data": _DATA, "code": None},
}
"""What an MLmodel says by flavour, where MLflow runs nothing but MLlib to load it."""
_CLASSES: Final = ("org.apache.spark.ml.", "pyspark.ml.")
_ADDED_BY_MLFLOW: Final = "registered_model_meta"
"""The file that a download of a version has beside those that were logged."""


def files_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files of a model in a folder."""
    total = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _ADDED_BY_MLFLOW):
        name, content = file.relative_to(folder).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{content}  {name}\n".encode())
    return total.hexdigest()


def check_format(folder: Path, version: str) -> None:
    """Raises BadInputError, before anything of a model in a folder is run, where loading it would run other code than
    MLlib's; OSError where there are no files. `version` names it in the message."""
    if wrong := next(_foreign(folder), None):
        raise BadInputError(
            f"{version} is not loaded: {wrong}; want MLlib's own format without code, as `train` registers it"
        )


def _foreign(folder: Path) -> Iterator[str]:
    """What does not belong to a model of MLlib."""
    try:
        content: Any = yaml.safe_load((folder / MLMODEL).read_text("utf-8"))
        flavors: dict[str, Any] = dict(content["flavors"])
    except (ValueError, TypeError, KeyError, yaml.YAMLError):
        yield f"its {MLMODEL} cannot be read"
        return
    yield from (f"its {MLMODEL} has the flavour {name!r}" for name in sorted(flavors.keys() - _FORMAT))
    for flavor, wanted in _FORMAT.items():
        seen = flavors.get(flavor) or {}
        for key, value in wanted.items():
            if seen.get(key) != value:
                yield f"its {MLMODEL} has {flavor}: {key} = {seen.get(key)!r}, want {value!r}"
    for file in sorted(folder.rglob("metadata/part-*")):
        name = _stage_class(file)
        if not str(name).startswith(_CLASSES):
            yield f"{file.relative_to(folder)} names the class {name!r}"


def _stage_class(file: Path) -> object:
    """The class that a stage's metadata name; MLlib imports it, whatever it is."""
    try:
        return json.loads(file.read_text("utf-8"))["class"]
    except (ValueError, TypeError, KeyError):
        return None
