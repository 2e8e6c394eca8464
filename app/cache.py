"""Results that cost time: kept in memory for everybody, on disk by content hash, or with one reader's session only."""

from __future__ import annotations

import json
import os
import threading
import uuid
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MAX_DISK_BYTES = 2_000_000_000


class Memory:
    """The newest `size` results by key; safe for several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._items: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> Any | None:
        """Return a result, or None."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: tuple[str, ...], value: Any) -> None:
        """Keep a result, and forget the oldest over the size."""
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            while len(self._items) > self.size:
                self._items.popitem(last=False)


class Disk:
    """Arrays with their facts as `<folder>/<hash>.npz`, written whole or not at all; the oldest go when it grows too large."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, name: str) -> tuple[np.ndarray[Any, Any], dict[str, Any]] | None:
        """Return an array and its facts, or None; a damaged file counts as missing."""
        if self.folder is None:
            return None
        path = self.folder / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as content:
                found = content["values"], json.loads(str(content["facts"]))
            os.utime(path)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None
        return found

    def put(self, name: str, values: np.ndarray[Any, Any], facts: dict[str, Any]) -> None:
        """Keep an array. A disk that cannot be written to costs time, not the answer."""
        if self.folder is None:
            return
        part = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez_compressed(file, values=values, facts=json.dumps(facts))
            part.replace(self.folder / f"{name}.npz")
            self._prune()
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _prune(self) -> None:
        folder = self.folder
        if folder is None:
            return
        files = []
        for path in folder.glob("*.npz"):
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:
                continue
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= MAX_DISK_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= size
