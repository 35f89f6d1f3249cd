"""`muniment limit`: how fast a job of a server may be, and when, while it runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from muniment.cli.databases import Address
from muniment.cli.options import Keys, LimitOptions, Output
from muniment.cli.report import facts, lines
from muniment.errors import InvalidInput


def limit(
    operation: Annotated[int, typer.Argument(metavar="OPERATION", help="The number of the job.")],
    *,
    url: Address,
    pace: LimitOptions,
    keys: Keys,
    out: Output,
) -> None:
    """Change how fast a job of a server may be, and when, while it runs.

    What is not given stays as it is; `none` takes a limit away. It goes by them at once.

    $ muniment limit 12 --read-rate 5MB
    $ muniment limit 12 --read-rate none --hours 22:00-06:00
    """
    given = {name: value for name, value in asdict(pace).items() if value is not None}
    if not given:
        raise InvalidInput("no limit was given", "give --read-rate, --write-rate, --niceness or --hours")
    _ = pace.limits
    with keys.store(url) as store:
        now = store.operations.limit(operation, **given)
    headline = f"Operation {operation} has {'these limits' if now else 'no limits'} now"
    out.emit(headline, [facts(url=store.url, operation=operation, limits=now), lines(now.items())])
