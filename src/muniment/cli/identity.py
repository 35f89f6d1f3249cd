"""`muniment identity`: what opens encrypted backups, and what signs backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.options import Output, path_of
from muniment.cli.report import row
from muniment.security.recipients import new_identity
from muniment.security.signature import new_signing_key


def generate(
    file: Annotated[Path, typer.Argument(parser=path_of, metavar="FILE", help="A new file, for its owner alone.")],
    *,
    signing: Annotated[
        bool, typer.Option("--signing", metavar="", help="A signing key, which signs backups, and opens none.")
    ] = False,
    out: Output,
) -> None:
    """Make an identity in a new file, and print its public half.

    Backups are encrypted for its recipient (backup --recipient), and opened with the file (--identity): so a machine
    can back up without being able to read what it wrote. With --signing it is a key that signs (backup --sign-with),
    whose public half verify and restore can insist on (--require-signature).

    Whoever loses the file has lost all backups that nothing else opens. Keep it apart from them, and in two places.

    $ muniment identity generate shop.identity
    $ muniment identity generate --signing shop.signing-key
    """
    public = new_signing_key(file) if signing else str(new_identity(file))
    what = "signer" if signing else "recipient"
    out.emit(f"Made {file}", [row(what, public, **{"file": str(file), what: public})])
