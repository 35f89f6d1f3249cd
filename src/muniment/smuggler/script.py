"""Transforms: a JavaScript function through which every document goes, in a process that a bad script cannot escape.

A script is RavenDB 3's `function(doc) { …; return doc; }`, where null leaves the document out, or the statements of
RavenDB 4 and later, which change `this`, and leave it out with `throw 'skip'`. A number that the script does not change
keeps its text: JavaScript has only doubles, and would turn 18.0 into 18 and round a long integer.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

from muniment.document import MAX_METADATA_BYTES, check_body, encode
from muniment.errors import InvalidInput, InvalidScript
from muniment.smuggler.metadata import stored_metadata
from muniment.workers import Child

SECONDS: Final = 1.0
MEMORY_BYTES: Final = 512 << 20

_HINT: Final = "fix the script, leave these documents out with a filter, or skip them with ignore-errors-and-continue"
_HERE: Final = Path(__file__).parent

_maybe_marked = re.compile(rb"-0|[0-9][.eE]|[0-9]{16}").search
# A number or the end of the text, with everything since the last number.
_number = re.compile(rb'((?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^"0-9-]++)*+)(-?[0-9][0-9.eE+-]*+|\Z)', re.DOTALL)
_CACHED_DIGITS: Final = 32


class Transform:
    """A script that is ready to run. `seconds` of processor time and `memory` bytes are what one document may take."""

    def __init__(self, script: str, *, seconds: float = SECONDS, memory: int = MEMORY_BYTES) -> None:
        """Raises `InvalidScript` for one that does not compile, `InvalidInput` without a JavaScript engine."""
        if importlib.util.find_spec("quickjs") is None:
            raise InvalidInput(
                "transform scripts need the JavaScript engine, which is not installed",
                "install it with: pip install 'muniment[javascript]'",
            )
        self._script = script
        self._seconds = seconds
        self._memory = memory
        self._child = self._started()

    def document(self, id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes] | None:
        """The metadata and body that the script returns for a document, None to leave it out.

        A part that it does not change is returned as the same bytes. Raises `InvalidScript` with the id when it throws,
        takes too much time or memory, or returns what is not a document; after that the next document can be given.
        """
        if self._child.ended:
            self._child = self._started()
        answer = self._ask(self._child, body, metadata, encode(id), _marked(body), _marked(metadata))
        match answer[:1]:
            case b"=":
                return metadata, body
            case b"-":
                return None
            case b"+":
                new_body, _, new_metadata = answer[1:].partition(b"\n")
                return _stored(id, new_metadata) if new_metadata else metadata, _whole(id, new_body) or body
        raise InvalidScript(f"the transform script fails for document {id!r}: {answer[1:].decode()}", _HINT)

    def close(self) -> None:
        """End the process. Closing again does nothing."""
        self._child.close()

    def _started(self) -> Child:
        command = [sys.executable, "-P", str(_HERE / "script_process.py")]
        child = Child(command, does="runs the transform script", stderr=subprocess.DEVNULL)
        around, script = (_HERE / "script.js").read_bytes(), self._script.encode("utf-8", "replace")
        answer = self._ask(child, b"%g" % self._seconds, b"%d" % self._memory, around, script)
        if answer != b"=":
            child.close()
            what = f"the transform script cannot be used: {answer[1:].decode()}"
            raise InvalidScript(what, "write function(doc) { return doc; }, or statements that change `this`")
        return child

    def _ask(self, child: Child, *strings: bytes) -> bytes:
        """The process's answer to these strings, or an error text when it was ended."""
        child.send(*strings)
        answer = child.receive()
        if answer is not None:
            return bytes(answer)
        code = child.wait()
        child.close()
        if code == -signal.SIGPROF:
            return f"!it ran for more than {self._seconds:g} s".encode()
        return f"!the process in which it ran ended with code {code}".encode()


def _whole(id: str, body: bytes) -> bytes:
    """The body that a script has made, once it is checked."""
    if body:
        check_body(body, f"what the transform script made of document {id!r}")
    return body


def _stored(id: str, metadata: bytes) -> bytes:
    stored = stored_metadata(_whole(id, metadata), later=False)
    if len(stored) > MAX_METADATA_BYTES:
        raise InvalidScript(f"the transform script made metadata of {len(stored):,} bytes for document {id!r}", _HINT)
    return stored


def _marked(text: bytes) -> bytes:
    """This JSON with each number that JavaScript would rewrite as a string of its text; empty if there is none.

    Numbers that a double cannot hold exactly have an exclamation mark in front.
    """
    if not _maybe_marked(text):
        return b""
    marked = _number.sub(_mark, text)
    return b"" if marked == text else marked


def _mark(found: re.Match[bytes]) -> bytes:
    before, number = found.groups()
    return before + (_marked_number(number) if len(number) <= _CACHED_DIGITS else _marked_number.__wrapped__(number))


@lru_cache(4096)
def _marked_number(text: bytes) -> bytes:
    if not text or (text.isdigit() and len(text) < 16):
        return text
    number = float(text)
    shortest = repr(number)
    if shortest.encode() == text and b"e" not in text and not text.endswith(b".0"):
        return text
    exact = Decimal(text.decode()) == Decimal(shortest)
    return b'"%s%s"' % (b"" if exact else b"!", text)
