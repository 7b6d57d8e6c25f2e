"""Runs and models in MLflow: parameters, the tables read, metrics, artifacts, and the registered models.

The only module that imports mlflow, which takes a second or two: import it where a job needs it, not sooner.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # fail at once where a server is down, not after minutes

import mlflow
import mlflow.spark
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from sqlalchemy.exc import SQLAlchemyError

from churn.config import Config, sqlite_file, sqlite_uri
from churn.errors import BadInputError, ChurnError, DamageError
from churn.registry.model_files import check_format, files_digest
from churn.runtime.faults import explained
from churn.runtime.locks import lock
from churn.runtime.private_folders import private_folder, process_folder
from churn.runtime.processes import on_sigterm
from churn.training.model_version import ModelVersion

CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
"""The champion before this one, to go back to."""
RUN_KEY: Final = "run_key"
"""The tag that names what a run does, such as "train churn 2026-10-01"; a rerun has the same."""
HOST: Final = "host"
"""The tag with the machine that a run is on."""
DIGEST: Final = "digest"
"""The tag of a version that says which model it is: a rerun that makes the same one registers no other."""
FILES: Final = "files_sha256"
"""The tag of a run, and of the version it registers, with the digest of the model's files."""
FIT: Final = "fit_sha256"
"""Likewise, with the digest of `fit.json`."""
SCORED: Final = "scored"
"""The tag of a version that has scored: it is never deleted. Its value says what it scored first."""
LEARNT_UNTIL: Final = "learnt_until"
"""The tag of a version, and of the run that trained it: until when it has learnt."""

_LONGEST_VALUE = 6000
_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
_ENDING_SECONDS = 5
_TABLE = re.compile(r"table\.(?P<name>.+)\.version")
_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/\s]+@")
_OF_THE_MACHINE: Final = Path("/var/tmp")  # noqa: S108 - a private folder is made in it
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""The error codes of stores that have no such model, version or alias."""
_FIT_FILE: Final = "fit.json"
_REQUIREMENTS = ("pyspark", "mlflow")

for noisy in ("mlflow", "alembic"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Run:
    """A run in progress, and what is logged to it. A name may hold slashes, by which MLflow's pages group it."""

    id: str
    key: str
    client: MlflowClient
    tracking_uri: str

    def tag(self, name: str, value: str) -> None:
        """A tag of the run."""
        self.client.set_tag(self.id, name, value)

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings, nested ones under dotted names; a value longer than MLflow admits is cut short."""
        flat = [Param(name, _shortened(str(value))) for name, value in flatten(values, separator=".").items()]
        for start in range(0, len(flat), _PARAMS_PER_CALL):
            self.client.log_batch(self.id, params=flat[start : start + _PARAMS_PER_CALL])

    def metrics(self, prefix: str, values: Mapping[str, Any], *, as_of: datetime | None = None) -> None:
        """Metrics as `prefix/name`, nested ones as `prefix/lift/0.1`; None is left out.

        With `as_of` a metric has one point per date, with a step such as 20261001 and the date as its time.
        """
        step = int(f"{as_of:%Y%m%d}") if as_of else 0
        if as_of:  # without a zone it is UTC, as everywhere here
            at = int((as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)).timestamp() * 1000)
        else:
            at = self.client.get_run(self.id).info.start_time
        flat = [
            Metric(f"{prefix}/{name}", float(value), at, step)
            for name, value in flatten(values, separator="/").items()
            if value is not None
        ]
        for start in range(0, len(flat), _METRICS_PER_CALL):
            self.client.log_batch(self.id, metrics=flat[start : start + _METRICS_PER_CALL])

    def table(self, name: str, *, path: str, version: int, context: str = "training") -> None:
        """A Delta table that was read: its version as the parameter `table.<name>.version`, and as a data set."""
        self.client.log_param(self.id, f"table.{name}.version", version)
        source = json.dumps({"path": path, "delta_table_version": version})
        dataset = Dataset(name=name, digest=f"v{version}", source_type="delta_table", source=source)
        self.client.log_inputs(self.id, [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])])

    def logged_metrics(self) -> dict[str, float]:
        """The metrics that have been logged, each by its last point."""
        return dict(self.client.get_run(self.id).data.metrics)

    def text(self, text: str, path: str) -> None:
        """A text artifact: a report, a settings file."""
        self.client.log_text(self.id, text, path)

    def json(self, values: Mapping[str, Any], path: str) -> None:
        """Values as a JSON artifact."""
        self.client.log_dict(self.id, dict(values), path)

    def fit_summary(self, values: Mapping[str, Any]) -> None:
        """What a training records of its model, as `fit.json`: a version registered later is read with it."""
        text = json.dumps(values, indent=2)
        self.text(text, _FIT_FILE)
        self.tag(FIT, _sha256(text))

    def model(self, model: PipelineModel, *, inputs: DataFrame, outputs: DataFrame, name: str = "model") -> None:
        """The model with its signature: the columns of `inputs` and `outputs`, whose schemas alone are read."""
        with warnings.catch_warnings():
            # Columns that may be null are doubles already.
            warnings.filterwarnings("ignore", ".*Inferred schema contains integer column")
            signature = infer_signature(inputs, outputs)
        mlflow.spark.log_model(
            model,
            artifact_path=name,
            signature=signature,
            # Named, or MLflow would load the model in another process to see what it imports.
            pip_requirements=[f"{package}=={installed(package)}" for package in _REQUIREMENTS],
            dfs_tmpdir=_scratch(),
        )
        with tempfile.TemporaryDirectory() as scratch:
            self.tag(FILES, files_digest(Path(self.client.download_artifacts(self.id, name, scratch))))

    def register(
        self,
        model: str,
        *,
        alias: str = CHALLENGER,
        name: str = "model",
        digest: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """The logged model as the next version of a registered one, under an alias; its version.

        Where an earlier run of the same key has registered the model of this `digest`, that version gets the alias: a
        rerun leaves what one run leaves. Other versions of the key are deleted, unless they have another alias
        (champion) or have scored.
        """
        own = {RUN_KEY: self.key, **(tags or {}), **({DIGEST: digest} if digest else {})}
        with registering(self.tracking_uri, model):
            with _unless_it_exists():
                self.client.create_registered_model(model)
            found = self.client.search_model_versions(f"name = '{model}'")
            # A search does not give tags on every store.
            known = {str(one.version): self.client.get_model_version(model, one.version).tags for one in found}
            of_key = {number: of for number, of in known.items() if of.get(RUN_KEY) == self.key}
            version = next((number for number, of in of_key.items() if digest and of.get(DIGEST) == digest), None)
            if version is None:
                logged = self.client.get_run(self.id)
                source = f"{logged.info.artifact_uri}/{name}"
                own |= {tag: logged.data.tags[tag] for tag in (FILES, FIT) if tag in logged.data.tags}
                version = str(self.client.create_model_version(model, source, self.id, tags=own).version)
            self.client.set_registered_model_alias(model, alias, version)
            in_use = {str(number) for number in self.client.get_registered_model(model).aliases.values()}
            for earlier, of in of_key.items():
                if earlier not in in_use and SCORED not in of:
                    self.client.delete_model_version(model, earlier)
        return version


@contextmanager
def run(
    tracking_uri: str, experiment: str, name: str, *, key: str, tags: Mapping[str, str] | None = None
) -> Iterator[Run]:
    """A run that ends FINISHED, or FAILED where anything is raised, SIGTERM included (which raises SystemExit(143)).

    Waits for another run of the same key to end. One that is RUNNING then was killed before it could be ended: it is
    ended as FAILED first. Raises ChurnError where the store cannot be reached, now or later.
    """
    client = connect(tracking_uri)
    with lock(_lock_place(tracking_uri), f"run {key}"), _run(client, tracking_uri, experiment, name, key, tags) as one:
        yield one


@contextmanager
def _run(
    client: MlflowClient, tracking_uri: str, experiment: str, name: str, key: str, tags: Mapping[str, str] | None
) -> Iterator[Run]:
    with reaching(tracking_uri):
        experiment_id = _experiment(client, tracking_uri, experiment)
        _end_killed(client, tracking_uri, experiment_id, key)
        started = mlflow.start_run(
            experiment_id=experiment_id,
            run_name=name,
            tags={**(tags or {}), RUN_KEY: key, HOST: socket.gethostname()},
            log_system_metrics=False,
        )
    run_id = started.info.run_id
    with on_sigterm(lambda: _fail(client, run_id, "terminated")) as sigterm:
        try:
            with reaching(tracking_uri):
                yield Run(run_id, key, client, tracking_uri)
                sigterm.raise_if_received()
                sigterm.suppressed = True
                mlflow.end_run(RunStatus.to_string(RunStatus.FINISHED))
            sigterm.raise_if_received()
        except BaseException as error:
            sigterm.suppressed = True
            _fail(client, run_id, "terminated" if sigterm.received else _error_text(error))
            with suppress(Exception):
                mlflow.end_run(RunStatus.to_string(RunStatus.FAILED))
            raise


def run_key(what: str, model: str, as_of: datetime | None = None) -> str:
    """The key of a job's runs on a model.

    >>> run_key("train", "churn", datetime(2026, 10, 1))
    'train churn 2026-10-01'
    """
    return f"{what} {model}" + (f" {as_of:%Y-%m-%d}" if as_of else "")


@contextmanager
def tracked_run(config: Config, what: str, model: str, as_of: datetime | None = None) -> Iterator[Run]:
    """A run of a job on a model; "train churn 2026-10-01" is its name and its key."""
    key = run_key(what, model, as_of)
    with run(config.tracking_uri, config.experiment, key, key=key, tags={"model": model}) as tracked:
        yield tracked


def load_model(tracking_uri: str, model: str, alias_or_version: str = CHALLENGER) -> ModelVersion:
    """A version of a registered model, by its number or its alias; needs a Spark session.

    Raises BadInputError where there is none, and lists those there are, or where loading it would run code that is not
    MLlib's; ChurnError where its files are missing, DamageError where they are not those that were registered.
    """
    client = connect(tracking_uri)
    with reaching(tracking_uri):
        try:
            if alias_or_version.isdigit():
                found = client.get_model_version(model, alias_or_version)
            else:
                found = client.get_model_version_by_alias(model, alias_or_version)
        except MlflowException as error:
            if not absent(error):
                raise
            raise BadInputError(_no_model(client, tracking_uri, model, alias_or_version)) from error
        try:
            with tempfile.TemporaryDirectory() as scratch:
                files = mlflow.artifacts.download_artifacts(f"models:/{model}/{found.version}", dst_path=scratch)
                check_format(Path(files), f"{model} version {found.version}")
                _check_unchanged(client, model, str(found.version), Path(files))
                # The files are read here and now, so that the copies MLflow makes can go.
                loaded = mlflow.spark.load_model(files, dfs_tmpdir=scratch)
        except (MlflowException, OSError) as error:
            place = client.get_model_version_download_uri(model, found.version)
            raise ChurnError(
                f"the files of {model} version {found.version} cannot be read from {place}: {error}; bring them back, "
                f"or go back to the version before: churn rollback {model}"
            ) from error
        summary = fit_summary(client, model, str(found.version))
        return ModelVersion(loaded, str(found.version), str(found.run_id), summary)


def _check_unchanged(client: MlflowClient, model: str, version: str, files: Path) -> None:
    """Raises DamageError where the files of a version are not those that were logged when it was registered."""
    tags = client.get_model_version(model, version).tags  # a search by alias does not give tags on every store
    if tags.get(FILES) != files_digest(files):
        place = client.get_model_version_download_uri(model, version)
        raise DamageError(
            f"the files of {model} version {version} at {place} are not those that were registered (its tag {FILES} "
            f"differs): bring them back, train again, or go back to the version before: churn rollback {model}"
        )


@dataclass(frozen=True)
class LoggedRun:
    """What the store holds of a run that ended."""

    id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def tables(self) -> dict[str, int]:
        """The version of each table that it read."""
        found = ((_TABLE.fullmatch(name), value) for name, value in self.params.items())
        return {match["name"]: int(value) for match, value in found if match}

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raises BadInputError where it was made with other settings of the model than these."""
        now = {name: _shortened(str(value)) for name, value in flatten(settings, separator=".").items()}
        other = [name for name, value in now.items() if self.params.get(name) != value]
        if other:
            raise BadInputError(
                f"run {self.id} was made with {other[0]} = {self.params.get(other[0])}, and the model has "
                f"{now[other[0]]}; give the model file and churn.toml of that run"
            )

    def check_same(self, metrics: Mapping[str, float]) -> None:
        """Raises ChurnError where these metrics are not its own, to the bit."""
        for name in sorted({*self.metrics, *metrics}):
            before, now = self.metrics.get(name), metrics.get(name)
            if before != now:
                raise ChurnError(f"run {self.id} had {name} = {before}, and its inputs give {now} now")


def logged_run(tracking_uri: str, run_id: str, key: str) -> LoggedRun:
    """A run by its id. Raises BadInputError where there is none, it has another key, or did not end well."""
    client = connect(tracking_uri)
    with reaching(tracking_uri):
        try:
            found = client.get_run(run_id)
        except MlflowException as error:
            if not absent(error):
                raise
            raise BadInputError(f"no run {run_id!r} at {masked(tracking_uri)}; MLflow's pages list the runs") from error
    seen, status = found.data.tags.get(RUN_KEY), found.info.status
    if seen != key or status != RunStatus.to_string(RunStatus.FINISHED):
        raise BadInputError(f"run {run_id} is {seen!r}, {status}; want a run {key!r} that is FINISHED")
    return LoggedRun(run_id, dict(found.data.params), dict(found.data.metrics))


def fit_summary(client: MlflowClient, model: str, version: str) -> Mapping[str, Any]:
    """What training recorded of a version in `fit.json`; empty where it was registered without one.

    Raises ChurnError where the file cannot be read, DamageError where it is not the one that was recorded.
    """
    found = client.get_model_version(model, version)
    if FIT not in found.tags:
        return {}
    place = f"{client.get_run(str(found.run_id)).info.artifact_uri}/{_FIT_FILE}"
    then = f"bring it back, train again, or go back to the version before: churn rollback {model}"
    try:
        text = mlflow.artifacts.load_text(place)
    except (MlflowException, OSError) as error:
        why = " ".join(str(error).split())
        raise ChurnError(f"{place} of {model} version {version} cannot be read: {why}; {then}") from error
    if _sha256(text) != found.tags[FIT]:
        raise DamageError(
            f"{place} of {model} version {version} is not the one that was recorded (its tag {FIT} differs): {then}"
        )
    return dict(json.loads(text))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def flatten(values: Mapping[str, Any], *, separator: str) -> dict[str, Any]:
    """Nested mappings as one, the names joined; a pair of numbers is an interval, from low to high.

    >>> flatten({"lift": {"0.1": 3.1}, "intervals": {"auc": [0.7, 0.8]}}, separator="/")
    {'lift/0.1': 3.1, 'intervals/auc/low': 0.7, 'intervals/auc/high': 0.8}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = value
        if isinstance(value, list) and len(value) == 2 and all(isinstance(bound, float) for bound in value):
            inner = dict(zip(("low", "high"), value, strict=True))
        if isinstance(inner, Mapping):
            nested = flatten(inner, separator=separator)
            flat.update({f"{name}{separator}{below}": leaf for below, leaf in nested.items()})
        else:
            flat[name] = inner
    return flat


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _scratch() -> str:
    """Where Spark writes a model on its way to the store: MLflow's own setting, else a folder of this process's."""
    return os.environ.get("MLFLOW_DFS_TMP") or str(process_folder())


def connect(tracking_uri: str) -> MlflowClient:
    """A client of the store, to which MLflow's own functions are set too. Raises ChurnError where that fails."""
    with reaching(tracking_uri, files=True):
        if store := _sqlite_file(tracking_uri):
            store.parent.mkdir(parents=True, exist_ok=True)
            _create(store)
        mlflow.set_tracking_uri(tracking_uri)
        return MlflowClient(tracking_uri)


def exists(tracking_uri: str) -> bool:
    """Whether there is a store already; a client of a SQLite file that is missing would create it, in seconds."""
    store = _sqlite_file(tracking_uri)
    return store is None or store.exists()


@contextmanager
def reaching(tracking_uri: str, *, files: bool = False) -> Iterator[None]:
    """Turns MLflow's errors inside, with `files` OSError too, into a ChurnError that names the setting to check."""
    errors = (MlflowException, SQLAlchemyError, *((OSError,) if files else ()))
    try:
        yield
    except errors as error:
        why = masked(str(error))
        raise ChurnError(
            f"cannot track runs at {masked(tracking_uri)}: {why}; check [tracking] uri in churn.toml and that "
            "its server answers, then run again"
        ) from error


def masked(text: str) -> str:
    """A text without the passwords of the URIs in it.

    >>> masked("postgresql://ann:secret@db/mlflow")
    'postgresql://ann:***@db/mlflow'
    """
    return _PASSWORD.sub(r"\1:***@", text)


def absent(error: MlflowException) -> bool:
    """Whether the store was reached, and holds no such thing."""
    return error.error_code in _ABSENT


def _create(store: Path) -> None:
    """Make a SQLite store under another name and rename it, so that one that is there is whole, and made once."""
    if store.exists():
        return
    with lock(store, "create"):
        if store.exists():
            return
        new = store.with_name(f".{store.name}.new")
        for left in ("", "-journal", "-wal", "-shm"):  # by a job that was killed
            new.with_name(new.name + left).unlink(missing_ok=True)
        client = MlflowClient(sqlite_uri(new))
        client.search_experiments()
        client._tracking_client.store.engine.dispose()
        new.rename(store)


def _lock_place(tracking_uri: str) -> Path:
    """What the locks of a store are beside: its file, or of a server a folder of this user's on this machine, which is
    the same whatever TMPDIR is."""
    digest = hashlib.sha256(tracking_uri.encode()).hexdigest()[:16]
    return _sqlite_file(tracking_uri) or private_folder("churn-locks", _OF_THE_MACHINE) / digest


@contextmanager
def registering(tracking_uri: str, model: str) -> Iterator[None]:
    """Inside, no other job of this machine registers, deletes or tags versions of a model."""
    with lock(_lock_place(tracking_uri), f"versions of {model}"):
        yield


def _sqlite_file(tracking_uri: str) -> Path | None:
    file = sqlite_file(tracking_uri)
    return None if file is None else Path(file).resolve()


@contextmanager
def _unless_it_exists() -> Iterator[None]:
    """Ignores that what is created inside exists already, from an earlier or a concurrent run."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _experiment(client: MlflowClient, tracking_uri: str, name: str) -> str:
    """The experiment's id; a new one in a local SQLite store keeps its files in `mlruns` beside the store."""
    store = _sqlite_file(tracking_uri)
    if client.get_experiment_by_name(name) is None:
        with _unless_it_exists():
            client.create_experiment(name, artifact_location=(store.parent / "mlruns").as_uri() if store else None)
    found = client.get_experiment_by_name(name)
    if found is None:
        raise ChurnError(
            f"the experiment {name!r} at {masked(tracking_uri)} was removed while this run began; try again"
        )
    if found.lifecycle_stage == "deleted":
        raise BadInputError(
            f"the experiment {name!r} at {masked(tracking_uri)} was deleted; restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or set another [tracking] experiment in churn.toml"
        )
    return str(found.experiment_id)


def _end_killed(client: MlflowClient, tracking_uri: str, experiment_id: str, key: str) -> None:
    """End the runs of a key, whose lock this process has: they were killed. Of those of another machine, at a server,
    it is not known whether they are alive."""
    is_local = _sqlite_file(tracking_uri) is not None
    for stale in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        tags = stale.data.tags  # compared here: a filter cannot hold a key with every kind of quotes
        if tags.get(RUN_KEY) != key or not (is_local or tags.get(HOST) == socket.gethostname()):
            continue
        client.set_tag(stale.info.run_id, "ended", "killed; ended by the next run of the same key")
        client.set_terminated(stale.info.run_id, RunStatus.to_string(RunStatus.FAILED))


def _fail(client: MlflowClient, run_id: str, reason: str) -> None:
    """Ends a run as FAILED, in a thread of its own, which no signal interrupts.

    Raises nothing: the error that failed the run must not be replaced by one of the store.
    """

    def end() -> None:
        with suppress(Exception):
            client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
            client.set_tag(run_id, "error", _shortened(reason))

    ending = threading.Thread(target=end)
    ending.start()
    ending.join(_ENDING_SECONDS)  # bounded: the main thread, stopped by a signal, may hold a lock that this needs


def _error_text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {explained(error) or error}"
    except Exception:  # the text of a Java exception is in its JVM, which may have ended
        return type(error).__name__


def aliases(client: MlflowClient, model: str) -> dict[str, str] | None:
    """The version behind each alias of a registered model; None where none is registered by that name."""
    try:
        return {alias: str(version) for alias, version in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if not absent(error):
            raise
        return None


def _no_model(client: MlflowClient, tracking_uri: str, model: str, alias_or_version: str) -> str:
    registered = aliases(client, model)
    if registered is None:
        return f"no model {model!r} is registered at {masked(tracking_uri)}; train one first: churn run --as-of DATE"
    known = (
        ", ".join(f"{alias} = version {number}" for alias, number in sorted(registered.items())) or "no alias is set"
    )
    return f"model {model!r} has no version or alias {alias_or_version!r} at {masked(tracking_uri)}; known: {known}"
