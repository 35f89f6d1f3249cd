"""Clients that write to a server, each on ids of its own, and note in a file of their own what was acknowledged.

What an id holds is a function of the id and of its version, so that anything that is found there can be told from what
was never written, from what is older than the last acknowledged version, and from what was sent without an answer.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx

from muniment.revision import ATTACHMENT, DOCUMENT
from tests.torture.verdict import Defect, Outcome

IDS: Final = 12
BATCH: Final = 8

Key: TypeAlias = tuple[int, str]
Contents: TypeAlias = dict[Key, bytes]
Known: TypeAlias = dict[Key, tuple[int, int]]
"""For each id the last version that was acknowledged and the last one that was sent; 0 for none."""


def content(key: Key, version: int) -> bytes | None:
    """What an id holds after this version; None when it was deleted, or never written."""
    if version == 0 or version % 7 == 0:
        return None
    noise = hashlib.sha256(f"{key} {version}".encode()).hexdigest()
    if key[0] == ATTACHMENT:
        return f"{version} {noise} ".encode() * (1 + version % 900)
    return b'{"version":%d,"text":"%s"}' % (version, noise.encode() * (1 + version % 9))


class Ledger:
    """A file to which each thing that was sent, and each that was acknowledged, is written at once."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def sent(self, keys: list[Key], version: int) -> None:
        self._note("S", keys, version)

    def acknowledged(self, keys: list[Key], version: int) -> None:
        self._note("A", keys, version)

    def _note(self, what: str, keys: list[Key], version: int) -> None:
        os.write(self._file, "".join(f"{what} {kind} {id} {version}\n" for kind, id in keys).encode())

    def close(self) -> None:
        os.close(self._file)


def known(folder: Path) -> Known:
    """What the ledgers in a folder say."""
    found: Known = {}
    for file in sorted(folder.glob("*.ledger")):
        for line in file.read_text().splitlines():
            what, kind, id, version = line.split()
            acknowledged, sent = found.get((int(kind), id), (0, 0))
            found[int(kind), id] = (int(version), sent) if what == "A" else (acknowledged, int(version))
    return found


def must_hold(contents: Contents, ledgers: Known, where: str, least: Known | None = None) -> None:
    """Raises `Defect` for what is lost or wrong.

    `least` are the versions from which on each id has to be there; what the ledgers acknowledged, if not given.
    """
    for key in contents.keys() - ledgers.keys():
        if key[1].startswith("w"):
            raise Defect(Outcome.WRONG, f"{where}: {key} was never sent")
    batches: dict[str, set[int]] = {}
    for key, (acknowledged, sent) in ledgers.items():
        if least is not None:
            acknowledged = least.get(key, (0, 0))[0]
        here = contents.get(key)
        fitting = [version for version in range(acknowledged, sent + 1) if content(key, version) == here]
        if not fitting:
            older = any(content(key, version) == here for version in range(acknowledged))
            outcome = Outcome.LOST if older else Outcome.WRONG
            seen = "nothing" if here is None else repr(here[:80])
            raise Defect(
                outcome, f"{where}: {key} has {seen} where version {acknowledged} was acknowledged, {sent} sent"
            )
        if "batch" in key[1]:
            group = key[1].rpartition("/")[0]
            batches[group] = batches.get(group, set(fitting)) & set(fitting)
    for group, together in batches.items():
        if not together:
            raise Defect(Outcome.WRONG, f"{where}: the transaction {group} is there in part")


Send: TypeAlias = Callable[[httpx.Client, list[Key], int], httpx.Response]


def send_document(client: httpx.Client, keys: list[Key], version: int) -> httpx.Response:
    body = content(keys[0], version)
    path = f"/docs/{keys[0][1]}"
    return client.delete(path) if body is None else client.put(path, content=body)


def send_attachment(client: httpx.Client, keys: list[Key], version: int) -> httpx.Response:
    body = content(keys[0], version)
    path = f"/static/{keys[0][1]}"
    return client.delete(path) if body is None else client.put(path, content=body)


def send_batch(client: httpx.Client, keys: list[Key], version: int) -> httpx.Response:
    parts = []
    for key in keys:
        body = content(key, version)
        if body is None:
            parts.append(b'{"Method":"DELETE","Key":"%s"}' % key[1].encode())
        else:
            parts.append(b'{"Method":"PUT","Key":"%s","Document":%s,"Metadata":{}}' % (key[1].encode(), body))
    headers = {"Content-Type": "application/json"}
    return client.post("/bulk_docs", content=b"[" + b",".join(parts) + b"]", headers=headers)


class Writer(threading.Thread):
    """Writes until it is stopped or nobody answers. `refused` are the answers that were errors."""

    def __init__(
        self, number: int, send: Send, url: str, ledgers: Path, headers: dict[str, str], seconds: float
    ) -> None:
        super().__init__(daemon=True)
        self.refused: list[httpx.Response] = []
        self.written = 0
        self.crude = ""
        self.stop = threading.Event()
        self._send = send
        self._client = httpx.Client(base_url=url, headers=headers, timeout=seconds, verify=False)
        self._ledger = Ledger(ledgers / f"{number}.ledger")
        self._groups: list[list[Key]] = [[(DOCUMENT, f"w{number}/{n}")] for n in range(IDS)]
        if send is send_attachment:
            self._groups = [[(ATTACHMENT, f"w{number}/{n}")] for n in range(4)]
        if send is send_batch:
            self._groups = [[(DOCUMENT, f"w{number}/batch{n}/{m}") for m in range(BATCH)] for n in range(3)]

    def run(self) -> None:
        try:
            self._write()
        except httpx.TimeoutException as error:
            self.crude = f"no answer: {error!r}"
        except httpx.TransportError:
            pass  # the server is gone
        finally:
            self._ledger.close()
            self._client.close()

    def _write(self) -> None:
        version = 0
        while not self.stop.is_set():
            version += 1
            for keys in self._groups:
                self._ledger.sent(keys, version)
                answer = self._send(self._client, keys, version)
                if answer.is_success or (answer.status_code == 404 and content(keys[0], version) is None):
                    self._ledger.acknowledged(keys, version)
                    self.written += 1
                else:
                    self.refused.append(answer)
                    if self.stop.wait(0.02):
                        return


SENDS: Final = (send_document, send_document, send_batch, send_attachment)


@contextmanager
def writing(url: str, ledgers: Path, headers: dict[str, Any], seconds: float = 60) -> Iterator[list[Writer]]:
    """Within it, several clients write to the database at this address."""
    ledgers.mkdir(exist_ok=True)
    writers = [Writer(number, send, url, ledgers, headers, seconds) for number, send in enumerate(SENDS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(seconds + 30)
