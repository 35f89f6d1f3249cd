"""Small JSON objects beside the backups, with a kind and a time in their names, which never change."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from muniment.backup.destination import AT_ONCE, Remote, put_new
from muniment.backup.repository import stamp
from muniment.durable import mapped_errors, new_file, write_new
from muniment.errors import TargetExists

T = TypeVar("T", bound=msgspec.Struct)
_FORMS = "[0-9][0-9][0-9][0-9]-*Z.json"


def write_beside(place: Path, kind: str, value: msgspec.Struct, time: datetime) -> Path:
    """Write this as a new object into the folder of backups; when this returns, it is on disk at this path."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    with mapped_errors(place):
        while True:
            path = place / f"{kind}-{stamp(time)}.json"
            try:
                _write(path, text)
            except (FileExistsError, TargetExists):
                time += timedelta(milliseconds=1)
            else:
                return path


def _write(path: Path, text: bytes) -> None:
    if isinstance(path, Remote):
        put_new(path, text)
        return
    with new_file(path) as unfinished:
        write_new(unfinished, text)


def read_beside(place: Path, kind: str, type: Callable[..., T]) -> list[tuple[Path, T]]:
    """All of a kind, in the order of their names.

    One that is not whole, since it was being written when the power failed, is passed over, and so is one that was
    removed meanwhile.
    """

    def read(path: Path) -> T | None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, FileNotFoundError):
            decoded: Any = msgspec.json.decode(path.read_bytes(), type=type)
            found: T = decoded
            return found
        return None

    with mapped_errors(place):
        paths = sorted(place.glob(f"{kind}-{_FORMS}"))
        if isinstance(place, Remote) and len(paths) > 1:  # each answer of a store takes its time
            with ThreadPoolExecutor(AT_ONCE, "muniment reader") as pool:
                values = list(pool.map(read, paths))
        else:
            values = list(map(read, paths))
    return [(path, value) for path, value in zip(paths, values, strict=True) if value is not None]
