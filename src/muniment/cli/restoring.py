"""What `muniment restore` was asked for, and doing it: one of five things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from muniment.backup.moment import RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.restore import Restored
from muniment.backup.restore import dry_run as told_only
from muniment.backup.restore_into import check_policy
from muniment.backup.selection import Selection
from muniment.backup.staging import check_free
from muniment.cli.options import JobOutput, Keys, LimitOptions, is_url, path_of
from muniment.cli.output import count_text, size_text
from muniment.cli.report import Line, Row, facts, note_lines, notes, row
from muniment.cli.restore_into import Into, into_folder
from muniment.cli.restore_options import Caution, ExistingOptions, NewOptions, Opening, Part, Place
from muniment.cli.state import encryption_row, restored_rows
from muniment.errors import InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.security.encryption import EncryptionKey


@dataclass(frozen=True)
class Asked:
    """A command line. `run` checks that it says one thing, and does it."""

    source: Path
    place: Place
    part: Part
    caution: Caution
    existing: ExistingOptions
    new: NewOptions
    opening: Opening
    pace: LimitOptions
    keys: Keys
    out: JobOutput

    def run(self) -> None:
        """Restore, or say what would be restored; raises `InvalidInput` for what does not go together."""
        self._check()
        if self.existing.on_conflict is not None:
            self._into_existing()
        elif self.server.url is not None:
            self._on_server(self.server.url)
        elif self.to is None or self.caution.dry_run:
            if self.to is not None:
                check_free(self.to)
            _show(told_only(self._plan(), str(self.source)), self.out)
        else:
            self._new_folder(self.to)

    @cached_property
    def to(self) -> Path | None:
        """The folder in --to, None for a server."""
        target = self.place.target
        return None if target is None or is_url(target) else path_of(target)

    @cached_property
    def server(self) -> Place:
        """The server and the name there; a URL in --to is the same as --server and --name."""
        place = self.place
        if place.target is None or not is_url(place.target):
            return place
        if place.url is not None or place.name is not None:
            raise InvalidInput("--to names a server, and --server and --name do too", "give one of them")
        from muniment.client import split_url  # here: its HTTP client loads longer than most commands run

        url, name = split_url(place.target)
        if name is None:
            raise InvalidInput(f"{place.target} names no database", "give URL/databases/NAME, or a folder")
        return replace(place, url=url, name=name)

    @cached_property
    def point(self) -> RestorePoint:
        """The moment; how a time without a zone was read is said on stderr."""
        return self.part.moment.point()

    @cached_property
    def selection(self) -> Selection | None:
        """The part of it, None for all."""
        return self.part.selected.selection()

    def _check(self) -> None:
        server, existing = self.server, self.existing
        if server.url is not None and self.to is not None:
            raise InvalidInput("--to and --server each say where to restore to", "give one of them")
        if server.url is None:
            if server.name is not None or server.location is not None:
                raise InvalidInput("--name and --location are for a server", "give --server URL, or --to FOLDER alone")
            if self.to is None and not self.caution.dry_run:
                raise InvalidInput("no place to restore to was named", "give --to FOLDER, or --server URL")
            if server.plain_http:
                raise InvalidInput("--plain-http is for a server", "leave it out, or give --server URL")
            self.keys.check_unused()
        _ = self.point, self.selection
        if existing.on_conflict is not None and (self.new.given or server.location is not None):
            raise InvalidInput(
                "--defrag, --new-id, --new-key-file, --in-clear and --location are for a new database",
                "leave out --on-conflict, or them",
            )
        if existing.on_conflict is None and existing.other_database:
            raise InvalidInput(
                "--other-database is for restoring into an existing database", "give --on-conflict too, or leave it out"
            )

    def _plan(self) -> RestorePlan:
        """Which backups in the folder that is."""
        return MaintenanceActions.plan_restore(
            self.source, point=self.point, keyring=self.opening.keyring(), copies=tuple(self.part.copies)
        )

    @property
    def _copies(self) -> list[str]:
        """Other places with these backups, as they were named."""
        return [str(each) for each in self.part.copies]

    def _into_existing(self) -> None:
        server, opening = self.server, self.opening
        here = server.url is None
        if not here:
            opening.encryption.check_for_server()
        into = Into(
            *(str(self.source), self.point, self.selection),
            *(self.to, server.url, server.name),
            check_policy(self.existing.on_conflict or ""),
            other_database=self.existing.other_database,
            dry_run=self.caution.dry_run,
            yes=self.caution.yes,
            key=opening.encryption.key() if here else None,
            keyring=opening.keyring() if here else opening.backups.for_server(),
            copies=tuple(self._copies),
            limits=self.pace.here if here else self.pace.limits,
        )
        into.check_meant()
        if here:
            into_folder(into, self.out)
            return
        from muniment.cli.remote import into_server  # here: its HTTP client loads longer than most commands run

        if not into.name:
            raise InvalidInput("no database of the server to restore into was named", "give --name NAME")
        into_server(into, self.keys, self.out)

    def _on_server(self, url: str) -> None:
        """A new database there, or with --dry-run what it would be made of."""
        server, trusted = self.server, self.opening.backups
        trusted.for_server()
        key = self.new.key_for_server(self.opening.encryption)
        shown: dict[str, Any] = {
            "require_signature": trusted.require_signature,
            "allow_clear": trusted.allow_clear,
            "copies": self._copies,
        }
        source, store = str(self.source), self.keys.store(url)
        if not self.caution.dry_run:
            from muniment.cli.remote import NewDatabase, restore_on_server  # here too

            made = NewDatabase(server.name, server.location, self.new.defrag, self.new.new_id, key, server.plain_http)
            restore_on_server(
                store, source, made, self.out, self.point, self.selection, limits=self.pace.limits, **shown
            )
            return
        with store:
            plan = store.admin.plan_restore(
                source,
                server.name,
                point=self.point,
                selection=self.selection,
                key=key,
                plain_http=server.plain_http,
                **shown,
            )
        _show(plan, self.out)

    def _new_folder(self, to: Path) -> None:
        key = self.new.key(self.opening.encryption)
        with self.out.job(progress := Progress()):
            plan = self._plan()
            restored = MaintenanceActions.restore(
                plan,
                to,
                selection=self.selection,
                defrag=self.new.defrag,
                new_id=self.new.new_id,
                key=key,
                progress=progress,
                limits=self.pace.here,
            )
        _show_restored(plan, restored, to, self.out, key, part=self.selection is not None)


def _show_restored(
    plan: RestorePlan, restored: Restored, to: Path, out: JobOutput, key: EncryptionKey | None, *, part: bool
) -> None:
    folder = str(restored.backup.folder)
    rows = [
        facts(database=str(to)),
        row("from", folder, backup=folder),
        *restored_rows(plan, restored.moment, restored.fingerprint, restored.seconds),
        *([encryption_row(key)] if key else []),
        notes(restored.notes),
    ]
    done = "Restored a part of" if part else "Restored"
    out.emit(f"{done} {plan.manifest.database.name} to {to}", rows)


def _show(plan: dict[str, Any], out: JobOutput) -> None:
    out.emit(f"A restore from {plan['source']} would read", [Row(plan, _plan_lines(plan))])


def _plan_lines(plan: dict[str, Any]) -> Iterator[Line]:
    for backup in plan["backups"]:
        yield PurePath(backup["backup"]).name, count_text(len(backup["files"]), "file")
        for file in backup["files"]:
            yield f"  {file['name']}", f"  {count_text(file['rows'], 'row')}, {size_text(file['bytes'])}"
    files = sum(len(backup["files"]) for backup in plan["backups"])
    yield "in all", f"{count_text(files, 'file')}, {count_text(plan['rows'], 'row')}, {size_text(plan['file_bytes'])}"
    yield "stops at", f"{plan['time']}, etag {plan['etag']:,}"
    yield from note_lines(plan.get("notes") or ())
