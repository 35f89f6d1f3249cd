"""`muniment cron`: what to write where, so that backups are taken without a server of ours."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from muniment.backup.destination import place_of, spelled
from muniment.cli.options import path_of
from muniment.cli.output import write
from muniment.duration import duration_of
from muniment.errors import InvalidInput

HOUR: Final = 3600
_UNITS: Final = """# /etc/systemd/system/muniment-backup-{name}.service
[Unit]
Description=Backup of {folder} to {dest}

[Service]
Type=oneshot
ExecStart={command}
Nice=10

# /etc/systemd/system/muniment-backup-{name}.timer
[Unit]
Description=Backups of {folder}, every {every}

[Timer]
OnBootSec=5min
OnUnitActiveSec={minutes}min
RandomizedDelaySec=1min
Persistent=true

[Install]
WantedBy=timers.target

# then: systemctl enable --now muniment-backup-{name}.timer
"""


def cron(
    folder: Annotated[Path, typer.Argument(parser=path_of, metavar="FOLDER", help="The folder of the database.")],
    *,
    dest: Annotated[str, typer.Option("--dest", metavar="PLACE", help="Where backups go: a folder or a store.")],
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="How often, as 15m or 6h.")] = "24h",
    systemd: Annotated[
        bool, typer.Option("--systemd", metavar="", help="Print a service and a timer of systemd instead.")
    ] = False,
) -> None:
    """Print the lines with which cron or systemd back a database up again and again.

    They start `muniment backup --incremental --if-older-than`, which does nothing while the last backup is younger, and
    more often than --every: so a machine that was off at the time catches up, and nothing is done twice. Nothing is
    changed here: put the lines into `crontab -e`, or the units where they say.

    $ muniment cron /var/lib/shop --dest /mnt/backups/shop --every 6h
    $ muniment cron /var/lib/shop --dest s3://backups/shop --every 15m --systemd
    """
    seconds = duration_of(every, "--every")
    if seconds < 60:
        raise InvalidInput(f"every {every} is too often for cron", "give 1m or more")
    place, database = spelled(place_of(dest)), str(folder.resolve())
    program = shutil.which("muniment")
    words = [program] if program else [sys.executable, "-m", "muniment"]
    words += ["backup", database, "--dest", place, "--incremental", "--if-older-than", every, "--quiet"]
    command = shlex.join(words)
    step = max(1, min(seconds // 6, HOUR) // 60)
    if systemd:
        escaped = command.replace("%", "%%").replace("$", "$$")
        name = folder.resolve().name
        text = _UNITS.format(name=name, folder=database, dest=place, command=escaped, every=every, minutes=step)
    else:
        minute = int.from_bytes(hashlib.blake2b(database.encode(), digest_size=2).digest(), "big") % 60
        when = f"{minute} * * * *" if step >= 60 else f"*/{step} * * * *"
        text = f"{when} {command.replace('%', chr(92) + '%')} >/dev/null\n"
    write(text.encode(sys.stdout.encoding, "backslashreplace"))
