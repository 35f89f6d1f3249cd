"""Commands that an operator has run before and after jobs: they get the job as JSON, and have to end in time.

A hook is code that runs as the server's user. So there are none but those in the file that the server's settings name,
which nobody else may write; no request and no document names one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_IWGRP, S_IWOTH
from typing import Any, Final, Literal

import msgspec

from muniment.backup.job import Job
from muniment.document import rfc3339
from muniment.errors import StorageFailure, unreadable
from muniment.program import run_program
from muniment.settings import InvalidSetting
from muniment.telling import log

WHEN: Final = tuple(f"{when}-{what}" for what in ("backup", "restore", "rehearsal") for when in ("before", "after"))
SECONDS: Final = 60


class Hook(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """A command, word by word; how many seconds it may take; and what its failure does: `fail` the job, or a `note`."""

    command: tuple[str, ...]
    seconds: float = SECONDS
    on_failure: Literal["fail", "note"] = "fail"


class Hooks:
    """The hooks of a server, by when they are run: `before-backup`, `after-rehearsal` and so on."""

    def __init__(self, file: str = "") -> None:
        """Raises `InvalidSetting` for a file that is none, or that others may write."""
        self._hooks: Mapping[str, Hook] = _read(Path(file)) if file else {}

    def attach(self, job: Job[Any], told: Callable[[], Mapping[str, Any]]) -> None:
        """Have the job run what is to be run before and after it; `told` gives what is known of it then."""
        if before := self._hooks.get(f"before-{job.what}"):
            first = job.before

            def begin() -> None:
                first()
                _run(before, job, f"before-{job.what}", told)

            job.before = begin
        if after := self._hooks.get(f"after-{job.what}"):
            job.after = lambda: _run(after, job, f"after-{job.what}", told)


def _read(path: Path) -> dict[str, Hook]:
    hint = "see docs/server.md#hooks"
    try:
        status = path.stat()
        with path.open("rb") as file:
            told = tomllib.load(file)
    except OSError as error:
        raise unreadable(path, error, "name the file with the hooks") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not TOML: {error}", hint) from error
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (S_IWGRP | S_IWOTH):
        raise InvalidSetting(
            f"{path} may be written by others than the server's user, and says what the server runs",
            f"chown it to that user or root, and chmod go-w {path}",
        )
    for name in told:
        if name not in WHEN:
            raise InvalidSetting(f"{path} has a hook {name!r}, and there is no such time", f"give {', '.join(WHEN)}")
    try:
        found = msgspec.convert(told, dict[str, Hook])
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"{path} cannot be used: {error}", hint) from error
    for name, hook in found.items():
        if not hook.command or not Path(hook.command[0]).is_absolute() or hook.seconds <= 0:
            raise InvalidSetting(
                f"the hook {name} in {path} has no command with an absolute path, or no time", 'write command = ["/…"]'
            )
    return found


def _run(hook: Hook, job: Job[Any], when: str, told: Callable[[], Mapping[str, Any]]) -> None:
    """Run it; raises `StorageFailure` where its failure is to be the job's."""
    try:
        _call(hook, when, _facts(job, when, told()))
    except StorageFailure as error:
        if hook.on_failure == "fail":
            if when.startswith("after") and job.error is None:
                error.message = f"the {job.what} itself is complete, but {error.message}"
            raise
        job.say(f"Note: {error.message}")
        log(f"{job.what}: {error.message}")


def _call(hook: Hook, when: str, facts: Mapping[str, Any]) -> None:
    hint = "see what it does; it gets the job as JSON on its input"
    try:
        code, said = run_program(hook.command, seconds=hook.seconds, given=msgspec.json.encode(facts))
    except TimeoutError as error:
        raise StorageFailure(f"the hook {when} did not end within {hook.seconds:g} s", hint) from error
    except OSError as error:
        raise StorageFailure(f"the hook {when} could not be run: {error.strerror or error}", hint) from error
    if code:
        raise StorageFailure(f"the hook {when} ended with {code}{f': {said}' if said else ''}", hint)


def _facts(job: Job[Any], when: str, told: Mapping[str, Any]) -> dict[str, Any]:
    error = job.error
    facts: dict[str, Any] = {"when": when, "job": job.what, "began": rfc3339(job.began), **told}
    if when.startswith("after"):
        outcome = "failed" if error else "completed"
        facts |= {"outcome": outcome, "seconds": round(job.progress.seconds, 3)}
        facts |= {"error": error.message, "kind": type(error).__name__} if error else {}
    return facts
