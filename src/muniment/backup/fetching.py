"""Files of a store that are read as a whole: each comes once, is compared with its SHA-256 meanwhile, and read here.

What came is in files without a name in the system's temporary folder, encrypted if the backup is, and goes as soon as
it was read. Where there is no room for it, a file is compared first, and then read in the store.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeAlias

from muniment.backup.destination import Remote, blocks_of
from muniment.backup.manifest import File
from muniment.backup.parquet import WHOLE_BYTES, Source
from muniment.backup.repository import Backup
from muniment.durable import write_all
from muniment.errors import DamagedBackup
from muniment.progress import Progress

AHEAD: Final = 2  # files that come while another one is read
KEPT_BYTES: Final = 256 << 20  # of those that are read twice
_HINT: Final = "restore from another backup, or another copy of this one"
Check: TypeAlias = Callable[[Path, File, Progress], None]
_Key: TypeAlias = tuple[str, str]


class Fetched:
    """A file of a store that came whole and is what its manifest says, without a name of its own."""

    def __init__(self, path: Path, file: File, progress: Progress) -> None:
        """Raises `DamagedBackup` for another one, and `OSError` where there is no room for it."""
        descriptor, name = tempfile.mkstemp(prefix="muniment-fetched-")
        self._name: Path | None = Path(name)
        self._file: IO[bytes] = os.fdopen(descriptor, "w+b", buffering=0)
        unnamed = Path(f"/proc/self/fd/{descriptor}")
        if unnamed.exists():  # then not even a process that is killed leaves anything
            self._name.unlink()
            self._name = None
        self.path = self._name or unnamed
        try:
            self._take_in(path, file, progress)
        except BaseException:
            self.close()
            raise

    def _take_in(self, path: Path, file: File, progress: Progress) -> None:
        sha256, size = hashlib.sha256(), 0
        for block in blocks_of(path):
            sha256.update(block)
            size += len(block)
            if size > file.size:
                break
            write_all(self._file, block)
            progress.pace(len(block))
        if size != file.size:
            told = f"more than {file.size:,}" if size > file.size else f"{size:,}"
            raise DamagedBackup(f"{path} has {told} bytes; the manifest says {file.size:,}", _HINT)
        if sha256.hexdigest() != file.sha256:
            raise DamagedBackup(f"{path} was changed: its SHA-256 is not the manifest's", _HINT)

    def close(self) -> None:
        """Remove it."""
        self._file.close()
        if self._name:
            self._name.unlink(missing_ok=True)


class Fetcher:
    """Gives out the files of backups to be read, those of stores after they came. Within it; all goes at its end."""

    def __init__(self, check: Check, progress: Progress) -> None:
        """`check` compares a file where it is."""
        self._check = check
        self._progress = progress
        self._pool = ThreadPoolExecutor(AHEAD, "muniment fetcher")
        self._lock = threading.Lock()
        self._coming: dict[_Key, Future[Fetched | None]] = {}
        self._expected: list[tuple[Backup, File]] = []
        self._kept: set[_Key] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for coming in self._coming.values():
            if coming.done() and not coming.cancelled() and coming.exception() is None and (found := coming.result()):
                found.close()

    @staticmethod
    def fetches(backup: Backup, file: File) -> bool:
        """Whether it is proven when it is given out, and need not be compared before.

        Its footer is read before the rest has come, so it has to have a digest of its own.
        """
        return isinstance(backup.path(file.name), Remote) and (file.size <= WHOLE_BYTES or file.footer is not None)

    def keep(self, files: Iterable[tuple[Backup, File]]) -> None:
        """Have these come, and stay to be read twice, as far as there is room for them."""
        size = 0
        for backup, file in files:
            if self.fetches(backup, file) and (size := size + file.size) <= KEPT_BYTES:
                self._kept.add(_key(backup, file))
                self._begin(backup, file)

    def expect(self, files: Sequence[tuple[Backup, File]]) -> None:
        """These are going to be read as a whole, about in this order."""
        self._expected = [(backup, file) for backup, file in files if self._is_large(backup, file)]

    def columns(self, backup: Backup, file: File) -> Source:
        """A file of which some columns are read."""
        found = self.arrived(backup, file) if _key(backup, file) in self._kept else None
        return Source.of(backup, file, found.path) if found else self._opened(backup, file)

    def source(self, backup: Backup, file: File) -> Source | Coming:
        """A file all of whose row groups are read, each once."""
        if _key(backup, file) in self._kept and (found := self.arrived(backup, file)):
            return Coming(self, backup, file, Source.of(backup, file, found.path), here=True)
        if self._is_large(backup, file):
            return Coming(self, backup, file, self._opened(backup, file))
        return self._opened(backup, file)  # a small object comes whole when it is opened

    def _opened(self, backup: Backup, file: File) -> Source:
        before = backup.path(file.name)
        source = Source.of(backup, file)
        if (path := backup.path(file.name)) != before and not isinstance(path, Remote):  # of a copy, in a folder
            try:
                self._check(path, file, self._progress)
            except BaseException:
                source.close()
                raise
        return source

    def _is_large(self, backup: Backup, file: File) -> bool:
        return self.fetches(backup, file) and file.size > WHOLE_BYTES

    def _begin(self, backup: Backup, file: File) -> Future[Fetched | None]:
        with self._lock:
            key = _key(backup, file)
            if key not in self._coming:
                self._coming[key] = self._pool.submit(self._bring, backup, file)
            return self._coming[key]

    def arrived(self, backup: Backup, file: File) -> Fetched | None:
        """The file when it has come, None where it is read in its place."""
        coming = self._begin(backup, file)
        for other in self._expected[self._place(backup, file) :][:AHEAD]:
            self._begin(*other)
        return coming.result()

    def _place(self, backup: Backup, file: File) -> int:
        key = _key(backup, file)
        return next((at for at, each in enumerate(self._expected, 1) if _key(*each) == key), len(self._expected))

    def _bring(self, backup: Backup, file: File) -> Fetched | None:
        def bring(path: Path) -> Fetched | None:
            if isinstance(path, Remote):
                with suppress(OSError):  # no room: what stores say is an error of ours
                    return Fetched(path, file, self._progress)
            self._check(path, file, self._progress)
            return None

        return backup.choose(file.name, bring)

    def forget(self, backup: Backup, file: File) -> None:
        """It was read, and is not needed any more."""
        with self._lock:
            coming = self._coming.get(_key(backup, file))
        if coming and (found := coming.result()):
            found.close()


class Coming:
    """A file of which the footer is known, and the rest is read when it has come, or has come already."""

    def __init__(self, fetcher: Fetcher, backup: Backup, file: File, known: Source, *, here: bool = False) -> None:
        self._fetcher = fetcher
        self._backup = backup
        self._file = file
        self._known = known
        self._left = len(known.groups())
        self._source = known if here else None

    def groups(self) -> list[tuple[int, int]]:
        """See `Source`."""
        return self._known.groups()

    def read(self, group: int, columns: list[str] | None = None) -> Any:
        """See `Source`; after the last one, what came has gone."""
        if self._source is None:
            found = self._fetcher.arrived(self._backup, self._file)
            self._source = Source.of(self._backup, self._file, found.path if found else None)
        table = self._source.read(group, columns)
        self._left -= 1
        if self._left == 0:
            self.close()
        return table

    def close(self) -> None:
        """Close it, and remove what came."""
        self._known.close()
        if self._source is not None:
            self._source.close()
            self._fetcher.forget(self._backup, self._file)


def _key(backup: Backup, file: File) -> _Key:
    return backup.sha256, file.name
