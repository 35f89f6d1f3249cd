"""Many changes in one transaction, for clients of RavenDB 4 and later: of documents and of attachments."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final, Self, TypeAlias

import msgspec

from muniment import json_bytes
from muniment.command import Delete, Put
from muniment.command import write_of as command_write
from muniment.document import (
    Document,
    collection_of,
    encode,
    fold,
    from_microseconds,
    raven_time,
    without_time_kept,
)
from muniment.errors import ConcurrencyConflict, DocumentNotFound, InvalidDocument, MunimentError
from muniment.owner import content_type, find, owned_id, replacing, tombstone
from muniment.raven7.change_vectors import change_vector
from muniment.raven7.documents import with_metadata, write_of
from muniment.raven7.json_patch import patched
from muniment.raven7.messages import Batch, Command, Done
from muniment.raven7.scripts import script_of
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.scripting import Scripted
from muniment.server.handlers.batches import check_number
from muniment.server.handlers.raven7.documents import attachments_of
from muniment.server.handlers.raven7.transaction import Prepared, delete_attachment, deletion, wanted, write
from muniment.server.handlers.raven7.uploads import read_parts
from muniment.server.multipart import MULTIPART
from muniment.server.request import Request, decode_json
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, json_response
from muniment.storage.base import Upload, Write, Written

_LARGE: Final = 65536
_PAGE: Final = 1024

Answer: TypeAlias = Callable[[list[Written]], dict[str, Any]]
"""What to answer of a command when all writes of its transaction have been made."""


async def execute(request: Request) -> Response:
    """Store and delete documents and attachments, all of them or none; answers what became of each."""
    uploads = list[Upload]()
    try:
        if (request.headers.get("content-type") or "").startswith(MULTIPART):
            body = await read_parts(request, uploads)
        else:
            body = await request.body()
        most = request.server.settings.batch_commands
        commands = await asyncio.to_thread(_read, body, most) if len(body) > _LARGE else _read(body, most)
        with Changes(request.tenant, commands, uploads) as changes:
            written = await write(request, changes.prepare) if commands else []
    except BaseException:
        for upload in uploads:
            request.tenant.database.storage.discard(upload)
        raise
    return json_response(Done([answer(written) for answer in changes.answers]), 201)


def _read(body: bytes, most: int) -> list[Command]:
    if body.count(b"{") > most:
        try:
            json_bytes.check(body)
            check_number(json_bytes.member_value(body, "Commands") or b"[]", most)
        except json_bytes.Malformed as error:
            raise InvalidDocument(f"the batch {error}", 'send {"Commands": [...]}') from error
    batch = decode_json(body, Batch, "the batch")
    if batch.transaction_mode not in (None, "SingleNode"):
        raise Refused(
            501, f"transactions of the mode {batch.transaction_mode} are not here", "use a session for a single node"
        )
    return batch.commands


class Changes:
    """The commands of a batch as writes; prepared anew, from what there is then, when that has changed meanwhile."""

    def __init__(self, tenant: Tenant, commands: list[Command], uploads: list[Upload]) -> None:
        """`uploads` are the contents that came with the batch; what is uploaded besides is added to them."""
        self.answers = list[Answer]()
        self._tenant = tenant
        self._storage = tenant.database.storage
        self._lineage = tenant.lineage
        self._commands = commands
        self._uploads = uploads
        self._sent = len(uploads)
        self._copies: dict[int, tuple[int | None, Upload]] = {}
        self._writes = list[Write]()
        self._own = set[str]()
        self._changed: dict[str, str] = {}
        self._scripts: dict[bytes, Scripted] = {}
        self._others: list[Put | Delete] = []
        # What the commands before have left: the last writes of documents, and each one's attachments, by folded ids.
        self._documents = dict[str, Write]()
        self._files = defaultdict[str, dict[str, Revision | None]](dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes of scripts."""
        for script in self._scripts.values():
            script.close()

    def prepare(self) -> Prepared:
        """The writes of all commands; raises what is wrong with one, naming it by its number."""
        self.answers, self._writes, self._own, self._changed = [], [], set(), {}
        self._documents.clear()
        self._files.clear()
        contents = iter(self._uploads[: self._sent])
        for number, command in enumerate(self._commands):
            try:
                self.answers.append(self._answer(number, command, contents))
            except MunimentError as error:
                error.message = f"command {number} ({command.type}): {error.message}"
                raise
        if next(contents, None):
            raise InvalidDocument("the batch has more contents than commands AttachmentPUT", "send one for each")
        self._touch()
        return Prepared(self._writes, frozenset(self._own))

    def _answer(self, number: int, command: Command, contents: Iterator[Upload]) -> Answer:
        match command.type:
            case "PUT":
                return self._put(command)
            case "DELETE":
                return self._delete(command)
            case "AttachmentPUT":
                return self._put_attachment(command, contents)
            case "AttachmentDELETE":
                return self._delete_attachment(command)
            case "AttachmentCOPY" | "AttachmentMOVE":
                return self._copy(number, command)
            case "PATCH" | "JsonPatch":
                return self._patch(command, _required(command.id, "Id"), command.change_vector)
            case "BatchPATCH":
                each = [self._patch(command, one.id, one.change_vector) for one in command.ids or ()]
                return lambda written: {"Type": "BatchPATCH", "Results": [answer(written) for answer in each]}
        raise Refused(
            501,
            "it is not supported; nothing of the batch was done",
            "load the document, change it, and save it: there are PUT, DELETE and those of attachments",
        )

    def _put(self, command: Command) -> Answer:
        id = command.id or str(uuid.uuid4())
        document = bytes(command.document) if isinstance(command.document, msgspec.Raw) else b"null"
        asked = write_of(id, document, wanted(self._tenant, command.change_vector) if command.id else 0)
        at = self._add(asked)

        def answer(written: list[Written]) -> dict[str, Any]:
            found = written[at]
            logged = self._storage.logged(found.etag)
            return {
                "Type": "PUT",
                "@id": found.id,
                "@collection": asked.collection or "@empty",
                "@change-vector": self._vector(found.etag),
                "@last-modified": raven_time(from_microseconds(logged[0])) if logged else None,
            }

        return answer

    def _patch(self, command: Command, id: str, vector: str | None) -> Answer:
        before, own = self._state(id), fold(id) not in self._documents
        expected = wanted(self._tenant, vector)
        if own and expected is not None and expected != (before.etag if before else 0):
            raise ConcurrencyConflict(id, expected, before.etag if before else 0)
        status, made = "NotModified", None if before is None else (before.metadata_json, before.body)
        if before is None and command.patch_if_missing is None and not _to_create(command):
            status = "DocumentDoesNotExist"
        elif (after := self._made(command, id, before)) != made:
            status, at = "Created" if before is None else "Patched", len(self._writes)
            if own and expected is None:
                self._own.add(fold(id))
            etag = (before.etag if before else 0) if own else None
            at = self._add(Write(id, after[1], after[0], collection_of(after[0]), etag))
        others, self._others = self._others, []
        for each in others:
            if isinstance(each, Delete):
                self._delete_document(each.id, None)
            else:
                self._add(command_write(each))

        def answer(written: list[Written]) -> dict[str, Any]:
            done: dict[str, Any] = {"Type": command.type, "Id": id, "PatchStatus": status, "ModifiedDocument": None}
            if status in ("Created", "Patched"):
                found = written[at]
                logged = self._storage.logged(found.etag)
                changed = from_microseconds(logged[0] if logged else 0)
                document = Document(found.id, found.etag, changed, after[0], after[1])
                done["ChangeVector"] = self._vector(found.etag)
                done["LastModified"] = raven_time(changed)
                done["Collection"] = document.collection or "@empty"
                if command.return_document:
                    done["ModifiedDocument"] = msgspec.Raw(
                        with_metadata(document, self._lineage, attachments_of(self._tenant, id))
                    )
                    done["OriginalDocument"] = before and msgspec.Raw(with_metadata(before, self._lineage))
            return done

        return answer

    def _made(self, command: Command, id: str, before: Document | None) -> tuple[bytes, bytes]:
        """The metadata and body that a patch makes of a document, or of an empty one."""
        metadata, body = (before.metadata_json, before.body) if before else (b"{}", b"{}")
        if command.type == "JsonPatch":
            return metadata, patched(id, body, command.json_patch.operations if command.json_patch else [])
        if before is None and (document := _to_create(command)):
            if command.patch_if_missing:
                raise InvalidDocument("it has both PatchIfMissing and CreateIfMissing", "give one of them")
            new = write_of(id, document, None)
            return new.metadata, new.body or b""
        given = command.patch if before else command.patch_if_missing
        if given is None:
            raise InvalidDocument("it has no Patch", "give it a script")
        if self._tenant.is_system:
            raise Refused(
                400, "scripts do not change documents of the system database", "store the document as a whole"
            )
        key = msgspec.json.encode(given)
        if (script := self._scripts.get(key)) is None:
            script = self._scripts[key] = Scripted(script_of(given.script, given.values))
        done = script.run(self._state, id, metadata, body)
        self._others = done.others
        return done.metadata, done.body

    def _state(self, id: str) -> Document | None:
        """A document as the commands before leave it; one that they have stored has no etag yet."""
        if (write := self._documents.get(fold(id))) is not None:
            if write.body is None:
                return None
            return Document(write.id, 0, from_microseconds(0), write.metadata, write.body)
        found = self._storage.get(DOCUMENT, id)
        return Document.of(found) if found and found.body is not None else None

    def _delete(self, command: Command) -> Answer:
        id, expected = _required(command.id, "Id"), wanted(self._tenant, command.change_vector)
        ids = self._ids(id) if command.id_prefixed else [id]
        first = len(self._writes)
        for each in ids:
            self._delete_document(each, expected)
        of = {fold(each) for each in ids}
        return lambda written: {
            "Type": "DELETE",
            "Id": id,
            "Deleted": any(done.existed for done in written[first:] if fold(done.id) in of),
            "ChangeVector": None,
        }

    def _delete_document(self, id: str, expected: int | None) -> None:
        """Delete it with its attachments, also those that commands before have stored."""
        (document, *files), own = deletion(self._tenant, id, expected)
        if fold(id) in self._documents:
            document, own = document._replace(expected=expected), own - {fold(id)}
        self._own |= own
        self._add(document)
        for each in files:
            if fold(each.id) not in self._files[fold(id)]:
                self._files[fold(id)][fold(each.id)] = None
                self._writes.append(each)
        for stored in self._stored(id):
            self._remove(id, stored, None)

    def _stored(self, id: str) -> list[Revision]:
        """The attachments of a document that commands before have stored."""
        return [each for each in self._files[fold(id)].values() if each]

    def _ids(self, prefix: str) -> list[str]:
        """The ids of documents that begin so, as the commands before leave them."""
        ids = list[str]()
        while page := self._storage.by_prefix(DOCUMENT, prefix, len(ids), _PAGE):
            ids += [each.id for each in page]
        found, begin = {fold(id): id for id in ids}, fold(prefix)
        for key, last in self._documents.items():
            if last.body is None:
                found.pop(key, None)
            elif key.startswith(begin):
                found[key] = last.id
        return list(found.values())

    def _put_attachment(self, command: Command, contents: Iterator[Upload]) -> Answer:
        if command.remote_parameters:
            raise Refused(501, "nothing is kept in another place", "send the content")
        if (upload := next(contents, None)) is None:
            raise InvalidDocument("its content is missing", "send one part for each, after that of the commands")
        id, name = _required(command.id, "Id"), _required(command.name, "Name")
        return self._store(command, id, name, command.content_type or "", upload)

    def _store(self, command: Command, id: str, name: str, type: str, upload: Upload) -> Answer:
        metadata = encode({"Content-Type": type} if type else {})
        expected = wanted(self._tenant, command.change_vector) if command.type == "AttachmentPUT" else None
        of = Write(owned_id(id, name), upload.sha256, metadata, None, expected, ATTACHMENT, upload)
        at = len(self._writes)
        self._writes += replacing(self._storage, of)
        self._files[fold(id)][fold(of.id)] = Revision(
            0, ATTACHMENT, of.id, None, 0, metadata, upload.sha256, upload.size, upload.content
        )
        self._change(id)
        return lambda written: {
            "Type": command.type,
            "Id": command.id,
            "Name": command.name,
            "DestinationId": id,
            "DestinationName": name,
            "ChangeVector": self._vector(written[at].etag),
            "Hash": base64.b64encode(upload.sha256).decode(),
            "ContentType": type,
            "Size": upload.size,
            "DocumentChangeVector": self._document_vector(id, written),
        }

    def _delete_attachment(self, command: Command) -> Answer:
        id, name = _required(command.id, "Id"), _required(command.name, "Name")
        if found := self._find(name, id):
            self._remove(id, found, wanted(self._tenant, command.change_vector))
            self._change(id)
        return lambda written: {
            "Type": "AttachmentDELETE",
            "Id": id,
            "@id": id,
            "Name": name,
            "DocumentChangeVector": self._document_vector(id, written),
        }

    def _find(self, name: str, id: str) -> Revision | None:
        """An attachment as the commands before leave it."""
        files, key = self._files[fold(id)], fold(owned_id(id, name))
        if key in files:
            return files[key]
        found = find(self._storage, name, id)
        return None if found and fold(found.id) in files else found

    def _remove(self, id: str, found: Revision, expected: int | None) -> None:
        files, key = self._files[fold(id)], fold(found.id)
        if files.get(key):  # it has no etag yet, so that none can be expected
            self._writes.append(Write(found.id, None, tombstone(self._storage, found), None, expected, ATTACHMENT))
        else:
            if expected is None:
                self._own.add(key)
            self._writes.append(delete_attachment(self._tenant, found.id, expected))
        files[key] = None

    def _copy(self, number: int, command: Command) -> Answer:
        id, name = _required(command.id, "Id"), _required(command.name, "Name")
        to = _required(command.destination_id, "DestinationId"), _required(command.destination_name, "DestinationName")
        found = self._find(name, id)
        if found is None:
            raise DocumentNotFound(f"there is no attachment {name!r} of {id!r}", "store it first")
        expected = wanted(self._tenant, command.change_vector)
        upload = self._copied(number, found)
        if command.type == "AttachmentMOVE":
            self._remove(id, found, expected)
            self._change(id)
        return self._store(command, *to, content_type(found.metadata), upload)

    def _copied(self, number: int, found: Revision) -> Upload:
        """The content of an attachment once more; the same as before if it was not changed meanwhile."""
        before = self._copies.get(number)
        if before and before[0] == found.content:
            return before[1]
        with self._storage.pin():
            upload = self._storage.upload(self._storage.content(found))
        self._uploads.append(upload)
        self._copies[number] = found.content, upload
        if before:
            self._uploads.remove(before[1])
            self._storage.discard(before[1])
        return upload

    def _change(self, id: str) -> None:
        self._changed.setdefault(fold(id), id)

    def _touch(self) -> None:
        """Store the documents whose attachments change once more: they get another change vector, as in RavenDB."""
        for key, id in self._changed.items():
            written = self._documents.get(key)
            if written and (written.body is not None or not self._stored(id)):
                continue
            present = None if written else self._storage.get(DOCUMENT, id)
            if present is None or present.body is None:
                raise DocumentNotFound(f"there is no document {id!r} to have attachments", "store it first")
            metadata, _ = without_time_kept(present.metadata, present.modified)
            self._own.add(key)
            self._writes.append(Write(present.id, present.body, metadata, present.collection, present.etag))

    def _add(self, write: Write) -> int:
        self._documents[fold(write.id)] = write
        self._writes.append(write)
        return len(self._writes) - 1

    def _vector(self, etag: int) -> str:
        return change_vector(etag, self._lineage)

    def _document_vector(self, id: str, written: list[Written]) -> str | None:
        etags = [done.etag for done, of in zip(written, self._writes, strict=True) if _is_document(of, id)]
        return self._vector(etags[-1]) if etags else None


def _is_document(write: Write, id: str) -> bool:
    return write.kind == DOCUMENT and fold(write.id) == fold(id)


def _to_create(command: Command) -> bytes | None:
    """The document that a patch is to store where there is none."""
    given = command.create_if_missing
    return bytes(given) if isinstance(given, msgspec.Raw) and bytes(given) != b"null" else None


def _required(text: str | None, name: str) -> str:
    if not text:
        raise InvalidDocument(f"it has no {name}", "name what it is about")
    return text
