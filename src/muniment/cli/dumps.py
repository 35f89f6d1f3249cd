"""What is said of an export and of an import."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from muniment.cli.output import count_text, size_text, took_text
from muniment.cli.report import Line, Row, facts, lines, note_lines, row
from muniment.cli.state import time_text
from muniment.smuggler.options import EXTENSIONS, SmugglerOptions
from muniment.smuggler.refused import REFUSED
from muniment.smuggler.summary import Exported, Imported


def exported_rows(exported: Exported, options: SmugglerOptions) -> list[Row]:
    """What came out of a database."""
    told = {**_told(exported), "time": time_text(exported.time)}
    return [Row(told, _exported_lines(exported)), _without_effect(options, EXTENSIONS)]


def imported_rows(imported: Imported, fingerprint: str, options: SmugglerOptions) -> list[Row]:
    """What came into a database, and the fingerprint that it has now."""
    build = "" if imported.build_version is None else f" of RavenDB build {imported.build_version}"
    end = ", without an end, as RavenDB leaves it: all of the dump was there" if imported.unfinished else ""
    text = [
        ("dump", f"{imported.compression} compression{build}{end}"),
        *_counts(imported),
        ("content", size_text(imported.bytes)),
        *_conflicts(imported),
        *_missing(imported),
        *([("go on with", f"--continuation-token {imported.continuation}")] if imported.continuation else []),
        ("took", took_text(imported.bytes, imported.seconds)),
    ]
    return [Row(_told(imported), text), _fingerprint(fingerprint), _without_effect(options)]


def carried_rows(exported: Exported, imported: Imported, fingerprint: str, options: SmugglerOptions) -> list[Row]:
    """What came out of one database and into another one."""
    text = [
        ("state of", _state_text(exported)),
        *_counts(imported),
        *_missing(exported),
        *_missing(imported),
        ("took", took_text(exported.bytes, exported.seconds)),
    ]
    told = {**_told(exported), "time": time_text(exported.time)}
    return [
        facts(exported=told, imported=_told(imported)),
        lines(text),
        _fingerprint(fingerprint),
        _without_effect(options),
    ]


def _exported_lines(exported: Exported) -> list[Line]:
    reason = f" ({exported.reason})" if exported.reason else ""
    kind = [("kind", f"{exported.kind}{reason}")] if reason or exported.kind == "incremental" else []
    if not exported.format:  # nothing has changed
        return kind
    compressed = "" if exported.compression == "none" else f", {exported.compression}"
    return [
        ("format", f"{exported.format}{compressed}"),
        *kind,
        ("state of", _state_text(exported)),
        *_counts(exported),
        *_missing(exported),
        *_refused(exported),
        ("size", f"{size_text(exported.size)}, {size_text(exported.bytes)} before compression"),
        ("took", took_text(exported.bytes, exported.seconds)),
    ]


def _told(summary: Exported | Imported) -> dict[str, Any]:
    """What programs are told of it."""
    return {**asdict(summary), "seconds": round(summary.seconds, 3)}


def _state_text(exported: Exported) -> str:
    return f"{time_text(exported.time)}, etag {exported.etag:,}"


def _conflicts(imported: Imported) -> list[Line]:
    if not imported.conflicts:
        return []
    ids = [*imported.conflicting, *(["…"] if imported.conflicts > len(imported.conflicting) else [])]
    what = f"{count_text(imported.conflicts, 'document')} that RavenDB had not resolved, stored as they are"
    return [("conflicts", f"{what}: {', '.join(ids)}")]


def _counts(told: Exported | Imported) -> list[Line]:
    names = ["documents", "attachments", "identities", *(["deletions"] if told.deletions else [])]
    kept = ", ".join(f"{count:,} {section}" for section, count in sorted(told.kept.items()))
    return [*((name, f"{getattr(told, name):,}") for name in names), *([("kept", kept)] if kept else [])]


def _refused(exported: Exported) -> list[Line]:
    """The documents for which RavenDB refuses the dump, by name."""
    if not exported.refused or REFUSED in exported.skipped:
        told = []
    else:
        many = count_text(exported.refused, "document")
        told = [("warning", f"RavenDB refuses this dump because of {many}; --for-ravendb leaves them out of it")]
    return told + [(f"  {fault.id}", fault.reason) for fault in exported.refusals]


def _missing(told: Exported | Imported) -> list[Line]:
    """What was not carried: by name, and the first of the items that had errors."""
    found = note_lines(told.notes) if isinstance(told, Exported) else []
    found += [("skipped", f"{count:,} {what}") for what, count in sorted(told.skipped.items())]
    if told.failed:
        found.append(("failed", f"{count_text(told.failed, 'item')}, passed over"))
    return found + [(f"  {fault.id or f'at {fault.position}'}", fault.reason) for fault in told.faults]


def _fingerprint(fingerprint: str) -> Row:
    return row("fingerprint", fingerprint, fingerprint=fingerprint)


def _without_effect(options: SmugglerOptions, has_effect: frozenset[str] = frozenset()) -> Row:
    names = ", ".join(name for name in options.meaningless if name not in has_effect)
    return lines([("no effect", f"{names}: Muniment has no place for them")] if names else [])
