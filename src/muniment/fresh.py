"""A database that is made in order to fill it, and removed again when that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from muniment.database import DocumentDatabase
from muniment.security.encryption import EncryptionKey
from muniment.storage import engines


@contextmanager
def made(
    folder: Path, *, keep_if: Callable[[DocumentDatabase], bool], key: EncryptionKey | None = None
) -> Iterator[tuple[DocumentDatabase, bool]]:
    """The database in this folder, made (and with a key encrypted) if there is none, and whether it was.

    If the block fails, a database that was made for it is removed again, with its folders, unless it is to be kept.
    A database that was there before is never removed.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()] if engines.is_folder(folder) else []
    new = not engines.exists(folder)
    with DocumentDatabase(folder, key=key) as database:
        new = new and database.snapshot().etag == 0  # somebody else could have made it meanwhile
        try:
            yield database, new
        except BaseException:
            if new and not keep_if(database):
                database.close()
                _remove(folder, missing, key)
            raise


def _remove(folder: Path, made: list[Path], key: EncryptionKey | None) -> None:
    engines.remove(folder, key=key)
    for path in made:
        if path.exists():
            path.rmdir()
