"""Load files by path: a model, and a company's own catalogue of sources, features and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from churn.discovery import load_file, load_folder
from churn.errors import BadInputError, ConfigError, nearest
from churn.features.declarations import check_derived, features, forget
from churn.labels import LABELS
from churn.model_spec import Alerts, Campaign, Label, ModelSpec
from churn.sources import CONTRACTS
from churn.validation import Frozen, validated


def load_catalog(folder: Path) -> None:
    """Add what the files in `sources/`, `features/` and `labels/` of a folder declare to the library's own.

    A file is run once in a process. Raises ConfigError where it declares nothing, or a source or label whose name is
    taken; BadInputError where it cannot be run, or a feature has a name that is taken.
    """
    for module in load_folder(folder / "sources"):
        CONTRACTS.register(module)
    for module in load_folder(folder / "features"):
        family = module.__name__.rpartition(".")[2]
        if not any(feature.family == family for feature in features()):
            raise ConfigError(f"{module.__file__} declares no feature; see docs/add-a-feature.md")
    check_derived()
    for module in load_folder(folder / "labels"):
        LABELS.register(module)


def load_spec(path: str | Path) -> ModelSpec:
    """The `SPEC` of a model file, wherever it is.

    Raises BadInputError where the file is missing, cannot be run, or holds no SPEC.
    """
    file = Path(path)
    if not file.is_file():
        raise BadInputError(
            f"no model file {file}; models are files such as models/churn.py that hold SPEC = ModelSpec(...)"
        )
    name = f"churn_model_{file.stem}"
    forget(name)  # a chain in one session loads its model for each step
    spec = getattr(load_file(file, name), "SPEC", None)
    if not isinstance(spec, ModelSpec):
        raise BadInputError(f"{file} holds no SPEC = ModelSpec(...)")
    return spec


def with_settings(spec: ModelSpec, values: Mapping[str, Any], *, file: Path, text: str = "") -> ModelSpec:
    """The model with a company's settings, [model.<name>] and its parts. Raises one ConfigError with all that is
    wrong, and in which line of the file's `text`."""
    optional: Mapping[str, type[Frozen]] = {"alerts": Alerts, "campaign": Campaign}
    parts = [name for name in type(spec).model_fields if isinstance(getattr(spec, name), Frozen) or name in optional]
    changed: dict[str, Any] = {}
    problems = []
    for name, value in values.items():
        section = f"model.{spec.name}"
        try:
            if name == "label":
                changed[name] = _label(spec, value, file, text)
            elif name == "baseline":
                changed[name] = _baseline(value, file, section)
            elif name not in parts:
                raise ConfigError(
                    f"{file.name}: [{section}] has no setting {name!r}{nearest(name, [*parts, 'baseline'])}"
                )
            else:
                before = getattr(spec, name) or optional[name]()
                changed[name] = validated(
                    type(before), {**before.model_dump(), **_table(value, file, f"{section}.{name}")},
                    file=file, text=text, section=f"{section}.{name}",
                )  # fmt: skip
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return spec.model_copy(update=changed).check_campaign()


def _baseline(value: Any, file: Path, section: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{file.name}: [{section}] baseline is {value!r}, want the name of a feature")
    return value


def _label(spec: ModelSpec, value: Any, file: Path, text: str) -> Label:
    section = f"model.{spec.name}.label"
    given = {"name": value} if isinstance(value, str) else dict(_table(value, file, section))
    name = given.pop("name", spec.label.name)
    label = LABELS.named(name, f"{file.name}: [{section}] name")
    before = spec.label.model_dump() if isinstance(spec.label, label) else {}
    return validated(label, {**before, **given}, file=file, text=text, section=section)


def _table(value: Any, file: Path, section: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{file.name}: [{section}] is {value!r}, want a table of settings")
    return value
