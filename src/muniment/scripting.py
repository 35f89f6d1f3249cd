"""Scripted patches of RavenDB 3: JavaScript in which `this` is the document, run in the process of a transform.

A number that the script does not change keeps its text, and a document that it does not change keeps every byte.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec

from muniment import json_bytes
from muniment.command import Command, Delete, Put
from muniment.document import Document, decode, encode, fold, metadata_bytes
from muniment.errors import InvalidInput, InvalidScript
from muniment.smuggler.script import Transform

LOADED: Final = 100  # documents that a script may load
_HINT: Final = "fix the script; nothing was changed"
_name: Final = re.compile(r"[^\W\d]\w*")
_TOLD: Final = "the transform script"


class Script(msgspec.Struct, frozen=True, rename="pascal"):
    """A script, and the values that it has as variables."""

    script: str
    values: dict[str, Any] | None = None


class Done(NamedTuple):
    """What a script made of a document, the other commands that it gave, and what it said."""

    metadata: bytes
    body: bytes
    changed: bool
    others: list[Command]
    told: list[str]


class Scripted:
    """A script that is ready to run on one document after the other; `close` ends its process."""

    def __init__(self, script: Script) -> None:
        """Raises `InvalidScript` for one that does not compile."""
        values = script.values or {}
        for name in values:
            if not _name.fullmatch(name):
                raise InvalidInput(f"{name!r} in Values is no name of a variable", "use letters, digits and _")
        around = Path(__file__).with_name("patch.js").read_text()
        given = {"NAMES": json.dumps(list(values)), "SCRIPT": json.dumps(script.script)}
        text = re.sub("NAMES|SCRIPT", lambda found: given[found[0]], around)
        self._values = encode(values)
        self._transform = Transform(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process of the script."""
        self._transform.close()

    def run(self, get: Callable[[str], Document | None], id: str, metadata: bytes, body: bytes) -> Done:
        """What the script makes of a document; `get` loads those that it asks for. Raises `InvalidScript`."""
        loaded: dict[str, bytes] = {}
        while True:
            envelope = _object(
                id=encode(id), document=body, metadata=metadata, values=self._values, loaded=_object(**loaded)
            )
            answer = self._answer(id, envelope)
            try:
                if (wanted := json_bytes.member_value(answer, "wanted")) is None:
                    return _done(id, metadata, body, answer)
            except (KeyError, ValueError) as error:  # it has changed what JavaScript is made of
                raise InvalidScript(f"the script for document {id!r} gives nothing that can be read", _HINT) from error
            if len(loaded) == LOADED:
                raise InvalidScript(f"the script for document {id!r} loads more than {LOADED} documents", _HINT)
            found = get(name := str(decode(wanted)))
            loaded[fold(name)] = _with_metadata(found) if found else b"null"

    def _answer(self, id: str, envelope: bytes) -> bytes:
        try:
            result = self._transform.document(id, b"{}", envelope)
        except InvalidScript as error:
            raise InvalidScript(error.message.replace(_TOLD, "the script", 1), _HINT) from error
        assert result is not None
        return result[1]


def _object(**members: bytes) -> bytes:
    return b"{" + b",".join(encode(name) + b":" + value for name, value in members.items()) + b"}"


def _with_metadata(document: Document) -> bytes:
    body = document.body.strip()
    more = b'"@metadata":' + document.metadata_json + b"}"
    return body[:-1] + (b"," if body[1:-1].strip() else b"") + more


def _done(id: str, metadata: bytes, body: bytes, answer: bytes) -> Done:
    found = json_bytes.member_values(answer)
    changed = found["changed"] == b"true"
    if found["metadataChanged"] == b"true":
        metadata, changed = metadata_bytes(found["metadata"]), True
    others = [_command(id, json_bytes.member_values(put)) for put in json_bytes.elements(found["puts"])]
    if found["changed"] == b"true":
        body = found["document"]
    return Done(metadata, body, changed, others, decode(found["told"]))


def _command(id: str, put: Mapping[str, bytes]) -> Command:
    name = str(decode(put["id"])) or str(uuid.uuid4())
    if fold(name) == fold(id):
        raise InvalidScript(f"the script for document {id!r} puts or deletes that document", "change `this`")
    if put["document"] == b"null":
        return Delete(name)
    return Put(name, put["document"], metadata_bytes(put["metadata"]))
