"""Which folders of its machine a server reads and writes for whoever asks it.

Databases lie below its data folder or another data root, backups below the data folder or a backup root, which may be a
prefix of a store; and who shows that he may read the server's own files (`local.py`) may name any place for backups, as
he could without the server. Links are followed before that is decided, and nothing outside is looked at, so no answer
tells what is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from muniment.backup.destination import Remote, place_of
from muniment.document import fold
from muniment.errors import Forbidden, InvalidInput
from muniment.raven3.names import SYSTEM_FOLDER
from muniment.storage.location import Address, address, is_address, location_of, server_and_replica, server_of

# No folder for anybody: what is in there is the system's and its processes'.
_SYSTEM: Final = (Path("/proc"), Path("/sys"), Path("/dev"))
SYSTEM_SCHEMA: Final = "muniment_system"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (to be allowed, not written to)


class Places:
    """The roots of a server. They are followed anew each time, as an operator may move what they lead to."""

    def __init__(
        self, data_dir: Path, data_roots: Sequence[str] = (), backup_roots: Sequence[str] = (), storage: str = ""
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.storage = server_of(storage) if storage else None
        self._servers = dict(server_and_replica(root) for root in (*data_roots, storage) if is_address(root))
        self._data = [self.data_dir, *(Path(root).absolute() for root in data_roots if not is_address(root))]
        self._backups = [self.data_dir, *(Path(root).absolute() for root in backup_roots if not _stored(root))]
        self._prefixes = [root for root in map(_stored, backup_roots) if root]

    def data(self, text: str, *, within: Sequence[str] = ()) -> Path:
        """The folder for a database that this names, below one of `within` if there are any.

        Raises `InvalidInput`, or `Forbidden` where none may be.
        """
        folder = resolve_location(self.data_dir, text)
        self.check_data(folder, repr(text))
        if isinstance(folder, Address):
            if within and folder.server not in {server_of(root) for root in within if is_address(root)}:
                raise _not_for_key(text, "databases")
        elif within and not _is_below(folder, self._followed(within)):
            raise _not_for_key(text, "databases")
        return folder

    def usual(self, name: str, partitions: int = 0) -> str:
        """Where a new database of this name is, if nobody says another place."""
        if self.storage is None:
            return f"~/Databases/{name}"
        return str(address(self.storage, fold(name), partitions))

    def restored(self, name: str) -> str:
        """Where a restored one is."""
        return f"~/{name}" if self.storage is None else self.usual(name)

    def spelled(self, folder: Path) -> str:
        """How it is kept: below the data folder as `~/Name`, so that it is found in a copy of that and after a move."""
        if not isinstance(folder, Address) and folder.is_relative_to(self.data_dir):
            return f"~/{folder.relative_to(self.data_dir).as_posix()}"
        return str(folder)

    @property
    def system(self) -> Path:
        """Where the server's own database is."""
        if self.storage is None:
            return self.data_dir / SYSTEM_FOLDER
        return self.read_from(address(self.storage, SYSTEM_SCHEMA))

    def read_from(self, folder: Path) -> Path:
        """The same place, with the replica that its backups are read from, where the server is told of one."""
        replica = self._servers.get(folder.server) if isinstance(folder, Address) else None
        return folder.read_from(replica) if isinstance(folder, Address) and replica else folder

    def _followed(self, roots: Sequence[str]) -> list[Path]:
        return [resolve_folder(self.data_dir, root) for root in roots if not _stored(root) and not is_address(root)]

    def check_data(self, folder: Path, what: str) -> None:
        """Raises `Forbidden` when no database may be in this folder or schema, which is called `what`."""
        if isinstance(folder, Address):
            if folder.server not in self._servers:
                raise Forbidden(
                    f"{what} is not in a PostgreSQL where this server keeps databases",
                    "start it with --storage or --data-root and the address of that one, without a schema",
                )
            if folder.backup_from not in ("", self._servers[folder.server]):
                raise Forbidden(
                    f"{what} names a replica, backup_from={folder.backup_from}, which this server does not read",
                    "leave it out, and start the server with it in the address of --storage or --data-root",
                )
            return
        if not _is_below(folder, self._data):
            raise Forbidden(
                f"{what} is not where this server keeps databases",
                "use a folder below its data folder (`~/Name`), or start it with --data-root and another folder",
            )

    def backups(self, text: str, *, local: bool, within: Sequence[str] = ()) -> Path:
        """The folder with backups, or the prefix of a store, that this names, below one of `within` if there are any.

        Raises `InvalidInput`, or `Forbidden` where none may be.
        """
        if prefix := _stored(text):
            return self._prefix(prefix, local=local, within=within)
        if "://" in text:
            text = str(place_of(text))
        folder = resolve_folder(self.data_dir, text)
        roots = [Path("/")] if local else self._backups
        if within and not _holds(self._followed(within), folder):
            raise _not_for_key(text, "backups")
        if _holds(roots, folder):
            return folder
        raise Forbidden(
            f"{text!r} is not where this server keeps backups",
            "use a folder below its data folder (`~/Backups`), or start it with --backup-root and another folder",
        )

    def _prefix(self, place: Remote, *, local: bool, within: Sequence[str]) -> Remote:
        """The same of a store, whose credentials are the server's; a profile is part of a root's name."""
        if within and not any(root in (place, *place.parents) for root in map(_stored, within)):
            raise _not_for_key(str(place), "backups")
        if local or any(root in (place, *place.parents) for root in self._prefixes):
            return place
        raise Forbidden(
            f"{str(place)!r} is not where this server keeps backups",
            "start it with --backup-root and this address, or one that it is below",
        )


def _stored(text: str) -> Remote | None:
    """The prefix of a store that this names, None if it is anything else."""
    place = place_of(text) if "://" in text else None
    return place if isinstance(place, Remote) else None


def _holds(roots: Sequence[Path], folder: Path) -> bool:
    """Whether a folder of backups is below one of these, and all that links in it lead to."""
    return _is_below(folder, roots) and all(_is_below(link, roots) for link in _links(folder))


def _not_for_key(text: str, what: str) -> Forbidden:
    return Forbidden(f"{text!r} is not where this key may have {what}", "use a folder below the roots of the key")


def check_unmoved(*folders: Path) -> None:
    """Raises `Forbidden` when a link leads elsewhere from where one of these was when it was allowed."""
    for folder in folders:
        if not isinstance(folder, Remote | Address) and _real(folder) != folder:
            raise Forbidden(f"{folder} leads to another folder than before", "leave links out of its path")


def resolve_location(data_dir: Path, text: str) -> Path:
    """The folder that this means (see `resolve_folder`), or the schema of PostgreSQL."""
    return location_of(text) if is_address(text) else resolve_folder(data_dir, text)


def resolve_folder(data_dir: Path, text: str) -> Path:
    """The folder that this means: RavenDB's `~/x`, `~\\x`, `x` and `a\\b` are below the data folder.

    All links are followed. Raises `InvalidInput` for one that leads out of the data folder by `..`, or is that itself.
    """
    hint = "give a folder below the server's data folder (`~/Name`), or an absolute path"
    if re.match(r"[A-Za-z]:|\\\\?", text) or any(ord(letter) < 32 for letter in text):
        raise InvalidInput(f"{text!r} is not a folder of this machine", hint)
    if text.startswith("/"):
        return _real(Path(text))
    plain = os.path.normpath(re.sub(r"^~(/|$)", "", text.replace("\\", "/")).lstrip("/"))
    if plain == "." or plain.split("/")[0] == "..":
        raise InvalidInput(f"{text!r} is not below the server's data folder", hint)
    folder = _real(data_dir / plain)
    if folder == data_dir:
        raise InvalidInput(f"{text!r} is the server's data folder itself", hint)
    return folder


def _real(folder: Path) -> Path:
    try:
        return Path(os.path.realpath(folder))  # Path.resolve would tell of links that go round in circles
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{str(folder)!r} is not a folder of this machine", "give another folder") from error


def _is_below(folder: Path, roots: Iterable[Path]) -> bool:
    if any(system in (folder, *folder.parents) for system in _SYSTEM) and _MEMORY not in folder.parents:
        return False
    return any(root in (folder, *folder.parents) for root in map(_real, roots))


def _links(folder: Path) -> Iterator[Path]:
    """Where the links lead that are in a folder of backups, and in the folders in it."""
    for each in _entries(folder):
        if each.is_symlink():
            yield _real(Path(each.path))
        elif each.is_dir():
            yield from (_real(Path(below.path)) for below in _entries(Path(each.path)) if below.is_symlink())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        return list(found)
    return []
