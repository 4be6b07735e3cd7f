"""Where results lie: a directory, or any object store that fsspec knows (`s3://bucket/fleet`).

    records/KEY.json      what became of a job; written last, so that a job is done when it is there
    files/KEY/ID/...      what it wrote: a bundle, or the report of a check; the record says which ID
    failed/KEY.json       the last failure of a job that is not done
    started/KEY/ID.json   every attempt

A store never forgets by itself. Two workers that do the same job at once write files of their own, since reports hold
times: the record names those of one of them, whole.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec

from temport.exporter.errors import UserError
from temport.exporter.fleet.job import DONE, Job, Outcome
from temport.plugins import first_line


class Store:
    """The store at an address. UserError where fsspec cannot open or read it."""

    def __init__(self, address: str) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(address)
            self._fs.use_listings_cache = False
            self.address, self._root = address, root.rstrip("/")
            self._names(self._root)
        except Exception as error:  # missing packages, credentials, servers: each library raises its own
            raise UserError(f"the store {address} cannot be opened: {first_line(error)}") from error

    def done(self) -> set[str]:
        """Keys of the jobs that are done."""
        return self._keys("records")

    def failed(self) -> set[str]:
        """Keys of the jobs that failed, done since or not."""
        return self._keys("failed")

    def outcome(self, key: str) -> Outcome | None:
        """What became of a job that is done, else None."""
        return next(iter(self.outcomes([key])), None)

    def outcomes(self, keys: Iterable[str], kind: str = "records") -> list[Outcome]:
        """Of the jobs among `keys` that have a record; one that was cut short while it was written is none."""
        paths = [self._path(kind, f"{key}.json") for key in keys]
        found = []
        # not `cat`, which takes a [ in a path for a pattern, and any failure for an absent file
        for text in self._fs.cat_ranges(paths, None, None, on_error="return"):
            if isinstance(text, FileNotFoundError):
                continue
            if isinstance(text, Exception):
                raise text
            if (outcome := _read(text)) is not None:
                found.append(outcome)
        return found

    def failures(self, keys: Iterable[str]) -> list[Outcome]:
        """The last failure of each of the jobs that has one."""
        return self.outcomes(keys, "failed")

    def note_start(self, job: Job) -> None:
        """Say that somebody tries."""
        who = {"host": socket.gethostname(), "name": job.name, "time": time.time()}
        self._write(self._path("started", job.key, f"{uuid.uuid4()}.json"), who)

    def attempts(self, key: str) -> int:
        """How often a job was begun."""
        return len(self._names(self._path("started", key)))

    def keep(self, outcome: Outcome, folder: Path) -> None:
        """A result, with its files; a failure, without."""
        if outcome.result not in DONE:
            self._write(self._path("failed", f"{outcome.key}.json"), outcome.to_json())
            return
        kept = replace(outcome, place=str(uuid.uuid4()))
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            target = self._path("files", kept.key, kept.place, path.relative_to(folder).as_posix())
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), target)
        self._write(self._path("records", f"{kept.key}.json"), kept.to_json())

    def fetch(self, done: Outcome, folder: Path) -> None:
        """The files of a job that is done."""
        for name in self._fs.find(self._path("files", done.key, done.place)):
            target = folder / name.rpartition(f"/{done.place}/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(name, str(target))

    def fetch_one(self, done: Outcome, name: str, target: Path) -> None:
        """One of the files of a job that is done."""
        self._fs.get_file(self._path("files", done.key, done.place, name), str(target))

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _names(self, folder: str) -> list[str]:
        try:
            self._fs.invalidate_cache(folder)
            return [name.rpartition("/")[2] for name in self._fs.ls(folder, detail=False)]
        except FileNotFoundError:
            return []

    def _keys(self, kind: str) -> set[str]:
        names = self._names(self._path(kind))
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def _write(self, path: str, content: dict[str, Any]) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _read(text: bytes) -> Outcome | None:
    try:
        return Outcome(**json.loads(text))
    except (ValueError, TypeError):
        return None
