"""`muniment restore`: into a new folder, onto a server, or into an existing database of either.

`restoring.py` does it, and is loaded only then: it takes longer than completing a line may.
"""

from __future__ import annotations

from muniment.cli.options import JobOutput, Keys, LimitOptions, Source
from muniment.cli.restore_options import Caution, ExistingOptions, NewOptions, Opening, Part, Place


def restore(
    source: Source,
    *,
    place: Place,
    part: Part,
    caution: Caution,
    existing: ExistingOptions,
    new: NewOptions,
    opening: Opening,
    pace: LimitOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Make a new database from the backups in a folder, or bring back into one what was lost or changed.

    It is the newest state, or the last one at or before the moment that is named; a transaction is never split. Every
    file is checked against its SHA-256 before it is used and the whole against the fingerprint in the manifest, also
    when only collections or prefixes are wanted, but not for single ids. The new folder appears when all of that is
    true and it is on disk, or not at all.

    An existing database is never written to, unless --on-conflict says how. Then the moment, or the part of it that is
    selected, is compared with the database in --to or on the server, the difference is printed, and what the policy
    says is written as one transaction: skip adds what is missing, overwrite also puts back what was changed and deletes
    what was not there, and fail does nothing if there is any of that. --dry-run only prints the difference. Before all
    of a database is overwritten, a terminal is asked, and anything else has to say --yes.

    With --key-file the new database is encrypted with that key; an existing one is opened with it unless it is in
    clear, and so are backups that are encrypted for it. --new-key-file gives the new database another key,
    --in-clear none.

    With --copy, which `muniment copy` makes, each file is read from the first place that has it whole, and it is said
    what was read elsewhere.

    With a URL in --to, or --server, SOURCE, --copy and --location are paths on the server's machine, and the server
    goes on when this command is stopped. The key in --key-file or --new-key-file goes there, over https or to this
    machine. It opens the backups of a database that had it, too; what opens others is in the settings of the server.

    $ muniment restore /mnt/backups/shop --to shop-restored
    $ muniment restore backups --at 2026-11-22T17:18:03Z --to earlier --dry-run
    $ muniment restore backups --id orders/830 --to shop --on-conflict=skip
    $ muniment restore /mnt/backups/shop --to http://127.0.0.1:8080/databases/shop-restored
    $ muniment restore /mnt/backups/shop --server URL --name shop --id orders/830 --on-conflict=overwrite --dry-run
    """
    from muniment.cli.restoring import Asked

    Asked(source, place, part, caution, existing, new, opening, pace, keys, out).run()
