"""Take a damaged table of a local disk back to its newest sound version."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from churn.errors import BadInputError, DamageError
from churn.runtime.locks import local_path, lock
from churn.storage import COMMIT, Lake, checkpoints, java_class

_VERSION = re.compile(r"\.?(\d{20})\.")
"""How the names of files begin that belong to a version of a log: a commit, its checksums, a checkpoint."""
_LAST: Final = "_last_checkpoint"
Action = Mapping[str, Any]


@dataclass(frozen=True)
class Repaired:
    """What a repair did: the newest version now, that before, and the files that it took out of the log,
    without their checksums."""

    version: int
    before: int
    files: tuple[str, ...]


def repair(lake: Lake, name: str) -> Repaired:
    """Take a table of a local disk back to its newest sound version: one whose newest checkpoint or first commit, and
    all commits since, can be read, and whose data files are there and can be read.

    A damaged checkpoint costs no version where the commits since the one before it are there, and a damaged commit
    none where there is a later checkpoint.

    What later commits wrote has to be run again; the files taken out of the log are in its folder `_damaged`. Raises
    BadInputError where nothing is damaged, DamageError where no version is sound.
    """
    path = local_path(lake.path(name))
    log = path / "_delta_log" if path else None
    if path is None or log is None or not log.is_dir():
        raise BadInputError(f"no table {name!r} on a disk of this machine at {lake.path(name)}; nothing was changed")
    with lock(lake.root, f"commit {name}"):
        before = max((version for file in log.iterdir() if (version := _version(file)) is not None), default=-1)
        broken = [file for file in sorted(log.glob("*.checkpoint*.parquet")) if not _readable(file)]
        sound = _newest_sound(path, log, broken)
        if sound is None:
            raise DamageError(
                f"table {name!r} at {path} has no sound version: bring it back from a backup, or remove this folder "
                "and run again what wrote it"
            )
        later = [file for file in log.iterdir() if (version := _version(file)) is not None and version > sound]
        damaged = sorted({*later, *broken})
        if not damaged:
            raise BadInputError(f"the log and the files of {name!r} at {path} are sound; nothing was changed")
        (log / "_damaged").mkdir(exist_ok=True)
        for file in damaged[::-1]:  # the newest first: cut short, the table has a sound version still
            file.replace(log / "_damaged" / file.name)
        (log / _LAST).unlink(missing_ok=True)
    java_class(lake.spark, "org.apache.spark.sql.delta.DeltaLog").clearCache()
    return Repaired(sound, before, tuple(file.name for file in damaged if file.suffix != ".crc"))


def _version(file: Path) -> int | None:
    """The version that a file of a log belongs to; None of another file."""
    found = _VERSION.match(file.name)
    return int(found[1]) if found and file.is_file() else None


def _newest_sound(path: Path, log: Path, broken: Iterable[Path]) -> int | None:
    """The newest version that can be read, without the broken checkpoints; None where there is none."""
    commits = {int(file.name[:20]): file for file in log.iterdir() if COMMIT.fullmatch(file.name)}
    whole = checkpoints({file.name for file in log.iterdir()} - {file.name for file in broken})
    is_sound = cache(_readable)

    def is_there(add: Action) -> bool:
        return is_sound(path / unquote(add["path"]), add["size"])

    for version in sorted(whole, reverse=True):  # as a reader does, without the commits before it
        actions = (row for file in whole[version] for row in _checkpointed(log / file))
        if (sound := _replayed(version, actions, commits, is_there)) is not None:
            return sound
    return _replayed(0, _actions(commits.get(0)), commits, is_there)


def _replayed(
    version: int, actions: Iterable[Action] | None, commits: Mapping[int, Path], is_there: Callable[[Action], bool]
) -> int | None:
    """The newest sound version from a version with these actions on; None where there is none."""
    missing, sound = set[str](), None
    while actions is not None:
        for action in actions:
            if add := action.get("add"):
                if not is_there(add):
                    missing.add(add["path"])
            elif remove := action.get("remove"):
                missing.discard(remove["path"])
        sound = sound if missing else version
        version += 1
        actions = _actions(commits.get(version))
    return sound


def _actions(commit: Path | None) -> list[Action] | None:
    """The actions of a commit; None where it is missing, empty or not JSON."""
    if commit is None:
        return None
    try:
        found = [json.loads(line) for line in commit.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        return None
    return found if found and all(isinstance(action, dict) for action in found) else None


def _checkpointed(file: Path) -> Iterator[Action]:
    """The files that a table had at a checkpoint."""
    for row in pq.read_table(file, columns=["add"]).column("add").to_pylist():
        if row and row["path"] is not None:
            yield {"add": row}


def _readable(file: Path, size: int | None = None) -> bool:
    """Whether a parquet file is there, has a size, and all of its rows can be read."""
    try:
        if size is not None and file.stat().st_size != size:
            return False
        with pq.ParquetFile(file) as parquet:
            for _ in parquet.iter_batches():
                pass
    except (OSError, pa.ArrowException):
        return False
    return True
