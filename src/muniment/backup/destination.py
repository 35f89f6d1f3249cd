"""Where backups are: in a folder of this machine, or below a prefix of an object store, which reads like a folder.

What is in a store is a path too, a `Remote`, so that whatever reads a backup reads it there as well. What needs a file
of this machine cannot be done with one by accident: the operating system has no name for it. In a store nothing is ever
overwritten: small objects are put only where there is none (`put_new`), and large ones only below a prefix that such an
object has claimed.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PosixPath
from stat import S_IFREG
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from muniment.backup.store_errors import mapped_store_errors
from muniment.backup.stores import SCHEMES, store
from muniment.durable import new_file, write_new
from muniment.errors import InvalidInput
from muniment.later import Later
from muniment.storage.location import Address, is_address, location_of

if TYPE_CHECKING:
    import obstore
else:
    obstore = Later("obstore", extra="s3")

T = TypeVar("T")
LISTED_AGAIN: Final = 3
FSTAB: Final = Path("/etc/fstab")
BLOCK_BYTES: Final = 4 << 20
PART_BYTES: Final = 8 << 20
PARTS_AT_ONCE: Final = 4  # of one file: two are written at once
AT_ONCE: Final = 16  # small objects that are read
_url = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//?)(.*)", re.DOTALL)  # of two slashes, a path keeps one
_octal = re.compile(r"\\([0-7]{3})")  # how a blank in a name is written there
_windows = re.compile(r"[A-Za-z]:([\\/]|$)|\\\\")


class Remote(PosixPath):
    """A prefix or an object of an object store, as `s3://bucket/prefix/name`; made by `place_of`."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not a file of this machine")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)

    @property
    def key(self) -> str:
        """Its name in the bucket."""
        return "/".join(self.parts[2:])

    @property
    def store(self) -> Any:
        """The bucket, or container, that it is in."""
        return store(self.parts[0][:-1], self.parts[1])

    def absolute(self) -> Remote:
        """An address is whole."""
        return self

    def resolve(self, strict: bool = False) -> Remote:
        """A store has no links."""
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object of this name, or one below it."""
        return self.is_dir() or self.is_file()

    def is_dir(self) -> bool:
        """Whether there is an object below it."""
        with mapped_store_errors(self, "list"):
            return _whole(lambda: any(map(bool, obstore.list(self.store, self.key))))

    def is_file(self) -> bool:
        """Whether it is an object."""
        with suppress(FileNotFoundError):
            return bool(self.stat())
        return False

    def is_symlink(self) -> bool:
        """A store has no links."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """The size and time of an object; raises `FileNotFoundError` when there is none."""
        with mapped_store_errors(self, "read"):
            return _stat(obstore.head(self.store, self.key))

    def iterdir(self) -> Generator[Remote, None, None]:
        """What is directly below it."""
        with mapped_store_errors(self, "list"):
            found = _whole(lambda: obstore.list_with_delimiter(self.store, self.key))
        names = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        yield from (self / name.rsplit("/", 1)[-1] for name in names)

    def folders(self) -> list[Remote]:
        """The prefixes directly below it."""
        with mapped_store_errors(self, "list"):
            found = _whole(lambda: obstore.list_with_delimiter(self.store, self.key))
        return [self / name.rsplit("/", 1)[-1] for name in found["common_prefixes"]]

    def glob(self, pattern: str, **_: Any) -> Iterator[Remote]:  # type: ignore[override]
        """What is directly below it and has such a name."""
        return (path for path in self.iterdir() if path.match(pattern))

    def read_bytes(self) -> bytes:
        """The whole object; raises `FileNotFoundError` when there is none."""
        with mapped_store_errors(self, "read"):
            return bytes(obstore.get(self.store, self.key).bytes())

    def read_range(self, start: int, size: int) -> bytes:
        """So many bytes of an object, from a place in it on."""
        with mapped_store_errors(self, "read"):
            return bytes(obstore.get_range(self.store, self.key, start=start, length=size)) if size else b""

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """The object as a file that reads only the ranges that are asked for."""
        if mode != "rb":
            raise ValueError(f"an object of a store can only be read as bytes, not opened for {mode!r}")
        return Ranges(self, self.stat().st_size)

    def unlink(self, missing_ok: bool = True) -> None:
        """Delete an object, whether or not it is there: only for what has expired, or was never published."""
        with mapped_store_errors(self, "delete"):
            obstore.delete(self.store, self.key)


class Ranges(io.RawIOBase):
    """An object of this size as a file to read anywhere in, whose `end` is known already."""

    def __init__(self, path: Remote, size: int, end: bytes = b"") -> None:
        super().__init__()
        self._path = path
        self._size = size
        self._end = end
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        rest = max(self._size - self._position, 0)
        wanted = rest if size is None or size < 0 else min(size, rest)
        known = self._position - (self._size - len(self._end))
        start = self._position
        found = self._end[known : known + wanted] if known >= 0 else self._path.read_range(start, wanted)
        self._position += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def _whole(listed: Callable[[], T]) -> T:
    """A list, asked for again where its answer broke off, which the library does only for objects."""
    for _ in range(LISTED_AGAIN):
        try:
            return listed()
        except obstore.exceptions.GenericError as error:
            if "response body" not in str(error):
                raise
    return listed()


def _stat(found: Any) -> os.stat_result:
    time = int(found["last_modified"].timestamp())
    return os.stat_result((S_IFREG, 0, 0, 0, 0, 0, found["size"], time, time, time))


def place_of(place: str | os.PathLike[str]) -> Path:
    """The folder, or the prefix of an object store, that this names: a path, `s3://bucket/prefix`, `file:///path` ….

    Raises `InvalidInput` for what is neither: the address of something else, a drive or share of Windows, `~`; and for
    an address with a secret in it, which it does not repeat.
    """
    if isinstance(place, Remote):
        return place
    text = str(place)
    if found := _url.fullmatch(text):
        scheme, rest = found[1].lower(), found[3]
        if scheme in SCHEMES:
            return _remote(SCHEMES[scheme], rest)
        if scheme == "file":
            return Path("/" + rest.lstrip("/"))
    check_folder_name(text)
    return Path(place)


def is_stored(text: str) -> bool:
    """Whether this is the address of a place for backups, and not that of a server, say, or a folder."""
    found = _url.fullmatch(text)
    return found is not None and found[2] == "//" and found[1].lower() in (*SCHEMES, "file")


def _remote(scheme: str, rest: str) -> Remote:
    bucket, _, key = rest.partition("/")
    shape = f"{scheme}://BUCKET/PREFIX, or {scheme}://PROFILE@BUCKET/PREFIX with a profile of your credentials file"
    if ":" in bucket or "?" in rest or "#" in rest:
        raise InvalidInput(
            f"an address of a store has neither a password nor options: {scheme}://… (not repeated here)",
            f"write {shape}; secrets belong in the environment or in files, see docs/object-stores.md",
        )
    if not bucket.rpartition("@")[2] or any(part == ".." for part in key.split("/")) or "\0" in rest:
        raise InvalidInput(f"{scheme}://{rest!r} names no place in a store", f"write {shape}")
    return Remote(f"{scheme}://{bucket}/{key}")


def check_folder_name(place: str | Path) -> None:
    """Raises `InvalidInput` for what names no folder of this machine: an address, a drive or share of Windows, `~`."""
    text = str(place)
    if not text.strip():
        raise InvalidInput("the name of a folder is empty", "write . for the folder that you are in")
    if found := _url.fullmatch(text):
        meant = "an address" if found[1].lower() == "file" else f"an address ({found[1]}), not a folder of this machine"
        path = "/" + found[3].lstrip("/") if found[1].lower() == "file" else "/mnt/…"
        raise InvalidInput(f"{text} is {meant}", f"write the folder itself, as {path}; mount what is elsewhere first")
    if os.name != "nt" and _windows.match(text):
        raise InvalidInput(
            f"{text} is a place on Windows, not a folder of this machine", "mount it, and write the folder, as /mnt/…"
        )
    if text.startswith("~"):
        raise InvalidInput(
            f"{text} is not a folder: nobody has put your home in the place of ~",
            f"write {Path.home()}{text[1:]}, or leave out the quotation marks around it",
        )


def disk_places() -> set[Path]:
    """The folders in which the machine's own list (fstab(5)) says that disks are mounted; none where it has no list."""
    with suppress(OSError):
        lines = FSTAB.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
        return {Path(_octal.sub(lambda found: chr(int(found[1], 8)), line[1])) for line in fields if len(line) > 1}
    return set()


def spelled(place: Path) -> str:
    """How a place is remembered: a folder by its whole path, in which a link stays one, for it may lead elsewhere."""
    return str(place) if isinstance(place, Remote) else os.path.abspath(place)  # noqa: PTH100 - `resolve` follows links


def encoded(place: Path) -> bytes:
    """A place, or where a database is, for another process: a folder as the system calls it, maybe not in Unicode."""
    return str(place).encode() if isinstance(place, Remote | Address) else os.fsencode(place)


def decoded(place: bytes) -> Path:
    """The same, there."""
    text = os.fsdecode(place)
    if is_address(text):
        return location_of(text)
    found = _url.fullmatch(text)
    return Remote(text) if found and found[1] in SCHEMES.values() and found[2] == "//" else Path(text)


def put_new(path: Path, content: bytes, *, again: bool = True) -> None:
    """Write a new object, whole and at once, or a new file and bring its content to disk; raises `FileExistsError`.

    An object that is there and is the same is taken for this one, unless it must not be written `again`.
    """
    if not isinstance(path, Remote):
        write_new(path, content)
        return
    try:
        with mapped_store_errors(path, "write"):
            _put_new(path, content)
    except FileExistsError:
        # An answer may be lost after the object was written, and then it was tried again.
        if not again or path.read_bytes() != content:
            raise


def _put_new(path: Remote, content: bytes) -> None:
    try:
        obstore.put(path.store, path.key, content, mode="create", use_multipart=False)
    except (NotImplementedError, obstore.exceptions.NotSupportedError):  # a store without conditions
        if path.is_file():
            raise FileExistsError(errno.EEXIST, "it exists", str(path)) from None
        obstore.put(path.store, path.key, content, use_multipart=False)


def write_stream(path: Path, blocks: Iterable[bytes], *, overwrite: bool = False) -> None:
    """Write an object, or a file and bring it to disk, that is there when the last block is, and else not at all."""
    if isinstance(path, Remote):
        _write(sink(path), blocks)
        return
    with new_file(path, overwrite=overwrite) as unfinished:
        _write(sink(unfinished), blocks)


def _write(file: Sink, blocks: Iterable[bytes]) -> None:
    try:
        for block in blocks:
            file.write(block)
        file.finish()
    except BaseException:
        file.abandon()
        raise


def sizes_in(place: Path) -> dict[str, int]:
    """All objects below a prefix, or all files in the folders of a folder, by their names from there on."""
    if isinstance(place, Remote):
        with mapped_store_errors(place, "list"):
            found = _whole(lambda: [each for page in obstore.list(place.store, place.key) for each in page])
        start = len(place.key) + 1 if place.key else 0
        return {each["path"][start:]: each["size"] for each in found}
    return {f"{path.parent.name}/{path.name}": path.stat().st_size for path in place.glob("*/*") if path.is_file()}


def blocks_of(path: Path) -> Iterator[bytes]:
    """All of a file or an object, in one stream."""
    if isinstance(path, Remote):
        with mapped_store_errors(path, "read"):
            for block in obstore.get(path.store, path.key).stream(min_chunk_size=BLOCK_BYTES):
                yield memoryview(block)  # type: ignore[misc] # what takes bytes takes it
        return
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


class Sink(Protocol):
    """A new file that is written forwards. Until `finish` there is none; `abandon` leaves none in a store."""

    def write(self, data: Any) -> object:
        """Append bytes."""

    def flush(self) -> None:
        """Pass on what waits, where that means something."""

    def finish(self) -> None:
        """Bring it to disk, or have the store show it."""

    def abandon(self) -> None:
        """Close it without finishing; whoever made the folder removes the file."""


def sink(path: Path) -> Sink:
    """A new file, or a new object that is sent in parts, several at a time, while it is written."""
    return _Upload(path) if isinstance(path, Remote) else _File(path)


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self.write = self._file.write
        self.flush = self._file.flush

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # what waits to be written is not wanted, and need not have room
            self._file.close()


class _Upload:
    """Without an end, the parts that were sent are no object; a store is to be told when to throw such parts away."""

    def __init__(self, path: Remote) -> None:
        self._path = path
        with mapped_store_errors(path, "write"):
            self._writer: Any = obstore.open_writer(
                path.store, path.key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, data: Any) -> None:
        with mapped_store_errors(self._path, "write"):
            self._writer.write(data)

    def flush(self) -> None:
        pass  # parts are sent when they are full

    def finish(self) -> None:
        with mapped_store_errors(self._path, "write"):
            self._writer.close()

    def abandon(self) -> None:
        self._writer = None
