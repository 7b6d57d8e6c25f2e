"""Which version of a model has which alias, and its tags; churn.registry.promotion decides on aliases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from churn.errors import BadInputError, ChurnError, NoChampionError
from churn.registry import tracking
from churn.registry.tracking import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ModelRegistry:
    """The registered model of one name. Every method raises ChurnError where the store cannot be reached."""

    tracking_uri: str
    model: str

    @cached_property
    def client(self) -> MlflowClient:
        return tracking.connect(self.tracking_uri)

    def aliases(self) -> dict[str, str]:
        """The version behind each alias; none where nothing is registered yet."""
        if not tracking.exists(self.tracking_uri):
            return {}
        with self._reaching() as client:
            return tracking.aliases(client, self.model) or {}

    def version(self, alias: str) -> str:
        """The version with an alias. Raises BadInputError where none has it, and lists the aliases there are."""
        known = self.aliases()
        if alias not in known:
            listed = ", ".join(f"{name} = version {number}" for name, number in sorted(known.items()))
            hint = f"known: {listed}" if listed else self._unknown()
            raise BadInputError(f"model {self.model!r} at {tracking.masked(self.tracking_uri)} has no {alias}; {hint}")
        return known[alias]

    def _unknown(self) -> str:
        """What to do where no version has an alias."""
        if not tracking.exists(self.tracking_uri):
            return "there is no store yet; train a model first: churn run --as-of DATE"
        with self._reaching() as client:
            names = sorted(str(one.name) for one in client.search_registered_models())
        registered = f"registered are {', '.join(names)}; " if names and self.model not in names else ""
        return f"{registered}train one first: churn run --as-of DATE"

    def in_use(self, *, challenger: bool = False) -> tuple[str, str]:
        """(alias, version) of what scores: the champion; while there is none, with `challenger`, the challenger.

        Raises NoChampionError where only a challenger could score, and was not to: nothing says that it is any good.
        """
        known = self.aliases()
        if CHAMPION in known:
            return CHAMPION, known[CHAMPION]
        version = self.version(CHALLENGER)
        if not challenger:
            raise NoChampionError(
                f"model {self.model!r} at {tracking.masked(self.tracking_uri)} has no champion; version {version}, the "
                "challenger, has not been promoted: run promote, train a better one, or score by it all the same with "
                "--challenger"
            )
        return CHALLENGER, version

    def summary_in_use(self) -> Mapping[str, Any] | None:
        """The `fit.json` of the version that scores; None where nothing is registered yet."""
        return self.summary(self.in_use(challenger=True)[1]) if self.aliases() else None

    def newest(self) -> str | None:
        """The version that was trained last; None where there is none."""
        if not tracking.exists(self.tracking_uri):
            return None
        with self._reaching() as client:
            numbers = [int(one.version) for one in client.search_model_versions(f"name = '{self.model}'")]
            return str(max(numbers)) if numbers else None

    def versions(self) -> dict[str, Mapping[str, str]]:
        """The tags of every version, the newest version first."""
        with self._reaching() as client:
            found = client.search_model_versions(f"name = '{self.model}'")
            newest_first = sorted(found, key=lambda one: -int(one.version))
            # A search does not give tags on every store.
            return {str(one.version): client.get_model_version(self.model, one.version).tags for one in newest_first}

    def tags(self, version: str) -> Mapping[str, str]:
        with self._reaching() as client:
            return dict(client.get_model_version(self.model, version).tags)

    def tag(self, version: str, **tags: str) -> None:
        """Set tags of a version; a tag that has the value already is not written again. Raises ChurnError where a rerun
        of its training has replaced it just now."""
        with self._reaching() as client, self._unless_replaced(version):
            before = client.get_model_version(self.model, version).tags
            for name, value in tags.items():
                if before.get(name) != value:
                    client.set_model_version_tag(self.model, version, name, value)

    def mark_scored(self, version: str, what: str) -> None:
        """Record that a version scores, so that it is never deleted; before it does. Raises ChurnError where a rerun of
        its training has replaced it just now."""
        with (
            tracking.registering(self.tracking_uri, self.model),
            self._reaching() as client,
            self._unless_replaced(version),
        ):
            if tracking.SCORED not in client.get_model_version(self.model, version).tags:
                client.set_model_version_tag(self.model, version, tracking.SCORED, what)

    def point(self, alias: str, version: str) -> None:
        """Give an alias to a version, and take it from another that had it."""
        with self._reaching() as client:
            client.set_registered_model_alias(self.model, alias, version)

    def drop(self, alias: str) -> None:
        with self._reaching() as client:
            client.delete_registered_model_alias(self.model, alias)

    def summary(self, version: str) -> Mapping[str, Any]:
        """What training recorded of a version in `fit.json`. Raises ChurnError where it cannot be read."""
        with self._reaching() as client:
            return tracking.fit_summary(client, self.model, version)

    def finished(self, run_id: str) -> bool:
        """Whether a run has ended without an error."""
        with self._reaching() as client:
            return str(client.get_run(run_id).info.status) == "FINISHED"

    @contextmanager
    def _unless_replaced(self, version: str) -> Iterator[None]:
        """Raises ChurnError for an error inside that says that there is no such version."""
        try:
            yield
        except MlflowException as error:
            if not tracking.absent(error):
                raise
            raise ChurnError(f"{self.model} version {version} has been replaced just now; run again") from error

    @contextmanager
    def _reaching(self) -> Iterator[MlflowClient]:
        client = self.client
        with tracking.reaching(self.tracking_uri):
            yield client
